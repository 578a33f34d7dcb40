// Package resolver makes resolvers whose answers the test chooses. It imports nothing of this
// module, so that unit tests of every package can use it.
package resolver

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync/atomic"

	"golang.org/x/net/dns/dnsmessage"
)

// Of returns a resolver of IPv4 addresses. It answers the first look-up of any name with the first
// address, the next one with the next, and repeats the last address.
func Of(answers ...string) *net.Resolver {
	var queries atomic.Int32
	next := func() netip.Addr {
		return netip.MustParseAddr(answers[min(int(queries.Add(1)), len(answers))-1])
	}
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			for answer(server, next) {
			}
		}()
		return client, nil
	}}
}

// answer serves one query over TCP and reports whether it could. Only queries for A records take an
// address.
func answer(conn net.Conn, next func() netip.Addr) bool {
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return false
	}
	query := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, query); err != nil {
		return false
	}
	var m dnsmessage.Message
	if m.Unpack(query) != nil {
		return false
	}
	reply := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}, Questions: m.Questions}
	if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
		reply.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
			Body:   &dnsmessage.AResource{A: next().As4()},
		}}
	}
	packed, err := reply.Pack()
	if err != nil {
		return false
	}
	_, err = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packed))), packed...))
	return err == nil
}
