package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// connected gives both ends of an authenticated connection over a pipe. The serving function reads until the end, and
// puts what Read failed with into the channel.
func connected(t *testing.T, change func(*Config)) (*Server, *Conn, net.Conn, <-chan error) {
	t.Helper()
	conns, ends := make(chan *Conn, 1), make(chan error, 1)
	s, p := pipe(t, change, func(c *Conn) {
		if !admitted(t, c) {
			return
		}
		conns <- c
		_, err := io.Copy(io.Discard, struct{ io.Reader }{c})
		ends <- err
	})
	client := p.dial()
	send(t, client, connect)
	return s, <-conns, client, ends
}

// ended waits for the end of a connection that the peer closed.
func ended(t *testing.T, ends <-chan error) {
	t.Helper()
	if err := <-ends; err != nil {
		t.Errorf("Read: %v, want the end", err)
	}
}

func TestWriteDoesNotWaitForAPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, client, ends := connected(t, nil)
		defer client.Close()
		start, taken := time.Now(), 0
		var err error
		for err == nil {
			var n int
			n, err = c.Write(publish(1000, 'x'))
			taken += n
		}
		if !errors.Is(err, ErrSlowConsumer) {
			t.Errorf("Write into a full buffer: %v, want ErrSlowConsumer", err)
		}
		if limit := s.cfg.WriteBuffer; taken > limit || taken < limit-2000 {
			t.Errorf("%d bytes were taken, want nearly %d", taken, limit)
		}
		if _, err := c.Write([]byte{0xd0, 0}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write after that: %v, want net.ErrClosed", err)
		}
		if err := <-ends; !errors.Is(err, ErrSlowConsumer) {
			t.Errorf("Read: %v, want ErrSlowConsumer", err)
		}
		<-c.Done()
		if waited := time.Since(start); waited != 0 {
			t.Errorf("somebody waited %v", waited)
		}
		if n := broken(s, "slow_consumer"); n != 1 {
			t.Errorf("counted %d slow consumers, want 1", n)
		}
	})
}

func TestAPeerThatStopsReadingCostsItsBufferAndNoTime(t *testing.T) {
	result := make(chan int64, 1)
	s, addr := listen(t, nil, func(c *Conn) {
		if !admitted(t, c) {
			return
		}
		before, full := heap(), int64(0)
		packet, err := publish(1000, 'x'), error(nil)
		for err == nil { // for ever, if Write waited for the peer
			if full == 0 && c.Buffered() > c.server.cfg.WriteBuffer-10_000 {
				full = heap()
			}
			_, err = c.Write(packet)
		}
		if !errors.Is(err, ErrSlowConsumer) {
			t.Errorf("Write: %v, want ErrSlowConsumer", err)
		}
		if _, err := c.Read(packet); !errors.Is(err, ErrSlowConsumer) {
			t.Errorf("Read: %v, want ErrSlowConsumer", err)
		}
		result <- full - before
	})
	conn := dial(t, addr)
	send(t, conn, connect)
	if grown, limit := receive(t, result), int64(3*s.cfg.WriteBuffer); grown > limit {
		t.Errorf("heap grew by %d bytes, want at most %d", grown, limit)
	}
	eventually(t, "the connection is gone", func() bool { return sum(s) == 0 })
	if _, err := io.Copy(io.Discard, conn); err == nil {
		t.Error("the peer was not told that it missed something")
	}
}

// heap is how many bytes are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestAPeerThatTakesNothingIsStalledAfterTheWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, client, ends := connected(t, nil)
		defer client.Close()
		start := time.Now()
		send(t, c, publish(10, 'x'))
		if err := <-ends; !errors.Is(err, ErrStalled) {
			t.Errorf("Read: %v, want ErrStalled", err)
		}
		if waited := time.Since(start); waited != s.cfg.WriteTimeout {
			t.Errorf("ended after %v, want %v", waited, s.cfg.WriteTimeout)
		}
	})
}

func TestAPeerThatReadsSlowlyButReadsIsNotStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, client, ends := connected(t, nil)
		defer client.Close()
		data := publish(1<<20, 'x')
		send(t, c, data)
		// A piece in 15 s, 4 minutes in all.
		got, p := 0, make([]byte, piece)
		for got < len(data) {
			time.Sleep(15 * time.Second) // the peer is slow; this is bubble time
			n, err := io.ReadFull(client, p[:min(piece, len(data)-got)])
			if err != nil {
				t.Fatalf("after %d bytes: %v", got, err)
			}
			got += n
		}
		client.Close()
		ended(t, ends)
	})
}

