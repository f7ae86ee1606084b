package devices

import (
	"context"
	"sync"

	"github.com/magpie-im/magpie/accounts"
)

// turns gives everybody who has to do with a device the device to himself, one after the other. Who has it may wait for
// the store.
type turns struct {
	mu   sync.Mutex
	held map[accounts.Name]*turn // of the devices that somebody has or waits for
}

type turn struct {
	taken chan struct{} // has room for the one who has it
	users int           // him and those who wait; guarded by turns.mu
}

// take gives did to the caller until he calls the returned function.
func (t *turns) take(ctx context.Context, did accounts.Name) (leave func(), err error) {
	t.mu.Lock()
	if t.held == nil {
		t.held = map[accounts.Name]*turn{}
	}
	mine := t.held[did]
	if mine == nil {
		mine = &turn{taken: make(chan struct{}, 1)}
		t.held[did] = mine
	}
	mine.users++
	t.mu.Unlock()
	select {
	case mine.taken <- struct{}{}:
		return func() { <-mine.taken; t.leave(did, mine) }, nil
	case <-ctx.Done():
		t.leave(did, mine)
		return nil, ctx.Err()
	}
}

func (t *turns) leave(did accounts.Name, mine *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mine.users--; mine.users == 0 {
		delete(t.held, did)
	}
}
