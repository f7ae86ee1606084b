package chat

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// A live room keeps its last messages and no others, sums likes, and tells how many watch.

const (
	// pulseEvery is how often viewers are told how many they are, and how many likes there were, if that has changed.
	pulseEvery = 2 * time.Second
	// ringBytes is how large the bodies of what a live room keeps may be together.
	ringBytes = 1 << 20
	// maxLikes is how many likes one message may be.
	maxLikes = 1000
)

func (c Conversation) isLive() bool { return c.Kind() == KindLive }

// The values of "p" in the body of a message to a live room.
const (
	rankGift = "gift"
	rankLike = "like"
)

func isGift(body []byte) bool { rank, _ := rankOf(body); return rank == rankGift }

// rankOf gives what a message to a live room is by its body, and, of likes, how many they are. One that is neither a gift nor
// a like is chat, whatever it says.
func rankOf(body []byte) (rank string, n uint64) {
	n = 1
	s := scanner{in: body}
	if !s.members(func(name string, value []byte) {
		switch {
		case name == "p" && value[0] == '"':
			rank = unquote(value)
		case name == "n":
			var err error
			if n, err = strconv.ParseUint(string(value), 10, 64); err != nil {
				n = 0
			}
		}
	}) {
		return "", 0
	}
	return rank, n
}

// likesOf gives how many likes a body is; 0: none. ErrMalformed if it is none that counts.
func likesOf(body []byte) (uint64, error) {
	rank, n := rankOf(body)
	switch {
	case rank != rankLike:
		return 0, nil
	case n < 1 || n > maxLikes:
		return 0, fmt.Errorf("likes not between 1 and %d: %w", maxLikes, ErrMalformed)
	}
	return n, nil
}

// ring is the last messages of a live room. When there is one too many, the oldest that is no gift goes, as long as it is not
// among the newer half; then the oldest gift.
type ring struct {
	most  int
	list  []ringLine
	bytes int
	gone  []uint64 // seqs that are to be removed from the store
}

type ringLine struct {
	seq  uint64
	line *Line
}

func (r *ring) add(seq uint64, line *Line) {
	r.list = append(r.list, ringLine{seq, line})
	r.bytes += line.Event.Message.size()
	for len(r.list) > r.most || r.bytes > ringBytes && len(r.list) > 1 {
		older := r.list[:max(1, len(r.list)-(r.most+1)/2)]
		i := max(0, slices.IndexFunc(older, func(x ringLine) bool { return x.line.Class != LineGift }))
		r.bytes -= r.list[i].line.Event.Message.size()
		r.gone = append(r.gone, r.list[i].seq)
		r.list = slices.Delete(r.list, i, i+1)
	}
}

// all gives what is kept, less what is there for a time only that is over.
func (r *ring) all(now int64) []*Line {
	lines := make([]*Line, 0, len(r.list))
	for _, x := range r.list {
		m := &x.line.Event.Message
		if end := m.Expires(); m.Why != WhyExpired && (end == 0 || now < end) {
			lines = append(lines, x.line)
		}
	}
	return lines
}

// pulse is what viewers of a live room were told of it last.
type pulse struct {
	told    bool
	viewers int
	likes   uint64
	at      time.Time
	due     time.Time // when they are told again; zero: nothing has changed
}

// like adds likes to a live room.
func (s *Service) like(ctx context.Context, from accounts.Name, c Conversation, n uint64, content Content, origin any) (
	Sent, Commit, error,
) {
	l := Likes{Conversation: c, From: from, N: n, MID: content.MID, Fingerprint: content.fingerprint(), Origin: origin}
	dup, commit, err := s.store.Like(ctx, l)
	if err != nil {
		return Sent{}, nil, fmt.Errorf("like %s: %w", c, err)
	}
	if !dup {
		s.stages.at(c, false, func(st *stage) {
			st.liked = true
			st.wakeLocked()
		})
	}
	return Sent{Conversation: c, MID: content.MID, TS: s.now().UnixMilli(), Dup: dup}, commit, nil
}

// beat tells viewers of a live room how many they are and how many likes there were, if that has changed and it is time;
// newcomers at once.
func (s *Service) beat(ctx context.Context, st *stage, came []Viewer) error {
	p := &st.pulse
	p.due = time.Time{}
	if st.ring == nil || len(st.list) == 0 {
		return nil
	}
	now := time.Now()
	st.mu.Lock()
	viewers, liked := len(st.watch.of), st.liked || !p.told
	st.mu.Unlock()
	changed := liked || viewers != p.viewers
	if !changed && len(came) == 0 {
		return nil
	}
	if wait := pulseEvery - now.Sub(p.at); wait > 0 && len(came) == 0 {
		p.due = now.Add(wait)
		return nil
	}
	st.mu.Lock()
	st.liked = false
	st.mu.Unlock()
	likes, err := s.store.Liked(ctx, st.c)
	if err != nil {
		st.mu.Lock()
		st.liked = true
		st.mu.Unlock()
		return fmt.Errorf("likes of %s: %w", st.c, err)
	}
	e := Event{Entry: Entry{Type: EventLive, TS: s.now().UnixMilli(), Conversation: st.c}, Viewers: viewers, Likes: likes}
	line := []*Line{{Event: e, Class: LineState, Key: "live"}}
	if wait := pulseEvery - now.Sub(p.at); wait > 0 { // the others are told when it is time
		s.play(ctx, st, came, line)
		p.due = now.Add(wait)
		if liked {
			st.mu.Lock()
			st.liked = true
			st.mu.Unlock()
		}
		return nil
	}
	if viewers != p.viewers || likes != p.likes || !p.told {
		s.play(ctx, st, st.list, line)
		*p = pulse{told: true, viewers: viewers, likes: likes, at: now}
	} else {
		s.play(ctx, st, came, line)
	}
	return nil
}

// trimFrom is how many messages that a live room does not keep are removed at once.
const trimFrom = 64

// trim removes what a live room does not keep, if that is worth it.
func (s *Service) trim(ctx context.Context, st *stage) error {
	r := st.ring
	if r == nil || len(r.gone) < trimFrom || len(r.list) == 0 {
		return nil
	}
	if err := s.store.Trim(ctx, st.c, r.list[0].seq, r.gone); err != nil {
		return fmt.Errorf("trim %s: %w", st.c, err)
	}
	r.gone = nil
	return nil
}
