package sessions

import (
	"context"
	"errors"
	"fmt"
)

// answer is what one packet of the client is answered with, once its commit is durable.
type answer struct {
	kind    answerKind
	id      uint16
	counted bool // it is one of Link.unacked
	commit  Commit
	reply   Reply
	print   [32]byte // fingerprint of a PUBLISH
	codes   []byte   // of a SUBACK or UNSUBACK
	deliver func()   // called when the commit is durable, before the answer is written; nil: nothing
	done    func(error)
	later   func() Outcome // gives what is not known yet; nil: everything is
}

// ended is an answer that has become the end of the connection, because nothing was decided.
func (a answer) ended(o Outcome, err error) answer {
	a.kind, a.reply, a.commit, a.deliver, a.done = answerEnd, Reply{Reason: o.Fatal}, nil, nil, nil
	if o.Done != nil {
		a.done = func(error) { o.Done(err) }
	}
	return a
}

// settled is an answer when the outcome is known that was to come later.
func (a answer) settled() answer {
	if a.later == nil {
		return a
	}
	o := a.later()
	if o.Fatal != 0 {
		return a.ended(o, undecided(o))
	}
	a.commit, a.reply, a.deliver, a.done = o.Commit, o.Reply, o.Deliver, o.Done
	return a
}

func undecided(o Outcome) error { return fmt.Errorf("not decided, reason %#x: %w", o.Fatal, ErrClosed) }

type answerKind byte

const (
	answerNothing  answerKind = iota // only done is called
	answerPublish1                   // PUBACK
	answerPublish2                   // PUBREC
	answerRelease                    // PUBCOMP
	answerSubscribe
	answerUnsubscribe
	answerEnd // DISCONNECT with reply.Reason, and nothing after it
)

// answers is a FIFO of the answers of a Link. They are written in the order in which the packets came (MQTT 5, 4.6). It is
// bounded by Config.Inbound: the reader waits for room.
type answers struct {
	fifo[answer]
	writing bool // somebody takes from the FIFO: the goroutine, which exists only while there is something in it
}

// pending says whether a PUBLISH of QoS 1 with this id and content waits for its PUBACK.
func (q *answers) pending(id uint16, print [32]byte) bool {
	for _, a := range q.all() {
		if a.kind == answerPublish1 && a.id == id && a.print == print {
			return true
		}
	}
	return false
}

// place waits until the FIFO has room. An error means that the link is at its end. Only the reader adds to the FIFO, so
// that the room is still there when it does.
func (l *Link) place(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case l.closed:
			return ErrClosed
		case !l.endingLocked() && l.answers.len() < l.registry.cfg.Inbound:
			return nil
		}
		// At the end nothing is taken in; the reader waits here, because if it left, the connection would end
		// before the last answers are written.
		if err := l.awaitLocked(ctx); err != nil {
			return err
		}
	}
}

// answer puts a into the FIFO, or writes it at once if nothing has to be waited for.
func (l *Link) answer(a answer) {
	l.mu.Lock()
	if a.counted {
		l.unacked++
	}
	known := a.commit == nil && a.later == nil
	if known && !l.answers.writing && a.deliver != nil {
		// Only the reader adds to the FIFO, so that nothing overtakes while the lock is given up.
		l.mu.Unlock()
		a.deliver()
		a.deliver = nil
		l.mu.Lock()
	}
	if known && !l.answers.writing && !l.closed && !l.overfullLocked() {
		reason := l.writeLocked(a, nil)
		l.mu.Unlock()
		l.finish(a, nil, reason)
		return
	}
	l.pushLocked(a)
	l.mu.Unlock()
}

func (l *Link) pushLocked(a answer) {
	l.answers.push(a)
	if !l.answers.writing {
		l.answers.writing = true
		l.running.Add(1)
		go l.writeAnswers()
	}
}

