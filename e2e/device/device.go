// Package device is a chat client for tests: one session of one user that keeps itself connected through crashes of the
// server and cuts of its connection, sends and resends as MQTT asks of a client, acknowledges what it gets, and writes
// what it does and sees into a journal. Its own state (packet ids, what is unacknowledged, QoS 2 ids) is correct by
// construction and lives as long as the process, so that whatever is lost or doubled is the server's doing.
package device

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/magpie-im/magpie/e2e/journal"
	"github.com/magpie-im/magpie/e2e/wire"
)

// Config says what a device is.
type Config struct {
	User, Password string
	ClientID       string
	Version        byte   // wire.V311 or wire.V5
	QoS            byte   // that of its subscription to the stream
	ReceiveMaximum uint16 // MQTT 5; 0: not sent
	// Window is how many of its messages may be unacknowledged; Send waits for a place. 0: 64.
	Window int
	// Up gives the server's address once it is running, and how often it was started.
	Up func(ctx context.Context) (addr string, boot int, err error)
	// Journal is where it writes; nil: nowhere.
	Journal *journal.Journal
	// OnEvent, if not nil, is called with every event that comes on the stream for the first time or again, before it
	// is acknowledged. It must not call the device.
	OnEvent func(e journal.Event)
}

// Device is one session. Its methods may be called concurrently.
type Device struct {
	cfg    Config
	cancel context.CancelFunc
	done   chan struct{}

	mu         sync.Mutex
	changed    sync.Cond    // of everything below
	conn       *wire.Client // nil: not connected
	number     int          // of the connection
	boot       int
	subscribed bool
	nextID     uint16
	unacked    []*outgoing       // in the order of sending
	received   map[uint16]bool   // QoS 2 ids whose PUBREL has not come
	results    map[uint16]result // from ack events, until the ack comes
	last       uint64            // usn
	err        error             // why it ended, if it did before Close
}

// outgoing is a PUBLISH that waits for an answer.
type outgoing struct {
	packet   wire.Packet
	entry    journal.Entry
	released bool // QoS 2: PUBREC has come
}

// result is what the server said about a PUBLISH.
type result struct {
	ok  bool
	seq uint64
	id  string
	err string
}

// Message is something to send.
type Message struct {
	To   string // the user
	Text string
	MID  string // empty: none
	QoS  byte
}

// Start connects a device, and keeps it connected until Close.
func Start(cfg Config) *Device {
	if cfg.Window == 0 {
		cfg.Window = 64
	}
	ctx, cancel := context.WithCancel(context.Background())
	d := &Device{cfg: cfg, cancel: cancel, done: make(chan struct{}), received: map[uint16]bool{}}
	d.changed.L = &d.mu
	go d.run(ctx)
	return d
}

// Session gives the name of the session in journals.
func (d *Device) Session() string { return d.cfg.User + "/" + d.cfg.ClientID }

// Close disconnects without a word and waits until nothing of the device runs any more. The error says why it ended
// before, if it did.
func (d *Device) Close() error {
	d.cancel()
	d.Cut()
	<-d.done
	return d.err
}

// Cut closes the connection under the device, which connects again.
func (d *Device) Cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		_ = d.conn.Close()
	}
}

// Ready says whether the device is connected and subscribed.
func (d *Device) Ready() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conn != nil && d.subscribed
}

// Unacked gives how many of its messages have no final answer.
func (d *Device) Unacked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.unacked)
}

// Last gives the last usn that came.
func (d *Device) Last() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// Send publishes a message, now or when the device is connected again, and returns without waiting for the answer. It
// waits for a place in the window. After Close it does nothing.
func (d *Device) Send(m Message) {
	payload := []byte(m.Text)
	var props wire.Properties
	switch {
	case m.MID != "" && d.cfg.Version == wire.V5:
		props = wire.Properties{wire.Str(wire.ContentType, "text/plain"), wire.User("mid", m.MID)}
	case m.MID != "":
		payload, _ = json.Marshal(map[string]any{"k": "text", "body": map[string]string{"text": m.Text}, "mid": m.MID})
	}
	p := wire.Packet{Type: wire.PUBLISH, Topic: "im/to/" + m.To + "/send", QoS: m.QoS, Payload: payload, Props: props}
	d.publish(p, d.entry(journal.Entry{Do: journal.Sent, C: Direct(d.cfg.User, m.To), Text: m.Text, MID: m.MID, QoS: m.QoS}))
}

// MarkRead publishes a read mark.
func (d *Device) MarkRead(conversation string, seq uint64, qos byte) {
	p := wire.Packet{Type: wire.PUBLISH, Topic: "im/c/" + conversation + "/read", QoS: qos,
		Payload: strconv.AppendUint(nil, seq, 10)}
	d.publish(p, d.entry(journal.Entry{Do: journal.Marked, C: conversation, Seq: seq}))
}

