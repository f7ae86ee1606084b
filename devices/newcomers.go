package devices

import (
	"context"
	"slices"
	"sync"

	"github.com/magpie-im/magpie/accounts"
)

// newcomers are those who may see a device since a moment ago, and were not told what it is. Its zero value is empty.
type newcomers struct {
	mu sync.Mutex
	of map[accounts.Name][]accounts.Name
}

// add notes who sees a thing by a change. It says whether anybody does.
func (n *newcomers) add(before, after Thing) bool {
	seers := slices.DeleteFunc(after.Seers(), func(who accounts.Name) bool { return slices.Contains(before.Seers(), who) })
	n.put(after.ID, seers)
	return len(seers) > 0
}

func (n *newcomers) put(did accounts.Name, who []accounts.Name) {
	if len(who) == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.of == nil {
		n.of = map[accounts.Name][]accounts.Name{}
	}
	for _, name := range who {
		if !slices.Contains(n.of[did], name) {
			n.of[did] = append(n.of[did], name)
		}
	}
}

func (n *newcomers) take(did accounts.Name) []accounts.Name {
	n.mu.Lock()
	defer n.mu.Unlock()
	who := n.of[did]
	delete(n.of, did)
	return who
}

// greet tells newcomers what a device is: they may have subscribed to all that they see before they saw it. It is for who has the
// device to himself.
func (s *Service) greet(ctx context.Context, did accounts.Name) error {
	waiting := s.newcomers.take(did)
	for i, who := range waiting {
		all := func(Topic) bool { return true }
		err := s.nowInTurn(ctx, who, did, all, func(t Topic, payload []byte) bool {
			s.router.Tell([]accounts.Name{who}, t, payload)
			return true
		})
		if err != nil {
			s.newcomers.put(did, waiting[i:])
			return err
		}
	}
	return nil
}
