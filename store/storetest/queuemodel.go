package storetest

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/magpie-im/magpie/broker/sessions"
)

// testQueueModel is testModel for queues: everything is waited for, so that a crash takes nothing away.
func testQueueModel(k *kit) {
	rapid.Check(k.t, func(t *rapid.T) {
		run := &kit{tb: t, t: k.t, newHarness: k.newHarness, harness: k.newHarness(k.t), clock: newClock()}
		run.open()
		defer func() { run.ok("close", run.store.Close()) }()
		m := &queueModel{
			kit: run, queues: map[sessions.Number][]sessions.Entry{}, acked: map[sessions.Number]uint64{},
			retained: map[string]string{},
		}
		t.Repeat(map[string]func(*rapid.T){
			"append":  m.append,
			"append2": m.append,
			"advance": m.advance,
			"move":    m.move,
			"remove":  m.remove,
			"wait":    func(t *rapid.T) { run.clock.advance(time.Duration(rapid.IntRange(1, 3).Draw(t, "s")) * time.Second) },
			"sweep":   func(*rapid.T) { run.sweep() },
			"reopen":  func(*rapid.T) { run.reopen() },
			"crash":   func(*rapid.T) { run.crash() },
			"":        func(t *rapid.T) { m.check() },
		})
	})
}

type queueModel struct {
	*kit
	queues   map[sessions.Number][]sessions.Entry
	acked    map[sessions.Number]uint64
	retained map[string]string
	sent     int
}

func (m *queueModel) number(t *rapid.T) sessions.Number {
	return sessions.Number(rapid.IntRange(1, 4).Draw(t, "queue"))
}

func (m *queueModel) append(t *rapid.T) {
	m.sent++
	topic := fmt.Sprintf("t/%d", rapid.IntRange(0, 3).Draw(t, "topic"))
	msg := m.published(topic, fmt.Sprint(m.sent))
	retain := rapid.Bool().Draw(t, "retain")
	if retain && rapid.IntRange(0, 3).Draw(t, "clear") == 0 {
		msg.Payload = nil
	}
	if !retain && rapid.Bool().Draw(t, "expires") {
		msg.Expires = m.clock.Now().Add(2 * time.Second)
	}
	step := sessions.Step{Message: msg, Retain: retain}
	for n := range sessions.Number(4) {
		if rapid.Bool().Draw(t, "target") {
			step.To = append(step.To, sessions.Target{Number: n + 1, QoS: 2})
		}
	}
	pos := m.give(step)
	for _, target := range step.To {
		m.queues[target.Number] = append(m.queues[target.Number], sessions.Entry{Pos: pos, Target: target, Message: msg})
	}
	if retain {
		m.retained[topic] = string(msg.Payload)
	}
}

// some draws an entry of a queue; nothing if it has none.
func (m *queueModel) some(t *rapid.T, n sessions.Number) (i int, ok bool) {
	if len(m.queues[n]) == 0 {
		return 0, false
	}
	return rapid.IntRange(0, len(m.queues[n])-1).Draw(t, "entry"), true
}

func (m *queueModel) advance(t *rapid.T) {
	n := m.number(t)
	i, ok := m.some(t, n)
	if !ok {
		return
	}
	key := sessions.Key{Account: alice, Client: fmt.Sprint(n)}
	m.ok("advance", m.kit.queues().AdvanceQueue(m.ctx(), key, n, m.queues[n][i].Pos))
	m.acked[n] = m.queues[n][i].Pos
	m.queues[n] = m.queues[n][i+1:]
	m.durable("fly nothing", m.flyNothing(key), nil)
}

func (m *queueModel) move(t *rapid.T) {
	from, to := m.number(t), m.number(t)
	i, ok := m.some(t, from)
	if !ok {
		return
	}
	e := m.queues[from][i]
	step := sessions.Step{Message: e.Message, To: []sessions.Target{{Number: to, QoS: 1}}}
	step.Origin = sessions.MoveOrigin{Number: from, Pos: e.Pos}
	pos := m.give(step)
	m.queues[from] = slices.Delete(slices.Clone(m.queues[from]), i, i+1)
	m.queues[to] = append(m.queues[to], sessions.Entry{Pos: pos, Target: step.To[0], Message: e.Message})
}

func (m *queueModel) remove(t *rapid.T) {
	n := m.number(t)
	i, ok := m.some(t, n)
	if !ok {
		return
	}
	m.ok("remove", m.kit.queues().Remove(m.ctx(), n, []uint64{m.queues[n][i].Pos}))
	m.queues[n] = slices.Delete(slices.Clone(m.queues[n]), i, i+1)
	m.durable("fly nothing", m.flyNothing(sessions.Key{}), nil)
}

func (m *queueModel) check() {
	for n := range sessions.Number(4) {
		// What has expired is there until it is swept.
		expired := func(e sessions.Entry) bool {
			x := e.Message.Expires
			return !x.IsZero() && !x.After(m.clock.Now())
		}
		got := slices.DeleteFunc(m.queue(n+1, m.acked[n+1]), expired)
		want := slices.DeleteFunc(slices.Clone(m.queues[n+1]), expired)
		same(m.kit, fmt.Sprintf("queue %d", n+1), slices.Clip(append([]sessions.Entry(nil), got...)),
			append([]sessions.Entry(nil), want...))
	}
	var want []string
	for topic, payload := range m.retained {
		if payload != "" {
			want = append(want, topic)
		}
	}
	slices.Sort(want)
	same(m.kit, "retained", m.kit.retained("t/+", 2), want)
}
