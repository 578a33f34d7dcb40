package listen

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Certificates are the certificate of a listener and the CAs of its clients. They are read again
// when their files change; if the files cannot be used, the old ones stay. Safe for concurrent use.
type Certificates struct {
	certFile, keyFile, clientCAFile string

	mu      sync.Mutex
	config  *tls.Config // never changed, only replaced
	looked  time.Time
	stamp   [3]stamp
	failing error // of the last reading, or nil
}

// stamp identifies a state of a file.
type stamp struct {
	modified time.Time
	size     int64
}

const lookAgain = 5 * time.Second // between two looks at the files

var errNoCA = errors.New("no certificate in it")

// LoadCertificates reads the files. With a clientCAFile, clients need a certificate of one of its
// CAs.
func LoadCertificates(certFile, keyFile, clientCAFile string) (*Certificates, error) {
	c := &Certificates{certFile: certFile, keyFile: keyFile, clientCAFile: clientCAFile}
	return c, c.Reload()
}

// Reload reads the files again now. On an error the old certificates stay.
func (c *Certificates) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read(c.stamps())
}

// Config returns the configuration of a listener. Each handshake uses the certificates of that
// moment.
func (c *Certificates) Config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current(time.Now()), nil },
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return &c.current(time.Now()).Certificates[0], nil
		},
	}
}

// wantsClients reports whether clients need a certificate.
func (c *Certificates) wantsClients() bool { return c.clientCAFile != "" }

// Err returns why the files could not be read when they last changed, or nil.
func (c *Certificates) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failing
}

// current returns the configuration of now. It checks the files every few seconds.
func (c *Certificates) current(now time.Time) *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.looked) >= lookAgain {
		c.looked = now
		if s := c.stamps(); s != c.stamp {
			_ = c.read(s) // Err returns it
		}
	}
	return c.config
}

func (c *Certificates) stamps() (s [3]stamp) {
	for i, file := range []string{c.certFile, c.keyFile, c.clientCAFile} {
		if info, err := os.Stat(file); err == nil {
			s[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return s
}

// read reads the files as of a stamp. The caller holds mu.
func (c *Certificates) read(s [3]stamp) error {
	config, err := c.load()
	c.failing = err
	if err != nil {
		return err
	}
	c.config, c.stamp = config, s
	return nil
}

func (c *Certificates) load() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	config := &tls.Config{
		MinVersion:                  tls.VersionTLS12,
		NextProtos:                  []string{"h2", "http/1.1"},
		Certificates:                []tls.Certificate{pair},
		DynamicRecordSizingDisabled: true, // made for pages; blobs are long
	}
	if c.clientCAFile == "" {
		return config, nil
	}
	pem, err := os.ReadFile(c.clientCAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the clients' CAs: %w", err)
	}
	config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !config.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading the clients' CAs: %w", errNoCA)
	}
	return config, nil
}
