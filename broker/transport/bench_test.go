package transport

import (
	"io"
	"net"
	"runtime"
	"strconv"
	"sync"
	"testing"
)

// BenchmarkWrite writes small packets to a peer that reads them as fast as it can, over loopback. Whoever writes waits
// for the peer now and then, as a pump does, so that nothing is dropped.
func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{4, 128, 1024} {
		for _, writers := range []int{1, 8} {
			name := strconv.Itoa(size) + "B/" + strconv.Itoa(writers) + "writers"
			b.Run(name, func(b *testing.B) { benchmarkWrite(b, size, writers) })
		}
	}
}

func benchmarkWrite(b *testing.B, size, writers int) {
	const high = 256 << 10
	conns := make(chan *Conn, 1)
	s, addr := listen(b, nil, func(c *Conn) {
		if admitted(b, c) {
			conns <- c
			_, _ = io.Copy(io.Discard, struct{ io.Reader }{c})
		}
	})
	client := dial(b, addr)
	send(b, client, connect)
	c := receive(b, conns)
	go func() { _, _ = io.Copy(io.Discard, struct{ io.Reader }{client}) }()

	packet := publish(size-2, 'x')
	drained := sync.NewCond(&sync.Mutex{})
	c.OnDrain(func() {
		drained.L.Lock()
		defer drained.L.Unlock()
		drained.Broadcast()
	})
	b.SetBytes(int64(len(packet)))
	b.ReportAllocs()
	b.ResetTimer()
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range b.N / writers {
				if _, err := c.Write(packet); err != nil {
					b.Error(err)
					return
				}
				if c.Buffered() > high {
					drained.L.Lock()
					for c.Buffered() > high {
						drained.Wait()
					}
					drained.L.Unlock()
				}
			}
		})
	}
	all.Wait()
	eventually(b, "all taken", func() bool { return c.Buffered() == 0 })
	b.StopTimer()
	b.ReportMetric(float64(s.metrics.sent.Load())/float64(max(1, s.metrics.flushes.Load())), "B/write")
}

// BenchmarkRead reads small packets that the peer writes in large pieces.
func BenchmarkRead(b *testing.B) {
	const pieceOf = 64 << 10
	packet := publish(126, 'x')
	all := make([]byte, 0, pieceOf)
	for len(all)+len(packet) <= pieceOf {
		all = append(all, packet...)
	}
	done := make(chan struct{})
	_, addr := listen(b, nil, func(c *Conn) {
		defer close(done)
		if !admitted(b, c) {
			return
		}
		p := make([]byte, 1024) // the reader's buffer in front of mochi
		for left := b.N * len(packet); left > 0; {
			n, err := c.Read(p)
			if err != nil {
				b.Error(err)
				return
			}
			left -= n
		}
	})
	client := dial(b, addr)
	send(b, client, connect)
	b.SetBytes(int64(len(packet)))
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; {
		n := min(left, len(all)/len(packet))
		send(b, client, all[:n*len(packet)])
		left -= n
	}
	<-done
}

// BenchmarkIdle is about what one idle connection costs, authenticated and not, with the goroutine that serves it. The
// client's end is in the same process, and measured alone.
func BenchmarkIdle(b *testing.B) {
	const connections = 2000
	for name, hello := range map[string][]byte{"authenticated": connect, "pending": connect[:1]} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				var ends []net.Conn
				s, addr := listen(b, func(c *Config) { c.MaxPendingPerAddress = 0 }, func(c *Conn) {
					if admitted(b, c) {
						_, _ = c.Read(make([]byte, 1))
					}
				})
				heap, stack := memory()
				for range connections {
					conn, err := net.Dial("tcp", addr)
					if err != nil {
						b.Fatal(err)
					}
					ends = append(ends, conn)
					send(b, conn, hello)
				}
				eventually(b, "all are there", func() bool {
					s.mu.Lock()
					defer s.mu.Unlock()
					return s.all.admitted == connections && int(s.metrics.received.Load()) == connections*len(hello)
				})
				heap2, stack2 := memory()
				b.ReportMetric(float64(heap2-heap)/connections-clientHeap(b), "heapB/conn")
				b.ReportMetric(float64(stack2-stack)/connections, "stackB/conn")
				for _, conn := range ends {
					conn.Close()
				}
				eventually(b, "all are gone", func() bool { return sum(s) == 0 })
			}
		})
	}
}

// clientHeap is what one end of a TCP connection costs by itself.
func clientHeap(b *testing.B) float64 {
	const connections = 500
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	before, _ := memory()
	var ends []net.Conn
	for range connections {
		near, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		far, err := ln.Accept()
		if err != nil {
			b.Fatal(err)
		}
		ends = append(ends, near, far)
	}
	after, _ := memory()
	for _, conn := range ends {
		conn.Close()
	}
	return float64(after-before) / float64(len(ends))
}

func memory() (heap, stack int64) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc), int64(m.StackInuse)
}
