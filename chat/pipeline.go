package chat

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/magpie-im/magpie/accounts"
)

// Pipeline is what one sender sends, one message after the other, without waiting for what becomes of each: see [Service.Begin].
// Its zero value is ready. Begin and Wait are for one goroutine, the rest is safe for concurrent use.
type Pipeline struct {
	failed  atomic.Bool   // the store could not serve: what comes later must not overtake what the sender will send again
	careful atomic.Bool   // a message was refused that may yet be let in: what comes later waits for what becomes of it
	last    chan struct{} // is closed when everything that was begun is finished; nil: nothing was
}

// Wait waits until everything that was begun is finished, and says whether the pipeline has failed: an error that wraps
// ErrUnavailable.
func (p *Pipeline) Wait() error {
	if p.last != nil {
		<-p.last
	}
	return p.broken()
}

// idle says whether nothing is under way.
func (p *Pipeline) idle() bool {
	if p.last == nil {
		return true
	}
	select {
	case <-p.last:
		return true
	default:
		return false
	}
}

func (p *Pipeline) broken() error {
	if p.failed.Load() {
		return fmt.Errorf("a message before this one failed: %w", ErrUnavailable)
	}
	return nil
}

// errHeld means that a message is to be sent when what was sent before it is finished.
var errHeld = errors.New("waits for a message before it")

// Pass says whether a message of the pipeline may be let in now. It is called, as Note is, by whoever decides about messages in
// a conversation, in their order.
func (p *Pipeline) Pass() error {
	if err := p.broken(); err != nil {
		return err
	}
	if p.careful.Load() {
		return errHeld
	}
	return nil
}

// Note notes an error of a message of the pipeline before anything is decided about those that come later.
func (p *Pipeline) Note(err error) {
	switch {
	case errors.Is(err, ErrUnavailable), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		p.failed.Store(true)
	case mayBeStranger(err):
		p.careful.Store(true)
	}
}

// Pipelined is a Store that has to ask a database what Append answers.
type Pipelined interface {
	Store
	// Begin is Append for who goes on: d has its place behind what was begun before in the same pipeline and conversation, and
	// done is called once with what Append gives, when that is durable. It must not block. Each message is let in as p.Pass
	// says, and its error given to p.Note. d.Origin is nil.
	Begin(d Draft, p *Pipeline, done func(Appended, error))
}

// Begin is Send for who goes on with the next message: those of one pipeline are stored in the order of the calls, and what
// became of each is given by finish, which blocks, and has to be called for each of them, in their order. As soon as one fails
// with ErrUnavailable, those of the pipeline that come later do so too. nil: this is nothing that waits for a database, and Send
// is to be used, after p.Wait.
func (s *Service) Begin(ctx context.Context, from accounts.Name, to Target, c Content, p *Pipeline) (
	finish func() (Sent, Commit, error),
) {
	store, is := s.store.(Pipelined)
	if !is {
		return nil
	}
	m, err := s.prepare(ctx, from, to, c, nil)
	if m.likes > 0 {
		return nil
	}
	if p.idle() {
		p.careful.Store(false)
	}
	finished := make(chan struct{})
	p.last = finished
	known := make(chan error, 1)
	var stored Appended
	if err != nil {
		p.Note(err)
		known <- err
	} else {
		store.Begin(m.Draft, p, func(a Appended, err error) {
			if stored = a; err == nil {
				s.tellStored(a)
			}
			known <- err
		})
	}
	return func() (sent Sent, commit Commit, err error) {
		defer close(finished)
		err = <-known
		if again := errors.Is(err, errHeld) || m.peer != "" && mayBeStranger(err); !again {
			return s.sent(ctx, m, stored, nil, err)
		}
		if err = p.broken(); err == nil {
			sent, commit, err = s.post(ctx, m)
		}
		p.Note(err)
		return sent, commit, err
	}
}
