package people

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/wire"
)

// Way is how a person's requests go to the server. What is shown to him comes over MQTT in any case.
type Way string

// The three ways.
const (
	V311 Way = "3.1.1"
	V5   Way = "5"
	HTTP Way = "HTTP" // its events come over MQTT 5
)

// Ways are all of them.
var Ways = []Way{V311, V5, HTTP}

// Person is somebody with a device: an account, and one persistent session of it. Requests may be made concurrently.
type Person struct {
	Name, Token string
	Way         Way
	place       *Place
	t           testing.TB
	client      string

	mu       sync.Mutex
	changed  chan struct{} // closed and made anew when anything below changes
	conn     *wire.Client  // nil: not connected
	ended    chan struct{} // of the connection: closed when nothing reads it any more
	reason   byte          // of the last DISCONNECT
	nextID   uint16
	usn      uint64 // of the last event
	record   []Seen // all that was shown to this session, in order
	acks     map[uint16]outcome
	outcomes map[uint16]outcome
	answers  map[string][]outcome // by rid
	subs     map[uint16]chan byte
}

// Join makes an account and connects its first device.
func (p *Place) Join(name string, way Way) *Person {
	p.t.Helper()
	return p.Device(name, p.Register(name), "phone", way)
}

// Device connects another device of an account.
func (p *Place) Device(name, token, client string, way Way) *Person {
	p.t.Helper()
	a := p.Absent(name, token, client, way)
	if err := a.Connect(); err != nil {
		p.t.Fatal(err)
	}
	return a
}

// Absent gives a device that is not connected yet.
func (p *Place) Absent(name, token, client string, way Way) *Person {
	a := &Person{Name: name, Token: token, Way: way, place: p, t: p.t, client: client, changed: make(chan struct{}),
		acks: map[uint16]outcome{}, outcomes: map[uint16]outcome{}, answers: map[string][]outcome{}, subs: map[uint16]chan byte{}}
	p.t.Cleanup(a.Cut)
	return a
}

// Another connects another device of the same account.
func (p *Person) Another(client string, way Way) *Person {
	p.t.Helper()
	return p.place.Device(p.Name, p.Token, client, way)
}

// Connected says whether the device is connected.
func (p *Person) Connected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conn != nil
}

// Cut closes the connection without a word, and waits until nothing reads it any more.
func (p *Person) Cut() {
	p.mu.Lock()
	c, ended := p.conn, p.ended
	p.mu.Unlock()
	if c != nil {
		_ = c.Close()
	}
	if ended != nil {
		<-ended
	}
}

// Leave says goodbye.
func (p *Person) Leave() {
	p.mu.Lock()
	c := p.conn
	p.mu.Unlock()
	if c != nil {
		_ = c.Send(wire.Packet{Type: wire.DISCONNECT}) // an error means that he is gone already
	}
	p.Cut()
}

// wait blocks until ok, called with mu held, gives true; it gives false after Deadline and when the connection has ended.
func (p *Person) wait(ok func() bool) bool {
	limit := time.NewTimer(Deadline)
	defer limit.Stop()
	for {
		p.mu.Lock()
		done, alive, changed := ok(), p.conn != nil, p.changed
		p.mu.Unlock()
		if done || !alive {
			return done
		}
		select {
		case <-changed:
		case <-limit.C:
			return false
		}
	}
}

// packetIDLocked gives an id that nothing else has.
func (p *Person) packetIDLocked() uint16 {
	if p.nextID++; p.nextID == 0 {
		p.nextID = 1
	}
	return p.nextID
}

// Subscribe subscribes, and gives what the SUBACK says; 0xFF if none came.
func (p *Person) Subscribe(filter string, qos byte) byte {
	p.mu.Lock()
	c, id, answer := p.conn, p.packetIDLocked(), make(chan byte, 1)
	p.subs[id] = answer
	p.mu.Unlock()
	packet := wire.Packet{Type: wire.SUBSCRIBE, ID: id, Filters: []wire.Filter{{Topic: filter, Options: qos}}}
	if c == nil || c.Send(packet) != nil {
		return 0xFF
	}
	code := byte(0xFF)
	p.wait(func() bool {
		select {
		case code = <-answer:
		default:
		}
		return code != 0xFF
	})
	return code
}

// Publish publishes with QoS 1 and waits for the outcome: the fields of the ack, and the err of a refusal.
func (p *Person) Publish(topic string, payload []byte, props ...wire.Property) (fields map[string]any, word string) {
	p.mu.Lock()
	c, id := p.conn, p.packetIDLocked()
	p.mu.Unlock()
	if c == nil {
		return nil, Lost
	}
	packet := wire.Packet{Type: wire.PUBLISH, QoS: 1, ID: id, Topic: topic, Payload: payload, Props: props}
	if c.Send(packet) != nil {
		return nil, Lost
	}
	var o outcome
	if !p.wait(func() (ok bool) {
		if o, ok = p.outcomes[id]; ok {
			delete(p.outcomes, id)
		}
		return ok
	}) {
		return nil, p.lost(topic)
	}
	return o.fields, o.word
}

// lost says why there is no answer.
func (p *Person) lost(what string) string {
	if p.Connected() {
		p.t.Errorf("%s (%s) got no answer to %s", p.Name, p.client, what)
	}
	return Lost
}

var lastRID atomic.Int64

