package mongo

import (
	"context"
	"encoding/hex"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// foundDoc is that a user is found by a term: its kind, its value and the user make the name, so that names are in the order in
// which hits are given. n is that of the change of the person since which it is so. One that is not so any more stays for a while,
// so that who does late what follows from an older change does not bring it back.
type foundDoc struct {
	ID   string     `bson:"_id"`
	N    int64      `bson:"n"`
	Ends *time.Time `bson:"x,omitempty"` // it is not so any more, and may be removed then
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

// hit is what a foundDoc of a kind says.
func (d *foundDoc) hit(kind chat.TermKind) (chat.Hit, error) {
	value, user, _ := strings.Cut(strings.TrimPrefix(d.ID, string(rune(kind))), termEnd)
	if kind != chat.TermWord {
		bytes, err := hex.DecodeString(value)
		if err != nil {
			return chat.Hit{}, err
		}
		value = string(bytes)
	}
	return chat.Hit{Value: value, User: accounts.Name(user)}, nil
}

// foundDocs are what becomes of terms by a change of a person.
func foundDocs(d *personDoc, now time.Time) (docs []document) {
	for _, term := range d.Follows.Fresh {
		id := foundID(term, d.User)
		docs = append(docs, documentOf(foundCollection, id, d.N, foundDoc{ID: id, N: d.N}))
	}
	ends := now.Add(fenceLife)
	for _, term := range d.Follows.Gone {
		id := foundID(term, d.User)
		docs = append(docs, documentOf(foundCollection, id, d.N, foundDoc{ID: id, N: d.N, Ends: &ends}))
	}
	return docs
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
	filter := bson.D{
		{Key: "_id", Value: bson.D{
			{Key: "$gt", Value: max(begins, foundID(termOf(kind, after.Value), after.User))}, {Key: "$lt", Value: begins + wordEnd},
		}},
		{Key: "x", Value: bson.D{{Key: "$exists", Value: false}}},
	}
	var docs []*foundDoc
	if err := s.findAll(ctx, foundCollection, filter, &docs, sortedBy("_id", 1), limitedTo(limit)); err != nil {
		return nil, err
	}
	for _, d := range docs {
		hit, err := d.hit(kind)
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
	if err := s.purgeTerms(ctx, now); err != nil {
		return 0, err
	}
	var over []*personDoc
	filter := bson.D{{Key: "area", Value: bson.D{{Key: "$lt", Value: now.UnixMilli()}}}}
	if err := s.findAll(ctx, peopleCollection, filter, &over, sortedBy("area", 1), limitedTo(limit)); err != nil {
		return 0, err
	}
	for _, d := range over {
		_, _, err := c.ChangePerson(ctx, d.User, func(p *chat.Person) (bool, error) {
			if p.Settings.Find.Nearby.Until < now.UnixMilli() {
				p.Settings.Find.Nearby = chat.Area{}
			}
			return false, nil
		}, nil)
		if err != nil {
			return 0, err
		}
	}
	freed, err := s.freeHandles(ctx, now, limit-len(over))
	return len(over) + freed, err
}

// purgeTerms removes what is left of terms that somebody is not found by any more.
func (s *Store) purgeTerms(ctx context.Context, now time.Time) error {
	err := retried(ctx, func() error {
		over := bson.D{{Key: "x", Value: bson.D{{Key: "$lt", Value: now}}}}
		_, err := s.db.Collection(foundCollection).DeleteMany(ctx, over)
		return err
	})
	return failed(ctx, "write "+foundCollection, err)
}
