package transport

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// unserved fails the test when a connection gets as far as that.
func unserved(t *testing.T) func(*Conn) {
	return func(*Conn) { t.Error("the connection was served") }
}

// isGone waits for the server to close.
func isGone(t *testing.T, conn net.Conn) {
	t.Helper()
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil || isTimeout(err) {
		t.Fatalf("Read = %d, %v; want a closed connection", n, err)
	}
}

func TestConnectMustBeCompleteInTime(t *testing.T) {
	var hello bytes.Buffer
	_ = tls.Client(sink{nil, &hello}, &tls.Config{InsecureSkipVerify: true}).Handshake()
	long := append([]byte{0x10, 100}, make([]byte, 100)...)
	tests := map[string]struct {
		secure *tls.Config
		at     time.Duration // between two bytes
		sent   []byte
	}{
		"silent":                    {nil, 0, nil},
		"half a header":             {nil, 0, connect[:1]},
		"all but a byte":            {nil, 0, connect[:len(connect)-1]},
		"drips":                     {nil, time.Second, long},
		"silent, TLS":               {&tls.Config{}, 0, nil},
		"half a handshake":          {&tls.Config{}, 0, hello.Bytes()[:hello.Len()/2]},
		"a handshake that drips":    {&tls.Config{}, time.Second, hello.Bytes()},
		"a drip just before it all": {nil, 10*time.Second - time.Nanosecond, long},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := newServer(t, nil, unserved(t)), newPipes()
				if err := s.attend("pipe", p, tt.secure); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				client := p.dial()
				defer client.Close()
				var peer sync.WaitGroup
				peer.Go(func() {
					for _, b := range tt.sent {
						if _, err := client.Write([]byte{b}); err != nil {
							return
						}
						time.Sleep(tt.at) // a peer that drips; this is bubble time
					}
				})
				isGone(t, client)
				if took := time.Since(start); took != s.cfg.ConnectTimeout {
					t.Errorf("closed after %v, want %v", took, s.cfg.ConnectTimeout)
				}
				peer.Wait()
				if n := broken(s, "connect_timeout"); n != 1 {
					t.Errorf("counted %d timeouts, want 1", n)
				}
			})
		})
	}
}

// sink keeps what is written and gives nothing to read.
type sink struct {
	net.Conn
	w io.Writer
}

func (s sink) Write(p []byte) (int, error) { return s.w.Write(p) }
func (s sink) Read([]byte) (int, error)    { return 0, io.EOF }

func TestAuthenticationMayTakeLongerThanTheConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read := make(chan error, 1)
		_, p := pipe(t, nil, func(c *Conn) {
			time.Sleep(time.Hour) // a slow password; this is bubble time
			if admitted(t, c) {
				_, err := io.ReadFull(c, make([]byte, 2))
				read <- err
			}
		})
		client := p.dial()
		defer client.Close()
		send(t, client, connect)
		time.Sleep(2 * time.Hour) // an idle client; this is bubble time
		send(t, client, []byte{0xc0, 0})
		if err := <-read; err != nil {
			t.Errorf("Read: %v", err)
		}
	})
}

func TestABadBeginningEndsTheConnection(t *testing.T) {
	tests := map[string]struct {
		in     []byte
		reason string
	}{
		"HTTP":            {[]byte("GET / HTTP/1.1\r\n"), "not_connect"},
		"PINGREQ":         {[]byte{0xc0, 0}, "not_connect"},
		"reserved bits":   {append([]byte{0x11}, connect[1:]...), "not_connect"},
		"endless length":  {[]byte{0x10, 0xff, 0xff, 0xff, 0xff}, "malformed"},
		"CONNECT too big": {[]byte{0x10, 0x80, 0x80, 0x08}, "packet_too_large"},
		"200 MB":          {[]byte{0x10, 0x80, 0xc2, 0xd7, 0x2f}, "packet_too_large"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, addr := listen(t, nil, unserved(t))
			conn := dial(t, addr)
			send(t, conn, tt.in)
			isGone(t, conn)
			eventually(t, "counted", func() bool { return broken(s, tt.reason) == 1 })
		})
	}
}

func TestTheLargestConnectIsLetThrough(t *testing.T) {
	got := make(chan []byte, 1)
	s, addr := listen(t, nil, func(c *Conn) {
		var p bytes.Buffer
		_, err := io.Copy(&p, c)
		if !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("Read: %v, want ErrUnauthenticated", err)
		}
		got <- p.Bytes()
	})
	// The largest will, and a password of all that it leaves.
	content := []byte("\x00\x04MQTT\x04\xc6\x00\x00\x00\x01c\x00\x01t\xff\xff")
	content = append(content, bytes.Repeat([]byte("will"), 0x4000)[:0xffff]...)
	content = append(content, 0, 1, 'u')
	secret := bytes.Repeat([]byte{0xff}, s.cfg.ConnectPacket-4-len(content)-2)
	content = append(binary.BigEndian.AppendUint16(content, uint16(len(secret))), secret...)
	packet := append(binary.AppendUvarint([]byte{0x10}, uint64(len(content))), content...)
	conn := dial(t, addr)
	send(t, conn, slices.Concat(packet, publish(10, 'x')))
	if got := receive(t, got); !bytes.Equal(got, packet) {
		t.Errorf("read %d bytes, want the %d of the CONNECT and nothing behind it", len(got), len(packet))
	}
}

