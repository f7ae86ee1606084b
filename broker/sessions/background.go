package sessions

// background is what a connection has that nobody looks at.
type background struct {
	on     bool
	missed missed // what was held back
}

// SetBackground says whether nobody looks at what the client shows. What is Ambient is not sent until that is over; then what
// the topics of it say that have changed comes, once, as it is by then. A new connection is not in the background. Safe for
// concurrent use.
func (l *Link) SetBackground(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.background.on = on; on || l.closed {
		return
	}
	l.catchUpLocked(&l.background.missed)
	l.moveLocked()
}

// notNowLocked says that p is not for this connection now. That something was missed is noted if it can be told later.
func (l *Link) notNowLocked(p Publish) bool {
	if !p.Ambient || !l.background.on {
		return false
	}
	if l.registry.says(p.Topic) {
		l.background.missed.add(p.Topic, &l.subs)
	}
	return true
}
