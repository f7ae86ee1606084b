package journal

import "slices"

func sameMessageAs(b Act) func(Act) bool {
	return func(a Act) bool { return a.Do == Got && a.From == b.From && a.N == b.N }
}

func missOne(s *study) ([]Act, error) {
	i := s.find((*study).lasting)
	if i < 0 {
		return nothing(s.acts)
	}
	return slices.Delete(s.acts, i, i+1), nil
}

func missAll(s *study) ([]Act, error) {
	i := s.find((*study).lasting)
	if i < 0 {
		return nothing(s.acts)
	}
	return s.without(sameMessageAs(s.acts[i]))
}

func missInEnded(s *study) ([]Act, error) {
	i := s.find(func(s *study, a Act) bool {
		if n := s.sight(a); n == nil || n.live.total != 1 || a.QoS == 0 || a.Retain {
			return false
		}
		if !s.of(a).demanded() || s.of(a).will != nil {
			return false
		}
		p := s.party(a.Session)
		last := p.life.last[lane{a.From, a.Topic, s.of(a).QoS}]
		before := slices.ContainsFunc(p.life.grants, func(g *grant) bool {
			return g.covers() && s.matches(g.filter, a.Topic) && g.acked < s.of(a).first
		})
		return !p.life.keeps && !p.member && before && last != nil && last.N > a.N
	})
	if i < 0 {
		return nothing(s.acts)
	}
	return slices.Delete(s.acts, i, i+1), nil
}

func swapOrder(s *study) ([]Act, error) {
	for i, a := range s.acts {
		if !s.once(a) || a.QoS == 0 {
			continue
		}
		for j := i + 1; j < len(s.acts); j++ {
			b := s.acts[j]
			if b.Session != a.Session || b.From != a.From || b.Topic != a.Topic || b.QoS != a.QoS || !s.once(b) {
				continue
			}
			if s.of(a).QoS == s.of(b).QoS && s.of(a).Retain == s.of(b).Retain && s.of(b).first < int32(i) {
				s.acts[i].N, s.acts[i].Sum, s.acts[j].N, s.acts[j].Sum = b.N, b.Sum, a.N, a.Sum
				return s.acts, nil
			}
		}
	}
	return nothing(s.acts)
}

func freshID(a *Act) { a.PID += 20_000 }

// atOnce repeats a delivery at once.
func atOnce(qos byte, change func(*Act)) func(*study) ([]Act, error) {
	return func(s *study) ([]Act, error) {
		i := s.find(func(s *study, a Act) bool { return s.once(a) && a.QoS == qos && s.of(a).QoS == qos })
		if i < 0 {
			return nothing(s.acts)
		}
		second := s.acts[i]
		if change != nil {
			change(&second)
		}
		return slices.Insert(s.acts, i+1, second), nil
	}
}

// later repeats a delivery on a later connection, with another packet id: of the same run of the server, or of another.
func later(qos byte, crashed bool) func(*study) ([]Act, error) {
	return func(s *study) ([]Act, error) {
		var next *link
		i := s.find(func(s *study, a Act) bool {
			if !s.once(a) || a.QoS != qos || s.of(a).QoS != qos {
				return false
			}
			l := s.party(a.Session).links[a.Conn]
			next = l.back
			return next != nil && (next.boot != l.boot) == crashed
		})
		if i < 0 {
			return nothing(s.acts)
		}
		second := s.acts[i]
		second.Conn = next.number
		freshID(&second)
		return slices.Insert(s.acts, int(next.up), second), nil
	}
}

func otherID(s *study) ([]Act, error) {
	acts, err := later(1, false)(s)
	if err != nil {
		return nil, err
	}
	for i, a := range acts {
		if a.Do == Got && a.PID > 20_000 {
			acts[i].Dup = true
		}
	}
	return acts, nil
}

func firstDup(s *study) ([]Act, error) {
	return edited(func(s *study, a Act) bool { return s.once(a) && a.QoS > 0 && a.Conn == s.party(a.Session).life.first },
		func(a *Act) { a.Dup = true })(s)
}

