package mongo_test

import (
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// door is an address in front of a server that can be shut: connections are cut, and new ones are refused.
type door struct {
	t       testing.TB
	addr    string
	inner   string
	mu      sync.Mutex
	conns   []net.Conn
	listens net.Listener
}

func newDoor(t testing.TB, server string) *door {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	d := &door{t: t, addr: "127.0.0.1:0", inner: u.Host}
	d.open()
	t.Cleanup(d.shut)
	return d
}

// through gives the address of a database as it is through the door.
func (d *door) through(uri string) string { return strings.Replace(uri, d.inner, d.addr, 1) }

func (d *door) open() {
	d.t.Helper()
	l, err := net.Listen("tcp", d.addr)
	if err != nil {
		d.t.Fatal(err)
	}
	d.mu.Lock()
	d.listens, d.addr = l, l.Addr().String()
	d.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go d.pass(c)
		}
	}()
}

func (d *door) shut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.listens.Close()
	for _, c := range d.conns {
		_ = c.Close()
	}
	d.conns = nil
}

func (d *door) pass(client net.Conn) {
	server, err := net.Dial("tcp", d.inner)
	if err != nil {
		_ = client.Close()
		return
	}
	d.mu.Lock()
	d.conns = append(d.conns, client, server)
	d.mu.Unlock()
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	}()
	_, _ = io.Copy(client, server)
	_ = client.Close()
}
