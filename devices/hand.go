package devices

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/records"
)

// Whose a device is stands in the thing, where one of many who want it has it, and with its account, for when the account of its
// owner is deleted. The thing is what counts: who has changed it writes down what it says then, and a note says that he is about
// to, so that it is done after a crash.

// kindHanding is of things that are about to change owner: Scope is the device, ID any.
const kindHanding = "handing"

// hand calls change, which makes a device somebody else's, and sees to it that its account is his as well. The caller has the
// device to himself. If change fails, nothing was changed, unless the store cannot say. The note stays as long as it is not known
// that the account says what the thing does, whatever the reason.
func (c *Claims) hand(ctx context.Context, did accounts.Name, change func() error) error {
	k := records.Key{Kind: kindHanding, Scope: string(did), ID: rand.Text()}
	// It is due whatever a clock says that was set back.
	note := records.Record{Key: k, Rev: 1, Due: 1, Body: []byte("{}")}
	if err := c.records.Put(ctx, note); err != nil {
		return err
	}
	err := change()
	unsettled := errors.Is(err, ErrUnavailable)
	if err == nil {
		err = c.settle(ctx, did)
		unsettled = err != nil && !gone(err)
	}
	if unsettled || ctx.Err() != nil { // Run does it
		c.rouse()
		return err
	}
	if err := c.records.Remove(ctx, note.Key, note.Rev); err != nil {
		c.things.log.Warn("the note that a device changes owner stays", "device", did, "err", err) // which does no harm
	}
	return err
}

// gone says whether an error of settle means that the device, or its owner, is no more.
func gone(err error) bool { return errors.Is(err, ErrUnknown) || errors.Is(err, accounts.ErrUnknown) }

// settle has the account of a device be whose the thing is. ErrUnknown: there is no such device, or owner.
func (c *Claims) settle(ctx context.Context, did accounts.Name) error {
	return c.owners.SetDeviceOwner(ctx, did, func(accounts.Name) (accounts.Name, error) {
		t, err := c.things.thing(ctx, did)
		return t.Owner, err
	})
}

// Release lets go of a device: [Things.Release]. ErrUnknown, ErrNoRight.
func (c *Claims) Release(ctx context.Context, who, did accounts.Name) error {
	leave, err := c.turns.take(ctx, did)
	if err != nil {
		return wrap("release device", did, err)
	}
	defer leave()
	if _, err := c.things.Owned(ctx, who, did); err != nil {
		return err
	}
	released := false
	err = c.hand(ctx, did, func() error {
		_, err := c.things.Release(ctx, who, did)
		released = err == nil
		return err
	})
	if released && gone(err) { // it has no account
		return nil
	}
	return wrap("release device", did, err)
}

// rouse has Run look again soon.
func (c *Claims) rouse() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run finishes what a crash, or trouble of the store, has left of changes of owners, and forgets offers that are over, until ctx
// ends.
func (c *Claims) Run(ctx context.Context) error {
	for listed := false; ctx.Err() == nil; {
		next := time.Hour
		err := errors.Join(c.finish(ctx), c.expire(ctx))
		if !listed {
			relisted := c.relist(ctx)
			listed = relisted == nil
			err = errors.Join(err, relisted)
		}
		if err != nil && ctx.Err() == nil {
			c.things.log.Warn("changes of owners, or offers that are over, not attended to, and will be", "err", err)
			next = time.Minute
		}
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-c.wake:
			pause(ctx, time.Second)
		}
		timer.Stop()
	}
	return nil
}

// finish settles whose those devices are that were about to change owner.
func (c *Claims) finish(ctx context.Context) error {
	const page = 500
	left, err := c.records.DueBy(ctx, kindHanding, c.now().UnixMilli(), page)
	for _, r := range left {
		err = errors.Join(err, c.finishOne(ctx, r))
	}
	return err
}

func (c *Claims) finishOne(ctx context.Context, r records.Record) error {
	did := accounts.Name(r.Scope)
	leave, err := c.turns.take(ctx, did) // who is at it takes the note away himself
	if err != nil {
		return err
	}
	defer leave()
	if _, err := c.records.Record(ctx, r.Key); errors.Is(err, records.ErrNone) {
		return nil
	}
	err = c.settle(ctx, did)
	if err == nil || gone(err) {
		err = c.records.Remove(ctx, r.Key, r.Rev)
	}
	if err != nil {
		return fmt.Errorf("whose %s is: %w", did, err)
	}
	return nil
}
