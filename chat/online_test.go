package chat

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// stay is a connection as the oracle of TestOnlineAtRandom remembers it.
type stay struct {
	Connection
	state Activity
	ended time.Time
}

// oracle is what there is to know of one user, found out from all connections that he ever had.
func oracle(stays []stay, now time.Time, grace time.Duration) (v value) {
	for i, s := range stays {
		if s.Invisible || !s.ended.IsZero() && !now.Before(s.ended.Add(grace)) {
			continue
		}
		replaced := false
		for _, later := range stays[i+1:] {
			replaced = replaced || later.Session == s.Session && !s.ended.IsZero()
		}
		if !replaced {
			v.on = true
			v.devices++
			v.state = v.state.better(s.state)
		}
	}
	return v
}

// Whatever happens, and whenever: what is told is so, no two tellings are within a second, the last one is how it stays, and
// in the end nobody is remembered.
func TestOnlineAtRandom(t *testing.T) {
	for seed := range uint64(200) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { onlineAtRandom(t, rand.New(rand.NewPCG(seed, 0))) })
	}
}

func onlineAtRandom(t *testing.T, r *rand.Rand) {
	const who = accounts.Name("alice")
	grace := []time.Duration{0, 300 * time.Millisecond, 5 * time.Second}[r.IntN(3)]
	o := newOnline(grace)
	now := time.Unix(1000, 0)
	var stays []stay
	var told value
	var toldAt time.Time
	noted := false
	look := func(until time.Time) {
		for {
			n, wait, ok := o.next(now)
			if !ok {
				if wait > until.Sub(now) {
					break
				}
				now = now.Add(wait)
				continue
			}
			if want := oracle(stays, now, grace); n.value != want {
				t.Fatalf("at %v: news %+v, want %+v", now, n.value, want)
			}
			if n.sighting != nil {
				if n.sighting.There == noted {
					t.Fatalf("at %v: noted %+v again", now, *n.sighting)
				}
				noted = n.sighting.There
			}
			if n.tell {
				if now.Sub(toldAt) < tellPause {
					t.Fatalf("told %v after the time before", now.Sub(toldAt))
				}
				told, toldAt = n.value, now
			}
		}
		now = until
	}
	for id := range uint64(60) {
		session := fmt.Sprint(r.IntN(3))
		i := len(stays) - 1
		for i >= 0 && (stays[i].Session != session || !stays[i].ended.IsZero()) {
			i--
		}
		switch op := r.IntN(4); {
		case i < 0:
			c := Connection{ID: id, Session: session, Invisible: r.IntN(4) == 0}
			o.arrive(who, c, now)
			stays = append(stays, stay{Connection: c, state: Foreground})
		case op < 2:
			o.depart(who, stays[i].ID, now)
			stays[i].ended = now
		case op == 2:
			stays[i].state = []Activity{Foreground, Background, Away}[r.IntN(3)]
			o.setState(who, stays[i].ID, stays[i].state, now)
		default:
			stays[i].Invisible = !stays[i].Invisible
			o.setInvisible(who, session, stays[i].Invisible, now)
		}
		look(now.Add(time.Duration(r.IntN(4)*r.IntN(1500)) * time.Millisecond))
	}
	look(now.Add(time.Minute))
	if want := oracle(stays, now, grace); told != want || noted != want.on {
		t.Errorf("in the end told %+v, noted %v, want %+v", told, noted, want)
	}
	for i := range stays {
		if stays[i].ended.IsZero() {
			o.depart(who, stays[i].ID, now)
			stays[i].ended = now
		}
	}
	look(now.Add(time.Minute))
	if told.on || noted || len(o.people) > 0 || len(o.queue) > 0 {
		t.Errorf("after all left: told %+v, noted %v, %d people, %d in the queue", told, noted, len(o.people), len(o.queue))
	}
}

// Who says "nobody" while "contacts" is on its way must not stay visible because that came last.
func TestThatSomebodyIsSeenNoMoreIsToldInAnyCase(t *testing.T) {
	for _, looks := range [][2]look{{lookAppear, lookVanish}, {lookVanish, lookAppear}} {
		o := newOnline(0)
		now := time.Unix(1000, 0)
		o.refresh("alice", looks[0], now)
		o.refresh("alice", looks[1], now)
		if n, _, ok := o.next(now); !ok || n.look != lookVanish {
			t.Errorf("after %v: look = %v, %v, want %v", looks, n.look, ok, lookVanish)
		}
	}
}
