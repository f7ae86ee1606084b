package sessions

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
)

// receipts are the ids of inbound QoS 2 whose PUBLISH has been accepted and whose PUBREL has not come.
type receipts map[uint16]receipt

type receipt struct {
	stored  bool // in the store's Received, too
	counted bool // its PUBLISH came on this link: it is one of Link.unacked
}

func (r *receipts) put(id uint16, x receipt) {
	if *r == nil {
		*r = make(receipts)
	}
	(*r)[id] = x
}

func (r *receipts) take(id uint16) (receipt, bool) {
	x, ok := (*r)[id]
	if delete(*r, id); len(*r) == 0 {
		*r = nil
	}
	return x, ok
}

// Receive takes an inbound PUBLISH, gives it to h unless it is a repetition, and answers it once the outcome is durable.
// It blocks while Config.Inbound answers wait. An error means that the link is disconnected or the context over.
func (l *Link) Receive(ctx context.Context, p Publish, h Handler) error {
	if err := l.place(ctx); err != nil {
		return err
	}
	l.registry.metrics.received[p.QoS].Inc()
	if p.QoS == 0 {
		return l.decide(ctx, h(ctx, l, p, nil), answer{kind: answerNothing})
	}

	a := answer{kind: answerPublish1, id: p.ID, counted: true, print: Fingerprint(p)}
	if p.QoS == 2 {
		a.kind = answerPublish2
	}
	repeated, err := l.repeated(p, a)
	if repeated || err != nil {
		return err
	}
	var origin any
	if p.QoS == 2 && l.persistent {
		origin = Origin{Key: l.key, ID: p.ID}
	}
	return l.decide(ctx, h(ctx, l, p, origin), a)
}

// Fingerprint is what tells two messages with one packet id apart.
func Fingerprint(p Publish) [32]byte {
	var small [1024]byte // most messages need no memory
	text := append(small[:0], p.Topic...)
	text = append(text, 0) // which no topic has
	return sha256.Sum256(append(text, p.Payload...))
}

// repeated answers a PUBLISH whose outcome is known already. The error means that the client has too many unacknowledged.
func (l *Link) repeated(p Publish, a answer) (bool, error) {
	l.mu.Lock()
	known, found := l.inheritedLocked(p, a.print)
	found = found && (p.QoS != 1 || !l.rewound)
	switch held, holds := l.receipts[p.ID]; {
	case p.QoS == 2 && holds: // MQTT 5, 4.3.3: acknowledged again, and not handed over again
		l.holdLocked(p.ID, held)
		a.reply, a.counted = known, false
	case found && p.QoS == 2 && (l.version < 5 || known.Reason < firstFailure): // it was in no store
		l.holdLocked(p.ID, receipt{})
		a.reply, a.counted = known, false
	case found:
		a.reply = known
	case p.QoS == 1 && p.Dup && l.answers.pending(p.ID, a.print):
		// Its one PUBACK is on its way. A second one could be taken for that of the id's next use.
		l.mu.Unlock()
		l.registry.metrics.repeated(p.QoS)
		return true, nil
	default:
		l.rewound = l.rewound || p.QoS == 1 && p.Dup
		tooMany := l.version == 5 && l.unacked >= l.registry.cfg.Inbound
		l.mu.Unlock()
		if tooMany {
			l.disconnect(reasonReceiveMaximum)
			return false, fmt.Errorf("more than %d unacknowledged: %w", l.registry.cfg.Inbound, ErrClosed)
		}
		return false, nil
	}
	l.mu.Unlock()
	l.registry.metrics.repeated(p.QoS)
	l.answer(a)
	return true, nil
}

// inheritedLocked gives the answer that the last link could not write to this very PUBLISH. Any other use of the id shows
// that the client does not wait for that answer any more.
func (l *Link) inheritedLocked(p Publish, print [32]byte) (Reply, bool) {
	i := slices.IndexFunc(l.inherited, func(a Answered) bool { return a.ID == p.ID })
	if i < 0 {
		return Reply{}, false
	}
	a := l.inherited[i]
	l.inherited = slices.Delete(l.inherited, i, i+1)
	if !p.Dup || a.Fingerprint != print {
		return Reply{}, false
	}
	return a.Reply, true
}

// decide puts what the handler decided into the FIFO.
func (l *Link) decide(ctx context.Context, o Outcome, a answer) error {
	if o.Later != nil {
		a.later = o.Later
		l.answer(a)
		return nil
	}
	a.done, a.deliver = o.Done, o.Deliver
	if o.Fatal != 0 {
		return l.fatal(ctx, o)
	}
	a.commit = o.Commit
	switch a.kind {
	case answerNothing:
		if o.Done == nil && o.Deliver == nil {
			return nil
		}
	case answerPublish2:
		a.reply = o.Reply
		if err := l.receipt(ctx, o, &a); err != nil {
			return err
		}
	default:
		a.reply = o.Reply
	}
	l.answer(a)
	return nil
}

// receipt notes the id of a QoS 2 PUBLISH. An MQTT 5 PUBREC that refuses frees it at once (MQTT 5, 4.3.3).
func (l *Link) receipt(ctx context.Context, o Outcome, a *answer) error {
	stored := l.persistent && o.Commit != nil
	if l.version == 5 && o.Reply.Reason >= firstFailure {
		if !stored {
			return nil
		}
		released, err := l.registry.store.Release(ctx, l.key, a.id)
		if err != nil {
			l.disconnect(reasonBusy)
			return fmt.Errorf("release id %d: %w", a.id, err)
		}
		a.commit = released // is after the outcome's own
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holdLocked(a.id, receipt{stored: stored})
	a.counted = false
	return nil
}

// holdLocked keeps the id of a PUBLISH that came on this link; it is unacknowledged until its PUBREL is answered.
func (l *Link) holdLocked(id uint16, x receipt) {
	if !x.counted {
		l.unacked++
	}
	x.counted = true
	l.receipts.put(id, x)
}

// fatal disconnects after the answers that come before.
func (l *Link) fatal(ctx context.Context, o Outcome) error {
	err := undecided(o)
	end := answer{}.ended(o, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.draining = true
	l.pushLocked(end)
	l.notifyLocked()
	for !l.closed {
		if err := l.awaitLocked(ctx); err != nil {
			return err
		}
	}
	return err
}

// Pubrel ends an inbound QoS 2 message: its id is free, durably, before the PUBCOMP.
func (l *Link) Pubrel(id uint16) {
	if l.place(context.Background()) != nil {
		return
	}
	l.mu.Lock()
	held, ok := l.receipts.take(id)
	l.inherited = slices.DeleteFunc(l.inherited, func(a Answered) bool { return a.ID == id })
	if held.counted {
		l.unacked-- // answer counts it again
	}
	l.mu.Unlock()

	a := answer{kind: answerRelease, id: id, counted: held.counted}
	if !ok && !l.present {
		// Otherwise it may be one that was ended just before a crash, and some clients take the reason for a failure.
		a.reply.Reason = reasonUnknownID
	}
	if held.stored {
		commit, err := l.registry.store.Release(context.Background(), l.key, id)
		if err != nil {
			l.registry.log.Warn("packet id not released", "account", l.key.Account, "client", l.key.Client, "err", err)
			l.disconnect(reasonBusy)
			return
		}
		a.commit = commit
	}
	l.answer(a)
}
