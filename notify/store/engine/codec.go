package engine

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errCorrupt means that bytes that were read do not match their checksum.
var errCorrupt = errors.New("the stored bytes do not match their checksum")

// Checksum returns the number that is stored beside bytes, so that damaged ones are never sent.
func Checksum(b []byte) int64 { return int64(crc32.Checksum(b, castagnoli)) }

// Micros returns a time as the databases store it. 0 is the zero time.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// FromMicros is the reverse of Micros.
func FromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// KeyHash returns the number that the indexes hold for a TagKey or RepoKey. 0 stands for "", which
// orders nothing. Deliveries of two keys with the same hash wait for each other, which is harmless.
func KeyHash(key string) int64 {
	if key == "" {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(key))
	if sum := int64(h.Sum64()); sum != 0 {
		return sum
	}
	return 1
}

// Clean returns s as a text column of either database can hold it: PostgreSQL refuses NUL and
// invalid UTF-8.
func Clean(s string) string {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// EncodePayload encodes a payload: the length of the head, the head as JSON, the body.
func EncodePayload(p *store.Payload) ([]byte, error) {
	head, err := json.Marshal(payloadHead{p.ContentType, p.Header})
	if err != nil {
		return nil, fmt.Errorf("encoding a payload's header: %w", err)
	}
	b := make([]byte, 0, binary.MaxVarintLen64+len(head)+len(p.Body))
	b = binary.AppendUvarint(b, uint64(len(head)))
	b = append(b, head...)
	return append(b, p.Body...), nil
}

type payloadHead struct {
	ContentType string            `json:"t"`
	Header      map[string]string `json:"h,omitempty"`
}

func decodePayload(b []byte, crc int64) (*store.Payload, error) {
	if Checksum(b) != crc {
		return nil, errCorrupt
	}
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return nil, errCorrupt
	}
	var head payloadHead
	if err := json.Unmarshal(b[used:used+int(n)], &head); err != nil {
		return nil, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	return &store.Payload{ContentType: head.ContentType, Header: head.Header, Body: b[used+int(n):]}, nil
}

// appendBytes encodes a field for fields.bytes.
func appendBytes[T string | []byte](b []byte, field T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(field))), field...)
}

// fields decodes encoded fields. After a field that cannot be decoded, bad is true and nothing is
// left.
type fields struct {
	rest []byte
	bad  bool
}

func (f *fields) fail() { f.rest, f.bad = nil, true }

func (f *fields) varint() int64 {
	v, n := binary.Varint(f.rest)
	if n <= 0 {
		f.fail()
		return 0
	}
	f.rest = f.rest[n:]
	return v
}

func (f *fields) bytes() (b []byte) {
	size, n := binary.Uvarint(f.rest)
	if n <= 0 || size > uint64(len(f.rest)-n) {
		f.fail()
		return nil
	}
	end := n + int(size)
	b, f.rest = f.rest[n:end:end], f.rest[end:]
	return b
}
