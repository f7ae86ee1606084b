package devices

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/records"
)

// offerLife is how long an offer can be accepted.
const offerLife = 7 * 24 * time.Hour

// Offer is that the owner of a device wants somebody else to have it. Times are in Unix milliseconds.
type Offer struct {
	Device accounts.Name `json:"did"`
	From   accounts.Name `json:"from"`
	To     accounts.Name `json:"to"`
	Made   int64         `json:"made"`
	Until  int64         `json:"until"`
	Epoch  uint64        `json:"epoch"` // of the device: one that was handed over since is not what was offered
}

// Offer offers a device to somebody, in the place of what was offered before. Whether he may be offered something is for who
// calls this to know. Only its owner may. ErrUnknown, ErrNoRight, ErrMalformed.
func (c *Claims) Offer(ctx context.Context, who, did, to accounts.Name) (o Offer, err error) {
	defer func() { err = wrap("offer device", did, err) }()
	if _, err := accounts.ParseUser(string(to)); err != nil {
		return Offer{}, err
	}
	if to == who {
		return Offer{}, fmt.Errorf("it is his: %w", ErrMalformed)
	}
	leave, err := c.turns.take(ctx, did)
	if err != nil {
		return Offer{}, err
	}
	defer leave()
	t, err := c.things.Owned(ctx, who, did) // in its turn: he may just have lost it, and its owner offered it
	if err != nil {
		return Offer{}, err
	}
	now := c.now()
	o = Offer{Device: did, From: who, To: to, Made: now.UnixMilli(), Until: now.Add(offerLife).UnixMilli(), Epoch: t.Epoch}
	body, err := json.Marshal(o)
	if err == nil {
		err = c.records.PutAll(ctx, o.entries()) // first: where they say that there is an offer it is looked for
	}
	if err != nil {
		return Offer{}, err
	}
	for range maxTries {
		r, err := c.records.Record(ctx, records.Key{Kind: kindOffer, ID: string(did)})
		if err != nil && !errors.Is(err, records.ErrNone) {
			return Offer{}, err
		}
		next := records.Record{Key: records.Key{Kind: kindOffer, ID: string(did)}, Rev: r.Rev + 1, Due: o.Until, Body: body}
		if err := c.records.Put(ctx, next); !errors.Is(err, records.ErrChanged) {
			return o, err
		}
	}
	return Offer{}, fmt.Errorf("%w: others change it all the time", ErrUnavailable)
}

// entries say with both of whom an offer is to be looked for. They end when it does, and nobody needs them to end before.
func (o Offer) entries() []records.Record {
	entry := func(who accounts.Name) records.Record {
		k := records.Key{Kind: kindOffers, Scope: string(who), ID: string(o.Device)}
		return records.Record{Key: k, Rev: 1, Due: o.Until, Body: []byte("{}")}
	}
	return []records.Record{entry(o.From), entry(o.To)}
}

// relist writes down with both of whom offers are to be looked for that were made when that was not said.
func (c *Claims) relist(ctx context.Context) error {
	const page = 500
	for after := (records.Key{}); ; {
		list, err := c.records.All(ctx, kindOffer, after, page)
		if err != nil {
			return fmt.Errorf("offers: %w", err)
		}
		for _, r := range list {
			after = r.Key
			if err := c.relistOne(ctx, r.Key); err != nil {
				return err
			}
		}
		if len(list) < page {
			return nil
		}
	}
}

func (c *Claims) relistOne(ctx context.Context, k records.Key) error {
	leave, err := c.turns.take(ctx, accounts.Name(k.ID)) // so that what is offered anew just now does not end as this does
	if err != nil {
		return err
	}
	defer leave()
	_, o, err := c.offer(ctx, accounts.Name(k.ID))
	if errors.Is(err, ErrUnknown) { // any more
		return nil
	}
	if err == nil {
		_, err = c.records.Record(ctx, o.entries()[1].Key)
		if errors.Is(err, records.ErrNone) {
			err = c.records.PutAll(ctx, o.entries())
		}
	}
	return err
}

