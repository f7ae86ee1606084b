package locations

import (
	"context"

	"github.com/magpie-im/magpie/accounts"
)

// People knows what users are to each other. Safe for concurrent use.
type People interface {
	// Close says whether two users are contacts now, and neither has blocked the other.
	Close(ctx context.Context, a, b accounts.Name) (bool, error)
	// Manages says whether somebody manages a home, and Lives whether he is more than a guest there.
	Manages(ctx context.Context, who accounts.Name, home string) (bool, error)
	Lives(ctx context.Context, who accounts.Name, home string) (bool, error)
	// Members gives all who are more than guests in a home.
	Members(ctx context.Context, home string) ([]accounts.Name, error)
}

// Sight knows who sees which things. Safe for concurrent use.
type Sight interface {
	// Viewers gives who may see a thing now; nobody if there is no such thing.
	Viewers(ctx context.Context, did accounts.Name) (Onlookers, error)
	// Sees says whether somebody may see a thing now, and what it is; every thing sees itself.
	Sees(ctx context.Context, who, did accounts.Name) (seen Seen, ok bool, err error)
	// Seen gives up to limit things that somebody may see now, in the order of their names, those after after.
	Seen(ctx context.Context, who, after accounts.Name, limit int) ([]Seen, error)
}

// Onlookers are who sees a thing.
type Onlookers struct {
	People []accounts.Name // in the order of their names
	Home   string          // that the thing is in; empty: none
	Kind   string          // what the thing is to people
	Epoch  uint64          // as that of Seen; 0: there is no such thing
}

// Seen is a thing that somebody sees.
type Seen struct {
	Name accounts.Name
	Kind string // what it is to people
	// Epoch grows when it becomes somebody else's: where it was before is none of his business. It is at least 1.
	Epoch uint64
}

// Router brings to people where others are. Safe for concurrent use.
type Router interface {
	// Show tells some where a subject is now. Who is not connected, or does not keep up, needs only the newest. It does not wait.
	Show(to []accounts.Name, s Subject, p Position)
	// Hide tells some that they are told no more. It does not wait.
	Hide(to []accounts.Name, s Subject)
	// Moved tells somebody what has become of those who are near, by the id of what he asked for. It does not wait.
	Moved(to accounts.Name, id string, m Moved)
	// Crossed tells some that a subject has crossed a fence, also those who are not connected. It may wait.
	Crossed(ctx context.Context, to []accounts.Name, c Crossing) error
}

// nowhere is the Router before SetRouter.
type nowhere struct{}

func (nowhere) Show([]accounts.Name, Subject, Position)                  {}
func (nowhere) Hide([]accounts.Name, Subject)                            {}
func (nowhere) Moved(accounts.Name, string, Moved)                       {}
func (nowhere) Crossed(context.Context, []accounts.Name, Crossing) error { return nil }
