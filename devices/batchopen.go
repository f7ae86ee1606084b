package devices

import (
	"context"
	"fmt"
)

// OpenBatch gives a batch, to who has shown its secret before. ErrUnknown: there is none, or it makes no devices any more.
func (f *Factory) OpenBatch(ctx context.Context, key string) (Batch, error) {
	b, err := f.batch(ctx, key)
	if err == nil && !b.Open(f.now().UnixMilli()) {
		err = fmt.Errorf("batch %s: %w", key, ErrUnknown)
	}
	return b, err
}
