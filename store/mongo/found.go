package mongo

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// foundDoc is that a user may be found by a term: its kind, its value and the user make the name, so that names are in the order
// in which hits are given. n is that of the change of the person since which it is so. Who does late what follows from an older
// change may write one that is not true any more: it counts only if the person has the term.
type foundDoc struct {
	ID string `bson:"_id"`
	N  int64  `bson:"n"`
}

const (
	termEnd = "\n"         // ends the value in the name of a foundDoc: it is less than all that may be in a word
	wordEnd = "\U0010FFFF" // is more
)

// termOf is a term as names have it. What is not words is any bytes.
func termOf(kind chat.TermKind, value string) string {
	if kind != chat.TermWord {
		value = hex.EncodeToString([]byte(value))
	}
	return string(rune(kind)) + value
}

func foundID(term string, user accounts.Name) string { return term + termEnd + string(user) }

// parts are the term and the user of a foundDoc.
func (d *foundDoc) parts() (term string, user accounts.Name) {
	term, name, _ := strings.Cut(d.ID, termEnd)
	return term, accounts.Name(name)
}

// hitOf is that a user has a term of a kind.
func hitOf(kind chat.TermKind, term string, user accounts.Name) (chat.Hit, error) {
	value := strings.TrimPrefix(term, string(rune(kind)))
	if kind == chat.TermWord {
		return chat.Hit{Value: value, User: user}, nil
	}
	bytes, err := hex.DecodeString(value)
	return chat.Hit{Value: string(bytes), User: user}, err
}

// writeTerms writes by what a person is found since a change, and no more.
func (s *Store) writeTerms(ctx context.Context, d *personDoc) error {
	var models []mongo.WriteModel
	before := func(id string) bson.D {
		return bson.D{{Key: "_id", Value: id}, {Key: "n", Value: bson.D{{Key: "$lt", Value: d.N}}}}
	}
	for _, term := range d.Follows.Gone {
		models = append(models, mongo.NewDeleteOneModel().SetFilter(before(foundID(term, d.User))))
	}
	for _, term := range d.Follows.Fresh {
		id := foundID(term, d.User)
		replace := mongo.NewReplaceOneModel().SetFilter(before(id)).SetReplacement(foundDoc{id, d.N})
		models = append(models, replace.SetUpsert(true))
	}
	return s.writeNewer(ctx, foundCollection, models)
}

func (c chatStore) Found(
	ctx context.Context, kind chat.TermKind, prefix string, after chat.Hit, limit int,
) (out []chat.Hit, err error) {
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
	begins := termOf(kind, prefix)
	from := max(begins, foundID(termOf(kind, after.Value), after.User))
	for {
		var page []*foundDoc
		here := bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: from}, {Key: "$lt", Value: begins + wordEnd}}}}
		if err := s.findAll(ctx, foundCollection, here, &page, sortedBy("_id", 1), limitedTo(limit-len(out))); err != nil {
			return nil, err
		}
		hits, err := s.hits(ctx, kind, page)
		if out = append(out, hits...); err != nil || len(page) == 0 || len(out) >= limit {
			return out, err
		}
		from = page[len(page)-1].ID
	}
}

// hits gives those of some documents that are true.
func (s *Store) hits(ctx context.Context, kind chat.TermKind, page []*foundDoc) (out []chat.Hit, err error) {
	if len(page) == 0 {
		return nil, nil
	}
	var users bson.A
	for _, d := range page {
		_, user := d.parts()
		users = append(users, user)
	}
	var people []*personDoc
	them := bson.D{{Key: "_id", Value: in(users)}}
	if err := s.findAll(ctx, peopleCollection, them, &people, only("terms")); err != nil {
		return nil, err
	}
	terms := map[accounts.Name][]string{}
	for _, p := range people {
		terms[p.User] = p.Terms
	}
	for _, d := range page {
		term, user := d.parts()
		if !slices.Contains(terms[user], term) {
			continue
		}
		hit, err := hitOf(kind, term, user)
		if err != nil {
			return nil, failed(ctx, "read "+foundCollection, err)
		}
		out = append(out, hit)
	}
	return out, nil
}

func (c chatStore) PurgePeople(ctx context.Context, now time.Time, limit int) (int, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	if limit <= 0 {
		return 0, nil
	}
	if err := s.finishPeople(ctx); err != nil {
		return 0, err
	}
	var over []*personDoc
	filter := bson.D{{Key: "area", Value: bson.D{{Key: "$lt", Value: now.UnixMilli()}}}}
	if err := s.findAll(ctx, peopleCollection, filter, &over, sortedBy("area", 1), limitedTo(limit)); err != nil {
		return 0, err
	}
	for _, d := range over {
		if _, _, err := c.ChangePerson(ctx, d.User, chat.EndArea(now), nil); err != nil {
			return 0, err
		}
	}
	freed, err := s.freeHandles(ctx, now, limit-len(over))
	return len(over) + freed, err
}
