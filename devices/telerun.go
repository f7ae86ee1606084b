package devices

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// teleTidy is how often hours are sealed.
	teleTidy = time.Minute
	// teleLate is how long after its end an hour is sealed: what comes later opens it again.
	teleLate = 2 * time.Minute
	// teleBlocks is from how many blocks on an hour is made one block before it is over.
	teleBlocks = 1000
	telePage   = 500
)

// Run writes the rollups of hours that are over, and forgets what is too old. It returns nil when ctx ends. It is called once.
func (t *Telemeter) Run(ctx context.Context) error {
	tick := time.NewTicker(teleTidy)
	defer tick.Stop()
	purged := Hour(-1)
	for {
		now := t.now()
		err := t.tidy(ctx, now, purged)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			t.log.Warn("telemetry is not tidy, and will be", "err", err)
		default:
			purged = HourOf(now.UnixMilli())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// tidy seals what is over. Once in an hour it purges: first nothing more is accepted, then what is there is sealed, then it goes.
func (t *Telemeter) tidy(ctx context.Context, now time.Time, purged Hour) error {
	hour := HourOf(now.UnixMilli())
	if purged == hour {
		return errors.Join(t.sealOver(ctx, now), t.sealBusy(ctx))
	}
	floor, err := t.store.RaiseFloor(ctx, HourOf(max(0, now.Add(-t.cfg.Raw).UnixMilli())))
	if err != nil {
		return fmt.Errorf("raise the floor: %w", err)
	}
	t.mu.Lock()
	t.floor = floor
	t.mu.Unlock()
	if err := errors.Join(t.sealOver(ctx, now), t.sealBusy(ctx)); err != nil {
		return err
	}
	if err := t.store.PurgePoints(ctx, t.minutesFloor(now)); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	return nil
}

// minutesFloor gives the first hour of which there are rollups of minutes.
func (t *Telemeter) minutesFloor(now time.Time) Hour {
	return HourOf(max(0, now.Add(-t.cfg.Minutes).UnixMilli()))
}

// sealOver seals hours that are over. One that cannot be is left for the next time.
func (t *Telemeter) sealOver(ctx context.Context, now time.Time) error {
	before := HourOf(now.Add(-teleLate).UnixMilli())
	var after OpenHour
	var failed error
	for {
		page, err := t.store.OpenHours(ctx, after, telePage)
		if err != nil {
			return fmt.Errorf("look for hours to seal: %w", errors.Join(err, failed))
		}
		for _, o := range page {
			if o.Hour >= before {
				return failed
			}
			if err := t.seal(ctx, o); err != nil {
				failed = err
			}
			after = o
		}
		if len(page) < telePage || ctx.Err() != nil {
			return failed
		}
	}
}

func (t *Telemeter) seal(ctx context.Context, o OpenHour) error {
	if err := t.store.Seal(ctx, o); err != nil {
		return fmt.Errorf("seal hour %s of %s: %w", o.Hour, o.Device, err)
	}
	t.counts.sealed.Inc()
	return nil
}

// sealBusy makes one block of many, and forgets how much has come of hours that are over, unless they are of those that
// still fill.
func (t *Telemeter) sealBusy(ctx context.Context) error {
	over := HourOf(t.now().Add(-teleLate).UnixMilli())
	var many []OpenHour
	t.mu.Lock()
	for o, b := range t.busy {
		switch {
		case b.blocks >= teleBlocks:
			many = append(many, o)
			b.blocks = 0
		case b.blocks == 0 && o.Hour < over: // nothing has come since the last time
			delete(t.busy, o)
		case o.Hour < over:
			b.blocks = 0
		}
	}
	t.mu.Unlock()
	var failed error
	for _, o := range many {
		if err := t.seal(ctx, o); err != nil {
			failed = err
		}
	}
	return failed
}
