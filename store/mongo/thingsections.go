package mongo

import (
	"context"

	"github.com/magpie-im/magpie/transfer"
)

func readThings(ctx context.Context, s *Store, p *page, after *transfer.Thing) error {
	return visit(ctx, s, thingsCollection, afterID(string(after.ID)), byID(1), func(d *thingDoc, size int) bool {
		return p.add(recordOf[transfer.Thing](d), size)
	})
}

func writeThings(ctx context.Context, s *Store, records []*transfer.Thing) error {
	docs := make([]any, len(records))
	for i, r := range records {
		d := docOf[thingDoc](r)
		d.find()
		docs[i] = d
	}
	return s.fill(ctx, thingsCollection, docs)
}

func readShadows(ctx context.Context, s *Store, p *page, after *transfer.Shadow) error {
	by := []string{"d", "name"}
	from := behind(by, string(after.Device), string(after.Name))
	return visit(ctx, s, shadowsCollection, from, fields(by...), func(d *shadowDoc, size int) bool {
		return p.add(recordOf[transfer.Shadow](d), size)
	})
}

func writeShadows(ctx context.Context, s *Store, records []*transfer.Shadow) error {
	docs := make([]any, len(records))
	for i, r := range records {
		d := docOf[shadowDoc](r)
		d.At = deviceKey{r.Device, string(r.Name)}
		docs[i] = d
	}
	return s.fill(ctx, shadowsCollection, docs)
}

func readCommands(ctx context.Context, s *Store, p *page, after *transfer.Command) error {
	by := []string{"d", "n"}
	from := behind(by, string(after.Device), int64(after.Order))
	return visit(ctx, s, commandsCollection, from, fields(by...), func(d *commandDoc, size int) bool {
		return p.add(recordOf[transfer.Command](d), size)
	})
}

func writeCommands(ctx context.Context, s *Store, records []*transfer.Command) error {
	docs := make([]any, len(records))
	for i, r := range records {
		d := docOf[commandDoc](r)
		d.At = deviceKey{r.Device, string(r.ID)}
		d.find()
		docs[i] = d
	}
	return s.fill(ctx, commandsCollection, docs)
}

func readEvents(ctx context.Context, s *Store, p *page, after *transfer.Event) error {
	by := []string{"d", "n"}
	from := behind(by, string(after.Device), int64(after.Order))
	return visit(ctx, s, eventsCollection, from, fields(by...), func(d *eventDoc, size int) bool {
		return p.add(recordOf[transfer.Event](d), size)
	})
}

// writeEvents is given them in their order: which is the last of a device is known when the next one comes, which may be in the
// next call.
func writeEvents(ctx context.Context, s *Store, records []*transfer.Event) error {
	docs := make([]any, len(records))
	for i, r := range records {
		d := docOf[eventDoc](r)
		d.At = deviceKey{r.Device, string(r.ID)}
		if i+1 == len(records) || records[i+1].Device != r.Device {
			d.Last, d.Newest = true, r.Device
		}
		docs[i] = d
	}
	if err := s.fill(ctx, eventsCollection, docs); err != nil {
		return err
	}
	d := deviceStore{s}
	for i, r := range records {
		if i == 0 || records[i-1].Device != r.Device {
			if _, err := d.demote(ctx, r.Device, int64(r.Order)); err != nil {
				return err
			}
		}
	}
	return nil
}

func readAlarms(ctx context.Context, s *Store, p *page, after *transfer.Alarm) error {
	by := []string{"d", "type"}
	from := behind(by, string(after.Device), string(after.Type))
	return visit(ctx, s, alarmsCollection, from, fields(by...), func(d *alarmDoc, size int) bool {
		return p.add(recordOf[transfer.Alarm](d), size)
	})
}

func writeAlarms(ctx context.Context, s *Store, records []*transfer.Alarm) error {
	docs := make([]any, len(records))
	for i, r := range records {
		d := docOf[alarmDoc](r)
		d.At = deviceKey{r.Device, string(r.Type)}
		docs[i] = d
	}
	return s.fill(ctx, alarmsCollection, docs)
}

func readPresences(ctx context.Context, s *Store, p *page, after *transfer.Presence) error {
	return visit(ctx, s, presencesCollection, afterID(string(after.Device)), byID(1), func(d *presenceDoc, size int) bool {
		return p.add(recordOf[transfer.Presence](d), size)
	})
}

func writePresences(ctx context.Context, s *Store, records []*transfer.Presence) error {
	docs := make([]any, len(records))
	for i, r := range records {
		d := docOf[presenceDoc](r)
		d.find()
		docs[i] = d
	}
	return s.fill(ctx, presencesCollection, docs)
}
