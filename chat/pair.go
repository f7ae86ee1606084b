package chat

import (
	"encoding/json"
	"slices"

	"github.com/magpie-im/magpie/accounts"
)

// Pair is what two people are to each other, seen from one of them, and the state of their conversation.
type Pair struct {
	Me, Them     accounts.Name
	Mine, Theirs Side
	Talk
	Now int64 // Unix milliseconds

	// What follows is known to a Step only.

	Asked          []int64 // when Me has asked somebody for contact, or written to a stranger, in the last day
	Contacts       int     // about how many contacts Me has
	ContactsOfThem int
}

// Side is what one of two people has to do with the other one.
type Side struct {
	State    ContactState // ContactNone, ContactPending, ContactRequested, ContactAccepted or ContactDeleted
	Greeting string       // of the request
	Since    int64        // when State became so
	Until    int64        // when an open request ends; 0: never
	Blocked  bool         // he has blocked the other one
	Ignored  bool         // ContactRequested: he does not want to be reminded of it
	Refused  int64        // until when the other one may not ask again; 0: he may
	Silently bool         // he was not told so: his requests look as if they were open
	Remark   string       // his own name for the other one
	Tags     []string     // his own groups of contacts
}

// Equal says whether two sides are the same.
func (s Side) Equal(t Side) bool {
	tags, other := s.Tags, t.Tags
	s.Tags, t.Tags = nil, nil
	return slices.Equal(tags, other) && s.equal(t)
}

func (s Side) equal(t Side) bool {
	return s.State == t.State && s.Greeting == t.Greeting && s.Since == t.Since && s.Until == t.Until && s.Blocked == t.Blocked &&
		s.Ignored == t.Ignored && s.Refused == t.Refused && s.Silently == t.Silently && s.Remark == t.Remark
}

// open says whether the side is in a state of a request, which has not ended.
func (s Side) open(state ContactState, now int64) bool {
	return s.State == state && (s.Until == 0 || now < s.Until)
}

// IsRequest says whether there is a request to this side that it should decide about.
func (s Side) IsRequest(now int64) bool {
	return s.open(ContactRequested, now) && !s.Ignored && !s.Blocked
}

// Shown gives the state without a request that has ended.
func (s Side) Shown(now int64) ContactState {
	if (s.State == ContactPending || s.State == ContactRequested) && !s.open(s.State, now) {
		return ContactNone
	}
	return s.State
}

// become changes the state.
func (s *Side) become(state ContactState, now int64) {
	s.State, s.Since = state, now
	s.Greeting, s.Until, s.Ignored = "", 0, false
}

// Talk is the state of the conversation of two people.
type Talk struct {
	Exists  bool
	Open    bool          // a stranger was answered: they may write to each other without being contacts
	Asker   accounts.Name // a stranger who has written and was not answered; empty: nobody
	Dropped bool          // his message was put away
}

// Boxed says whether the conversation is in who's box: a stranger has written to him.
func (t Talk) Boxed(who accounts.Name) bool { return t.Asker != "" && t.Asker != who }

// Blocked says whether one of the two has blocked the other.
func (p *Pair) Blocked() bool { return p.Mine.Blocked || p.Theirs.Blocked }

// parted says whether the account of one of the two was deleted. That of Me may be, if what he does had begun before.
func (p *Pair) parted() bool {
	return p.Mine.State == ContactDeleted || p.Theirs.State == ContactDeleted
}

// Close says whether the two may know of each other what contacts do: they are, or a stranger was answered, and there is no
// block.
func (p *Pair) Close() bool { return !p.Blocked() && (p.Mine.State == ContactAccepted || p.Open) }

// Write has Me say something, which is the first message of a stranger if nothing else allows it and stranger says that
// the other one hears strangers; of such messages and requests Me has so many a day. ErrGone, ErrBlocked, ErrAwaitReply,
// ErrNoRight, ErrNoConversation, a QuotaError.
func (p *Pair) Write(stranger bool, most int) error {
	switch {
	case p.parted():
		return ErrGone
	case p.Blocked():
		return ErrBlocked
	case p.Mine.State == ContactAccepted || p.Open:
		return nil
	case p.Asker == p.Me:
		return ErrAwaitReply
	case p.Asker != "":
		p.Open, p.Asker, p.Dropped = true, "", false
		return nil
	case stranger:
		if err := p.approach(most); err != nil {
			return err
		}
		p.Exists, p.Asker = true, p.Me
		return nil
	case p.Exists:
		return ErrNoRight
	}
	return ErrNoConversation
}

// Step is one change of a Pair, decided by Me, and says who is told what. A store may call it more than once: it depends on
// nothing but p. After an error p is of no use.
type Step func(p *Pair) (Told, error)

// Told is what the two learn of a Step besides the changes of their lists. The states are those of contact events; empty: no
// event.
type Told struct {
	Me, Them ContactState
	// Greeting is what Them says first in the conversation; empty: nothing.
	Greeting string
	// Away says that the message of a stranger was put away: the event of Me names the conversation, so that it says what is
	// unread there.
	Away bool
}

// Change is a Step to be taken.
type Change struct {
	Who, Other accounts.Name
	Step       Step
	Origin     any // opaque: made durable together with the change; nil: nothing
}

// Opening is the first message of the conversation of two people: what the requester wrote.
func Opening(from, to accounts.Name, id, text string) Draft {
	body, err := json.Marshal(struct {
		Text string `json:"text"`
	}{text})
	if err != nil {
		panic(err) // a string can always be written
	}
	return Draft{Conversation: Direct(from, to), From: from, ID: id, Kind: kindText, Body: body}
}