func TestPacketsBehindTheConnectWaitForAuthentication(t *testing.T) {
	// A client may send on without waiting for CONNACK (MQTT 5, 3.1.4).
	got := make(chan []byte, 1)
	_, addr := listen(t, nil, func(c *Conn) {
		if !c.AtBoundary() && admitted(t, c) {
			if !c.AtBoundary() {
				t.Error("not at a boundary after the CONNECT")
			}
			p, err := io.ReadAll(c)
			if err != nil {
				t.Errorf("Read: %v", err)
			}
			if !c.AtBoundary() {
				t.Error("not at a boundary at the end")
			}
			got <- p
		}
	})
	behind := slices.Concat(publish(5000, 'x'), []byte{0xc0, 0, 0xe0, 0})
	conn := dial(t, addr)
	send(t, conn, append(slices.Clone(connect), behind...))
	conn.Close()
	if got := receive(t, got); !bytes.Equal(got, behind) {
		t.Errorf("read %d bytes, want %d", len(got), len(behind))
	}
}

func TestAPacketTooLargeEndsTheConnectionBeforeItsContent(t *testing.T) {
	result := make(chan error, 1)
	before := []byte{0xc0, 0}
	s, addr := listen(t, func(c *Config) { c.PacketSize = 1000 }, func(c *Conn) {
		if !admitted(t, c) {
			return
		}
		p := make([]byte, 1<<20)
		n, err := io.ReadFull(c, p)
		// The packet before is there, and of the one too large not even the whole header.
		if n < len(before) || n >= len(before)+3 || !bytes.HasPrefix(p, before) {
			t.Errorf("read % x", p[:n])
		}
		_, again := c.Read(p)
		result <- errors.Join(err, again)
	})
	conn := dial(t, addr)
	send(t, conn, slices.Concat(connect, before, publish(1000, 'x')))
	if err := receive(t, result); !errors.Is(err, ErrPacketTooLarge) {
		t.Errorf("Read: %v, want ErrPacketTooLarge", err)
	}
	isGone(t, conn)
	if n := broken(s, "packet_too_large"); n != 1 {
		t.Errorf("counted %d, want 1", n)
	}
}

func TestTheReasonOfADisconnectIsRemembered(t *testing.T) {
	for _, tt := range []struct {
		packet []byte
		reason byte
		ok     bool
	}{
		{nil, 0, false},
		{[]byte{0xe0, 0}, 0, true},
		{[]byte{0xe0, 1, 4}, 4, true},
		{[]byte{0xe0, 7, 4, 5, 0x11, 0, 0, 0, 9}, 4, true},
	} {
		type answer struct {
			reason byte
			ok     bool
		}
		answers := make(chan answer, 1)
		_, addr := listen(t, nil, func(c *Conn) {
			if admitted(t, c) {
				_, _ = io.Copy(io.Discard, struct{ io.Reader }{c})
				reason, ok := c.LastDisconnect()
				answers <- answer{reason, ok}
			}
		})
		conn := dial(t, addr)
		send(t, conn, append(slices.Clone(connect5), tt.packet...))
		conn.Close()
		if got := receive(t, answers); got != (answer{tt.reason, tt.ok}) {
			t.Errorf("LastDisconnect() after % x = %v, want %#x, %v", tt.packet, got, tt.reason, tt.ok)
		}
	}
}

func TestAnnouncementsCostNoMemory(t *testing.T) {
	const connections = 300
	s, addr := listen(t, nil, unserved(t))
	before := heap()
	for i := range connections {
		conn := dial(t, addr)
		if i%3 == 0 {
			send(t, conn, []byte{0x10, 0x80, 0xc2, 0xd7, 0x2f}) // 200 MB: closed
		} else {
			send(t, conn, []byte{0x10, 0xf0, 0xff, 0x03, 0, 4}) // 64 KB: allowed, and does not come
		}
	}
	eventually(t, "all announcements read", func() bool {
		return broken(s, "packet_too_large") == connections/3 && s.metrics.received.Load() >= connections*2/3*6
	})
	if grown := heap() - before; grown > connections*8<<10 {
		t.Errorf("heap grew by %d bytes a connection", grown/connections)
	}
}