func tooEarly(s *study) ([]Act, error) {
	i := s.find(func(s *study, a Act) bool {
		l := s.party(a.Session).links[a.Conn]
		return a.Do == Got && !a.Empty && s.of(a).first > l.up
	})
	if i < 0 {
		return nothing(s.acts)
	}
	a := s.acts[i]
	acts := slices.Delete(s.acts, i, i+1)
	return slices.Insert(acts, int(s.of(a).first)-1, a), nil
}

func reuseID(s *study) ([]Act, error) {
	var other *publication
	i := s.find(func(s *study, a Act) bool {
		if a.Do != Got || !a.Known || a.Empty {
			return false
		}
		for _, m := range s.subject(a.Topic).publications {
			if m != s.of(a) && !m.Empty && m.first < s.of(a).first && m.QoS == 2 && m.will == nil {
				other = m
				return true
			}
		}
		return false
	})
	if i < 0 {
		return nothing(s.acts)
	}
	s.acts[i].From, s.acts[i].N, s.acts[i].Sum = other.Session, other.N, other.Sum
	return s.acts, nil
}

// give inserts a delivery to a session, behind a line, on the connection that it has there.
func (s *study) give(p *party, m *publication, after int32) ([]Act, error) {
	for _, l := range p.links {
		if l.up == 0 || l.up > after || l.ended < after {
			continue
		}
		a := Act{Do: Got, Session: p.session, Conn: l.number, Topic: m.Topic, From: m.Session, N: m.N, Sum: m.Sum}
		if a.QoS = min(m.QoS, 1); a.QoS > 0 {
			a.PID = 20_000
		}
		return slices.Insert(s.acts, int(after), a), nil
	}
	return nothing(s.acts)
}

// giveAny tries give for every session and message that ok says yes to, behind the line that it says.
func (s *study) giveAny(after func(*party, *publication) int32) ([]Act, error) {
	for _, m := range s.ordered {
		for _, p := range s.sorted() {
			if line := after(p, m); line > 0 && p.life != nil {
				if acts, err := s.give(p, m, line); err == nil {
					return acts, nil
				}
			}
		}
	}
	return nothing(s.acts)
}

func notSubscribed(s *study) ([]Act, error) {
	return s.giveAny(func(p *party, m *publication) int32 {
		asked := func(l *life) bool {
			return slices.ContainsFunc(l.grants, func(g *grant) bool { return s.matches(g.filter, m.Topic) })
		}
		if slices.ContainsFunc(p.lives, asked) || m.denied || m.acked == 0 {
			return 0
		}
		return m.acked
	})
}

func afterUnsubscribe(s *study) ([]Act, error) {
	return s.giveAny(func(p *party, m *publication) int32 {
		if p.life == nil || m.denied || m.acked == 0 {
			return 0
		}
		was := false
		for _, g := range p.life.grants {
			if s.matches(g.filter, m.Topic) && g.sent < m.acked {
				if g.over > m.first {
					return 0
				}
				was = was || g.quit != never
			}
		}
		if !was {
			return 0
		}
		return m.acked
	})
}

func beforeSubscribe(s *study) ([]Act, error) {
	return s.giveAny(func(p *party, m *publication) int32 {
		if p.life == nil || p.member || m.denied || m.acked == 0 || m.Delay > 0 {
			return 0
		}
		line := int32(0)
		for _, g := range p.life.grants {
			if s.matches(g.filter, m.Topic) && g.acked != never {
				if g.sent < m.acked {
					return 0
				}
				line = max(line, g.acked)
			}
		}
		return line
	})
}

func ownMessage(s *study) ([]Act, error) {
	return s.giveAny(func(p *party, m *publication) int32 {
		if m.Session != p.session || m.acked == 0 || p.life == nil {
			return 0
		}
		for _, g := range p.life.grants {
			if s.matches(g.filter, m.Topic) && g.options&optionNoLocal == 0 {
				return 0
			}
		}
		return m.acked
	})
}

func deniedDelivered(s *study) ([]Act, error) {
	return s.giveAny(func(p *party, m *publication) int32 {
		if !m.denied || p.life == nil || p.member || s.since(p, m.Topic) > m.first {
			return 0
		}
		return m.first
	})
}