// Accept makes a device the property of whom it was offered to, and puts it where he wants it, as Claim does. ErrUnknown: it is
// not offered to him, any more.
func (c *Claims) Accept(ctx context.Context, who, did accounts.Name, into ThingPatch) (t Thing, err error) {
	defer func() { err = wrap("accept device", did, err) }()
	// What is taken back meanwhile is not accepted any more, and the other way round.
	leave, err := c.turns.take(ctx, did)
	if err != nil {
		return Thing{}, err
	}
	defer leave()
	r, o, err := c.offer(ctx, did)
	if err != nil {
		return Thing{}, err
	}
	if o.To != who {
		return Thing{}, ErrUnknown
	}
	into = ThingPatch{Home: into.Home, Room: into.Room}
	if err := c.things.mayKeep(ctx, who, into); err != nil {
		return Thing{}, err
	}
	if err = c.hand(ctx, did, func() error { return c.things.accept(ctx, o) }); err != nil {
		return Thing{}, err
	}
	if t, err = c.things.Set(ctx, who, did, into); err != nil {
		return Thing{}, err
	}
	// Last: who comes again because this was not finished finds it.
	if err := c.records.Remove(ctx, r.Key, r.Rev); err != nil && !errors.Is(err, records.ErrChanged) {
		return Thing{}, err
	}
	return t, nil
}

// accept hands a thing over, if it is what was offered or has been handed over so.
func (s *Things) accept(ctx context.Context, o Offer) error {
	place := room{things: s, owner: o.To, did: o.Device}
	defer place.leave()
	_, err := s.change(ctx, o.Device, func(t *Thing) error {
		switch {
		case t.Owner == o.To && t.Epoch == o.Epoch+1:
			return nil
		case t.Owner != o.From || t.Epoch != o.Epoch:
			return ErrUnknown
		}
		if err := place.take(ctx); err != nil {
			return err
		}
		t.handOver(o.To)
		return nil
	})
	return err
}

// Withdraw is the end of an offer: who has made it takes it back, or whom it was made to does not want it. ErrUnknown: there is
// none, as far as he knows.
func (c *Claims) Withdraw(ctx context.Context, who, did accounts.Name) error {
	leave, err := c.turns.take(ctx, did)
	if err != nil {
		return wrap("withdraw offer of device", did, err)
	}
	defer leave()
	r, o, err := c.offer(ctx, did)
	if err == nil && who != o.From && who != o.To {
		err = ErrUnknown
	}
	if err == nil {
		err = c.records.Remove(ctx, r.Key, r.Rev)
	}
	if errors.Is(err, records.ErrChanged) { // there is another one
		err = ErrUnknown
	}
	return wrap("withdraw offer of device", did, err)
}

// Offers gives what somebody has offered, and what was offered to him, in the order of the devices' names.
func (c *Claims) Offers(ctx context.Context, who accounts.Name) (all []Offer, err error) {
	const page = 500
	for after := ""; ; {
		list, err := c.records.Records(ctx, kindOffers, string(who), after, page)
		if err != nil {
			return nil, fmt.Errorf("offers of %s: %w", who, err)
		}
		for _, r := range list {
			after = r.ID
			switch _, o, err := c.offer(ctx, accounts.Name(r.ID)); {
			case errors.Is(err, ErrUnknown): // any more
			case err != nil:
				return nil, fmt.Errorf("offers of %s: %w", who, err)
			case o.From == who || o.To == who:
				all = append(all, o)
			}
		}
		if len(list) < page {
			return all, nil
		}
	}
}

func (c *Claims) offer(ctx context.Context, did accounts.Name) (records.Record, Offer, error) {
	r, err := c.records.Record(ctx, records.Key{Kind: kindOffer, ID: string(did)})
	if errors.Is(err, records.ErrNone) {
		err = ErrUnknown
	}
	if err != nil {
		return r, Offer{}, err
	}
	o, err := parseOffer(r)
	if err == nil && c.now().UnixMilli() >= o.Until {
		err = ErrUnknown
	}
	return r, o, err
}

func parseOffer(r records.Record) (o Offer, err error) {
	if err := json.Unmarshal(r.Body, &o); err != nil {
		return Offer{}, fmt.Errorf("record of the offer of %s: %w", r.ID, err)
	}
	return o, nil
}

// expire forgets offers that are over.
func (c *Claims) expire(ctx context.Context) error {
	const page = 500
	for _, kind := range []string{kindOffer, kindOffers} {
		over, err := c.records.DueBy(ctx, kind, c.now().UnixMilli(), page)
		if err != nil {
			return err
		}
		for _, r := range over {
			if err := c.forget(ctx, r.Key); err != nil {
				return err
			}
		}
	}
	return nil
}

// forget removes what is over of an offer, unless the device is offered anew just now.
func (c *Claims) forget(ctx context.Context, k records.Key) error {
	leave, err := c.turns.take(ctx, accounts.Name(k.ID))
	if err != nil {
		return err
	}
	defer leave()
	r, err := c.records.Record(ctx, k)
	switch {
	case errors.Is(err, records.ErrNone):
		return nil
	case err == nil && r.Due <= c.now().UnixMilli():
		err = c.records.Remove(ctx, k, r.Rev)
	}
	return err
}
