package chat

import (
	"context"
	"maps"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// People keeps what users say of themselves and how they want to be treated, and finds them by it. Everything about one
// user is one thing, which changes as a whole: what it says, its handles and what it is found by.
type People interface {
	// Settings gives how user wants to be treated; of somebody who never said anything, and of nobody at all, the zero
	// value. It serves decisions, is cheap, and may be ahead of what is durable.
	Settings(ctx context.Context, user accounts.Name) (Settings, error)

	// Person gives all that user said; the zero value but for the name if that is nothing. It costs the same either way.
	Person(ctx context.Context, user accounts.Name) (Person, error)

	// ChangePerson gives change what user said, and keeps what it makes of that, or nothing if it fails: the error is that
	// of change then. Changes of one user happen one after the other; change may be called more than once, and must not use
	// the store. What change leaves as it was is not written, and the commit is that of earlier changes, or nil.
	//
	// In the same step: what the user is found by becomes [Person.Terms]; with another Profile.Ver, an EntryProfile goes to
	// his own stream; and if change says tell, everything that an earlier change left to tell is told anew. A handle that
	// somebody else has, or that is not free yet, is ErrTaken.
	ChangePerson(ctx context.Context, user accounts.Name, change func(p *Person) (tell bool, err error), origin any) (
		Person, Commit, error,
	)

	// ForgetPerson removes all that user said and is found by, and what is left to tell of it; but not that he is hidden, so that
	// he stays so. His handles are free for
	// others from then on. The commit is nil if there was nothing.
	ForgetPerson(ctx context.Context, user accounts.Name, free time.Time) (Commit, error)

	// Owner gives who has a handle; empty: nobody. It costs the same either way.
	Owner(ctx context.Context, h Handle) (accounts.Name, error)

	// Found gives up to limit hits of one kind whose value begins with prefix, in the order of value and user, those after
	// after, which need not be one of them.
	Found(ctx context.Context, kind TermKind, prefix string, after Hit, limit int) ([]Hit, error)

	// PurgePeople forgets up to limit areas and kept handles whose time was over before now, and gives how many they were.
	PurgePeople(ctx context.Context, now time.Time, limit int) (int, error)

	// Tellings gives up to limit users of whom something is left to tell, in a stable order, those after after.
	Tellings(ctx context.Context, after accounts.Name, limit int) ([]accounts.Name, error)

	// TellProfile adds an EntryProfile of who's profile as it is now to the streams of some more of his contacts, about
	// limit, and remembers in the same step that they were told. It leaves out who has blocked the other or is blocked.
	// told are those it was added for; when nobody is left, Tellings does not give who any more. The commit is nil if there
	// was nothing to tell.
	TellProfile(ctx context.Context, who accounts.Name, limit int) (told []accounts.Name, commit Commit, err error)
}

// TermKind says what a term is.
type TermKind byte

// Kinds of terms. The store keeps the numbers.
const (
	TermWord   TermKind = 'w' // what follows the beginning of a word of a name, folded
	TermCell   TermKind = 'c' // an [Area]'s cell, 8 bytes
	TermListed TermKind = 'l' // 8 bytes that are different for everybody who is listed
)

// Term is something that a user is found by.
type Term struct {
	Kind  TermKind
	Value string
}

// Hit is a user who has a term of that value.
type Hit struct {
	Value string
	User  accounts.Name
}

// HandleKind says what a handle is.
type HandleKind string

// Kinds of handles.
const (
	HandlePhone HandleKind = "phone"
	HandleEmail HandleKind = "email"
)

// Handle is a name that a user has besides that of his account. No two users have the same one.
type Handle struct {
	Kind  HandleKind
	Value string
}

// Person is everything that a user says of himself.
type Person struct {
	User     accounts.Name
	Profile  Profile
	Settings Settings
}

// Clone gives a person that shares nothing with p.
func (p Person) Clone() Person {
	p.Profile.Fields = maps.Clone(p.Profile.Fields)
	return p
}

// Handles gives the user's handles.
func (p Person) Handles() []Handle {
	var all []Handle
	if p.Profile.Phone.Value != "" {
		all = append(all, Handle{HandlePhone, p.Profile.Phone.Value})
	}
	if p.Profile.Email.Value != "" {
		all = append(all, Handle{HandleEmail, p.Profile.Email.Value})
	}
	return all
}

// Profile is what others may see.
type Profile struct {
	Card
	Ver    uint64 // 1, 2, 3 ...: counts the changes
	Text   string
	Fields map[string]Field // what else there is to say
	Phone  Field            // a plus sign and digits
	Email  Field            // in lower case
}

// Card is the part of a profile by which people know somebody in a list.
type Card struct {
	Name   string // shown in place of the account's; empty: there is none
	Avatar string // where a picture is; the server does not look at it
	Trust
}

// Field is a part of a profile that only some may see.
type Field struct {
	Value string
	Show  Audience // everyone, contacts or nobody
}

// Trust is what an administrator says of an account.
type Trust struct {
	Verified bool // it is whose it says it is
	Bot      bool // a program writes here
}

// Audience is who is allowed something.
type Audience int

// Audiences. What the zero value means is said where it is used.
const (
	AudienceDefault  Audience = iota
	AudienceNobody            // but oneself
	AudienceContacts          // and oneself
	AudienceNear              // contacts, and whoever shares a contact with one
	AudienceEveryone
)

// Settings are how somebody wants to be treated. The zero value is what holds if nothing was said.
type Settings struct {
	Strangers Audience // who may write without being a contact: nobody, which is the default, near, or everyone
	Seen      Audience // who may know when one was here last: nobody, contacts, which is the default, or everyone
	Find      Find
}

// Find is by what one may be found.
type Find struct {
	Hidden bool // not even by the uid: for a stranger there is no such account
	Phone  bool // by the exact number
	Email  bool // by the exact address
	Listed bool // by the beginning of the uid or of a word of the name, and by chance
	Nearby Area // by who is near
}

// Area is where somebody is, roughly, and for how long that is so. The zero value is nowhere.
type Area struct {
	Cell  uint64 // some 5 km wide
	Until int64  // Unix milliseconds
}
