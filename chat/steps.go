package chat

import (
	"slices"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

const (
	// requestLife is how long a request may be accepted.
	requestLife = 7 * 24 * time.Hour
	// refusedFor is how long somebody who was rejected may not ask again.
	refusedFor = 24 * time.Hour
	// askingDay is the time for which requests are counted.
	askingDay = 24 * time.Hour
)

// Bounds are what ToRequest and ToAccept have to keep to. 0: no limit.
type Bounds struct {
	Requests int // that one may make in a day
	Contacts int // that one may have
}

// ToRequest asks other for contact. A repeated request replaces the greeting, and one that crosses the other's accepts that.
func ToRequest(who, other accounts.Name, greeting string, most Bounds) Change {
	return Change{Who: who, Other: other, Step: func(p *Pair) (Told, error) {
		switch {
		case p.Blocked():
			return Told{}, ErrBlocked
		case p.parted():
			return Told{}, ErrGone
		case p.Mine.State == ContactAccepted:
			return Told{}, nil
		case p.Mine.open(ContactRequested, p.Now), p.Theirs.open(ContactPending, p.Now):
			return p.accept(most)
		case p.Mine.open(ContactPending, p.Now):
			return p.askAgain(greeting)
		case p.Now < p.Theirs.Refused && !p.Theirs.Silently:
			return Told{}, &QuotaError{RetryAfter: milliseconds(p.Theirs.Refused - p.Now)}
		}
		return p.ask(greeting, most)
	}}
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// ask makes a new request.
func (p *Pair) ask(greeting string, most Bounds) (Told, error) {
	if over(p.Contacts+1, most.Contacts) {
		return Told{}, ErrQuota
	}
	if err := p.approach(most.Requests); err != nil {
		return Told{}, err
	}
	p.Mine.request(ContactPending, greeting, p.Now+requestLife.Milliseconds(), p.Now)
	told := Told{Me: ContactPending}
	if p.Now >= p.Theirs.Refused {
		p.Theirs.request(ContactRequested, greeting, p.Mine.Until, p.Now)
		told.Them = ContactRequested
	}
	return told, nil
}

// approach counts one more stranger whom Me has asked or written to today, of so many as he may; 0: any number.
func (p *Pair) approach(most int) error {
	if most == 0 {
		return nil
	}
	p.Asked = slices.DeleteFunc(slices.Clone(p.Asked), func(at int64) bool {
		return at <= p.Now-askingDay.Milliseconds() || at > p.Now // a clock that went back forgives
	})
	if len(p.Asked) >= most {
		oldest := slices.Min(p.Asked)
		return &QuotaError{RetryAfter: milliseconds(oldest + askingDay.Milliseconds() - p.Now)}
	}
	p.Asked = append(p.Asked, p.Now)
	return nil
}

// request makes an open request of a side.
func (s *Side) request(state ContactState, greeting string, until, now int64) {
	s.become(state, now)
	s.Greeting, s.Until = greeting, until
}

// askAgain replaces the greeting. Who has ignored the request, or rejected it without a word, hears nothing.
func (p *Pair) askAgain(greeting string) (Told, error) {
	told := Told{}
	if p.Mine.Greeting != greeting {
		p.Mine.Greeting, p.Mine.Since = greeting, p.Now
		told.Me = ContactPending
	}
	switch asked := p.Theirs.open(ContactRequested, p.Now); {
	case asked && p.Theirs.Greeting == greeting:
	case asked:
		p.Theirs.Greeting, p.Theirs.Since = greeting, p.Now
		if !p.Theirs.Ignored {
			told.Them = ContactRequested
		}
	case p.Now >= p.Theirs.Refused: // it vanished there, behind a block or a silent refusal that is over
		p.Theirs.request(ContactRequested, greeting, p.Mine.Until, p.Now)
		told.Them = ContactRequested
	}
	return told, nil
}

// ToAccept makes who and the one who has asked him contacts. Repeated, it changes nothing. ErrNoRequest.
func ToAccept(who, requester accounts.Name, most Bounds) Change {
	return Change{Who: who, Other: requester, Step: func(p *Pair) (Told, error) {
		switch {
		case p.Mine.State == ContactAccepted:
			return Told{}, nil
		case !p.Mine.open(ContactRequested, p.Now):
			return Told{}, ErrNoRequest
		case p.Blocked():
			return Told{}, ErrBlocked
		}
		return p.accept(most)
	}}
}

func (p *Pair) accept(most Bounds) (Told, error) {
	if over(max(p.Contacts, p.ContactsOfThem)+1, most.Contacts) {
		return Told{}, ErrQuota
	}
	told := Told{Me: ContactAccepted, Them: ContactAccepted, Greeting: p.Theirs.Greeting}
	for _, side := range []*Side{&p.Mine, &p.Theirs} {
		side.become(ContactAccepted, p.Now)
		side.Refused, side.Silently = 0, false
	}
	p.Talk = Talk{Exists: true}
	return told, nil
}

// ToReject refuses a request, and for a day all others of its sender. With tell he learns of it; otherwise his request
// looks as if it had not been seen, until it ends. ErrNoRequest.
func ToReject(who, requester accounts.Name, tell bool) Change {
	return Change{Who: who, Other: requester, Step: func(p *Pair) (Told, error) {
		if !p.Mine.open(ContactRequested, p.Now) {
			return Told{}, ErrNoRequest
		}
		p.Mine.become(ContactNone, p.Now)
		p.Mine.Refused, p.Mine.Silently = p.Now+refusedFor.Milliseconds(), !tell
		told := Told{Me: ContactEnded}
		if tell && !p.Theirs.Blocked {
			p.Theirs.become(ContactNone, p.Now)
			told.Them = ContactRejected
		}
		return told, nil
	}}
}

// ToIgnore leaves a request as it is, but for the reminder of it. ErrNoRequest.
func ToIgnore(who, requester accounts.Name) Change {
	return Change{Who: who, Other: requester, Step: func(p *Pair) (Told, error) {
		switch {
		case !p.Mine.open(ContactRequested, p.Now):
			return Told{}, ErrNoRequest
		case p.Mine.Ignored:
			return Told{}, nil
		}
		p.Mine.Ignored = true
		return Told{Me: ContactRequested}, nil
	}}
}

// ToWithdraw takes a request back. ErrNoRequest.
func ToWithdraw(who, other accounts.Name) Change {
	return Change{Who: who, Other: other, Step: func(p *Pair) (Told, error) {
		if !p.Mine.open(ContactPending, p.Now) {
			return Told{}, ErrNoRequest
		}
		return p.withdraw(), nil
	}}
}

func (p *Pair) withdraw() Told {
	p.Mine.become(ContactNone, p.Now)
	told := Told{Me: ContactEnded}
	if p.Theirs.State == ContactRequested {
		if p.Theirs.open(ContactRequested, p.Now) && !p.Theirs.Blocked { // of one that has ended, a block would tell
			told.Them = ContactEnded
		}
		p.Theirs.become(ContactNone, p.Now)
	}
	return told
}

// ToRemove ends that two people are contacts, on both sides. Their conversation stays, and can be read. Who is no contact
// cannot be removed, and that is no error.
func ToRemove(who, other accounts.Name) Change {
	return Change{Who: who, Other: other, Step: func(p *Pair) (Told, error) {
		if p.Mine.State != ContactAccepted {
			return Told{}, nil
		}
		return p.part(ContactEnded), nil
	}}
}

// part leaves nothing between the two. Them is told, unless he has blocked Me.
func (p *Pair) part(as ContactState) Told {
	told := Told{Me: ContactEnded}
	if !p.Theirs.Blocked {
		told.Them = as
	}
	for _, side := range []*Side{&p.Mine, &p.Theirs} {
		side.become(ContactNone, p.Now)
		side.Remark, side.Tags = "", nil
	}
	p.Talk = Talk{Exists: p.Exists}
	return told
}

// ToBlock lets nothing of other reach who any more, and the other way round. Requests between them vanish, and what other
// wrote as a stranger; that who has done so other is not told.
func ToBlock(who, other accounts.Name) Change {
	return Change{Who: who, Other: other, Step: func(p *Pair) (Told, error) {
		if p.Mine.Blocked {
			return Told{}, nil
		}
		if p.Mine.State == ContactDeleted {
			return Told{}, ErrGone
		}
		told := Told{}
		switch p.Mine.State {
		case ContactPending:
			told.Them = p.withdraw().Them
		case ContactRequested: // the other one's side stays as it is
			p.Mine.become(ContactNone, p.Now)
		}
		p.Mine.Blocked = true
		told.Away = p.drop()
		told.Me = p.Mine.event()
		return told, nil
	}}
}

// ToUnblock takes a block back. What was sent meanwhile was refused, and does not come.
func ToUnblock(who, other accounts.Name) Change {
	return Change{Who: who, Other: other, Step: func(p *Pair) (Told, error) {
		if !p.Mine.Blocked {
			return Told{}, nil
		}
		p.Mine.Blocked = false
		return Told{Me: p.Mine.event()}, nil
	}}
}

// event is the state as an event says it.
func (s Side) event() ContactState {
	if s.State == ContactNone {
		return ContactEnded
	}
	return s.State
}

// ToNote keeps what who calls a contact, and in which groups he has him; nil leaves one as it is. ErrNoRight if they are no
// contacts.
func ToNote(who, other accounts.Name, remark *string, tags *[]string) Change {
	return Change{Who: who, Other: other, Step: func(p *Pair) (Told, error) {
		if p.Mine.State != ContactAccepted {
			return Told{}, ErrNoRight
		}
		was := p.Mine
		if remark != nil {
			p.Mine.Remark = *remark
		}
		if tags != nil {
			p.Mine.Tags = slices.Clone(*tags)
		}
		if p.Mine.Equal(was) {
			return Told{}, nil
		}
		return Told{Me: ContactAccepted}, nil
	}}
}

// ToDrop puts the first message of a stranger away, who is not told. ErrNoConversation if there is none.
func ToDrop(who, stranger accounts.Name) Change {
	return Change{Who: who, Other: stranger, Step: func(p *Pair) (Told, error) {
		if p.Asker != p.Them {
			return Told{}, ErrNoConversation
		}
		if !p.drop() {
			return Told{}, nil
		}
		return Told{Me: Side{State: p.Mine.Shown(p.Now)}.event(), Away: true}, nil
	}}
}

// drop puts the message of a stranger away. It says whether there is one that was not.
func (p *Pair) drop() bool {
	if p.Asker != p.Them || p.Dropped {
		return false
	}
	p.Dropped = true
	return true
}

// ToLeave ends everything between who, whose account was deleted, and other, who is told if they had something to do with
// each other, unless he has blocked who. Repeated, it changes nothing.
func ToLeave(who, other accounts.Name) Change {
	return Change{Who: who, Other: other, Step: func(p *Pair) (Told, error) {
		p.Mine = Side{}
		told := Told{}
		if p.Theirs.State == ContactDeleted || p.Theirs.State == ContactNone && !p.Theirs.Blocked && !p.Exists {
			return told, nil
		}
		if !p.Theirs.Blocked {
			told.Them = ContactDeleted
		}
		p.Theirs = Side{State: ContactDeleted, Since: p.Now, Blocked: p.Theirs.Blocked}
		p.Open = false
		return told, nil
	}}
}
