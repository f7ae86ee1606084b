package hooks

import (
	"context"
	"fmt"
	"strconv"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
)

// Streams opens users' streams for their sessions: chat's events, ready for the wire.
type Streams struct {
	chat *chat.Service
}

// Bind sets where events come from. It is called once, before the first session: the registry of sessions needs the
// streams, and chat needs the registry to wake sessions.
func (s *Streams) Bind(c *chat.Service) { s.chat = c }

// Open implements sessions.Sources.
func (s *Streams) Open(k sessions.Key, o sessions.Options) sessions.Source {
	return &stream{chat: s.chat, user: k.Account, text: o.Text}
}

// maxPlaces bounds what a stream remembers of unacknowledged messages. A session has at most some thousands in flight, and
// tells of those that it has finished before they are as many; beyond that delivered marks are left to the next message.
const maxPlaces = 16384

// stream is one user's stream as one session reads it.
type stream struct {
	chat *chat.Service
	user accounts.Name
	text bool

	places []placed // messages given and not acknowledged, in order of position
}

// placed is where a message of the stream stands in its conversation.
type placed struct {
	pos   uint64
	place chat.Place
}

func (s *stream) Topic() string { return streamTopic(s.user) }

func (s *stream) Head(ctx context.Context) (uint64, error) { return s.chat.StreamHead(ctx, s.user) }

func (s *stream) Next(ctx context.Context, pos uint64, limit int) ([]sessions.Delivery, error) {
	events, _, err := s.chat.Events(ctx, s.user, pos, limit)
	if err != nil {
		return nil, err
	}
	if s.text {
		if err := s.chat.Entitle(ctx, s.user, events); err != nil {
			return nil, err
		}
	}
	out := make([]sessions.Delivery, len(events))
	for i, e := range events {
		out[i] = s.delivery(e)
		s.remember(e)
	}
	return out, nil
}

func (s *stream) delivery(e chat.Event) sessions.Delivery {
	d := sessions.Delivery{Pos: e.USN}
	if s.text {
		line, ok := e.Text()
		d.Payload, d.Skip, d.ContentType = []byte(line), !ok, "text/plain"
		return d
	}
	d.Payload, d.ContentType = e.AppendJSON(nil), "application/json"
	return d
}

// Join implements sessions.Joiner: the events as one of the type batch. Lines, of which a session that wanted them in JSON
// before may have to be sent several at once, stand below each other.
func (s *stream) Join(ds []sessions.Delivery) sessions.Delivery {
	last := ds[len(ds)-1]
	out := sessions.Delivery{Pos: last.Pos, ContentType: last.ContentType, Skip: true}
	size := 64
	for _, d := range ds {
		size += len(d.Payload) + 1
	}
	out.Payload = make([]byte, 0, size)
	between := byte('\n')
	if !s.text {
		between = ','
		out.Payload = append(out.Payload, `{"t":"batch","usn":`...)
		out.Payload = append(strconv.AppendUint(out.Payload, last.Pos, 10), `,"events":[`...)
	}
	for _, d := range ds {
		if d.Skip {
			continue
		}
		if !out.Skip {
			out.Payload = append(out.Payload, between)
		}
		out.Payload, out.Skip = append(out.Payload, d.Payload...), false
	}
	if !s.text {
		out.Payload = append(out.Payload, "]}"...)
	}
	return out
}

// remember keeps the place of a message until Acked. Positions that are read a second time are known already.
func (s *stream) remember(e chat.Event) {
	place, ok := e.Place()
	if !ok || len(s.places) > 0 && e.USN <= s.places[len(s.places)-1].pos {
		return
	}
	if len(s.places) == maxPlaces {
		s.places = append(s.places[:0], s.places[maxPlaces/2:]...)
	}
	s.places = append(s.places, placed{e.USN, place})
}

func (s *stream) Acked(ctx context.Context, pos uint64) error {
	n := 0
	for n < len(s.places) && s.places[n].pos <= pos {
		n++
	}
	if n == 0 {
		return nil
	}
	places := make([]chat.Place, n)
	for i, p := range s.places[:n] {
		places[i] = p.place
	}
	if err := s.chat.Delivered(ctx, s.user, places); err != nil {
		return fmt.Errorf("mark delivered for %s: %w", s.user, err)
	}
	s.places = append(s.places[:0], s.places[n:]...)
	return nil
}