// Call makes a request of the method, and gives the answer, or the err of a refusal.
func (p *Person) Call(method string, in any) (out map[string]any, word string) {
	return p.CallAs(fmt.Sprint("r", lastRID.Add(1)), method, in)
}

// CallAs is Call with a rid, which makes a repeat of a request harmless. An empty one is none; then only HTTP can tell which
// answer is for which request, and no other request may be made at the same time.
func (p *Person) CallAs(rid, method string, in any) (out map[string]any, word string) {
	if p.Way == HTTP {
		return p.place.Post(context.Background(), p.Token, rid, method, in)
	}
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err.Error()
	}
	var props []wire.Property
	if p.Way == V5 && rid != "" {
		props = []wire.Property{wire.Str(wire.CorrelationData, rid), wire.Str(wire.ResponseTopic, "im/u/me/rsp")}
	} else if rid != "" {
		if body, err = withRID(body, rid); err != nil {
			return nil, err.Error()
		}
	}
	_, refused := p.Publish("im/rpc/"+method, body, props...)
	if refused == Lost {
		return nil, Lost
	}
	var o outcome
	if !p.wait(func() (ok bool) {
		if ok = len(p.answers[rid]) > 0; ok {
			o, p.answers[rid] = p.answers[rid][0], p.answers[rid][1:]
		}
		return ok
	}) {
		return nil, p.lost(method)
	}
	p.place.replied(method, o.fields)
	if refused != "" && refused != o.word {
		p.t.Errorf("%s: the ack of %s says %q, the answer %q", p.Name, method, refused, o.word)
	}
	return o.fields, o.word
}

func withRID(body []byte, rid string) ([]byte, error) {
	fields := map[string]any{}
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, err
	}
	fields["rid"] = rid
	return json.Marshal(fields)
}

// Must is Call for what has to be granted.
func (p *Person) Must(method string, in any) map[string]any {
	p.t.Helper()
	out, word := p.Call(method, in)
	if word != "" {
		p.t.Fatalf("%s: %s %v: %s", p.Name, method, in, word)
	}
	return out
}

// M is a JSON object.
type M = map[string]any

// Send writes a text to somebody: by im/to/{uid}/send over MQTT, by the method send over HTTP.
func (p *Person) Send(to, text string) (out map[string]any, word string) {
	if p.Way == HTTP {
		return p.Call("send", M{"to": to, "body": M{"text": text}})
	}
	return p.Publish("im/to/"+to+"/send", []byte(text))
}

// Typing says that he types, always over MQTT.
func (p *Person) Typing(to string, on bool) (word string) {
	payload := "0"
	if on {
		payload = "1"
	}
	_, word = p.Publish("im/c/"+Direct(p.Name, to)+"/typing", []byte(payload))
	return word
}

// Read says how far he has read.
func (p *Person) Read(with string, seq uint64) (word string) {
	if p.Way == HTTP {
		_, word = p.Call("read", M{"c": Direct(p.Name, with), "seq": seq})
	} else {
		_, word = p.Publish("im/c/"+Direct(p.Name, with)+"/read", strconv.AppendUint(nil, seq, 10))
	}
	return word
}

// Direct names the conversation of two users.
func Direct(a, b string) string { return "d." + min(a, b) + "." + max(a, b) }

// Record gives all that was shown to this device, and Mark how much that is.
func (p *Person) Record() []Seen {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.record)
}

// Mark gives how much has been shown to this device.
func (p *Person) Mark() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.record)
}

// Await waits until something like this is shown to the device, after mark.
func (p *Person) Await(mark int, what string, like func(Seen) bool) Seen {
	p.t.Helper()
	var found Seen
	if !p.wait(func() bool {
		i := slices.IndexFunc(p.record[mark:], like)
		if i >= 0 {
			found = p.record[mark+i]
		}
		return i >= 0
	}) {
		var all string
		for _, s := range p.Record()[mark:] {
			all += "\n" + s.Topic + ": " + s.Raw
		}
		p.t.Fatalf("%s (%s) was not shown %s, but%s", p.Name, p.client, what, all)
	}
	return found
}

// Stream asks for the whole of his stream.
func (p *Person) Stream() []Seen {
	p.t.Helper()
	return p.StreamAfter(0)
}

// StreamAfter asks for what his stream has after usn.
func (p *Person) StreamAfter(usn uint64) []Seen {
	p.t.Helper()
	var all []Seen
	for {
		page := p.Must("sync", M{"usn": usn, "limit": 200})
		events, _ := page["events"].([]any)
		for _, e := range events {
			fields, _ := e.(map[string]any)
			raw, _ := json.Marshal(fields)
			all = append(all, Seen{Topic: "in", Fields: fields, Raw: string(raw)})
		}
		next, _ := page["usn"].(float64)
		if more, _ := page["more"].(bool); !more || uint64(next) <= usn {
			return all
		}
		usn = uint64(next)
	}
}

// Settled waits until the device has been shown the whole of the stream, and gives it.
func (p *Person) Settled() []Seen {
	p.t.Helper()
	all := p.Stream()
	if len(all) == 0 {
		return nil
	}
	head := all[len(all)-1].number("usn")
	if !p.wait(func() bool { return p.usn >= head }) {
		p.t.Fatalf("%s (%s) was shown its stream up to %d, not %d", p.Name, p.client, p.usn, head)
	}
	return all
}
