package spaces

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
)

// What is written in a home is listened to from the first text on that begins with "@": message after message, from where it was
// listened to last. Where that is, is kept when a thing was told something, and now and then.

// earRow is how far a home was listened to.
type earRow struct {
	Seq uint64 `json:"seq"`
}

// ear is that in memory. Whoever listens to the home has it to himself.
type ear struct {
	seq, saved uint64
	rev        uint64
}

const (
	pageOfLines = 64
	// saveEars is after how many messages it is kept how far a home was listened to, if nothing is said to its things.
	saveEars = 256
)

func earKey(home string) records.Key { return records.Key{Kind: keptEar, Scope: home, ID: theOne} }

// Expect is that of chat.Listener.
func (v *Voice) Expect(ctx context.Context, c chat.Conversation) error {
	home := string(c)
	v.mu.Lock()
	known := v.ears[home] != nil
	v.mu.Unlock()
	if known {
		return nil
	}
	_, head, err := v.chat.Lines(ctx, c, 0, 0)
	if err != nil {
		return err
	}
	first := write(ctx, v.kept, earKey(home), 0, 0, earRow{head})
	row, rev, err := read[earRow](ctx, v.kept, earKey(home)) // another one may have been first
	if err == nil && rev == 0 {
		err = first
	}
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ears[home] == nil {
		v.ears[home] = &ear{seq: row.Seq, saved: row.Seq, rev: rev}
	}
	return nil
}

// forgetEar forgets how far a home was listened to that has ended.
func (v *Voice) forgetEar(ctx context.Context, home string) error {
	v.mu.Lock()
	delete(v.ears, home)
	v.mu.Unlock()
	return v.kept.RemoveScope(ctx, keptEar, home)
}

func (v *Voice) keptEars() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Collect(maps.Keys(v.ears))
}

// Wrote is that of chat.Listener.
func (v *Voice) Wrote(c chat.Conversation, _ *chat.Message) {
	v.mu.Lock()
	known := v.ears[string(c)] != nil
	v.mu.Unlock()
	if known {
		v.heard.add(string(c))
	}
}

// listen listens to what was written in a home.
func (v *Voice) listen(ctx context.Context, home string) error {
	v.mu.Lock()
	e := v.ears[home]
	v.mu.Unlock()
	if e == nil { // it has ended
		return nil
	}
	for {
		lines, head, err := v.chat.Lines(ctx, chat.Conversation(home), e.seq, pageOfLines)
		if err != nil {
			return err
		}
		for i := range lines {
			a, err := v.hear(ctx, home, &lines[i])
			if err != nil {
				return fmt.Errorf("message %d: %w", lines[i].Seq, err)
			}
			seq := lines[i].Seq
			if a != nil || seq-e.saved >= saveEars {
				if err := v.save(ctx, home, e, seq); err != nil { // and it is heard again
					return err
				}
			}
			e.seq = seq
			if a != nil && v.told != nil {
				v.told(a.device, lines[i].MID)
			}
			if a != nil { // it cannot be done and forgotten before it is known that it was heard
				v.give(a)
			}
		}
		if len(lines) == 0 {
			e.seq = max(e.seq, head) // what was there is gone
			return nil
		}
	}
}

func (v *Voice) save(ctx context.Context, home string, e *ear, seq uint64) error {
	if err := rewrite(ctx, v.kept, earKey(home), &e.rev, 0, earRow{seq}); err != nil {
		return err
	}
	e.saved = seq
	return nil
}

// hear keeps what a message tells a thing; nil: nothing.
func (v *Voice) hear(ctx context.Context, home string, m *chat.Message) (*answer, error) {
	text, ok := m.Said()
	if !ok {
		return nil, nil
	}
	l, ok := ParseLine(text)
	if !ok {
		return nil, nil
	}
	named, err := v.named(ctx, home, m.From, l.Name)
	if err != nil || len(named) == 0 {
		return nil, err
	}
	row := answerRow{
		Home: home, Line: m.Seq, ID: m.ID, By: m.From, TS: m.TS, Order: l.Order, Epoch: named[0].Epoch,
	}
	if len(named) > 1 {
		row.Order = Order{}
		for _, t := range named {
			row.Which = append(row.Which, t.ID)
		}
	}
	return v.take(ctx, named[0], row)
}

// named gives the things in a home that somebody may see and calls so: one, or, by their titles, more.
func (v *Voice) named(ctx context.Context, home string, who accounts.Name, name string) (some []devices.Thing, err error) {
	if did, err := accounts.ParseDevice(name); err == nil {
		t, err := v.seen(ctx, home, who, did)
		if err != nil || t.ID != "" {
			return []devices.Thing{t}, err
		}
	}
	for t, err := range v.things.In(ctx, home) {
		if err != nil {
			return nil, fmt.Errorf("things in %s: %w", home, err)
		}
		if t.Title == "" || Slug(t.Title) != name {
			continue
		}
		if t, err = v.seen(ctx, home, who, t.ID); err != nil {
			return nil, err
		}
		if t.ID != "" {
			some = append(some, t)
		}
	}
	return some, nil
}

// seen gives a thing in a home that somebody may see; a zero value: there is none, as far as he may know.
func (v *Voice) seen(ctx context.Context, home string, who, did accounts.Name) (devices.Thing, error) {
	t, err := v.fleet.May(ctx, who, did, devices.VerbSee)
	switch {
	case errors.Is(err, devices.ErrUnknown), errors.Is(err, devices.ErrNoRight):
		return devices.Thing{}, nil
	case err != nil:
		return devices.Thing{}, err
	case t.Home != home:
		return devices.Thing{}, nil
	}
	return t, nil
}

// help says what can be said to a thing.
func help(which []accounts.Name) string {
	if len(which) == 0 {
		return "on, off, toggle, set KEY VALUE, call NAME {JSON}"
	}
	var names []string
	for _, did := range which {
		names = append(names, "@"+string(did))
	}
	return "which one? " + strings.Join(names, ", ")
}
