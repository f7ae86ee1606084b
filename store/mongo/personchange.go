package mongo

import (
	"context"
	"errors"
	"reflect"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// A change of what somebody says of himself is made in his turn, and written only over what it was decided from.

func (c chatStore) ChangePerson(
	ctx context.Context, user accounts.Name, change func(*chat.Person) (bool, error), origin any,
) (out chat.Person, commit chat.Commit, err error) {
	from, err := c.originOf(origin)
	if err != nil {
		return out, nil, err
	}
	err = c.inPersonTurn(ctx, user, func(ctx context.Context) error {
		changed, err := c.changePerson(ctx, user, func(was *personDoc) (*personDoc, error) {
			before := was.person()
			next := before.Clone()
			tell, err := change(&next)
			if err != nil {
				return nil, err
			}
			next.User = user
			if len(next.Profile.Fields) == 0 {
				next.Profile.Fields = nil
			}
			out = next.Clone()
			if reflect.DeepEqual(next, before) {
				return nil, nil
			}
			d := was.next(next, c.now())
			if d.Follows.Origin = from; tell {
				d.Telling, d.TellN, d.Told = user, d.N, ""
			}
			return d, nil
		})
		if changed {
			commit = durable{}
		}
		return err
	})
	if err != nil {
		return chat.Person{}, nil, err
	}
	return out, commit, nil
}

func (c chatStore) ForgetPerson(ctx context.Context, user accounts.Name, free time.Time) (commit chat.Commit, err error) {
	err = c.inPersonTurn(ctx, user, func(ctx context.Context) error {
		changed, err := c.changePerson(ctx, user, func(was *personDoc) (*personDoc, error) {
			nothing := chat.Person{User: user}
			nothing.Settings.Find.Hidden = was.Hidden
			if was.Telling == "" && reflect.DeepEqual(was.person(), nothing) {
				return nil, nil
			}
			d := was.next(nothing, c.now())
			d.Telling, d.TellN, d.Told, d.Follows.Tell = "", 0, "", false
			if c.cfg.Clock().Before(free) {
				d.Follows.Free = momentOf(free)
			}
			return d, nil
		})
		if changed {
			commit = durable{}
		}
		return err
	})
	return commit, err
}

// inPersonTurn runs do in user's turn. What has begun does not end because its caller does not want it any more.
func (s *Store) inPersonTurn(ctx context.Context, user accounts.Name, do func(context.Context) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	done, err := s.people.turn(ctx, user)
	if err != nil {
		return err
	}
	defer done()
	work, cancel := context.WithTimeout(s.life, s.cfg.Timeout)
	defer cancel()
	err = do(work)
	if err != nil && work.Err() != nil && errors.Is(err, work.Err()) {
		return failed(s.life, "change what "+string(user)+" says", err)
	}
	return err
}

// next is the document of what is said next, and of what follows from that.
func (d *personDoc) next(p chat.Person, ts int64) *personDoc {
	next := &personDoc{
		User: d.User, V: d.V + 1, N: d.N + 1, W: bson.NewObjectID(), Telling: d.Telling, TellN: d.TellN, Told: d.Told,
		Open: d.User,
	}
	next.say(p)
	next.Follows = &personFollowingDoc{
		TS: ts, Tell: next.Ver != d.Ver, Fresh: without(next.Terms, d.Terms), Gone: without(d.Terms, next.Terms),
		Freed: without(d.handles(), next.handles()),
	}
	return next
}

// settle closes a document from which nothing follows.
func (d *personDoc) settle() {
	if f := d.Follows; !f.Tell && f.Origin == nil && len(f.Fresh)+len(f.Gone)+len(f.Freed) == 0 {
		d.Open, d.Follows = "", nil
	}
}

// changePerson makes user's document what decide makes of it, which may be called more than once; nil: it stays what it is.
func (s *Store) changePerson(
	ctx context.Context, user accounts.Name, decide func(was *personDoc) (*personDoc, error),
) (changed bool, err error) {
	claims := map[string]bson.ObjectID{}
	for {
		was, err := s.closedPerson(ctx, user)
		if err != nil {
			return false, err
		}
		next, err := decide(was)
		if err != nil || next == nil {
			s.unclaim(ctx, claims, was)
			return false, err
		}
		if err := s.claimAll(ctx, claims, was, next); err != nil {
			s.unclaim(ctx, claims, was)
			return false, err
		}
		s.at("handles claimed")
		next.settle()
		switch done, err := s.putPerson(ctx, was, next); {
		case err != nil:
			return false, err
		case done:
			s.at("person written")
			s.unclaim(ctx, claims, next)
			if next.Open == "" {
				return true, nil
			}
			err := s.finishPerson(ctx, next)
			if err != nil {
				s.leaveOpen()
			}
			return true, err
		}
	}
}

// putPerson replaces a document; false: it is not any more what it was.
func (s *Store) putPerson(ctx context.Context, was, next *personDoc) (done bool, err error) {
	defer s.people.wrote(was.User)
	unsure := false
	for pause := firstPause; ; pause.wait(ctx) {
		matched := int64(1)
		if was.V == 0 {
			_, err = s.persons().InsertOne(ctx, next)
		} else {
			var result *mongo.UpdateResult
			if result, err = s.persons().ReplaceOne(ctx, was.as(), next); err == nil {
				matched = result.MatchedCount
			}
		}
		if err == nil && matched == 1 {
			return true, nil
		}
		if err != nil && !mongo.IsDuplicateKeyError(err) {
			if !passing(err) {
				return false, failed(ctx, "write people", err)
			}
			unsure = true
		}
		there, err := s.personDoc(ctx, was.User)
		switch {
		case err != nil:
			return false, err
		case there.W == next.W:
			return true, nil
		case there.N == was.N && there.V != was.V:
			return false, nil
		case there.N != was.N && unsure: // by whom, after it may have become next
			return false, failed(ctx, "write people", errUnsure)
		case there.N != was.N:
			return false, nil
		case ctx.Err() != nil:
			return false, failed(ctx, "write people", ctx.Err())
		}
	}
}

// errUnsure says that it is not known whether something was written before others wrote.
var errUnsure = errors.New("it is not known whether this was written")

// as matches the document as long as nothing has happened to it.
func (d *personDoc) as() bson.D { return bson.D{{Key: "_id", Value: d.User}, {Key: "v", Value: d.V}} }

// touch sees that nobody changes a document who believes that it is what it was; false: it may not be, or that is not known.
func (s *Store) touch(ctx context.Context, d *personDoc) (done bool, err error) {
	defer s.people.wrote(d.User)
	if d.V == 0 {
		_, err = s.persons().InsertOne(ctx, personDoc{User: d.User, V: 1})
		done = err == nil
	} else {
		var result *mongo.UpdateResult
		result, err = s.persons().UpdateOne(ctx, d.as(), bson.D{{Key: "$inc", Value: bson.D{{Key: "v", Value: int64(1)}}}})
		done = err == nil && result.MatchedCount == 1
	}
	if mongo.IsDuplicateKeyError(err) || passing(err) {
		err = nil
	}
	return done, failed(ctx, "write people", err)
}
