package backlogs

import "context"

// MinSweep is how many bytes are written at least between two sweeps that are not due by time; it is as many as there were after
// the last one if that is more.
const MinSweep = 64 << 20

// Pace says when a store is to sweep: what was published has to be swept one day. The zero value is that of a store that has just
// been opened.
type Pace struct{ written, after int64 }

// Wrote counts what is published, and says whether a sweep is due.
func (p *Pace) Wrote(bytes int64) bool {
	p.written += bytes
	return p.IsDue()
}

// IsDue says whether so much was published that a sweep is due.
func (p *Pace) IsDue() bool { return p.written > max(MinSweep, p.after) }

// Written is how much was published and not swept. A sweep begins with it.
func (p *Pace) Written() int64 { return p.written }

// Swept notes that a sweep is done: how much was written when it began, and how much it has left.
func (p *Pace) Swept(written, live int64) { p.written, p.after = p.written-written, live }

// Requests are sweeps that somebody waits for. Safe for concurrent use.
type Requests struct {
	asked chan Request
	ended chan struct{}
}

// Request is one of them.
type Request struct{ done chan error }

// NewRequests is ready for use.
func NewRequests() *Requests {
	return &Requests{asked: make(chan Request), ended: make(chan struct{})}
}

// Ask has a sweep made and waits for the end of it. It gives closed if the tender has ended.
func (r *Requests) Ask(ctx context.Context, closed error) error {
	request := Request{done: make(chan error, 1)}
	select {
	case r.asked <- request:
	case <-ctx.Done():
		return ctx.Err()
	case <-r.ended:
		return closed
	}
	select {
	case err := <-request.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-r.ended:
		return closed
	}
}

// Asked is where the tender takes requests from.
func (r *Requests) Asked() <-chan Request { return r.asked }

// Done tells who asked how the sweep went.
func (r Request) Done(err error) { r.done <- err }

// End says that the tender has ended.
func (r *Requests) End() { close(r.ended) }

// Ended is closed when the tender has ended.
func (r *Requests) Ended() <-chan struct{} { return r.ended }
