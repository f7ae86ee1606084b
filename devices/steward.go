package devices

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/magpie-im/magpie/accounts"
)

// TypeHomeAssistant is the Type of a thing that looks after the others in its home, as a program like Home Assistant does: it may see
// and control what its owner may there.
const TypeHomeAssistant = "homeassistant"

// Mounted says whether a thing speaks for others, on topics that are those of its home.
func (t Thing) Mounted() bool {
	return !t.Gone && t.Home != "" && (t.Type == TypeBridge || t.Type == TypeHomeAssistant)
}

// Mount gives the home on whose topics a device speaks; empty: on none, because it speaks for nobody, or because its owner is no more
// than a guest there. What is no device has none.
func (s *Things) Mount(ctx context.Context, did accounts.Name) (home string, err error) {
	t, err := s.thing(ctx, did)
	if err == nil && t.Mounted() {
		var role HomeRole
		if role, err = s.role(ctx, t.Home, t.Owner); err == nil && role.allows(VerbControl) {
			return t.Home, nil
		}
	}
	return "", wrap("mount of", did, known(err))
}

// steward says whether somebody is a thing that looks after a home, and lets it do something there.
func (s *Things) steward(ctx context.Context, who accounts.Name, home string, v Verb) (bool, error) {
	if home == "" || v == VerbManage {
		return false, nil
	}
	t, err := s.thing(ctx, who)
	if err != nil {
		return false, known(err)
	}
	if t.Type != TypeHomeAssistant || t.Home != home {
		return false, nil
	}
	role, err := s.role(ctx, home, t.Owner)
	return role.allows(v), err
}

// Stewards gives the things that look after a home now, in order.
func (s *Things) Stewards(ctx context.Context, home string) (all []accounts.Name, err error) {
	if home == "" {
		return nil, nil
	}
	list, err := s.kept.of(home, func() (list []Thing, err error) {
		for t, err := range s.in(ctx, home, "") {
			if err != nil {
				return nil, fmt.Errorf("things in %s: %w", home, err)
			}
			if t.Type == TypeHomeAssistant {
				list = append(list, t)
			}
		}
		return list, nil
	})
	for _, t := range list {
		var role HomeRole
		if role, err = s.role(ctx, home, t.Owner); err != nil {
			return nil, err
		}
		if role.allows(VerbSee) {
			all = append(all, t.ID)
		}
	}
	return all, err
}

// maxKeptHomes bounds the homes of which it is in memory who looks after them.
const maxKeptHomes = 10_000

// keptStewards remembers which things look after homes: what each of them says is told to those. Its zero value is empty.
type keptStewards struct {
	mu      sync.Mutex
	homes   map[string][]Thing
	changes uint64 // what was read before one is not remembered after it
}

func (k *keptStewards) of(home string, read func() ([]Thing, error)) ([]Thing, error) {
	k.mu.Lock()
	list, ok := k.homes[home]
	changes := k.changes
	k.mu.Unlock()
	if ok {
		return list, nil
	}
	list, err := read()
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if changes == k.changes {
		if len(k.homes) >= maxKeptHomes || k.homes == nil {
			k.homes = map[string][]Thing{}
		}
		k.homes[home] = list
	}
	return list, nil
}

// changed forgets what is not so any more.
func (k *keptStewards) changed(before, after Thing) {
	if before.Type != TypeHomeAssistant && after.Type != TypeHomeAssistant {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.changes++
	for _, home := range slices.Compact([]string{before.Home, after.Home}) {
		delete(k.homes, home)
	}
}
