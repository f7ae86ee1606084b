package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"time"

	"github.com/magpie-im/magpie/broker/sessions"
)

var queueTests = []test{
	{"messages come out as they went in, in the order of positions", testQueueOrder},
	{"sessions keep number, cursor, flights and replays", testQueueState},
	{"queues advance, and forget what is finished", testQueueAdvance},
	{"old entries are left out, expired ones swept", testQueueExpiry},
	{"a full queue drops its oldest entries", testQueueDrops},
	{"a full queue refuses", testQueueRefuses},
	{"a queue is bounded after a start too", testQueueBoundLater},
	{"entries are removed and moved", testQueueMove},
	{"dropping a session or a group drops its queue", testQueueDrop},
	{"a sweep keeps what is referred to", testQueueSweep},
	{"retained messages replace each other, expire and go", testRetained},
	{"retained messages are found by filter, a page at a time", testRetainedPages},
	{"wills are kept until they are published or dropped", testWills},
	{"delayed messages come when they are due", testDelayed},
	{"groups keep their numbers", testGroups},
	{"the last beat is kept", testBeat},
	{"positions never come twice", testPositions},
	{"concurrent appenders see their order", testQueueConcurrent},
	{"what was acknowledged or shown is there after a loss of power under load", testQueuePowerLoss},
	{"any order of operations gives what the model gives", testQueueModel},
}

// unbounded is a queue that is never full.
var unbounded = sessions.Bounds{}

// published gives a message with little in it.
func (k *kit) published(topic, payload string) *sessions.Message {
	return &sessions.Message{Topic: topic, Payload: []byte(payload), QoS: 1, Time: k.clock.Now()}
}

// fullMessage has everything.
func (k *kit) fullMessage() *sessions.Message {
	return &sessions.Message{
		Topic: "a/\x00/\xff", Payload: []byte("\x00payload"), QoS: 2, Retain: true,
		From:          sessions.Key{Account: alice, Client: "phone\x00"},
		PayloadFormat: 1, HasPayloadFormat: true, ContentType: "text/plain", ResponseTopic: "r/e", Correlation: []byte{0, 1},
		User: []sessions.UserProperty{{Name: "a", Value: "b"}, {Name: "a"}},
		Time: k.clock.Now(), Expires: k.clock.Now().Add(time.Hour),
	}
}

func to(numbers ...sessions.Number) (out []sessions.Target) {
	for _, n := range numbers {
		out = append(out, sessions.Target{Number: n, QoS: 1})
	}
	return out
}

// give appends one step and waits for it.
func (k *kit) give(s sessions.Step) uint64 {
	k.Helper()
	a, err := k.queues().Append(unbounded, s)
	k.ok("append", err)
	k.ok("wait", a.Commit.Wait(k.ctx()))
	return a.First
}

// queue reads a whole queue, a few entries at a time.
func (k *kit) queue(n sessions.Number, after uint64) []sessions.Entry {
	k.Helper()
	var out []sessions.Entry
	for {
		page, err := k.queues().Queue(k.ctx(), n, after, 7, 0)
		k.ok("queue", err)
		if len(page) == 0 {
			return out
		}
		for _, e := range page {
			if e.Pos <= after {
				k.Fatalf("position %d comes after %d", e.Pos, after)
			}
			after = e.Pos
		}
		out = append(out, page...)
	}
}

// payloads are those of a queue, separated by spaces.
func (k *kit) payloads(n sessions.Number) string {
	k.Helper()
	var out []string
	for _, e := range k.queue(n, 0) {
		out = append(out, string(e.Message.Payload))
	}
	return strings.Join(out, " ")
}