// shutDown tells the client, after the answers that it still gets, that the server goes.
func (l *Link) shutDown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.draining {
		return
	}
	l.draining = true
	l.pushLocked(answer{kind: answerEnd, reply: Reply{Reason: reasonShuttingDown}})
	l.notifyLocked()
}

// writeAnswers takes from the FIFO until it is empty. It goes on when the connection has ended, because Done is called
// for every answer, and what is durable and could not be written is remembered.
func (l *Link) writeAnswers() {
	defer l.running.Done()
	l.mu.Lock()
	for l.answers.len() > 0 {
		a := *l.answers.front()
		l.mu.Unlock()
		a = a.settled()
		err := wait(context.Background(), a.commit) // the store ends it, one way or the other
		if err == nil && a.deliver != nil {
			a.deliver()
		}
		l.mu.Lock()
		for l.overfullLocked() {
			_ = l.awaitLocked(context.Background())
		}
		reason := l.writeLocked(a, err)
		l.answers.pop(8)
		l.notifyLocked()
		l.mu.Unlock()
		l.finish(a, err, reason)
		l.mu.Lock()
	}
	l.answers.writing = false
	l.mu.Unlock()
}

// overfullLocked says whether the client reads so little that even answers have to wait. At the end they do not.
func (l *Link) overfullLocked() bool {
	if l.closed || l.endingLocked() || l.wire.Buffered() <= 2*l.registry.cfg.HighWater {
		return false
	}
	return l.fullLocked()
}

// endingLocked says whether the connection ends as soon as the answers are written that wait.
func (l *Link) endingLocked() bool { return l.draining || l.dismissed != 0 }

// finish is what follows an answer, outside of the lock.
func (l *Link) finish(a answer, err error, reason byte) {
	if reason != 0 {
		l.wire.Disconnect(reason)
	}
	if a.done != nil {
		a.done(err)
	}
}

// writeLocked writes an answer. err is that of its commit. A reason other than 0 means that sending has been ended, and
// that the caller has to disconnect with it.
func (l *Link) writeLocked(a answer, err error) (reason byte) {
	if a.counted { // before the client can see the answer and send another
		l.unacked--
	}
	if err != nil {
		if l.closed {
			return 0
		}
		l.closeLocked()
		return reasonBusy
	}
	switch a.kind {
	case answerPublish1:
		l.answerPublishLocked(a, Puback)
	case answerPublish2:
		l.answerPublishLocked(a, Pubrec)
	case answerRelease:
		l.ackLocked(Ack{Kind: Pubcomp, ID: a.id, Reason: a.reply.Reason})
	case answerSubscribe:
		if !l.closed && l.wire.Suback(a.id, a.codes) != nil {
			l.closeLocked()
		}
		l.openSeatsLocked()
		l.moveLocked()
	case answerUnsubscribe:
		if !l.closed && l.wire.Unsuback(a.id, a.codes) != nil {
			l.closeLocked()
		}
	case answerEnd:
		if !l.closed {
			l.closeLocked()
			return a.reply.Reason
		}
	}
	return 0
}

// answerPublishLocked writes the event of a reply and then the ack. What does not reach the wire is kept for the client's
// next connection.
func (l *Link) answerPublishLocked(a answer, kind AckKind) {
	if !l.closed && a.reply.Event != nil {
		l.eventLocked(a.reply.Event)
	}
	if !l.closed {
		ack := Ack{Kind: kind, ID: a.id, Reason: a.reply.Reason, Text: a.reply.Text, User: a.reply.User}
		err := l.wire.Ack(ack)
		if errors.Is(err, ErrPacketSize) { // then it goes without (MQTT 5, 3.4.2.2.2)
			ack.Text, ack.User = "", nil
			err = l.wire.Ack(ack)
		}
		if err == nil {
			return
		}
		l.closeLocked()
	}
	if l.persistent {
		l.unwritten = append(l.unwritten, Answered{ID: a.id, Fingerprint: a.print, Reply: a.reply})
	}
}
