package chat

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// Where somebody is, in a conversation of those who share it, is told to those who watch and stored nowhere. Only the newest
// of each is known.

const (
	// maxPlace is the longest position, in bytes, and maxPlaceDepth how deep it may be.
	maxPlace      = 1 << 10
	maxPlaceDepth = 8
	// placeLife is how long a position is worth something.
	placeLife = time.Hour
	// placeEvery is the least time between two times at which viewers of a conversation are told where its members are.
	placeEvery = 250 * time.Millisecond
	// maxSharing is how many may share where they are in one conversation.
	maxSharing = 256
	// maxPlaces is how many positions are known in all: 64 MiB.
	maxPlaces = 1 << 16
)

// positions are where the members of a conversation are. Guarded by stage.mu.
type positions struct {
	by     map[accounts.Name]*position
	moved  []accounts.Name // whose is to be told, the first one first
	told   time.Time
	oldest time.Time // not after that of any place
}

type position struct {
	at   time.Time
	line *Line
	told bool // it is not in moved
}

// parsePosition checks a position: a JSON object with the numbers lat and lon, in degrees. It gives it without white space.
func parsePosition(payload []byte) (json.RawMessage, error) {
	if len(payload) > maxPlace {
		return nil, fmt.Errorf("position of %d bytes: %w", len(payload), ErrTooLarge)
	}
	var lat, lon, wrong int
	degrees := func(value []byte, most float64) int {
		n, err := strconv.ParseFloat(string(value), 64)
		if err != nil || n < -most || n > most {
			wrong++
		}
		return 1
	}
	s := scanner{in: payload}
	object := s.members(func(name string, value []byte) {
		switch name {
		case "lat":
			lat += degrees(value, 90)
		case "lon":
			lon += degrees(value, 180)
		}
	})
	if !object || lat != 1 || lon != 1 || wrong > 0 || s.lone || s.deepest >= maxPlaceDepth {
		return nil, fmt.Errorf("position %.80q: %w", payload, ErrMalformed)
	}
	if s.spaces {
		return appendCompact(make([]byte, 0, len(payload)), payload), nil
	}
	return bytes.Clone(payload), nil
}

// Locate says where a member of a conversation is: those who watch it are told. Nothing is stored. ErrMalformed, ErrTooLarge,
// ErrQuota if too many do so, and the errors of Send.
func (s *Service) Locate(ctx context.Context, who accounts.Name, c Conversation, payload []byte) error {
	body, err := parsePosition(payload)
	if err != nil {
		return err
	}
	if err := s.mayLocate(ctx, who, c); err != nil {
		return err
	}
	now := s.now()
	line := &Line{
		Event: Event{Entry: Entry{Type: EventPlace, TS: now.UnixMilli(), Conversation: c, Who: who}, Where: body},
		Class: LineState, Key: "loc " + string(who),
	}
	fresh := false
	s.stages.at(c, true, func(st *stage) {
		if fresh, err = st.placeLocked(who, line); err == nil {
			st.wakeLocked()
		}
	})
	if err != nil || !fresh {
		return err
	}
	if err := s.mayLocate(ctx, who, c); err != nil { // he has left meanwhile, and what was known of him then is forgotten already
		s.stages.at(c, false, func(st *stage) {
			st.forgetLocked(func(name accounts.Name, _ *position) bool { return name == who })
		})
		return err
	}
	return nil
}

// placeLocked notes where somebody is. fresh: it was not known until now.
func (st *stage) placeLocked(who accounts.Name, line *Line) (fresh bool, err error) {
	p := &st.places
	x := p.by[who]
	if x == nil {
		if len(p.by) >= maxSharing || st.all.places.Load() >= maxPlaces {
			return false, fmt.Errorf("positions in %s: %w", st.c, ErrQuota)
		}
		if p.by == nil {
			p.by = map[accounts.Name]*position{}
		}
		x = &position{told: true}
		p.by[who] = x
		st.all.places.Add(1)
		fresh = true
	}
	x.at, x.line = time.Now(), line
	if p.oldest.IsZero() {
		p.oldest = x.at
	}
	if x.told {
		x.told = false
		p.moved = append(p.moved, who)
	}
	return fresh, nil
}

// due is when there is something to be told, or forgotten; zero: there is nothing.
func (p *positions) due() time.Time {
	switch {
	case len(p.by) == 0:
		return time.Time{}
	case len(p.moved) > 0:
		return p.told.Add(placeEvery)
	}
	return p.oldest.Add(placeLife)
}

// forgetLocked drops positions of which gone says that they are worth nothing.
func (st *stage) forgetLocked(gone func(accounts.Name, *position) bool) {
	p := &st.places
	p.oldest = time.Time{}
	for who, x := range p.by {
		if gone(who, x) {
			delete(p.by, who)
			st.all.places.Add(-1)
		} else if p.oldest.IsZero() || x.at.Before(p.oldest) {
			p.oldest = x.at
		}
	}
	p.moved = slices.DeleteFunc(p.moved, func(who accounts.Name) bool { return p.by[who] == nil })
}

// movedLocked gives the lines of those who have moved, if it is time to tell.
func (st *stage) movedLocked(now time.Time) []*Line {
	p := &st.places
	if len(p.moved) == 0 || now.Sub(p.told) < placeEvery {
		return nil
	}
	lines := make([]*Line, 0, len(p.moved))
	for _, who := range p.moved {
		p.by[who].told = true
		lines = append(lines, p.by[who].line)
	}
	p.moved, p.told = nil, now
	return lines
}

// showPlaces tells viewers who has moved.
func (s *Service) showPlaces(ctx context.Context, st *stage) {
	now := time.Now()
	st.mu.Lock()
	if !st.places.oldest.IsZero() && now.Sub(st.places.oldest) >= placeLife {
		st.forgetLocked(func(_ accounts.Name, x *position) bool { return now.Sub(x.at) >= placeLife })
	}
	lines := st.movedLocked(now)
	st.mu.Unlock()
	s.playPlaces(ctx, st, st.list, lines)
}

// showAllPlaces tells newcomers where everybody is.
func (s *Service) showAllPlaces(ctx context.Context, st *stage, to []Viewer) {
	now := time.Now()
	var lines []*Line
	st.mu.Lock()
	for _, x := range st.places.by {
		if now.Sub(x.at) < placeLife {
			lines = append(lines, x.line)
		}
	}
	st.mu.Unlock()
	slices.SortFunc(lines, func(a, b *Line) int { return cmp.Compare(a.Key, b.Key) })
	s.playPlaces(ctx, st, to, lines)
}

// playPlaces shows positions. Between two people it is asked, in the moment in which it is done, whether they hear each
// other: a block is no change of the conversation.
func (s *Service) playPlaces(ctx context.Context, st *stage, to []Viewer, lines []*Line) {
	a, b, direct := st.c.Pair()
	if !direct {
		s.play(ctx, st, to, lines)
		return
	}
	if len(lines) == 0 || len(to) == 0 {
		return
	}
	defer s.live.lock(a, b)()
	if s.mayTalk(ctx, a, b) == nil {
		s.play(ctx, st, to, lines)
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.forgetLocked(func(accounts.Name, *position) bool { return true })
}
