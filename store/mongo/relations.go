package mongo

import (
	"context"
	"errors"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// versionToCome stands in an entry for the version that the list gets by the change that it tells of.
const versionToCome = -1

// putRelation writes what one user is to another, as the next version of his list, unless what is there is newer. With (u, ver)
// two writers cannot give the same version. It gives the version in which the list has, or had, the change.
func (s *Store) putRelation(ctx context.Context, d document) (version int64, err error) {
	var r relationDoc
	if err := bson.Unmarshal(d.Doc, &r); err != nil {
		return 0, failed(ctx, "read what follows", err)
	}
	for {
		there := relationDoc{N: -1}
		if err := s.get(ctx, relationsCollection, r.Key, &there); err != nil {
			return 0, err
		}
		if there.N >= d.N {
			return there.Version, nil
		}
		last, err := s.listVersion(ctx, r.U)
		if err != nil {
			return 0, err
		}
		r.N, r.Version = d.N, last+1
		older := bson.D{{Key: "_id", Value: r.Key}, {Key: "n", Value: bson.D{{Key: "$lt", Value: d.N}}}}
		err = retried(ctx, func() error {
			_, err := s.relations().ReplaceOne(ctx, older, r, options.Replace().SetUpsert(true))
			return err
		})
		if err == nil {
			return r.Version, nil
		}
		if !taken(err) || ctx.Err() != nil {
			return 0, failed(ctx, "write relations", err)
		}
	}
}

// taken says whether a key is there already. FerretDB v1 does not tell so of updates: there it is an error like others.
func taken(err error) bool {
	const internalError = 1
	var server mongo.ServerError
	return mongo.IsDuplicateKeyError(err) || errors.As(err, &server) && server.HasErrorCode(internalError)
}

// listVersion gives the version of a user's list.
func (s *Store) listVersion(ctx context.Context, user accounts.Name) (int64, error) {
	var last []relationDoc
	err := s.findAll(ctx, relationsCollection, bson.D{{Key: "u", Value: user}}, &last, sortedBy("ver", -1), limitedTo(1))
	if err != nil || len(last) == 0 {
		return 0, err
	}
	return last[0].Version, nil
}

// countContacts counts the contacts of a user.
func (s *Store) countContacts(ctx context.Context, user accounts.Name) (n int, err error) {
	filter := bson.D{{Key: "u", Value: user}, {Key: "state", Value: chat.ContactAccepted}}
	err = retried(ctx, func() error {
		many, err := s.relations().CountDocuments(ctx, filter)
		n = int(many)
		return err
	})
	return n, failed(ctx, "count contacts", err)
}

func (s *Store) relations() *mongo.Collection { return s.db.Collection(relationsCollection) }

// contact is one line of a user's list.
func (r *relationDoc) contact(now int64) chat.Contact {
	c := chat.Pair{Me: r.U, Them: r.P, Mine: r.side(), Now: now}.Contact()
	c.Version = uint64(r.Version)
	return c
}

// listPage is how many lines are read at once by those who leave some out.
const listPage = 256

// eachRelation visits what others are to a user in the order of their names, those after after, until visit says false.
func (s *Store) eachRelation(ctx context.Context, filter bson.D, after accounts.Name, visit func(*relationDoc) bool) error {
	for {
		var page []*relationDoc
		here := slices.Concat(filter, bson.D{{Key: "p", Value: bson.D{{Key: "$gt", Value: after}}}})
		if err := s.findAll(ctx, relationsCollection, here, &page, sortedBy("p", 1), limitedTo(listPage)); err != nil {
			return err
		}
		for _, r := range page {
			if !visit(r) {
				return nil
			}
		}
		if len(page) < listPage {
			return nil
		}
		after = page[len(page)-1].P
	}
}

func (c chatStore) List(ctx context.Context, user, after accounts.Name, limit int) (out []chat.Contact, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if limit <= 0 {
		return nil, nil
	}
	now := s.now()
	err = s.eachRelation(ctx, bson.D{{Key: "u", Value: user}}, after, func(r *relationDoc) bool {
		if line := r.contact(now); line.State != chat.ContactNone || line.Blocked {
			out = append(out, line)
		}
		return len(out) < limit
	})
	return out, err
}

func (c chatStore) Accepted(ctx context.Context, user, after accounts.Name, limit int) (out []accounts.Name, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if limit <= 0 {
		return nil, nil
	}
	filter := bson.D{{Key: "u", Value: user}, {Key: "state", Value: chat.ContactAccepted}}
	err = s.eachRelation(ctx, filter, after, func(r *relationDoc) bool {
		out = append(out, r.P)
		return len(out) < limit
	})
	return out, err
}

func (c chatStore) Changes(ctx context.Context, user accounts.Name, version uint64, limit int) (
	out []chat.Contact, last uint64, err error,
) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, 0, err
	}
	defer s.leave()
	if limit <= 0 {
		return nil, 0, nil
	}
	// The version first: what changes while the list is read is newer, and comes another time as well.
	newest, err := s.listVersion(ctx, user)
	if err != nil || version >= uint64(newest) {
		return nil, uint64(newest), err
	}
	var page []*relationDoc
	since := bson.D{{Key: "$gt", Value: int64(version)}, {Key: "$lte", Value: newest}}
	filter := bson.D{{Key: "u", Value: user}, {Key: "ver", Value: since}}
	if err := s.findAll(ctx, relationsCollection, filter, &page, sortedBy("ver", 1), limitedTo(limit)); err != nil {
		return nil, 0, err
	}
	now := s.now()
	for _, r := range page {
		line := r.contact(now)
		if line.State == chat.ContactNone {
			line.State = chat.ContactEnded
		}
		out = append(out, line)
	}
	return out, uint64(newest), nil
}

