package chat

import (
	"context"

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
	ChangePerson(ctx context.Context, user accounts.Name, change func(p *Person) error, origin any) (
		Person, Commit, error,
	)
}

// Person is everything that a user says of himself.
type Person struct {
	User     accounts.Name
	Profile  Profile
	Settings Settings
}

// Profile is what others may see.
type Profile struct {
	Ver    uint64 // 1, 2, 3 ...: of the changes of what is here
	Name   string // shown in place of the account's; empty: there is none
	Avatar string // where a picture is; the server does not look at it
	Text   string
	Fields map[string]Field // what else there is to say
	Phone  Field            // a plus sign and digits
	Email  Field            // in lower case
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
