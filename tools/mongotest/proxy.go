package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	maxMessage = 48_000_000 // maxMessageSizeBytes of MongoDB
	opMsg      = 2013
	moreToCome = 1 << 1 // the flag of an OP_MSG that wants no reply
)

// proxy passes messages on to the server behind it, one at a time for all connections.
type proxy struct {
	inner string // socket
	turn  sync.Mutex
}

// serve accepts connections until the listener is closed.
func (p *proxy) serve(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		go p.pass(client)
	}
}

// reach waits until the server behind accepts connections.
func (p *proxy) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := net.Dial("unix", p.inner)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("FerretDB does not answer: %w", err)
		case <-tick.C:
		}
	}
}

// pass serves one connection until either side ends it.
func (p *proxy) pass(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("unix", p.inner)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	for {
		request, err := readMessage(client)
		if err != nil {
			return
		}
		reply, err := p.ask(server, request)
		if err != nil {
			return
		}
		if _, err := client.Write(reply); err != nil {
			return
		}
	}
}

// ask has the server carry out one message, and gives its reply; empty if it has none.
func (p *proxy) ask(server net.Conn, request []byte) ([]byte, error) {
	p.turn.Lock()
	defer p.turn.Unlock()
	if _, err := server.Write(request); err != nil || !wantsReply(request) {
		return nil, err
	}
	return readMessage(server)
}

// readMessage reads a message of the wire protocol: a header of 16 bytes that begins with the length of all of it.
func readMessage(r io.Reader) ([]byte, error) {
	var header [16]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(header[:])
	if n < uint32(len(header)) || n > maxMessage {
		return nil, fmt.Errorf("a message of %d bytes", n)
	}
	message := make([]byte, n)
	copy(message, header[:])
	_, err := io.ReadFull(r, message[len(header):])
	return message, err
}

// wantsReply says whether a message is answered: all are, but for an OP_MSG that says so.
func wantsReply(message []byte) bool {
	if len(message) < 20 || binary.LittleEndian.Uint32(message[12:]) != opMsg {
		return true
	}
	return binary.LittleEndian.Uint32(message[16:])&moreToCome == 0
}
