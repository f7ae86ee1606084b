package promises

import (
	"net"
	"sync"
	"testing"

	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/wire"
)

// direction is a way that bytes take.
type direction int

const (
	up   direction = iota // from the client
	down                  // from the server
)

// link is a network between clients and a server that does to them what networks do. What it was not told about it passes
// on as it is.
type link struct {
	net.Listener
	t      *testing.T
	target func() string
	// packets, if not nil, is given every packet and says what arrives in its place. It is called by one goroutine for each
	// direction of a connection.
	packets func(c *cable, d direction, p []byte) []byte
	work    sync.WaitGroup

	mu    sync.Mutex
	ended bool
	all   []*cable
}

// lay makes a link to an address, until the end of the test.
func lay(t *testing.T, target func() string, packets func(c *cable, d direction, p []byte) []byte) *link {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{Listener: listener, t: t, target: target, packets: packets}
	l.work.Go(l.accept)
	t.Cleanup(l.cutAll)
	return l
}

func (l *link) address() string { return l.Addr().String() }

func (l *link) accept() {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		node, err := net.Dial("tcp", l.target())
		if err != nil {
			_ = client.Close()
			continue
		}
		c := &cable{ends: [2]net.Conn{client, node}, left: [2]int{-1, -1}}
		l.mu.Lock()
		l.all = append(l.all, c)
		if l.ended {
			c.cut()
		}
		l.mu.Unlock()
		for _, d := range []direction{up, down} {
			l.work.Go(func() { c.carry(d, l.packets) })
		}
	}
}

func (l *link) cutAll() {
	_ = l.Close()
	l.mu.Lock()
	l.ended = true
	for _, c := range l.all {
		c.cut()
	}
	l.mu.Unlock()
	l.work.Wait()
}

// last gives the newest connection.
func (l *link) last() *cable {
	l.t.Helper()
	var c *cable
	server.Eventually(l.t, "there is a connection", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.all) > 0 {
			c = l.all[len(l.all)-1]
		}
		return c != nil
	})
	return c
}

// cable is one connection through a link.
type cable struct {
	ends [2]net.Conn // the client's, the server's

	mu        sync.Mutex
	left      [2]int  // bytes until it is cut; -1: any number
	lost      [2]bool // what is sent does not arrive, and nobody is told
	swallowed [2]int  // bytes that were lost
	held      []byte  // by packets
	gone      bool    // it was cut
	ending    bool    // one of the ends was closed by its owner
}

// cut ends it for both.
func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.gone {
		c.gone = true
		_, _ = c.ends[0].Close(), c.ends[1].Close()
	}
}

// cutAfter cuts it after so many more bytes.
func (c *cable) cutAfter(d direction, n int) {
	if n == 0 {
		c.cut()
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left[d] = n
}

// lose lets nothing through any more.
func (c *cable) lose(ds ...direction) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range ds {
		c.lost[d] = true
	}
}

// swallows gives how many bytes were lost on one way.
func (c *cable) swallows(d direction) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.swallowed[d]
}

// wasCut says whether it is cut.
func (c *cable) wasCut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}

// carry passes on what comes from one end, until an end is closed. While nothing is let through, no end is told that the other
// one is closed.
func (c *cable) carry(d direction, packets func(*cable, direction, []byte) []byte) {
	from, to := c.ends[d], c.ends[1-d]
	read := raw(from)
	if packets != nil {
		read = framed(from, func(p []byte) []byte { return packets(c, d, p) })
	}
	for {
		b, err := read()
		b, over := c.admit(d, b)
		if len(b) > 0 {
			_, _ = to.Write(b) // where the other end is closed, that is noticed by reading from it
		}
		if err != nil {
			c.note()
		}
		if over || err != nil && !c.isLost(d) {
			c.cut()
		}
		if over || err != nil {
			return
		}
	}
}

func (c *cable) note() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending = true
}

// isEnding says whether one of the ends was closed by its owner.
func (c *cable) isEnding() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ending
}

func (c *cable) isLost(d direction) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost[d]
}

// admit gives how much of b may pass, and whether that was all.
func (c *cable) admit(d direction, b []byte) (passes []byte, over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost[d] {
		c.swallowed[d] += len(b)
		return nil, false
	}
	if c.left[d] < 0 {
		return b, false
	}
	n := min(len(b), c.left[d])
	c.left[d] -= n
	return b[:n], c.left[d] == 0
}

func raw(from net.Conn) func() ([]byte, error) {
	buf := make([]byte, 32<<10)
	return func() ([]byte, error) {
		n, err := from.Read(buf)
		return buf[:n], err
	}
}

// framed reads packet by packet.
func framed(from net.Conn, change func([]byte) []byte) func() ([]byte, error) {
	r := wire.NewReader(from)
	return func() ([]byte, error) {
		first, body, err := r.Next()
		if err != nil {
			return nil, err
		}
		return change(whole(first, body)), nil
	}
}
