// Package traffic is an MQTT client for tests of free topics: one session that keeps itself connected through crashes of
// the server and whatever is done to its connection, publishes and republishes as MQTT asks of a client, answers what it
// gets at once, slowly or not at all, leaves a will behind if it should, and writes what it does and sees into a journal.
// Its own state (packet ids, what is unacknowledged, open QoS 2 exchanges) is correct by construction and lives as long as
// the process, so that whatever is lost or doubled is the server's doing.
//
// A client whose session does not outlive its connection forgets with the connection what had no answer.
package traffic

import (
	"context"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"sync"

	"github.com/magpie-im/magpie/e2e/journal"
	"github.com/magpie-im/magpie/e2e/wire"
)

// Answers is how a client acknowledges what it gets.
type Answers int

// The ways to acknowledge.
const (
	AtOnce   Answers = iota
	Slowly           // some answers behind, always
	Silently         // not at all on every other connection
)

// behind is how many answers a slow client owes. Its Receive Maximum has to be larger.
const behind = 4

// Config says what a client is.
type Config struct {
	User, Password string
	ClientID       string
	Version        byte // wire.V311 or wire.V5
	Keeps          bool // its session outlives the connection
	Filters        []wire.Filter
	Answers        Answers
	ReceiveMaximum uint16 // MQTT 5; 0: not sent
	// Window is how many of its messages may be unacknowledged; Publish waits for a place. 0: 20.
	Window int
	// Will, if its topic is not empty, is left with every connection.
	Will Will
	// Up gives the server's address once it is running, and how often it was started.
	Up func(ctx context.Context) (addr string, boot int, err error)
	// Journal is where it writes.
	Journal *journal.Traffic
	// OnMessage, if not nil, is called with every message before it is answered. It must not call the client.
	OnMessage func()
}

// Will is the will of a client's connections.
type Will struct {
	Topic  string
	QoS    byte
	Retain bool
	Delay  uint32 // seconds; MQTT 5
}

// Message is something to publish.
type Message struct {
	Topic  string
	QoS    byte
	Retain bool
	Empty  bool   // the retained message of the topic is taken back
	Size   int    // bytes to fill it up with
	Delay  uint32 // seconds until it is published
}

// Client is one session. Its methods may be called concurrently.
type Client struct {
	cfg     Config
	session string
	member  bool // of a shared group
	cancel  context.CancelFunc
	done    chan struct{}

	mu       sync.Mutex
	changed  sync.Cond // of everything below
	conn     *connection
	number   int32 // of the connection
	dangling *wire.Client
	away     bool // stays away until Return
	clean    bool // the next session is to be a new one
	closed   bool
	prompt   bool // answers at once, whatever it does otherwise
	present  bool // of the last CONNACK
	nextID   uint16
	nextN    int32
	unacked  []*outgoing // in the order of sending
	received map[uint16]bool
	filters  []subscription
	err      error // why it ended, if it did before Close
}

// connection is one connection and what ends with it.
type connection struct {
	*wire.Client
	boot     int32
	over     bool // the client has done with it: what comes is not looked at
	taken    bool // the next connection takes its place while it is there still
	silent   bool
	owed     []owed
	inFlight map[uint16]bool
}

// owed is an answer that was not given yet.
type owed struct {
	packet wire.Packet
	act    journal.Act
}

// subscription is what the client wants with a filter and what it knows of it.
type subscription struct {
	wire.Filter
	wanted  bool
	settled bool // the server has said so
	pending bool // it was asked, on this connection
}

// outgoing is a PUBLISH that waits for an answer.
type outgoing struct {
	packet   wire.Packet
	act      journal.Act
	sent     bool
	released bool // QoS 2: PUBREC has come
}

// Start connects a client, and keeps it connected until Close.
func Start(cfg Config) *Client {
	if cfg.Window == 0 {
		cfg.Window = 20
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Client{cfg: cfg, session: cfg.User + "/" + cfg.ClientID, cancel: cancel, done: make(chan struct{}),
		received: map[uint16]bool{}}
	c.changed.L = &c.mu
	for _, f := range cfg.Filters {
		c.filters = append(c.filters, subscription{Filter: f, wanted: true})
		c.member = c.member || strings.HasPrefix(f.Topic, "$share/")
	}
	go c.run(ctx)
	return c
}

// Session gives the name of the session in journals.
func (c *Client) Session() string { return c.session }

// Close ends the client without a word to the server and waits until nothing of it runs any more. The error says why it
// had ended before, if it had.
func (c *Client) Close() error {
	c.cancel()
	c.Cut(false)
	c.mu.Lock()
	c.closed, c.away = true, false
	c.changed.Broadcast()
	if c.conn != nil { // one that it left, and that the server has not closed
		_ = c.conn.Close()
	}
	c.mu.Unlock()
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dangling != nil {
		_ = c.dangling.Close()
	}
	return c.err
}

// payload names a message, and fills it up to some size. Sum tells it from others with the same name.
func payload(session string, n int32, topic string, size int) (text []byte, sum uint32) {
	text = fmt.Appendf(nil, "%s %d %s ", session, n, topic)
	for i := range size {
		text = append(text, 'a'+byte((int(n)+i)%26))
	}
	return text, crc32.ChecksumIEEE(text)
}

// parse gives the name of a message.
func parse(text []byte) (session string, n int32, sum uint32, err error) {
	session, rest, _ := strings.Cut(string(text), " ")
	number, _, ok := strings.Cut(rest, " ")
	i, err := strconv.ParseInt(number, 10, 32)
	if err != nil || !ok {
		return "", 0, 0, fmt.Errorf("%.80q", text)
	}
	return session, int32(i), crc32.ChecksumIEEE(text), nil
}
