package storetest

import (
	"strings"

	"time"

	"github.com/magpie-im/magpie/broker/sessions"
)

var queueTests = []test{
	{"messages come out as they went in, in the order of positions", testQueueOrder},
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
func (k *kit) payloads(n sessions.Number, after uint64) string {
	k.Helper()
	var out []string
	for _, e := range k.queue(n, after) {
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
