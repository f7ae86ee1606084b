package mongo

import (
	"context"
	"strconv"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// What a user says of himself is one document, and a change of it is the replacement of that document, by who knows what it was.
// The handles that are new are claimed before, see handles.go. What follows from the change is in the document, which is open
// until all has followed: who is about to change it, and whoever lists people, does what is left of that.

const (
	peopleCollection  = "people"
	handlesCollection = "handles"
	foundCollection   = "found"
)

var peopleIndexes = []index{
	{peopleCollection, "open", fields("open"), false, true, "what may not have followed"},
	{peopleCollection, "telling", fields("telling"), false, true, "Tellings"},
	{peopleCollection, "area", fields("area"), false, true, "PurgePeople"},
	{handlesCollection, "free", fields("free.t"), false, true, "PurgePeople"},
}

// people is what is in memory of what users say of themselves.
type people struct {
	mu     sync.Mutex
	turns  map[accounts.Name]chan struct{} // whose documents are being changed; closed when that ends
	known  map[accounts.Name]knownPerson   // if there are no other processes
	writes int                             // counts what may have changed a document
}

// knownPerson is what somebody said. Its maps never change.
type knownPerson struct {
	person chat.Person
	read   time.Time
}

const (
	maxKnown = 10_000
	// knownLife is for how long it is not asked whether somebody still says the same, if nobody else writes: what was given up as
	// not written may be written late.
	knownLife = time.Minute
	// openPage is of how many people at once is done what is left to do.
	openPage = 100
)

// turn waits until nobody else here changes what user says, and lasts until done is called. What it is for is that changes need
// not be tried again and again.
func (p *people) turn(ctx context.Context, user accounts.Name) (done func(), err error) {
	for {
		p.mu.Lock()
		before := p.turns[user]
		if before == nil {
			mine := make(chan struct{})
			if p.turns == nil {
				p.turns = map[accounts.Name]chan struct{}{}
			}
			p.turns[user] = mine
			p.mu.Unlock()
			return func() {
				p.mu.Lock()
				defer p.mu.Unlock()
				delete(p.turns, user)
				close(mine)
			}, nil
		}
		p.mu.Unlock()
		select {
		case <-before:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// wrote notes that user's document may have changed.
func (p *people) wrote(user accounts.Name) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes++
	delete(p.known, user)
}

// lookUp gives what is known of user; writes is for keep.
func (p *people) lookUp(user accounts.Name) (person chat.Person, known bool, writes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, known := p.known[user]
	return k.person, known && time.Since(k.read) < knownLife, p.writes
}

// keep makes known what was read, unless it may have changed since.
func (p *people) keep(person chat.Person, writes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writes != writes {
		return
	}
	if p.known == nil {
		p.known = map[accounts.Name]knownPerson{}
	}
	for name := range p.known { // in no order
		if len(p.known) < maxKnown {
			break
		}
		delete(p.known, name)
	}
	p.known[person.User] = knownPerson{person, time.Now()}
}

func (c chatStore) Settings(ctx context.Context, user accounts.Name) (chat.Settings, error) {
	p, err := c.visible(ctx, user)
	return p.Settings, err
}

func (c chatStore) Person(ctx context.Context, user accounts.Name) (chat.Person, error) {
	p, err := c.visible(ctx, user)
	return p.Clone(), err
}

// visible gives what user says. Its maps must not be changed.
func (s *Store) visible(ctx context.Context, user accounts.Name) (chat.Person, error) {
	if err := s.enter(); err != nil {
		return chat.Person{}, err
	}
	defer s.leave()
	p, known, writes := s.people.lookUp(user)
	if known {
		return p, nil
	}
	d, err := s.personDoc(ctx, user)
	if err != nil {
		return chat.Person{}, err
	}
	p = d.person()
	if s.cfg.Alone {
		s.people.keep(p, writes)
	}
	return p, nil
}

// personDoc reads what there is of user; v is 0 if there is nothing.
func (s *Store) personDoc(ctx context.Context, user accounts.Name) (*personDoc, error) {
	d := &personDoc{User: user}
	if err := s.get(ctx, peopleCollection, user, d); err != nil {
		return nil, err
	}
	return d, nil
}

// closedPerson is personDoc after everything has followed.
func (s *Store) closedPerson(ctx context.Context, user accounts.Name) (*personDoc, error) {
	for {
		d, err := s.personDoc(ctx, user)
		if err != nil || d.Open == "" {
			return d, err
		}
		if err := s.finishPerson(ctx, d); err != nil {
			return nil, err
		}
	}
}

// finishPerson does what follows from a change, and closes the document. It may be done again.
func (s *Store) finishPerson(ctx context.Context, d *personDoc) error {
	f := d.Follows
	if err := s.freeAll(ctx, d); err != nil {
		return err
	}
	if err := s.writeTerms(ctx, d); err != nil {
		return err
	}
	s.at("terms written")
	if f.Tell {
		ref := "person/" + strconv.FormatInt(d.N, 10)
		if err := s.push(ctx, ref, []pushed{{user: d.User, entry: d.entry(f.TS)}}); err != nil {
			return err
		}
	}
	if f.Origin != nil {
		if err := s.applyOrigin(ctx, *f.Origin); err != nil {
			return err
		}
	}
	s.at("person told")
	err := retried(ctx, func() error {
		still := bson.D{{Key: "_id", Value: d.User}, {Key: "n", Value: d.N}}
		_, err := s.persons().UpdateOne(ctx, still, bson.D{unset("open", "fx")})
		return err
	})
	return failed(ctx, "close people", err)
}

// finishPeople does what may not have followed from changes.
func (s *Store) finishPeople(ctx context.Context) error {
	for after := accounts.Name(""); ; {
		var open []*personDoc
		filter := bson.D{{Key: "open", Value: bson.D{{Key: "$gt", Value: after}}}}
		if err := s.findAll(ctx, peopleCollection, filter, &open, sortedBy("open", 1), limitedTo(openPage)); err != nil {
			return err
		}
		for _, d := range open {
			if err := s.finishPerson(ctx, d); err != nil {
				return err
			}
			s.lateFor(d.User)
			after = d.User
		}
		if len(open) < openPage {
			return nil
		}
	}
}

func (s *Store) persons() *mongo.Collection { return s.db.Collection(peopleCollection) }
