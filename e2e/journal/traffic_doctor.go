package journal

import (
	"fmt"
	"slices"
)

// TrafficDoctor changes a journal of free topics into one that a lying server would have left.
type TrafficDoctor struct {
	Name string
	Want Rule // that [CheckTraffic] has to find broken
	// Apply gives another journal. It fails if there is nothing that can be doctored so.
	Apply func(acts []Act) ([]Act, error)
}

// TrafficDoctors are the lies that the checker has to see through.
var TrafficDoctors = []TrafficDoctor{
	{"a session misses an acknowledged message", Lost, on(missOne)},
	{"all sessions miss an acknowledged message", Lost, on(missAll)},
	{"a session that ended misses one of several", Lost, on(missInEnded)},
	{"two messages came in the wrong order", Reordered, on(swapOrder)},
	{"a QoS 2 message came again at once", Doubled, on(atOnce(2, freshID))},
	{"a QoS 2 message came again on a later connection", Doubled, on(later(2, false))},
	{"a QoS 2 message came again after a crash", Doubled, on(later(2, true))},
	{"a QoS 0 message came again", Doubled, on(atOnce(0, nil))},
	{"a message came again on one connection", Redelivery, on(atOnce(1, freshID))},
	{"a message came again on one connection, with DUP", Redelivery, on(atOnce(1, func(a *Act) { a.Dup = true }))},
	{"a message came again without DUP", Redelivery, on(later(1, false))},
	{"a message came again with another packet id", Redelivery, on(otherID)},
	{"a message came with DUP on the first connection", Redelivery, on(firstDup)},
	{"a message that nobody sent", Invented, on(edited(anyGot, func(a *Act) { a.N += 1_000_000 }))},
	{"a message that cannot be read", Invented, on(edited(anyGot, func(a *Act) { a.Err = "noise" }))},
	{"a message came before it was sent", Invented, on(tooEarly)},
	{"another content", Changed, on(edited(anyGot, func(a *Act) { a.Sum++ }))},
	{"another topic", Changed, on(edited(anyGot, func(a *Act) { a.Topic += "/x" }))},
	{"an open packet id is used for another message", Changed, on(reuseID)},
	{"a session got what it is not subscribed to", Stranger, on(notSubscribed)},
	{"a session got something after UNSUBSCRIBE", Stranger, on(afterUnsubscribe)},
	{"a session got what was published before it subscribed", Stranger, on(beforeSubscribe)},
	{"a session got its own message, against No Local", Stranger, on(ownMessage)},
	{"one who may not publish was told that he did", Stranger, on(edited(func(_ *study, a Act) bool { return a.Do == Refused },
		func(a *Act) { a.Do, a.Reason = Acked, 0 }))},
	{"what one published who may not was delivered", Stranger, on(deniedDelivered)},
	{"one who may not subscribe did", Stranger, on(edited(func(_ *study, a Act) bool { return a.Do == Subscribed && a.QoS > 2 },
		func(a *Act) { a.QoS = 1 }))},
	{"a lower QoS", WrongQoS, on(edited(stableGot(2), func(a *Act) { a.QoS = 1 }))},
	{"a higher QoS", WrongQoS, on(edited(func(s *study, a Act) bool {
		return a.Do == Got && a.QoS == 1 && !a.Empty && !s.party(a.Session).member
	}, func(a *Act) { a.QoS = 2 }))},
	{"a retain flag on what was not retained", WrongRetain, on(edited(func(s *study, a Act) bool {
		return a.Do == Got && !a.Empty && !s.of(a).Retain
	}, func(a *Act) { a.Retain = true }))},
	{"a retain flag on what came live", WrongRetain, on(edited(func(s *study, a Act) bool {
		return stableGot(1)(s, a) && s.of(a).Retain && !a.Retain
	}, func(a *Act) { a.Retain = true }))},
	{"an older retained message", Stale, on(stale)},
	{"no retained message", Lost, on(noRetained)},
	{"the will of a connection that was cut is lost", WillLost, on(noWill(Cut))},
	{"the will of a connection that was taken over is lost", WillLost, on(noWill(Connect))},
	{"the will of a connection that a crash ended is lost", WillLost, on(noWill(Killed))},
	{"a will after a DISCONNECT", WillWrong, on(wrongWill(func(l *link) bool { return l.how == Left && l.reason == 0 }))},
	{"a will of a connection that is there", WillWrong, on(wrongWill(func(l *link) bool { return l.ended == never }))},
	{"a will whose client came back before its delay had passed", WillWrong, on(wrongWill(func(l *link) bool {
		return l.broke() && l.back != nil && l.connect.Delay >= LongDelay
	}))},
	{"a will came twice", Doubled, on(willTwice)},
	{"no member of a group got a message", GroupLost, on(groupLost(Got))},
	{"no member of a group has processed a message", GroupLost, on(groupLost(Answered))},
	{"two members of a group got a message", GroupDoubled, on(groupTwice(1))},
	{"two members of a group got a QoS 2 message", Doubled, on(groupTwice(2))},
	{"a session was forgotten", Forgotten, on(edited(func(_ *study, a Act) bool { return a.Do == Connected && a.Present },
		func(a *Act) { a.Present = false }))},
	{"a session is there that cannot be", Protocol, on(edited(func(s *study, a Act) bool {
		return a.Do == Connected && s.party(a.Session).links[a.Conn].connect.Clean
	}, func(a *Act) { a.Present = true }))},
	{"a publish was refused that may not be", Protocol, on(edited(func(s *study, a Act) bool {
		return a.Do == Acked && !s.publications[name{a.Session, a.N}].denied
	}, func(a *Act) { a.Do, a.Reason = Refused, 0x97 }))},
	{"less was granted than asked for", Protocol, on(edited(func(_ *study, a Act) bool {
		return a.Do == Subscribed && a.QoS == 2
	}, func(a *Act) { a.QoS = 1 }))},
	{"a client was thrown out", Protocol, on(edited(func(_ *study, a Act) bool { return a.Do == Ended },
		func(a *Act) { a.Reason = 0x82 }))},
}

