package mongo

import (
	"context"
	"crypto/rand"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func (c chatStore) Tellings(ctx context.Context, after accounts.Name, limit int) (out []accounts.Name, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if limit <= 0 {
		return nil, nil
	}
	if err := s.finishPeople(ctx); err != nil {
		return nil, err
	}
	var docs []*personDoc
	filter := bson.D{{Key: "telling", Value: bson.D{{Key: "$gt", Value: after}}}}
	err = s.findAll(ctx, peopleCollection, filter, &docs, sortedBy("telling", 1), limitedTo(limit), only("telling"))
	for _, d := range docs {
		out = append(out, d.User)
	}
	return out, err
}

// TellProfile takes who's turn, so that what he says does not change here meanwhile. Somebody who is told again, because it was
// not noted any more that he was told, has it already.
func (c chatStore) TellProfile(
	ctx context.Context, who accounts.Name, limit int,
) (told []accounts.Name, commit chat.Commit, err error) {
	err = c.inPersonTurn(ctx, who, func(ctx context.Context) error {
		d, err := c.closedPerson(ctx, who)
		if err != nil || d.Telling == "" {
			return err
		}
		contacts, last, err := c.contactSlice(ctx, who, d.Told, max(limit, 1))
		if err != nil {
			return err
		}
		var to []pushed
		for _, other := range contacts {
			to = append(to, pushed{user: other, entry: d.entry(c.now())})
		}
		ref := "profile/" + string(who) + "/" + strconv.FormatInt(d.Ver, 10) + "/" + strconv.FormatInt(d.TellN, 10)
		if err := c.push(ctx, ref, to); err != nil {
			return err
		}
		c.at("profile told")
		told, commit = contacts, durable{}
		return c.noteTold(ctx, d, last)
	})
	if err != nil {
		return nil, nil, err
	}
	return told, commit, nil
}

// noteTold keeps up to whom contacts were told, or that all were. If the person has changed meanwhile, they are told again.
func (s *Store) noteTold(ctx context.Context, d *personDoc, last accounts.Name) error {
	defer s.people.wrote(d.User)
	change := bson.D{{Key: "$set", Value: bson.D{{Key: "told", Value: last}}}}
	if last == "" {
		change = bson.D{unset("telling", "tell_n", "told")}
	}
	change = append(change, bson.E{Key: "$inc", Value: bson.D{{Key: "v", Value: int64(1)}}})
	err := retried(ctx, func() error {
		_, err := s.persons().UpdateOne(ctx, d.as(), change)
		return err
	})
	return failed(ctx, "write people", err)
}

// contactSlice gives contacts of user after after who are to hear of him, and the last one that it has looked at unless they are
// all that there are. It looks at no more than limit relations, whatever they are.
func (s *Store) contactSlice(ctx context.Context, user, after accounts.Name, limit int) (
	contacts []accounts.Name, last accounts.Name, err error,
) {
	seen := 0
	err = s.eachRelation(ctx, bson.D{{Key: "u", Value: user}}, after, func(r *relationDoc) bool {
		seen++
		last = r.P
		if r.State == string(chat.ContactAccepted) && !r.Blocked {
			contacts = append(contacts, r.P)
		}
		return seen < limit
	})
	if err != nil {
		return nil, "", err
	}
	if seen < limit {
		last = ""
	}
	contacts, err = s.whoHears(ctx, user, contacts)
	return contacts, last, err
}

// whoHears gives those of some contacts of user who have him as a contact as well and have not blocked him.
func (s *Store) whoHears(ctx context.Context, user accounts.Name, contacts []accounts.Name) (out []accounts.Name, err error) {
	if len(contacts) == 0 {
		return nil, nil
	}
	keys := make(bson.A, len(contacts))
	for i, other := range contacts {
		keys[i] = relationKey{other, user}
	}
	var theirs []*relationDoc
	back := bson.D{{Key: "_id", Value: in(keys)}}
	if err := s.findAll(ctx, relationsCollection, back, &theirs); err != nil {
		return nil, err
	}
	hears := map[accounts.Name]bool{}
	for _, r := range theirs {
		hears[r.U] = r.State == string(chat.ContactAccepted) && !r.Blocked
	}
	for _, other := range contacts {
		if hears[other] {
			out = append(out, other)
		}
	}
	return out, nil
}

func (c chatStore) TellSession(ctx context.Context, user accounts.Name, l chat.Login) (chat.Commit, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	entry := entryDoc{
		Type: chat.EntrySession, TS: s.now(), Login: l.State, LoginID: l.ID, LoginLabel: l.Label, LoginAddr: l.Addr,
	}
	if err := s.push(ctx, "session/"+rand.Text(), []pushed{{user: user, entry: entry}}); err != nil {
		return nil, err
	}
	return durable{}, nil
}
