package trips

import (
	"maps"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/people"
	"github.com/magpie-im/magpie/e2e/wire"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
	"github.com/magpie-im/magpie/store/mongo/wirefault"
)

// scene is a node on a database, between which round trips are counted.
type scene struct {
	t     *testing.T
	proxy *wirefault.Proxy
	place *people.Place
	node  *brokertest.Node
	quiet time.Duration // after it an operation is believed to be over
}

func begin(t *testing.T) *scene {
	t.Helper()
	proxy, err := wirefault.New(mongotest.Database(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	proxy.Ignore(background)
	s := &scene{t: t, proxy: proxy, quiet: 80 * time.Millisecond}
	s.place, s.node = people.InsideIn(t, proxy.URI(), func(c *broker.Config) {
		c.Limits.NewRooms = 0
		c.ACL = []broker.ACLConfig{{Topic: "#", Who: "users", Allow: []string{"pub", "sub"}}}
	})
	return s
}

// background says whether a node asks something also when nobody does anything: whether the database is there and still its own,
// what was left open, whether the time of a message is over, what else has its time, and who was there.
func background(request bson.Raw) bool {
	is := func(value string, at ...string) bool {
		found, err := request.LookupErr(at...)
		return err == nil && (value == "" || found.StringValue() == value)
	}
	return is("", "ping") || is("nodes", "update") || is("presences", "update") || is("nodes", "find") ||
		is("", "filter", "ttl") || is("", "filter", "open", "$gt") || is("records", "find") && is("", "filter", "due")
}

// settle waits until nothing is asked any more, and gives what was since it was called last.
func (s *scene) settle() map[string]int {
	s.t.Helper()
	all := map[string]int{}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	last := time.Now()
	for deadline := last.Add(people.Deadline); time.Since(last) < s.quiet; <-tick.C {
		for trip, n := range s.proxy.Trips() {
			all[trip] += n
			last = time.Now()
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the database is asked without end: %v", all)
		}
	}
	return all
}

// times is how often everything is done. What is asked in between by sweeps comes on top of one of them only.
const times = 5

// check does something several times, and fails if that takes more than it may. The first time is not counted: it makes known
// what is kept in memory.
func (s *scene) check(o operation, prepare, do func(i int)) {
	s.t.Helper()
	var all []map[string]int
	for i := range times + 1 {
		if prepare != nil {
			prepare(i)
		}
		s.settle()
		do(i)
		if trips := s.settle(); i > 0 {
			all = append(all, trips)
		}
	}
	slices.SortStableFunc(all, func(a, b map[string]int) int { return sum(a) - sum(b) })
	usual, may := all[times/2], map[string]int{}
	for _, trip := range o.trips {
		may[trip]++
	}
	for trip, n := range usual {
		if n > may[trip] {
			s.t.Errorf("%s: %d times %s, want %d; in all %v", o.name, n, trip, may[trip], usual)
		}
	}
	s.t.Logf("%s: %d round trips, at most %d: %v", o.name, sum(usual), len(o.trips), usual)
}

func sum(trips map[string]int) (n int) {
	for times := range maps.Values(trips) {
		n += times
	}
	return n
}

// kept and clean are sessions of somebody.
func kept(who string) wire.Connect {
	return wire.Connect{ClientID: "kept", User: who, Password: brokertest.Password}
}

func clean(who string) wire.Connect {
	return wire.Connect{ClientID: "clean", User: who, Password: brokertest.Password, Clean: true}
}

// connect connects a client, which is not shown the stream.
func (s *scene) connect(c wire.Connect) *wire.Client {
	s.t.Helper()
	var props wire.Properties
	if !c.Clean {
		props = wire.Properties{wire.Num(wire.SessionExpiry, 3600)}
	}
	conn, ack, err := wire.Open(s.node.MQTT(), wire.V5, c, props...)
	if err != nil || ack.Reason != 0 {
		s.t.Fatalf("CONNECT: %v, %#x", err, ack.Reason)
	}
	return conn
}

func (s *scene) leave(c *wire.Client) {
	s.t.Helper()
	if err := c.Send(wire.Packet{Type: wire.DISCONNECT}); err != nil {
		s.t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		s.t.Fatal(err)
	}
}

// ask sends a packet, and waits for its answer, which must not be a refusal.
func (s *scene) ask(c *wire.Client, p wire.Packet) {
	s.t.Helper()
	p.ID = 1
	if err := c.Send(p); err != nil {
		s.t.Fatal(err)
	}
	if got := s.read(c); got.Reason >= 0x80 || len(got.Codes) > 0 && got.Codes[0] >= 0x80 {
		s.t.Fatalf("the answer to %s %s is %s %#x %x", p.Type, p.Topic, got.Type, got.Reason, got.Codes)
	}
}

func (s *scene) read(c *wire.Client) wire.Packet {
	s.t.Helper()
	p, err := c.Read(time.Now().Add(people.Deadline))
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (s *scene) subscribe(c *wire.Client, filter string, qos byte) {
	s.t.Helper()
	s.ask(c, wire.Packet{Type: wire.SUBSCRIBE, Filters: []wire.Filter{{Topic: filter, Options: qos}}})
}

func (s *scene) publish(c *wire.Client, topic, payload string) {
	s.t.Helper()
	s.ask(c, wire.Packet{Type: wire.PUBLISH, QoS: 1, Topic: topic, Payload: []byte(payload)})
}

// call makes a request, by a client that is shown the answers, and waits for the answer.
func (s *scene) call(c *wire.Client, method, in string) {
	s.t.Helper()
	if err := c.Send(wire.Packet{Type: wire.PUBLISH, QoS: 1, ID: 1, Topic: "im/rpc/" + method, Payload: []byte(in)}); err != nil {
		s.t.Fatal(err)
	}
	for range 2 { // the ack, and the answer
		if p := s.read(c); p.Reason >= 0x80 || p.Type == wire.PUBLISH && len(p.Payload) < len(`{"t":"rsp","ok":true`) {
			s.t.Fatalf("%s: %s %#x %s", method, p.Type, p.Reason, p.Payload)
		}
	}
}

// post makes a request over HTTP.
func (s *scene) post(token, method string, in people.M) people.M {
	s.t.Helper()
	out, word := s.place.Post(s.t.Context(), token, "", method, in)
	if word != "" {
		s.t.Fatalf("%s: %s", method, word)
	}
	return out
}