// Direct names the conversation of two users.
func Direct(a, b string) string { return "d." + min(a, b) + "." + max(a, b) }

func (d *Device) entry(e journal.Entry) journal.Entry {
	e.User, e.Session = d.cfg.User, d.Session()
	return e
}

// write puts an entry into the journal.
func (d *Device) writeLocked(e journal.Entry) {
	if d.cfg.Journal == nil {
		return
	}
	e.User, e.Session, e.Conn = d.cfg.User, d.Session(), d.number
	d.cfg.Journal.Write(e)
}

func (d *Device) publish(p wire.Packet, e journal.Entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.unacked) >= d.cfg.Window && !d.ended() {
		d.changed.Wait()
	}
	if d.ended() {
		return
	}
	if p.QoS == 0 {
		d.sendLocked(&outgoing{packet: p, entry: e}, false)
		return
	}
	p.ID = d.freeIDLocked()
	o := &outgoing{packet: p, entry: e}
	d.unacked = append(d.unacked, o)
	d.sendLocked(o, false)
}

// sendLocked writes a PUBLISH if there is a connection; otherwise the next one will.
func (d *Device) sendLocked(o *outgoing, again bool) {
	if d.conn == nil {
		return
	}
	p := o.packet
	p.Dup = again
	if e := o.entry; e.Do == journal.Sent {
		e.Dup = again
		d.writeLocked(e)
	}
	_ = d.conn.Send(p) // an error ends the connection, and the reader sees that
}

func (d *Device) freeIDLocked() uint16 {
	for {
		if d.nextID++; d.nextID == 0 {
			d.nextID = 1
		}
		if !slices.ContainsFunc(d.unacked, func(o *outgoing) bool { return o.packet.ID == d.nextID }) {
			return d.nextID
		}
	}
}

func (d *Device) ended() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

