package devices

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/magpie-im/magpie/accounts"
)

// pageOfThings is how many things are read at once.
const pageOfThings = 100

// Seen gives up to limit things that somebody may see now, in the order of their names, those after after. If they are fewer than
// limit, there are no more. A device sees itself.
func (s *Things) Seen(ctx context.Context, who, after accounts.Name, limit int) ([]Thing, error) {
	views, err := s.Views(ctx, who, after, limit)
	all := make([]Thing, 0, len(views))
	for _, v := range views {
		all = append(all, v.Thing)
	}
	return all, err
}

// Views is Seen with what he may do with them.
func (s *Things) Views(ctx context.Context, who, after accounts.Name, limit int) ([]View, error) {
	sources := []iter.Seq2[Thing, error]{s.itself(ctx, who, after), s.of(ctx, who, after)}
	if s.homes != nil {
		s = &Things{
			store: s.store, now: s.now, log: s.log, homes: remembered{s.homes, map[[2]string]HomeRole{}}, kept: s.kept,
			awake: s.awake,
		}
		homes, err := s.homes.HomesOf(ctx, who)
		if err != nil {
			return nil, fmt.Errorf("homes of %s: %w", who, err)
		}
		for _, home := range homes {
			sources = append(sources, s.in(ctx, home, after))
		}
		if t, err := s.thing(ctx, who); err == nil && t.Type == TypeHomeAssistant && t.Home != "" {
			sources = append(sources, s.in(ctx, t.Home, after))
		} else if known(err) != nil {
			return nil, fmt.Errorf("things of %s: %w", who, err)
		}
	}
	var all []View
	for t, err := range merge(sources) {
		if err != nil {
			return nil, fmt.Errorf("things of %s: %w", who, err)
		}
		if len(all) >= limit {
			break
		}
		v, err := s.view(ctx, who, t)
		if err != nil {
			return nil, fmt.Errorf("things of %s: %w", who, err)
		}
		if slices.Contains(v.May, VerbSee) {
			all = append(all, v)
		}
	}
	return all, nil
}

// In gives the things in a home, in the order of their names, for who does not ask on somebody's behalf. It ends after an error.
func (s *Things) In(ctx context.Context, home string) iter.Seq2[Thing, error] {
	return s.in(ctx, home, "")
}

// Every gives all things, those that are Gone too.
func (s *Things) Every(ctx context.Context) iter.Seq2[Thing, error] {
	return pages("", func(after accounts.Name) ([]Thing, error) { return s.store.Things(ctx, after, pageOfThings) })
}

// remembered are homes for one question, in which nothing is asked twice.
type remembered struct {
	Homes
	roles map[[2]string]HomeRole // by home and account
}

func (r remembered) Role(ctx context.Context, home string, who accounts.Name) (HomeRole, error) {
	key := [2]string{home, string(who)}
	role, ok := r.roles[key]
	if ok {
		return role, nil
	}
	role, err := r.Homes.Role(ctx, home, who)
	if err == nil {
		r.roles[key] = role
	}
	return role, err
}

// itself gives the thing that somebody is.
func (s *Things) itself(ctx context.Context, who, after accounts.Name) iter.Seq2[Thing, error] {
	return func(yield func(Thing, error) bool) {
		if who <= after {
			return
		}
		t, err := s.thing(ctx, who)
		if err == nil || known(err) != nil {
			yield(t, err)
		}
	}
}

// of gives the things that somebody is among the seers of.
func (s *Things) of(ctx context.Context, who, after accounts.Name) iter.Seq2[Thing, error] {
	return pages(after, func(after accounts.Name) ([]Thing, error) { return s.store.ThingsOf(ctx, who, after, pageOfThings) })
}

// in gives the things in a home.
func (s *Things) in(ctx context.Context, home string, after accounts.Name) iter.Seq2[Thing, error] {
	return pages(after, func(after accounts.Name) ([]Thing, error) { return s.store.ThingsIn(ctx, home, after, pageOfThings) })
}

func pages(after accounts.Name, read func(after accounts.Name) ([]Thing, error)) iter.Seq2[Thing, error] {
	return func(yield func(Thing, error) bool) {
		for {
			page, err := read(after)
			if err != nil {
				yield(Thing{}, err)
				return
			}
			for _, t := range page {
				if !yield(t, nil) {
					return
				}
				after = t.ID
			}
			if len(page) < pageOfThings {
				return
			}
		}
	}
}

// merge gives what is in any of some sources, each of which is in the order of names, once and in this order. It ends after an
// error.
func merge(sources []iter.Seq2[Thing, error]) iter.Seq2[Thing, error] {
	return func(yield func(Thing, error) bool) {
		heads := make([]*head, 0, len(sources))
		for _, source := range sources {
			next, stop := iter.Pull2(source)
			defer stop()
			heads = append(heads, (&head{next: next}).step())
		}
		for {
			first := least(heads)
			if first == nil {
				return
			}
			t, err := first.thing, first.err
			if !yield(t, err) || err != nil {
				return
			}
			for _, h := range heads {
				if h.ok && h.err == nil && h.thing.ID == t.ID {
					h.step()
				}
			}
		}
	}
}

// head is the first thing of a source that was not given yet.
type head struct {
	next  func() (Thing, error, bool)
	thing Thing
	err   error
	ok    bool
}

func (h *head) step() *head {
	h.thing, h.err, h.ok = h.next()
	return h
}

// least gives the head with an error, else that with the least name; nil: all are at their end.
func least(heads []*head) (first *head) {
	for _, h := range heads {
		switch {
		case !h.ok:
		case h.err != nil:
			return h
		case first == nil || h.thing.ID < first.thing.ID:
			first = h
		}
	}
	return first
}