// study is a journal and what the checker makes of it.
type study struct {
	traffic
	acts []Act
}

// on makes a doctor who has studied the journal first. He changes a copy.
func on(f func(*study) ([]Act, error)) func([]Act) ([]Act, error) {
	return func(acts []Act) ([]Act, error) {
		s := &study{newTraffic(), slices.Clone(acts)}
		for i, a := range acts {
			s.act(a, int32(i)+1)
		}
		s.checkAll()
		return f(s)
	}
}

func nothing(acts []Act) ([]Act, error) {
	return nil, fmt.Errorf("nothing to doctor in %d lines", len(acts))
}

// find gives the index of the first line from the middle on, then from the beginning, for which ok holds; -1: none.
func (s *study) find(ok func(*study, Act) bool) int {
	for n := range s.acts {
		if i := (len(s.acts)/2 + n) % len(s.acts); ok(s, s.acts[i]) {
			return i
		}
	}
	return -1
}

// edited changes one line.
func edited(which func(*study, Act) bool, change func(*Act)) func(*study) ([]Act, error) {
	return func(s *study) ([]Act, error) {
		i := s.find(which)
		if i < 0 {
			return nothing(s.acts)
		}
		change(&s.acts[i])
		return s.acts, nil
	}
}

// without takes lines away.
func (s *study) without(which func(Act) bool) ([]Act, error) {
	n := len(s.acts)
	if s.acts = slices.DeleteFunc(s.acts, which); len(s.acts) == n {
		return nothing(s.acts)
	}
	return s.acts, nil
}

// of gives the message of a delivery.
func (s *study) of(a Act) *publication { return s.publications[name{a.From, a.N}] }

func anyGot(_ *study, a Act) bool { return a.Do == Got && !a.Empty }

// sight gives what the last life of a session has seen of a message.
func (s *study) sight(a Act) *sighting {
	if a.Do != Got || a.Empty || a.Conn < s.party(a.Session).life.first {
		return nil
	}
	return s.party(a.Session).life.got[s.of(a)]
}

// once says whether a line is the only delivery of a message in the last life of a session, live, of a message that was
// published once, and to a subscription that had been there before and was there to the end.
func (s *study) once(a Act) bool {
	n := s.sight(a)
	if n == nil || a.Retain && !s.of(a).Retain || s.party(a.Session).member {
		return false
	}
	return n.live.total == 1 && n.replayed.total == 0 && !a.Dup && !a.Retain && s.of(a).copies(never, 1) == 1 &&
		s.of(a).will == nil && s.of(a).first > s.since(s.party(a.Session), a.Topic)
}

// lasting is once, for sessions that outlive their connections and messages that may not be lost.
func (s *study) lasting(a Act) bool {
	return a.QoS > 0 && s.once(a) && s.of(a).demanded() && s.party(a.Session).life.keeps && s.party(a.Session).drained != 0
}

// stableGot is a live delivery with a QoS to one who subscribes all the time, and to nothing as it was published.
func stableGot(qos byte) func(*study, Act) bool {
	return func(s *study, a Act) bool {
		if a.QoS != qos || !s.once(a) {
			return false
		}
		for _, g := range s.party(a.Session).life.grants {
			if s.matches(g.filter, a.Topic) && (g.gone != never || g.options&optionAsIs != 0 || g.acked > s.of(a).first) {
				return false
			}
		}
		return true
	}
}