func (c chatStore) Requests(ctx context.Context, user accounts.Name, limit int) (n int, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	if limit <= 0 {
		return 0, nil
	}
	filter := bson.D{{Key: "u", Value: user}, {Key: "state", Value: chat.ContactRequested}}
	now := s.now()
	err = s.eachRelation(ctx, filter, "", func(r *relationDoc) bool {
		if r.side().IsRequest(now) {
			n++
		}
		return n < limit
	})
	return n, err
}

func (c chatStore) Partners(ctx context.Context, user, after accounts.Name, limit int) (out []accounts.Name, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if limit <= 0 {
		return nil, nil
	}
	return s.partners(ctx, user, after, limit)
}

func (c chatStore) Mutual(ctx context.Context, a, b accounts.Name, limit int) (n int, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	if limit <= 0 {
		return 0, nil
	}
	filter := bson.D{{Key: "u", Value: a}, {Key: "state", Value: chat.ContactAccepted}}
	for after := accounts.Name(""); ; {
		var page []*relationDoc
		here := slices.Concat(filter, bson.D{{Key: "p", Value: bson.D{{Key: "$gt", Value: after}}}})
		if err := s.findAll(ctx, relationsCollection, here, &page, sortedBy("p", 1), limitedTo(listPage)); err != nil {
			return 0, err
		}
		some, err := s.countAmong(ctx, b, page)
		if n += some; err != nil || n >= limit || len(page) < listPage {
			return min(n, limit), err
		}
		after = page[len(page)-1].P
	}
}

// countAmong counts the contacts of a user among those of another one.
func (s *Store) countAmong(ctx context.Context, user accounts.Name, of []*relationDoc) (n int, err error) {
	if len(of) == 0 {
		return 0, nil
	}
	names := make(bson.A, len(of))
	for i, r := range of {
		names[i] = r.P
	}
	filter := bson.D{
		{Key: "u", Value: user}, {Key: "state", Value: chat.ContactAccepted},
		{Key: "p", Value: in(names)},
	}
	err = retried(ctx, func() error {
		many, err := s.relations().CountDocuments(ctx, filter)
		n = int(many)
		return err
	})
	return n, failed(ctx, "count contacts", err)
}

// partners gives people with whom a user has, or had, to do: those of his relations, and of conversations with strangers.
func (s *Store) partners(ctx context.Context, user, after accounts.Name, limit int) ([]accounts.Name, error) {
	var all []accounts.Name
	err := s.eachRelation(ctx, bson.D{{Key: "u", Value: user}}, after, func(r *relationDoc) bool {
		all = append(all, r.P)
		return len(all) < limit
	})
	if err != nil {
		return nil, err
	}
	var members []*memberDoc
	filter := bson.D{{Key: "u", Value: user}, {Key: "in", Value: true}}
	if err := s.findAll(ctx, membersCollection, filter, &members, only("c")); err != nil {
		return nil, err
	}
	for _, m := range members {
		if other, ok := m.C.Peer(user); ok && other > after {
			all = append(all, other)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return all[:min(len(all), limit)], nil
}