func stale(s *study) ([]Act, error) {
	var older *publication
	i := s.find(func(s *study, a Act) bool {
		if s.sight(a) == nil || !a.Retain || s.of(a).acked == 0 || s.of(a).will != nil {
			return false
		}
		asked := never
		for _, g := range s.party(a.Session).life.grants {
			if s.matches(g.filter, a.Topic) {
				asked = min(asked, g.sent)
			}
		}
		if asked < s.of(a).acked {
			return false
		}
		for _, m := range s.subject(a.Topic).retained {
			if m.acked != 0 && m.acked < s.of(a).first && !m.Empty {
				older = m
			}
		}
		return older != nil
	})
	if i < 0 {
		return nothing(s.acts)
	}
	s.acts[i].From, s.acts[i].N, s.acts[i].Sum, s.acts[i].QoS = older.Session, older.N, older.Sum, min(older.QoS, s.acts[i].QoS)
	return s.acts, nil
}

func noRetained(s *study) ([]Act, error) {
	i := s.find(func(s *study, a Act) bool {
		p := s.party(a.Session)
		return s.sight(a) != nil && a.Retain && p.drained != 0 && !p.life.keeps && len(p.life.grants) == 1 &&
			p.life.grants[0].gone == never && s.owed(p, p.life.grants[0], a.Topic) != nil
	})
	if i < 0 {
		return nothing(s.acts)
	}
	gone := s.acts[i]
	return s.without(func(a Act) bool { return a.Do == Got && a.Session == gone.Session && a.Topic == gone.Topic })
}

// noWill takes a will away that has to be published, and whose connection ended so.
func noWill(how Do) func(*study) ([]Act, error) {
	return func(s *study) ([]Act, error) {
		for _, m := range s.ordered {
			waits := func(p *party) bool { return p.drained != 0 && p.life != nil && s.since(p, m.Topic) < m.first }
			if m.will != nil && m.must && m.will.how == how && m.seen != 0 && slices.ContainsFunc(s.sorted(), waits) {
				return s.without(sameMessageAs(Act{From: m.Session, N: m.N}))
			}
		}
		return nothing(s.acts)
	}
}

// wrongWill publishes a will that must not be.
func wrongWill(of func(*link) bool) func(*study) ([]Act, error) {
	return func(s *study) ([]Act, error) {
		return s.giveAny(func(p *party, m *publication) int32 {
			if m.will == nil || m.will.up == 0 || !of(m.will) || s.willForbidden(m.will) == "" {
				return 0
			}
			if p.drained == 0 || s.since(p, m.Topic) > m.first {
				return 0
			}
			return min(p.drained, m.will.party.drained) - 1
		})
	}
}

func willTwice(s *study) ([]Act, error) {
	i := s.find(func(s *study, a Act) bool {
		return a.Do == Got && a.QoS == 2 && !a.Known && !a.Retain && !a.Empty && s.of(a).will != nil
	})
	if i < 0 {
		return nothing(s.acts)
	}
	second := s.acts[i]
	freshID(&second)
	return slices.Insert(s.acts, i+1, second), nil
}

// groupLost takes away what all members did with a message.
func groupLost(what Do) func(*study) ([]Act, error) {
	return func(s *study) ([]Act, error) {
		for _, g := range s.groups {
			for _, m := range s.ordered {
				if len(g.hands[m]) == 0 || !m.demanded() || m.first < g.since() {
					continue
				}
				return s.without(func(a Act) bool {
					return (a.Do == what || a.Do == Answered) && a.From == m.Session && a.N == m.N && s.party(a.Session).member
				})
			}
		}
		return nothing(s.acts)
	}
}

// groupTwice gives a message to a second member at once.
func groupTwice(qos byte) func(*study) ([]Act, error) {
	return func(s *study) ([]Act, error) {
		for _, g := range s.groups {
			for _, m := range s.ordered {
				hands := g.hands[m]
				if len(hands) != 1 || hands[0].qos != qos || m.copies(never, 1) > 1 {
					continue
				}
				for _, member := range g.members {
					if member.party == hands[0].party {
						continue
					}
					if acts, err := s.give(member.party, m, hands[0].line); err == nil {
						acts[hands[0].line].QoS = qos
						return acts, nil
					}
				}
			}
		}
		return nothing(s.acts)
	}
}
