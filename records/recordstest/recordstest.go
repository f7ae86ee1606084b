// Package recordstest has what tests need that keep records.
package recordstest

import (
	"context"
	"sync/atomic"

	"github.com/magpie-im/magpie/records"
)

// Counting is a store that counts what it is asked, and told one by one.
type Counting struct {
	records.Store
	n atomic.Int64
}

// N is how often that was.
func (c *Counting) N() int64 { return c.n.Load() }

// Record implements records.Store.
func (c *Counting) Record(ctx context.Context, k records.Key) (records.Record, error) {
	c.n.Add(1)
	return c.Store.Record(ctx, k)
}

// Put implements records.Store.
func (c *Counting) Put(ctx context.Context, r records.Record) error {
	c.n.Add(1)
	return c.Store.Put(ctx, r)
}

// Remove implements records.Store.
func (c *Counting) Remove(ctx context.Context, k records.Key, rev uint64) error {
	c.n.Add(1)
	return c.Store.Remove(ctx, k, rev)
}

// Records implements records.Store.
func (c *Counting) Records(ctx context.Context, kind, scope, after string, limit int) ([]records.Record, error) {
	c.n.Add(1)
	return c.Store.Records(ctx, kind, scope, after, limit)
}

// All implements records.Store.
func (c *Counting) All(ctx context.Context, kind string, after records.Key, limit int) ([]records.Record, error) {
	c.n.Add(1)
	return c.Store.All(ctx, kind, after, limit)
}

// DueBy implements records.Store.
func (c *Counting) DueBy(ctx context.Context, kind string, by int64, limit int) ([]records.Record, error) {
	c.n.Add(1)
	return c.Store.DueBy(ctx, kind, by, limit)
}
