package mongo

import (
	"context"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// What is committed and could not be finished is open: its writer has died, or the database has failed in the middle. Who needs
// the conversation finishes it first. What nobody needs is found by mend.

// mendRest is how often stores that are not alone look for what others have left.
const mendRest = 10 * time.Second

// leaveOpen says that something may have been left open by this store.
func (s *Store) leaveOpen() {
	select {
	case s.left <- struct{}{}:
	default:
	}
}

// mend finishes what was left open, when the database is there, until ctx ends.
func (s *Store) mend(ctx context.Context) {
	var others <-chan time.Time
	if !s.cfg.Alone {
		tick := time.NewTicker(mendRest)
		defer tick.Stop()
		others = tick.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.left:
		case <-others:
		}
		for wait := firstLook; ctx.Err() == nil; wait = min(2*wait, lastLook) {
			idle(ctx, wait)
			if s.Writable() != nil {
				continue
			}
			err := s.mendAll(ctx)
			if err == nil {
				break
			}
			s.logger.Debug("something is still open", "err", reason(err))
		}
	}
}

// mendAll finishes everything that is open now, each conversation in its turn.
func (s *Store) mendAll(ctx context.Context) error {
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.leave()
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	err := s.eachOpen(ctx, func(name chat.Conversation) error { return s.mendThese(ctx, []chat.Conversation{name}) })
	if err != nil {
		return err
	}
	return s.finishPeople(ctx)
}

// mendThese finishes what is open in some conversations, each in its turn.
func (s *Store) mendThese(ctx context.Context, names []chat.Conversation) error {
	for _, name := range names {
		if err := s.take(ctx, name, &step{anew: true, take: func(context.Context, *turn) error { return nil }}); err != nil {
			return err
		}
	}
	return nil
}

// finishAll does what may not have followed from entries of any conversation: whoever has written them may have died.
func (s *Store) finishAll(ctx context.Context) error {
	return s.eachOpen(ctx, func(name chat.Conversation) error {
		_, err := s.finish(ctx, name)
		return err
	})
}

// eachOpen calls do for each conversation that has open entries.
func (s *Store) eachOpen(ctx context.Context, do func(chat.Conversation) error) error {
	var last chat.Conversation
	for {
		var next []logDoc
		err := s.findAll(ctx, logCollection, bson.D{{Key: "open", Value: bson.D{{Key: "$gt", Value: last}}}}, &next,
			sortedBy("open", 1), limitedTo(1), only("open"))
		if err != nil || len(next) == 0 {
			return err
		}
		last = next[0].Open
		if err := do(last); err != nil {
			return err
		}
	}
}

// OnLate implements chat.Mending.
func (c chatStore) OnLate(f func(chat.Arrival)) { c.onLate.Store(&f) }

// late tells that things have followed from entries that were open.
func (s *Store) late(entries []*logDoc, all []following) {
	f := s.onLate.Load()
	if f == nil {
		return
	}
	for i, e := range entries {
		l := chat.Arrival{Conversation: e.Conversation}
		for _, t := range all[i].Told {
			if !slices.Contains(l.Told, t.User) {
				l.Told = append(l.Told, t.User)
			}
		}
		if e.Seq > 0 {
			l.Seq, l.Large = uint64(e.Seq), e.Conversation.Kind().Room() && len(l.Told) == 0
		}
		(*f)(l)
	}
}

// lateFor tells that somebody was told something that was open.
func (s *Store) lateFor(user accounts.Name) {
	if f := s.onLate.Load(); f != nil {
		(*f)(chat.Arrival{Told: []accounts.Name{user}})
	}
}
