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
	if _, err := s.track(subject); err != nil {
		return fmt.Errorf("card of %s: %w", subject, err)
	}
	return s.setCard(ctx, subject, card)
}

func (s *Service) setCard(ctx context.Context, subject Subject, card []byte) error {
	if subject.IsThing() {
		return nil
	}
	var err error
	if len(card) == 0 {
		var r records.Record
		if r, err = s.store.Record(ctx, cardKey(subject)); err == nil {
			err = s.store.Remove(ctx, r.Key, r.Rev)
		}
		if errors.Is(err, records.ErrNone) {
			err = nil
		}
	} else {
		err = s.store.PutAll(ctx, []records.Record{{Key: cardKey(subject), Rev: 1, Body: card}})
	}
	if err != nil {
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
