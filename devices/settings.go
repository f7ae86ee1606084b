package devices

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/magpie-im/magpie/accounts"
)

// ThingPatch is what somebody says of a thing; nil: as it was.
type ThingPatch struct {
	Type   *string
	Model  *string
	Title  *string
	Home   *string // "": none; with another one, and no Room, its room is none
	Room   *string
	Tags   *[]string
	Serial *bool
	Sleepy *bool
	Bridge *accounts.Name // "": it is connected by itself
}

// Set changes what is known of a thing. Who may manage it may, but only its owner may move it into a home, which he has to manage
// too. ErrUnknown, ErrNoRight, ErrMalformed.
func (s *Things) Set(ctx context.Context, who, did accounts.Name, p ThingPatch) (Thing, error) {
	t, err := s.change(ctx, did, func(t *Thing) error {
		if err := s.allow(ctx, who, *t, VerbManage); err != nil {
			return err
		}
		return s.patch(ctx, who, t, p)
	})
	return t, wrap("set device", did, err)
}

// patch changes t as p says, after who was found to manage it.
func (s *Things) patch(ctx context.Context, who accounts.Name, t *Thing, p ThingPatch) error {
	for _, f := range []struct {
		name string
		to   *string
		from *string
	}{{"type", &t.Type, p.Type}, {"model", &t.Model, p.Model}, {"title", &t.Title, p.Title}} {
		if f.from == nil {
			continue
		}
		if err := label(f.name, *f.from); err != nil {
			return err
		}
		*f.to = *f.from
	}
	if p.Tags != nil {
		tags, err := tagsOf(*p.Tags)
		if err != nil {
			return err
		}
		t.Tags = tags
	}
	if p.Serial != nil {
		t.Serial = *p.Serial
	}
	if p.Sleepy != nil {
		t.Sleepy = *p.Sleepy
	}
	if p.Bridge != nil {
		if err := s.mayBridge(ctx, who, t.ID, *p.Bridge); err != nil {
			return err
		}
		t.Bridge = *p.Bridge
	}
	return s.move(ctx, who, t, p)
}

// mayBridge checks that who manages a thing may have it be connected through another one, which speaks for it then: he has to
// manage that, too, and it has to be a bridge that is connected by itself.
func (s *Things) mayBridge(ctx context.Context, who, did, bridge accounts.Name) error {
	if bridge == "" {
		return nil
	}
	t, err := s.thing(ctx, bridge)
	if err == nil {
		err = s.allow(ctx, who, t, VerbManage)
	}
	switch {
	case err != nil:
		return fmt.Errorf("bridge %.80s: %w", bridge, err)
	case t.Type != TypeBridge || t.Bridge != "" || bridge == did:
		return fmt.Errorf("bridge %s: %w", bridge, ErrMalformed)
	}
	return nil
}

// Speaks says whether a device may say something for another one: it is the bridge through which that is connected.
func (s *Things) Speaks(ctx context.Context, bridge, did accounts.Name) (bool, error) {
	t, err := s.thing(ctx, did)
	if err != nil || t.Bridge != bridge || bridge == "" {
		return false, known(err)
	}
	b, err := s.thing(ctx, bridge)
	return err == nil && b.Type == TypeBridge, known(err)
}

// move has a thing be in another home, or room.
func (s *Things) move(ctx context.Context, who accounts.Name, t *Thing, p ThingPatch) error {
	if p.Home != nil && *p.Home != t.Home {
		if err := s.mayMove(ctx, who, *t, *p.Home); err != nil {
			return err
		}
		t.Home, t.Room, t.Moved = *p.Home, "", 0
		if t.Home != "" {
			t.Moved = s.now().UnixMilli()
		}
	}
	if p.Room == nil {
		return nil
	}
	if err := label("room", *p.Room); err != nil {
		return err
	}
	if *p.Room != "" && t.Home == "" {
		return fmt.Errorf("a room of no home: %w", ErrMalformed)
	}
	t.Room = *p.Room
	return nil
}

// mayMove checks that who manages a thing may have it be in a home. One that he is not in is as one that there is not.
func (s *Things) mayMove(ctx context.Context, who accounts.Name, t Thing, home string) error {
	if home == "" {
		return nil
	}
	if err := label("home", home); err != nil {
		return err
	}
	switch role, err := s.role(ctx, home, who); {
	case err != nil:
		return err
	case role == HomeNone:
		return fmt.Errorf("home %.80s: %w", home, ErrUnknown)
	case !role.allows(VerbManage) || who != t.Owner:
		return fmt.Errorf("move into %s: %w", home, ErrNoRight)
	}
	return nil
}

// label checks what people call something.
func label(field, s string) error {
	switch {
	case len(s) > MaxLabel:
		return fmt.Errorf("%s: %d bytes: %w", field, len(s), ErrMalformed)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("%s: %w", field, ErrMalformed)
	}
	return nil
}

// tagsOf gives tags in order, each once.
func tagsOf(tags []string) ([]string, error) {
	for _, tag := range tags {
		if tag == "" {
			return nil, fmt.Errorf("an empty tag: %w", ErrMalformed)
		}
		if err := label("tag", tag); err != nil {
			return nil, err
		}
	}
	if len(tags) == 0 {
		return nil, nil
	}
	tags = slices.Clone(tags)
	slices.Sort(tags)
	if tags = slices.Compact(tags); len(tags) > MaxTags {
		return nil, fmt.Errorf("%d tags: %w", len(tags), ErrTooMany)
	}
	return tags, nil
}
