package devices

import (
	"context"
	"fmt"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// pathTele is where the last value of everything that a device measures is told.
const pathTele = "tele/last"

// SetTelemeter says who keeps what devices measure. It is called once, before Load; without it nobody does.
func (s *Service) SetTelemeter(t *Telemeter) { s.telemeter = t }

// Measure stores what a device has published of what it measures, and tells those who may see it its last values, if they have
// changed. Its errors are those of Telemeter.Record.
func (s *Service) Measure(ctx context.Context, did accounts.Name, payload []byte) (Recorded, error) {
	return s.MeasureAt(ctx, did, payload, s.now())
}

// MeasureAt is Measure of what has come at a time: what has no time of its own is of that one. The same again changes nothing.
func (s *Service) MeasureAt(ctx context.Context, did accounts.Name, payload []byte, at time.Time) (Recorded, error) {
	leave, err := s.turns.take(ctx, did)
	if err != nil {
		return Recorded{}, fmt.Errorf("telemetry of %s: %w", did, err)
	}
	defer leave()
	thing, err := s.mayInTurn(ctx, did, did, VerbSee)
	if err != nil {
		return Recorded{}, fmt.Errorf("telemetry of %s: %w", did, err)
	}
	tell, err := s.measuredBefore(ctx, did)
	if err != nil {
		return Recorded{}, fmt.Errorf("telemetry of %s: %w", did, err)
	}
	recorded, err := s.telemeter.Record(ctx, did, payload, at)
	if err == nil && recorded.Last != nil {
		tell(thing, recorded.Last)
		s.router.Tell(s.viewers(ctx, thing), Topic{Device: did, Path: pathTele}, LastDocument(recorded.Last))
	}
	return recorded, err
}

// measuredNow gives what a device has measured last, if it has measured anything. More says whether give takes more.
func (s *Service) measuredNow(ctx context.Context, did accounts.Name, give func(Topic, []byte) bool) (more bool, err error) {
	if s.telemeter == nil {
		return true, nil
	}
	last, err := s.telemeter.Last(ctx, did)
	if err != nil || len(last) == 0 {
		return true, err
	}
	return give(Topic{Device: did, Path: pathTele}, LastDocument(last)), nil
}