func testQueueOrder(k *kit) {
	full, small := k.fullMessage(), &sessions.Message{Topic: "t", Time: time.UnixMilli(-5).UTC()}
	var want []sessions.Entry
	for i := range 20 {
		m := full
		if i%2 == 0 {
			m = small
		}
		t := sessions.Target{Number: 7, QoS: byte(1 + i%2), Retain: i%3 == 0}
		if i%4 == 0 {
			t.IDs = []int{1, 268435455}
		}
		step := sessions.Step{Message: m, To: []sessions.Target{t}}
		if i%5 == 0 {
			step.To = append(step.To, to(8, 6)...)
		}
		want = append(want, sessions.Entry{Pos: k.give(step), Target: t, Message: m})
	}
	last := k.queues().Last()
	equal(k, "last position", want[len(want)-1].Pos, last)
	same(k, "queue", k.queue(7, 0), want)
	k.crash()
	same(k, "queue after a crash", k.queue(7, 0), want)
	same(k, "second half", k.queue(7, want[9].Pos), want[10:])
	equal(k, "entries of another", len(k.queue(8, 0)), 4)
	equal(k, "entries of nobody", len(k.queue(9, 0)), 0)
	if k.queues().Last() < last {
		k.Fatalf("last position: got %d, and it was %d before the crash", k.queues().Last(), last)
	}
	if pos := k.give(sessions.Step{Message: small, To: to(7)}); pos <= last {
		k.Fatalf("position after a crash: got %d, want more than %d", pos, last)
	}
}

func testQueueState(k *kit) {
	key := sessions.Key{Account: alice, Client: "phone"}
	full := fullState(key)
	full.Number = 77
	full.Queue = sessions.Cursor{Acked: 9, Flights: []sessions.Flight{
		{ID: 3, Pos: 10, QoS: 2, Stage: sessions.StageSent}, {ID: 4, Pos: 1 << 40, QoS: 1, Stage: sessions.StageDone},
	}}
	full.Replays = []sessions.Replay{
		{ID: 1, Filter: "a/#", QoS: 2, SubID: 7, NoLocal: true, After: "a/\x00", Until: 1 << 50}, {ID: 1 << 33, Filter: "b"},
	}
	k.save(full)
	k.crash()
	same(k, "session", k.load(key), full)
	page, err := k.sessions().Sessions(k.ctx(), "", sessions.Key{}, 10)
	k.ok("sessions", err)
	equal(k, "listed number", page[0].Number, full.Number)
	equal(k, "listed cursor", page[0].Queue.Acked, full.Queue.Acked)
	same(k, "listed replays", page[0].Replays, full.Replays)

	replay := full.Replays[0]
	replay.After = "a/b"
	k.give(sessions.Step{
		Message: k.published("t", "x"), To: to(77), Origin: sessions.ReplayOrigin{Key: key, Replay: replay},
	})
	k.give(sessions.Step{
		Message: k.published("t", "x"), Origin: sessions.ReplayOrigin{Key: key, Replay: full.Replays[1], Done: true},
	})
	k.give(sessions.Step{Message: k.published("t", "x"), Origin: sessions.Origin{Key: key, ID: 65535}})
	commit, err := k.queues().FlyQueue(k.ctx(), key, []sessions.Flight{{ID: 5, Pos: 11, QoS: 2, Stage: sessions.StageSent}})
	k.durable("fly", commit, err)
	k.crash()
	got := k.load(key)
	same(k, "replays", got.Replays, []sessions.Replay{replay})
	same(k, "received", got.Received, []uint16{65535})
	equal(k, "flights of the queue", len(got.Queue.Flights), 3)
	same(k, "flights of the stream", got.Flights, full.Flights)

	small := sessions.State{Key: key}
	k.save(small)
	small.Received = []uint16{65535}
	same(k, "session, overwritten", k.load(key), small)
}

func testQueueAdvance(k *kit) {
	key := sessions.Key{Account: alice, Client: "phone"}
	k.save(sessions.State{Key: key, Number: 7})
	var at []uint64
	n := k.few(3000)
	for i := range n { // more than a store might know one by one
		a, err := k.queues().Append(unbounded, sessions.Step{Message: k.published("t", fmt.Sprint(i)), To: to(7)})
		k.ok("append", err)
		at = append(at, a.First)
		if i == len(at)-1 && i%1000 == 999 {
			k.ok("wait", a.Commit.Wait(k.ctx()))
		}
	}
	for i, upTo := range []int{0, 1, 5, n * 3 / 10, n*3/10 + 1, n * 5 / 6, n - 1} {
		for _, pos := range []int{upTo - 1, upTo, upTo + 1} {
			if pos >= 0 && pos < len(at) {
				_, err := k.queues().FlyQueue(k.ctx(), key, []sessions.Flight{{ID: 1, Pos: at[pos], QoS: 2, Stage: 1}})
				k.ok("fly", err)
			}
		}
		k.ok("advance", k.queues().AdvanceQueue(k.ctx(), key, 7, at[upTo]))
		switch i % 3 {
		case 1:
			k.reopen()
		case 2:
			k.durable("fly nothing", k.flyNothing(key), nil)
			k.crash()
		}
		state := k.load(key)
		equal(k, "acked", state.Queue.Acked, at[upTo])
		flights := 1
		if upTo == len(at)-1 {
			flights = 0
		}
		equal(k, "flights", len(state.Queue.Flights), flights)
		count, _, _, err := k.queues().QueueSize(k.ctx(), 7, at[upTo])
		k.ok("size", err)
		equal(k, "entries", count, len(at)-1-upTo)
	}
	k.eventually("finished entries are forgotten", func() bool {
		count, _, _, err := k.queues().QueueSize(k.ctx(), 7, 0)
		k.ok("size", err)
		return count == 0
	})
}

