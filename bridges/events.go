package bridges

import (
	"context"
	"errors"

	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/devices/dialects"
)

// maxHappened is how many events one message may be: a bridge could say that all of its devices have them on one topic.
const maxHappened = 16

// happen has events of devices be what a message says has happened.
func (s *Service) happen(ctx context.Context, b *bridge, topic string, payload *dialects.Payload) error {
	type happened struct {
		device *device
		kind   string
	}
	known := map[happened]bool{}
	var errs []error
	for d := range b.heard[topic] {
		for _, o := range d.events {
			if o.Topic != topic {
				continue
			}
			if kind, ok := o.From(payload); ok && len(known) < maxHappened {
				known[happened{d, kind}] = true
			}
		}
	}
	for x := range known {
		speaks, err := s.things.Speaks(ctx, b.did, x.device.Device)
		if err != nil || !speaks { // it is somebody else's
			errs = append(errs, err)
			continue
		}
		h := devices.Happening{Type: x.kind, Severity: devices.Info}
		if _, _, err := s.work.Happen(ctx, x.device.Device, h); err != nil && !errors.Is(err, devices.ErrUnknown) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
