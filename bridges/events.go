package bridges

import (
	"context"
	"errors"

	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/devices/dialects"
)

// maxHappened is how many events one message may be: a bridge could say that all of its devices have them on one topic.
const maxHappened = 16

type occasion struct {
	device   *device
	occasion dialects.Occasion
}

// happen has events of devices be what a message says has happened.
func (s *Service) happen(ctx context.Context, b *bridge, topic string, payload *dialects.Payload) error {
	type happened struct {
		device *device
		kind   string
	}
	known := map[happened]bool{}
	var errs []error
	for _, o := range b.events[topic] {
		kind, ok := o.occasion.From(payload)
		x := happened{o.device, kind}
		if !ok || known[x] || len(known) == maxHappened {
			continue
		}
		known[x] = true
		if speaks, err := s.things.Speaks(ctx, b.did, o.device.Device); err != nil || !speaks { // it is somebody else's
			errs = append(errs, err)
			continue
		}
		h := devices.Happening{Type: kind, Severity: devices.Info}
		if _, _, err := s.work.Happen(ctx, o.device.Device, h); err != nil && !errors.Is(err, devices.ErrUnknown) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