func TestDisconnectArrivesAfterClose(t *testing.T) {
	disconnect := []byte{0xe0, 0x02, 0x8e, 0x00}
	for round := range 3 {
		taken := make(chan struct{})
		_, addr := listen(t, nil, func(c *Conn) {
			if !admitted(t, c) {
				return
			}
			// More than the peer's window, so that the kernel has to keep it; less than the kernel is willing to.
			if err := c.sock.(*net.TCPConn).SetWriteBuffer(200_000); err != nil {
				t.Error(err)
			}
			send(t, c, append(publish(100_000, 'x'), disconnect...))
			_ = c.Close()
			if _, err := c.Write([]byte{0xd0, 0}); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Write after Close: %v, want net.ErrClosed", err)
			}
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Read after Close: %v, want net.ErrClosed", err)
			}
			eventually(t, "the kernel has it all", func() bool { return c.Buffered() == 0 })
			close(taken)
		})
		conn := dial(t, addr)
		if err := conn.(*net.TCPConn).SetReadBuffer(32 << 10); err != nil {
			t.Fatal(err)
		}
		// The peer goes on sending what nobody reads. Closed at once, the kernel would reset the connection and forget
		// what it still had to send.
		send(t, conn, append(slices.Clone(connect), publish(5000, 'y')...))
		receive(t, taken)
		got, err := io.ReadAll(conn)
		if err != nil || !bytes.HasSuffix(got, disconnect) {
			t.Fatalf("round %d: got %d bytes and %v, want all with the DISCONNECT", round, len(got), err)
		}
	}
}

func TestCloseReleasesTheReaderAndLingersForNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, client, ends := connected(t, nil)
		start := time.Now()
		send(t, c, publish(10, 'x')) // is never read
		synctest.Wait()
		for range 2 {
			if err := c.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		// What mochi does before it reads again.
		if err := c.SetDeadline(time.Now().Add(time.Minute)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("SetDeadline after Close: %v, want net.ErrClosed", err)
		}
		if err := <-ends; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read: %v, want net.ErrClosed", err)
		}
		<-c.Done()
		if waited := time.Since(start); waited != 0 {
			t.Errorf("reader and Done waited %v for the peer", waited)
		}
		eventually(t, "the connection counted out", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.all == tally{} && len(s.addresses) == 0 && len(s.conns) == 0
		})
		if lingered := time.Since(start); lingered < s.cfg.Linger || lingered > s.cfg.Linger+10*time.Millisecond {
			t.Errorf("lingered %v, want %v", lingered, s.cfg.Linger)
		}
		client.Close()
	})
}

func TestConcurrentWritersKeepTheirOrder(t *testing.T) {
	const writers, each = 8, 5000
	_, addr := listen(t, nil, func(c *Conn) {
		if !admitted(t, c) {
			return
		}
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				for i := range each {
					var p [8]byte
					binary.BigEndian.PutUint32(p[:], uint32(w))
					binary.BigEndian.PutUint32(p[4:], uint32(i))
					if _, err := c.Write(p[:]); err != nil {
						t.Errorf("writer %d: %v", w, err)
						return
					}
				}
			})
		}
		all.Wait()
	})
	conn := dial(t, addr)
	send(t, conn, connect)
	var next [writers]uint32
	var p [8]byte
	for range writers * each {
		if _, err := io.ReadFull(conn, p[:]); err != nil {
			t.Fatal(err)
		}
		w, i := binary.BigEndian.Uint32(p[:]), binary.BigEndian.Uint32(p[4:])
		if w >= writers || next[w] != i {
			t.Fatalf("writer %d: got %d, want %d", w, i, next[w])
		}
		next[w]++
	}
}

func TestOnDrainIsCalledWhenAllIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, client, ends := connected(t, nil)
		defer func() { client.Close(); ended(t, ends) }()
		var calls, running atomic.Int32
		c.OnDrain(func() {
			if running.Add(1) != 1 {
				t.Error("called twice at a time")
			}
			defer running.Add(-1)
			if n := c.Buffered(); n != 0 {
				t.Errorf("called with %d bytes buffered", n)
			}
			// A pump that goes on where it paused: with what it writes the buffer fills and empties again.
			if calls.Add(1) < 3 {
				send(t, c, publish(100, 'x'))
			}
		})
		send(t, c, publish(100, 'x'))
		synctest.Wait()
		if n := calls.Load(); n != 0 || c.Buffered() == 0 {
			t.Errorf("called %d times with %d bytes buffered, want none before all is taken", n, c.Buffered())
		}
		go func() { _, _ = io.Copy(io.Discard, client) }()
		synctest.Wait()
		if n := calls.Load(); n != 3 {
			t.Errorf("called %d times, want 3", n)
		}
		if n := c.Buffered(); n != 0 {
			t.Errorf("%d bytes buffered at the end", n)
		}
	})
}

