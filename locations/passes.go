package locations

import (
	"context"

	"github.com/magpie-im/magpie/accounts"
)

// A pass is that somebody is seen exactly by a contact for a reason that ends by itself, as a trip does: it is beside what he
// shares with him. It has an id, and is in memory: whoever gives it gives it again after a start, before Run.

// Pass gives somebody a pass for where somebody's devices are.
func (s *Service) Pass(ctx context.Context, owner, to accounts.Name, id string) {
	x := &s.sharing
	x.mu.Lock()
	if x.passes[owner] == nil {
		x.passes[owner] = map[accounts.Name]map[string]bool{}
	}
	if x.passes[owner][to] == nil {
		x.passes[owner][to] = map[string]bool{}
	}
	if x.passed[to] == nil {
		x.passed[to] = map[accounts.Name]bool{}
	}
	x.passes[owner][to][id], x.passed[to][owner] = true, true
	x.forgetLocked(owner)
	x.mu.Unlock()
	s.again(ctx, owner, to)
}

// EndPass ends a pass: when it returns, nothing is told any more but what is shared besides.
func (s *Service) EndPass(ctx context.Context, owner, to accounts.Name, id string) {
	x := &s.sharing
	x.mu.Lock()
	delete(x.passes[owner][to], id)
	if len(x.passes[owner][to]) == 0 {
		delete(x.passes[owner], to)
		delete(x.passed[to], owner)
	}
	if len(x.passes[owner]) == 0 {
		delete(x.passes, owner)
	}
	if len(x.passed[to]) == 0 {
		delete(x.passed, to)
	}
	x.forgetLocked(owner)
	x.mu.Unlock()
	s.again(ctx, owner, to)
}