// run keeps the device connected.
func (d *Device) run(ctx context.Context) {
	defer func() {
		close(d.done)
		d.mu.Lock()
		d.changed.Broadcast()
		d.mu.Unlock()
	}()
	for ctx.Err() == nil {
		addr, boot, err := d.cfg.Up(ctx)
		if err != nil {
			return
		}
		pause := 2 * time.Millisecond // the server may be about to die, and Up does not know it yet
		switch err := d.connection(ctx, addr, boot); {
		case errors.Is(err, errRefused):
			d.err = fmt.Errorf("device %s: %w", d.Session(), err)
			return
		case errors.Is(err, errUnavailable):
			pause = 200 * time.Millisecond
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// errRefused means that the server does not want the device, or does what no server may do.
var errRefused = errors.New("refused")

// errUnavailable means that the server cannot serve now, or is about to stop.
var errUnavailable = errors.New("the server is unavailable")

// connection is one connection from CONNECT to its end.
func (d *Device) connection(ctx context.Context, addr string, boot int) error {
	user := d.cfg.User
	var props wire.Properties
	if d.cfg.Version == wire.V5 {
		props = append(props, wire.Num(wire.SessionExpiry, 3600))
		if d.cfg.ReceiveMaximum > 0 {
			props = append(props, wire.Num(wire.ReceiveMaximum, uint32(d.cfg.ReceiveMaximum)))
		}
	}
	c, ack, err := wire.Open(addr, d.cfg.Version,
		wire.Connect{ClientID: d.cfg.ClientID, User: user, Password: d.cfg.Password}, props...)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if ack.Reason == wire.Unavailable(d.cfg.Version) {
		return errUnavailable
	}
	if ack.Reason != 0 {
		return fmt.Errorf("CONNACK %#x: %w", ack.Reason, errRefused)
	}
	d.begin(c, boot, ack.Present)
	if err = ctx.Err(); err == nil { // Close may have found no connection to cut
		err = d.read(c)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conn = nil
	d.changed.Broadcast()
	return err
}

// begin subscribes if that has not been confirmed, and resends what has no answer.
func (d *Device) begin(c *wire.Client, boot int, present bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.number++
	d.conn, d.boot, d.results = c, boot, map[uint16]result{}
	d.writeLocked(journal.Entry{Do: journal.Connected, Boot: boot, Present: present})
	if !present {
		d.subscribed = false
		clear(d.received)
	}
	if !d.subscribed {
		_ = c.Send(wire.Packet{Type: wire.SUBSCRIBE, ID: 65535, Filters: []wire.Filter{
			{Topic: "im/u/me/in", Options: d.cfg.QoS}, {Topic: "im/u/me/rsp", Options: 1}}})
	}
	for _, o := range d.unacked {
		if o.released {
			_ = c.Send(wire.Packet{Type: wire.PUBREL, ID: o.packet.ID})
		} else {
			d.sendLocked(o, true)
		}
	}
	d.changed.Broadcast()
}

// read handles packets until the connection ends.
func (d *Device) read(c *wire.Client) error {
	for {
		p, err := c.Read(time.Time{})
		if err != nil {
			return err
		}
		d.mu.Lock()
		err = d.handleLocked(c, p)
		d.changed.Broadcast()
		d.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

func (d *Device) handleLocked(c *wire.Client, p wire.Packet) error {
	switch p.Type {
	case wire.PUBLISH:
		return d.incomingLocked(c, p)
	case wire.PUBREL:
		delete(d.received, p.ID)
		return c.Send(wire.Packet{Type: wire.PUBCOMP, ID: p.ID})
	case wire.PUBACK, wire.PUBREC, wire.PUBCOMP:
		return d.answerLocked(c, p)
	case wire.SUBACK:
		if slices.ContainsFunc(p.Codes, func(code byte) bool { return code >= 0x80 }) {
			return fmt.Errorf("SUBACK % x: %w", p.Codes, errRefused)
		}
		d.subscribed = true
		d.writeLocked(journal.Entry{Do: journal.Subscribed, QoS: p.Codes[0]})
	case wire.DISCONNECT:
		if p.Reason == wire.ServerBusy {
			return errUnavailable
		}
		return fmt.Errorf("DISCONNECT %#x", p.Reason)
	}
	return nil
}

func (d *Device) incomingLocked(c *wire.Client, p wire.Packet) error {
	known := p.QoS == 2 && d.received[p.ID]
	switch {
	case known:
	case strings.HasSuffix(p.Topic, "/in"):
		e, err := journal.ParseEvent(p.Payload)
		if err != nil {
			return fmt.Errorf("%w: %w", errRefused, err)
		}
		d.writeLocked(journal.Entry{Do: journal.Got, QoS: p.QoS, Dup: p.Dup, Event: p.Payload})
		d.last = max(d.last, e.USN)
		if d.cfg.OnEvent != nil {
			d.cfg.OnEvent(e)
		}
	default:
		d.noteResultLocked(p.Payload)
	}
	switch p.QoS {
	case 1:
		return c.Send(wire.Packet{Type: wire.PUBACK, ID: p.ID})
	case 2:
		d.received[p.ID] = true
		return c.Send(wire.Packet{Type: wire.PUBREC, ID: p.ID})
	}
	return nil
}

// noteResultLocked keeps an ack event until the ack comes.
func (d *Device) noteResultLocked(payload []byte) {
	var e struct {
		T   string `json:"t"`
		PID uint16 `json:"pid"`
		OK  bool   `json:"ok"`
		Seq uint64 `json:"seq"`
		ID  string `json:"id"`
		Err string `json:"err"`
	}
	if err := json.Unmarshal(payload, &e); err == nil && e.T == "ack" {
		d.results[e.PID] = result{e.OK, e.Seq, e.ID, e.Err}
	}
}

// resultLocked says what became of a PUBLISH, from its ack and the event that came before it. A 3.1.1 client that did
// not get the event knows no more than that the outcome is final.
func (d *Device) resultLocked(p wire.Packet) (r result, known bool) {
	if r, told := d.results[p.ID]; told {
		delete(d.results, p.ID)
		return r, true
	}
	if d.cfg.Version != wire.V5 {
		return result{}, false
	}
	r.ok = p.Reason < 0x80
	if seq, told := p.Props.User("seq"); told {
		r.seq, _ = strconv.ParseUint(seq, 10, 64)
	}
	r.id, _ = p.Props.User("id")
	r.err, _ = p.Props.User("err")
	return r, true
}

// answerLocked moves a message on by PUBACK, PUBREC or PUBCOMP.
func (d *Device) answerLocked(c *wire.Client, p wire.Packet) error {
	i := slices.IndexFunc(d.unacked, func(o *outgoing) bool { return o.packet.ID == p.ID })
	if i < 0 || (d.unacked[i].packet.QoS == 1) != (p.Type == wire.PUBACK) {
		return fmt.Errorf("%s %d, which answers nothing: %w", p.Type, p.ID, errRefused)
	}
	o := d.unacked[i]
	r, known := result{}, false
	if p.Type != wire.PUBCOMP && !o.released {
		r, known = d.resultLocked(p)
		d.noteOutcomeLocked(o, r, known)
	}
	if p.Type == wire.PUBREC && (!known || r.ok || d.cfg.Version != wire.V5) {
		o.released = true
		return c.Send(wire.Packet{Type: wire.PUBREL, ID: p.ID})
	}
	d.unacked = slices.Delete(d.unacked, i, i+1)
	return nil
}

func (d *Device) noteOutcomeLocked(o *outgoing, r result, known bool) {
	e := o.entry
	e.QoS, e.Dup = 0, false
	switch {
	case known && !r.ok:
		e.Do, e.Err = journal.Refused, r.err
	case o.entry.Do == journal.Marked:
	default:
		e.Do, e.Seq, e.ID = journal.Acked, r.seq, r.id
	}
	d.writeLocked(e)
}