func TestNoWakeUpIsLost(t *testing.T) {
	// A writer that only goes on when it is told that all was taken stops for ever at the first lost call.
	const rounds = 20_000
	finished := make(chan struct{})
	_, addr := listen(t, nil, func(c *Conn) {
		if !admitted(t, c) {
			return
		}
		drained := make(chan struct{}, 1)
		c.OnDrain(func() {
			select {
			case drained <- struct{}{}:
			default:
			}
		})
		for range rounds {
			if _, err := c.Write([]byte{0xd0, 0}); err != nil {
				t.Error(err)
				return
			}
			for c.Buffered() > 0 {
				<-drained
			}
		}
		close(finished)
	})
	conn := dial(t, addr)
	send(t, conn, connect)
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	receive(t, finished)
}

func TestDeadlinesAreAboutReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		result := make(chan error, 1)
		_, p := pipe(t, nil, func(c *Conn) {
			if !admitted(t, c) {
				return
			}
			if err := c.SetWriteDeadline(time.Unix(1, 0)); err != nil {
				t.Errorf("SetWriteDeadline: %v", err)
			}
			if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
				t.Errorf("SetDeadline: %v", err)
			}
			_, err := c.Read(make([]byte, 1))
			result <- err
			_, err = c.Write([]byte{0xd0, 0}) // after both
			result <- err
			err = c.SetReadDeadline(time.Time{})
			if err == nil {
				_, err = io.ReadFull(c, make([]byte, 2))
			}
			result <- err
		})
		client := p.dial()
		defer client.Close()
		send(t, client, connect)
		if err := <-result; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read: %v, want a missed deadline", err)
		}
		if err := <-result; err != nil {
			t.Errorf("Write: %v", err)
		}
		if _, err := io.ReadFull(client, make([]byte, 2)); err != nil {
			t.Errorf("client: %v", err)
		}
		send(t, client, []byte{0xc0, 0})
		if err := <-result; err != nil {
			t.Errorf("Read after the deadline was taken back: %v", err)
		}
	})
}

func TestIdleConnectionsHoldNoBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, client, ends := connected(t, nil)
		go func() { _, _ = io.Copy(io.Discard, client) }()
		send(t, c, publish(100_000, 'x'))
		synctest.Wait()
		c.mu.Lock()
		if c.out != nil || c.held != nil || c.flushing {
			t.Errorf("out %v, held %v, flushing %v; want none", c.out, c.held, c.flushing)
		}
		c.mu.Unlock()
		client.Close()
		ended(t, ends)
	})
}

func TestAttachments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, client, ends := connected(t, nil)
		if got := c.Attachment(); got != nil {
			t.Errorf("Attachment() = %v before Attach, want nil", got)
		}
		c.Attach("link")
		if got := c.Attachment(); got != "link" {
			t.Errorf("Attachment() = %v, want link", got)
		}
		if got := c.Listener(); got != "pipe" {
			t.Errorf("Listener() = %q, want pipe", got)
		}
		client.Close()
		ended(t, ends)
	})
}

func TestAnOddKeepAliveHasItsHalfSecond(t *testing.T) {
	tests := map[string]struct {
		keepAlive byte
		want      time.Duration
	}{
		"odd":  {5, 7500 * time.Millisecond},
		"even": {4, 7 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				took := make(chan time.Duration, 1)
				_, p := pipe(t, nil, func(c *Conn) {
					if !admitted(t, c) {
						return
					}
					start := time.Now()
					if err := c.SetDeadline(start.Add(7 * time.Second)); err != nil {
						t.Error(err)
					}
					_, err := c.Read(make([]byte, 1))
					if !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("Read: %v, want %v", err, os.ErrDeadlineExceeded)
					}
					took <- time.Since(start)
				})
				packet := bytes.Clone(connect)
				packet[11] = tt.keepAlive
				send(t, p.dial(), packet)
				if got := <-took; got != tt.want {
					t.Errorf("read for %s, want %s", got, tt.want)
				}
			})
		})
	}
}