// flyNothing gives a commit that covers all before it.
func (k *kit) flyNothing(key sessions.Key) sessions.Commit {
	k.Helper()
	commit, err := k.queues().FlyQueue(k.ctx(), key, nil)
	k.ok("fly nothing", err)
	return commit
}

// eventually waits for what is done in the background.
func (k *kit) eventually(what string, holds func() bool) {
	k.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(deadline) {
			k.Fatalf("%s: not within the time", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func testQueueExpiry(k *kit) {
	forever, short := k.published("t", "forever"), k.published("t", "short")
	short.Expires = k.clock.Now().Add(time.Minute)
	k.give(sessions.Step{Message: short, To: to(7)})
	k.give(sessions.Step{Message: forever, To: to(7, 8)})
	k.give(sessions.Step{Message: short, To: to(7, 8)})
	equal(k, "before", k.payloads(7), "short forever short")
	page, err := k.queues().Queue(k.ctx(), 7, 0, 1, 0)
	k.ok("queue", err)
	equal(k, "first", string(page[0].Message.Payload), "short")
	k.clock.advance(time.Minute)
	equal(k, "after, until it is swept", k.payloads(7), "short forever short")
	page, err = k.queues().Queue(k.ctx(), 7, 0, 10, 59*time.Second)
	k.ok("queue", err)
	equal(k, "entries younger than 59 s", len(page), 0)
	page, err = k.queues().Queue(k.ctx(), 7, 0, 10, 61*time.Second)
	k.ok("queue", err)
	equal(k, "entries younger than 61 s", len(page), 3)
	k.clock.advance(sessions.ExpiryGrace)
	k.sweep()
	k.give(sessions.Step{Message: forever, To: to(9)}) // and what came before it is durable
	k.crash()
	equal(k, "after a sweep", k.payloads(7), "forever")
	equal(k, "of the other", k.payloads(8), "forever")
}

// sweep has a store removed what nobody needs, if it can be asked to.
func (k *kit) sweep() {
	k.Helper()
	if s, ok := k.store.(interface {
		Sweep(ctx context.Context) error
	}); ok {
		k.ok("sweep", s.Sweep(k.ctx()))
	}
}

// fill waits until a queue's bound is known to the store.
func (k *kit) fill(b sessions.Bounds, n sessions.Number, payload string) (dropped int) {
	k.Helper()
	a, err := k.queues().Append(b, sessions.Step{Message: k.published("t", payload), To: to(n)})
	k.ok("append", err)
	k.ok("wait", a.Commit.Wait(k.ctx()))
	return a.Dropped
}

func testQueueDrops(k *kit) {
	byCount, byBytes := sessions.Bounds{Count: 3}, sessions.Bounds{Bytes: 12}
	for _, b := range []sessions.Bounds{byCount, byBytes} {
		n := sessions.Number(10 + b.Count)
		dropped := 0
		for i := range 10 {
			dropped += k.fill(b, n, fmt.Sprintf("%03d", i)) // 4 bytes with the topic
		}
		// The first ones may come before the store knows what is there.
		k.eventually("the bound holds", func() bool {
			dropped += k.fill(b, n, "xxx")
			count, size, oldest, err := k.queues().QueueSize(k.ctx(), n, 0)
			k.ok("size", err)
			equal(k, "oldest", oldest.UnixMilli(), k.clock.Now().UnixMilli())
			equal(k, "bytes", size, int64(4*count))
			return count == 3
		})
		k.fill(b, n, "yyy")
		k.fill(b, n, "zzz")
		equal(k, "queue", k.payloads(n), "xxx yyy zzz")
		if dropped < 8 {
			k.Fatalf("dropped: got %d, want at least 8", dropped)
		}
	}
	equal(k, "a message that has no room at all", k.fill(byBytes, 10, strings.Repeat("x", 12)), 1)
	equal(k, "queue then", k.payloads(10), "xxx yyy zzz")
}

func testQueueRefuses(k *kit) {
	b := sessions.Bounds{Count: 3, Refuse: true}
	m := k.published("t", "x")
	for range 3 {
		_, err := k.queues().Append(b, sessions.Step{Message: m, To: to(7)})
		k.ok("append", err)
	}
	last := k.queues().Last()
	_, err := k.queues().Append(b, sessions.Step{Message: m, To: to(8, 7), Retain: true})
	k.is("append to a full queue", err, sessions.ErrQueueFull)
	_, err = k.queues().Append(b, sessions.Step{Message: m, To: to(8)}, sessions.Step{Message: m, To: to(9, 7)})
	k.is("append two, one to a full queue", err, sessions.ErrQueueFull)
	equal(k, "last", k.queues().Last(), last)
	one := sessions.Step{Message: m, To: to(8)}
	_, err = k.queues().Append(b, one, one, one, one)
	k.is("append more than a queue may have", err, sessions.ErrQueueFull)
	a, err := k.queues().Append(b, one, one, one)
	k.durable("append as many as a queue may have", a.Commit, err)
	equal(k, "entries", len(k.queue(8, 0)), 3)
	equal(k, "entries of the full one", len(k.queue(7, 0)), 3)

	key := sessions.Key{Account: alice, Client: "phone"}
	k.ok("advance", k.queues().AdvanceQueue(k.ctx(), key, 8, a.First+1))
	k.eventually("there is room again", func() bool {
		_, err := k.queues().Append(b, one)
		return err == nil
	})
}

func testQueueBoundLater(k *kit) {
	n := k.few(2500)
	for i := range n {
		_, err := k.queues().Append(unbounded, sessions.Step{Message: k.published("t", fmt.Sprint(i)), To: to(7)})
		k.ok("append", err)
	}
	k.reopen()
	b := sessions.Bounds{Count: 100}
	dropped := 0
	k.eventually("the bound holds", func() bool {
		dropped += k.fill(b, 7, "x")
		count, _, _, err := k.queues().QueueSize(k.ctx(), 7, 0)
		k.ok("size", err)
		return count <= b.Count
	})
	if dropped < n-100 {
		k.Fatalf("dropped: got %d, want at least %d", dropped, n-100)
	}
	b = sessions.Bounds{Count: 100, Refuse: true}
	k.reopen()
	k.eventually("a full queue refuses", func() bool {
		_, err := k.queues().Append(b, sessions.Step{Message: k.published("t", "x"), To: to(7)})
		return errors.Is(err, sessions.ErrQueueFull)
	})
}

func testQueueMove(k *kit) {
	const group = sessions.FirstGroup + 1
	first := k.give(sessions.Step{Message: k.published("t", "a"), To: to(group)})
	second := k.give(sessions.Step{Message: k.published("t", "b"), To: to(group, 7)})
	k.give(sessions.Step{Message: k.published("t", "c"), To: to(group)})
	e := k.queue(group, 0)[1]
	moved := k.give(sessions.Step{Message: e.Message, To: to(8), Origin: sessions.MoveOrigin{Number: group, Pos: second}})
	equal(k, "group", k.payloads(group), "a c")
	equal(k, "member", k.payloads(8), "b")
	equal(k, "position", k.queue(8, 0)[0].Pos, moved)
	k.ok("remove", k.queues().Remove(k.ctx(), group, []uint64{first, first, second, 1 << 60}))
	k.ok("remove", k.queues().Remove(k.ctx(), 7, []uint64{second}))
	k.give(sessions.Step{Message: k.published("t", "d"), To: to(group)})
	k.crash()
	equal(k, "group after a crash", k.payloads(group), "c d")
	equal(k, "other queue after a crash", k.payloads(7), "")
	k.sweep()
	equal(k, "member after a sweep", k.payloads(8), "b")
	count, size, _, err := k.queues().QueueSize(k.ctx(), group, 0)
	k.ok("size", err)
	equal(k, "entries", count, 2)
	equal(k, "bytes", size, 4)
}

func testQueueDrop(k *kit) {
	keys := []sessions.Key{{Account: alice, Client: "a"}, {Account: alice, Client: "b"}, {Account: alice, Client: "c"}}
	const group = sessions.FirstGroup + 1
	for i, key := range keys {
		k.save(sessions.State{Key: key, Number: sessions.Number(i + 1), Replays: []sessions.Replay{{ID: 1, Filter: "x"}}})
		commit, err := k.queues().PutWill(k.ctx(), sessions.Will{Key: key, Publish: sessions.Publish{Topic: "w"}})
		k.durable("put will", commit, err)
		k.ok("advance", k.queues().AdvanceQueue(k.ctx(), key, sessions.Number(i+1), uint64(i)))
		commit, err = k.queues().FlyQueue(k.ctx(), key, []sessions.Flight{{ID: 1, Pos: 1 << 40, QoS: 1, Stage: 1}})
		k.durable("fly", commit, err)
	}
	commit, err := k.queues().SaveGroup(k.ctx(), "g", group)
	k.durable("save group", commit, err)
	for range 100 {
		k.give(sessions.Step{Message: k.published("t", "x"), To: to(1, 2, 3, group)})
	}
	k.reopen()
	commit, err = k.sessions().Drop(k.ctx(), keys[1])
	k.durable("drop", commit, err)
	commit, err = k.queues().DropGroup(k.ctx(), "g", group)
	k.durable("drop group", commit, err)
	k.crash()
	equal(k, "dropped", len(k.queue(2, 0)), 0)
	equal(k, "dropped group", len(k.queue(group, 0)), 0)
	equal(k, "neighbour before", len(k.queue(1, 0)), 100)
	equal(k, "neighbour behind", len(k.queue(3, 0)), 100)
	k.save(sessions.State{Key: keys[1]})
	same(k, "session that came later", k.load(keys[1]), sessions.State{Key: keys[1]})
	wills, err := k.queues().Wills(k.ctx(), sessions.Key{}, 10)
	k.ok("wills", err)
	equal(k, "wills", len(wills), 3)
	groups, err := k.queues().Groups(k.ctx())
	k.ok("groups", err)
	equal(k, "groups", len(groups), 0)
}

func testQueueSweep(k *kit) {
	payload := strings.Repeat("x", 1000)
	var at []uint64
	n := k.few(3000)
	for i := range n {
		a, err := k.queues().Append(unbounded, sessions.Step{
			Message: k.published("t", fmt.Sprint(i, payload)), To: to(1, 2, sessions.Number(3+i%5)),
		})
		k.ok("append", err)
		at = append(at, a.First)
	}
	advance := func(n sessions.Number, upTo int) {
		k.Helper()
		key := sessions.Key{Account: alice, Client: fmt.Sprint(n)}
		k.ok("advance", k.queues().AdvanceQueue(k.ctx(), key, n, at[upTo]))
	}
	check := func(n sessions.Number, from int) {
		k.Helper()
		entries := k.queue(n, 0)
		for _, e := range entries {
			i, found := slices.BinarySearch(at, e.Pos)
			if !found || string(e.Message.Payload) != fmt.Sprint(i, payload) {
				k.Fatalf("entry %d of queue %d: got %.20q", i, n, e.Message.Payload)
			}
		}
		if i, _ := slices.BinarySearch(at, entries[0].Pos); i > from {
			k.Fatalf("queue %d begins with %d, want %d", n, i, from)
		}
	}
	advance(1, n*2/3)
	advance(2, n/3)
	for i := range sessions.Number(4) {
		advance(3+i, n-10)
	}
	for range 2 {
		k.sweep()
		k.reopen() // so that content has to be read
		check(1, n*2/3+1)
		check(2, n/3+1)
		check(7, 4)
	}
	advance(7, n-10)
	k.sweep()
	k.crash()
	check(1, n*2/3+1)
	check(2, n/3+1)
}

func (k *kit) retained(filter string, limit int) (topics []string) {
	k.Helper()
	for after := ""; ; {
		page, next, err := k.queues().Retained(k.ctx(), filter, after, limit)
		k.ok("retained", err)
		if len(page) > limit {
			k.Fatalf("retained: got %d, want at most %d", len(page), limit)
		}
		for _, r := range page {
			if r.Message.Topic <= after && after != "" {
				k.Fatalf("topic %q comes after %q", r.Message.Topic, after)
			}
			topics = append(topics, r.Message.Topic)
		}
		if next == "" {
			return topics
		}
		if next <= after {
			k.Fatalf("next is %q after %q", next, after)
		}
		after = next
	}
}

func (k *kit) retain(topic, payload string, expires time.Time) {
	k.Helper()
	m := k.published(topic, payload)
	m.Expires = expires
	_, err := k.queues().Append(unbounded, sessions.Step{Message: m, Retain: true})
	k.ok("append", err)
}

func testRetained(k *kit) {
	soon := k.clock.Now().Add(time.Minute)
	k.retain("a", "1", time.Time{})
	k.retain("b", "1", soon)
	k.retain("c", "1", time.Time{})
	k.retain("d", "", time.Time{})
	full := k.fullMessage()
	pos := k.give(sessions.Step{Message: full, Retain: true, To: to(7)})
	k.crash()
	found, _, err := k.queues().Retained(k.ctx(), full.Topic, "", 10)
	k.ok("retained", err)
	same(k, "full message", found, []sessions.Retained{{Pos: pos, Message: full}})
	k.retain("a", "2", time.Time{})
	k.retain("c", "", time.Time{})
	k.give(sessions.Step{Message: k.published("x", "")})
	same(k, "topics", k.retained("#", 2), []string{"a", full.Topic, "b"})
	found, _, err = k.queues().Retained(k.ctx(), "a", "", 10)
	k.ok("retained", err)
	equal(k, "payload", string(found[0].Message.Payload), "2")
	k.clock.advance(time.Minute)
	same(k, "topics, one expired", k.retained("#", 2), []string{"a", full.Topic})
	k.sweep()
	k.retain("b", "2", time.Time{})
	same(k, "topics, one replaced", k.retained("+", 1), []string{"a", "b"})
	if s, ok := k.store.(interface{ RetainedCount() int64 }); ok {
		k.eventually("retained messages are counted", func() bool { return s.RetainedCount() == 3 })
	}
}

func testRetainedPages(k *kit) {
	var topics []string
	for i := range k.few(10000) {
		topic := fmt.Sprintf("%c/%d/%c%d", 'a'+i%3, i/3%50, "xy-"[i%7%3], i/150)
		switch i % 500 {
		case 0:
			topic = fmt.Sprintf("%c!/%d", 'a'+i/500%3, i)
		case 1:
			topic = fmt.Sprintf("$SYS/%d", i)
		case 2:
			topic = fmt.Sprintf("/%d", i)
		case 3:
			topic = fmt.Sprintf("a/%d", i%50)
		}
		topics = append(topics, topic)
		k.retain(topic, "x", time.Time{})
	}
	k.give(sessions.Step{Message: k.published("x", "")})
	slices.Sort(topics)
	topics = slices.Compact(topics)
	for _, filter := range []string{
		"#", "+/#", "a/#", "+/+", "a/+/x1", "+/7/+", "+/7/#", "$SYS/#", "$SYS/+", "b/+", "a!/#", "/+", "+/+/y20", "a", "zz/#",
		"a/7", "+/3/x3/#", "c/49/+/#",
	} {
		var want []string
		for _, topic := range topics {
			if sessions.Matches(filter, topic) {
				want = append(want, topic)
			}
		}
		same(k, "topics of "+filter, k.retained(filter, 97), want)
	}
	same(k, "all topics, one by one", k.retained("b/7/#", 1), k.retained("b/7/#", 1000))
}

func testWills(k *kit) {
	keys := []sessions.Key{{Account: alice, Client: ""}, {Account: alice, Client: "a"}, {Account: bob, Client: "\x00"}}
	due := time.UnixMilli(1234567).UTC()
	full := sessions.Will{
		Key: keys[1], Version: 5, DelaySeconds: 1 << 31, Due: due,
		Publish: sessions.Publish{
			Topic: "w", Payload: []byte{0}, QoS: 2, Retain: true, ContentType: "c", ResponseTopic: "r", Correlation: []byte{1},
			User: []sessions.UserProperty{{Name: "a", Value: "b"}}, Expiry: 1 << 31, PayloadFormat: 1,
		},
	}
	wills := []sessions.Will{{Key: keys[0], Publish: sessions.Publish{Topic: "x"}}, full, {Key: keys[2]}}
	put := func(w sessions.Will) {
		k.Helper()
		commit, err := k.queues().PutWill(k.ctx(), w)
		k.durable("put will", commit, err)
	}
	all := func() (out []sessions.Will) {
		k.Helper()
		for after := (sessions.Key{}); ; {
			page, err := k.queues().Wills(k.ctx(), after, 1)
			k.ok("wills", err)
			if len(page) == 0 {
				return out
			}
			out = append(out, page...)
			after = page[0].Key
		}
	}
	put(sessions.Will{Key: keys[1], Publish: sessions.Publish{Topic: "other"}})
	for _, w := range wills {
		put(w)
	}
	k.crash()
	same(k, "wills", all(), wills)
	k.give(sessions.Step{Message: k.published("w", "x"), To: to(7), Origin: sessions.WillOrigin{Key: keys[1]}})
	for range 2 {
		commit, err := k.queues().DropWill(k.ctx(), keys[2])
		k.durable("drop will", commit, err)
	}
	k.crash()
	same(k, "wills left", all(), wills[:1])

	conv := k.contacts(alice, bob)
	d := draft(conv, alice, "", "goodbye")
	d.Origin = sessions.WillOrigin{Key: keys[0]}
	k.send(d)
	k.crash()
	equal(k, "wills after one was sent as a message", len(all()), 0)
	equal(k, "messages", len(k.messages(conv)), 1)
}

func testDelayed(k *kit) {
	now := k.clock.Now()
	full := k.fullMessage()
	delay := func(m *sessions.Message, d time.Duration) sessions.Delayed {
		k.Helper()
		return sessions.Delayed{Due: now.Add(d), Pos: k.give(sessions.Step{Message: m, Due: now.Add(d)}), Message: m}
	}
	third := delay(full, 3*time.Second)
	first := delay(k.published("t", "1"), time.Second)
	second := delay(k.published("t", "2"), time.Second)
	k.crash()
	check := func(at time.Duration, limit int, want []sessions.Delayed, wantNext time.Time) {
		k.Helper()
		due, next, err := k.queues().Delayed(k.ctx(), now.Add(at), limit)
		k.ok("delayed", err)
		same(k, "due", due, want)
		equal(k, "next", next.UTC(), wantNext.UTC())
	}
	check(0, 10, nil, first.Due)
	check(999*time.Millisecond, 10, nil, first.Due)
	check(time.Second, 1, []sessions.Delayed{first}, second.Due)
	check(time.Second, 10, []sessions.Delayed{first, second}, third.Due)
	k.give(sessions.Step{Message: first.Message, To: to(7), Origin: sessions.DelayedOrigin{Due: first.Due, Pos: first.Pos}})
	check(time.Hour, 10, []sessions.Delayed{second, third}, time.Time{})
	k.crash()
	check(time.Hour, 10, []sessions.Delayed{second, third}, time.Time{})
	equal(k, "queue", k.payloads(7), "1")
}

func testGroups(k *kit) {
	want := map[string]sessions.Number{}
	for i, name := range []string{"a", "a\x00", "g/with/#"} {
		n := sessions.FirstGroup + sessions.Number(i)
		commit, err := k.queues().SaveGroup(k.ctx(), name, n)
		k.durable("save group", commit, err)
		want[name] = n
	}
	k.crash()
	got, err := k.queues().Groups(k.ctx())
	k.ok("groups", err)
	same(k, "groups", got, want)
	commit, err := k.queues().DropGroup(k.ctx(), "a", want["a"])
	k.durable("drop group", commit, err)
	delete(want, "a")
	k.crash()
	got, err = k.queues().Groups(k.ctx())
	k.ok("groups", err)
	same(k, "groups left", got, want)
}

func testBeat(k *kit) {
	at, err := k.queues().LastBeat(k.ctx())
	k.ok("beat", err)
	equal(k, "never", at.IsZero(), true)
	for i := range 3 {
		k.ok("beat", k.queues().Beat(k.ctx(), k.clock.Now().Add(time.Duration(i)*time.Millisecond)))
	}
	k.durable("fly nothing", k.flyNothing(sessions.Key{}), nil)
	k.crash()
	at, err = k.queues().LastBeat(k.ctx())
	k.ok("beat", err)
	equal(k, "beat", at, k.clock.Now().Add(2*time.Millisecond))
}

func testPositions(k *kit) {
	seen := uint64(0)
	for round := range k.rounds() {
		for i := range 50 {
			a, err := k.queues().Append(unbounded, sessions.Step{Message: k.published("t", "x"), To: to(7)})
			k.ok("append", err)
			if a.First <= seen {
				k.Fatalf("position %d came after %d", a.First, seen)
			}
			if i%10 == 9 {
				k.ok("wait", a.Commit.Wait(k.ctx()))
				seen = a.First
			}
		}
		k.ok("advance", k.queues().AdvanceQueue(k.ctx(), sessions.Key{Account: alice}, 7, k.queues().Last()))
		if round%2 == 0 {
			k.reopen()
		} else {
			k.crash()
		}
		if last := k.queues().Last(); last < seen {
			k.Fatalf("last position is %d after %d", last, seen)
		}
	}
}

func testQueueConcurrent(k *kit) {
	const goroutines = 16
	steps := k.few(200)
	errs := make([]error, goroutines)
	each(goroutines, func(g int) {
		last := uint64(0)
		for step := range steps {
			a, err := k.queues().Append(unbounded,
				sessions.Step{Message: k.published("t", fmt.Sprint(g, "/", step)), To: to(7, sessions.Number(100+g))})
			if err == nil && a.First <= last {
				err = fmt.Errorf("position %d after %d", a.First, last)
			}
			if err == nil && step%10 == 0 {
				if err = a.Commit.Wait(k.ctx()); err == nil {
					var page []sessions.Entry
					page, err = k.queues().Queue(k.ctx(), 7, a.First-1, 1, 0)
					if err == nil && (len(page) != 1 || page[0].Pos != a.First) {
						err = fmt.Errorf("entry at %d is not there: %v", a.First, page)
					}
				}
			}
			if err != nil {
				errs[g] = err
				return
			}
			last = a.First
		}
	})
	k.ok("appenders", errors.Join(errs...))
	k.give(sessions.Step{Message: k.published("t", "end"), To: to(8)})
	next := map[string]int{}
	for _, e := range k.queue(7, 0) {
		g, step, _ := strings.Cut(string(e.Message.Payload), "/")
		equal(k, "step of "+g, step, fmt.Sprint(next[g]))
		next[g]++
	}
	for g := range goroutines {
		equal(k, "entries", len(k.queue(sessions.Number(100+g), 0)), steps)
	}
}

func testQueuePowerLoss(k *kit) {
	const goroutines, queues = 12, 4
	steps := k.few(60)
	b := sessions.Bounds{Count: 100000}
	for round := range k.rounds() {
		w := &witness{acked: map[string]string{}}
		knew := k.crashUnderLoad(w, goroutines, steps, func(store Store, g, step int) error {
			n := sessions.Number(1 + (g+step)%queues)
			q := queuesOf(store)
			name := fmt.Sprintf("%d %d %d", round, g, step)
			m := k.published("t/"+name, name)
			s := sessions.Step{Message: m, To: to(n), Retain: step%7 == 0}
			if step%3 == 0 {
				s.To = append(s.To, to(n+100)...)
			}
			a, err := q.Append(b, s)
			if err != nil {
				return err
			}
			if step%5 == 0 {
				if err := a.Commit.Wait(k.ctx()); err != nil {
					return err
				}
				w.said(fmt.Sprintf("%d %s", n, name), a.First)
			}
			if step%4 == 0 {
				page, err := q.Queue(k.ctx(), n, a.First-min(a.First, 5), 10, 0)
				if err != nil {
					return err
				}
				for _, e := range page {
					w.said(fmt.Sprintf("%d %s", n, e.Message.Payload), e.Pos)
				}
			}
			return nil
		})
		now := map[string]uint64{}
		for n := range sessions.Number(queues) {
			for _, e := range k.queue(1+n, 0) {
				now[fmt.Sprintf("%d %s", 1+n, e.Message.Payload)] = e.Pos
			}
		}
		for about, pos := range knew {
			equal(k, "position of "+about, fmt.Sprint(now[about]), pos)
		}
		last := k.queues().Last()
		for about, pos := range now {
			if pos > last {
				k.Fatalf("position of %s is %d, and the last one is %d", about, pos, last)
			}
		}
	}
}
