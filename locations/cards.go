package locations

import (
	"context"
	"errors"
	"fmt"

	"github.com/magpie-im/magpie/records"
)

// A card is what is shown of who carries a device, in a form that only who shows it reads: a name, a picture. It is told to all
// who may know where the device is.

// kindCard are the records of cards.
const kindCard = "loc.card"

// MaxCard is the longest card, in bytes.
const MaxCard = 64 << 10

func cardKey(s Subject) records.Key {
	return records.Key{Kind: kindCard, Scope: string(s.Who), ID: s.Label}
}

// SetCard keeps a card, which is durable when it returns; an empty one takes it away. ErrMalformed, ErrTooMany.
func (s *Service) SetCard(ctx context.Context, subject Subject, card []byte) error {
	if subject.IsThing() || len(card) > MaxCard {
		return fmt.Errorf("card of %s: %d bytes: %w", subject, len(card), ErrMalformed)
	}
	if len(card) == 0 {
		return s.takeCard(ctx, subject)
	}
	t, err := s.track(subject)
	if err == nil {
		err = s.finish(ctx, t)
	}
	if err == nil {
		t, err = s.track(subject) // it may be another one now
	}
	if err != nil {
		return fmt.Errorf("card of %s: %w", subject, err)
	}
	all := []records.Record{{Key: cardKey(subject), Rev: 1, Body: card}}
	t.mu.Lock()
	known := t.known
	t.mu.Unlock()
	if !known { // the device is one that there is, after a start too
		all = append([]records.Record{{Key: lastKey(subject), Rev: 1, Body: []byte(nowhereYet)}}, all...)
	}
	err = s.store.PutAll(ctx, all)
	t.mu.Lock()
	gone := t.gone
	t.dirty = t.dirty || t.known // it may have said meanwhile where it is
	t.mu.Unlock()
	if gone { // it was forgotten meanwhile, and so is this
		err = errors.Join(err, s.dropCard(ctx, subject), s.erase(ctx, subject))
	}
	if err != nil {
		return fmt.Errorf("card of %s: %w", subject, err)
	}
	return nil
}

// takeCard takes a card away. Of a device that has never said where it is nothing is left then.
func (s *Service) takeCard(ctx context.Context, subject Subject) error {
	t := s.find(subject)
	if t == nil {
		return s.dropCard(ctx, subject)
	}
	t.mu.Lock()
	known := t.known
	t.mu.Unlock()
	if !known && len(s.Tours(subject)) == 0 {
		return s.Forget(ctx, subject)
	}
	return s.dropCard(ctx, subject)
}

// dropCard removes what is stored as a card.
func (s *Service) dropCard(ctx context.Context, subject Subject) error {
	if subject.IsThing() {
		return nil
	}
	if err := s.removeRecord(ctx, cardKey(subject)); err != nil {
		return fmt.Errorf("card of %s: %w", subject, err)
	}
	return nil
}

// Card gives the card of a subject; empty: it has none. Who may see it is for its callers to ask.
func (s *Service) Card(ctx context.Context, subject Subject) ([]byte, error) {
	r, err := s.store.Record(ctx, cardKey(subject))
	if errors.Is(err, records.ErrNone) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("card of %s: %w", subject, err)
	}
	return r.Body, nil
}
