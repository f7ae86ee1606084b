package locations

import (
	"context"
	"hash/maphash"

	"github.com/magpie-im/magpie/accounts"
)

// turns lets one at a time change what an account has said, so that its bounds hold, and what is in memory is what is stored.
// Accounts that share a turn wait for each other; nobody takes two.
type turns struct {
	seed maphash.Seed
	held [64]chan struct{} // each has room for the one who has it
}

func (t *turns) init() {
	t.seed = maphash.MakeSeed()
	for i := range t.held {
		t.held[i] = make(chan struct{}, 1)
	}
}

// take gives an account, or a home, to the caller until he calls the returned function. He may wait for the store.
func (t *turns) take(ctx context.Context, who accounts.Name) (leave func(), err error) {
	mine := t.held[maphash.String(t.seed, string(who))%uint64(len(t.held))]
	select {
	case mine <- struct{}{}:
		return func() { <-mine }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
