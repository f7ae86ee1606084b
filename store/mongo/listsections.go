package mongo

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/transfer"
)

// readLists counts what is counted of a user: it is in what others say of him.
func readLists(ctx context.Context, s *Store, p *page, after *transfer.List) error {
	from := behind([]string{"u"}, string(after.User))
	relations := openWalk[relationDoc](ctx, s, relationsCollection, from, fields("u", "p"), "u", "state", "ver")
	asks := openWalk[askDoc](ctx, s, asksCollection, from, fields("u", "at"))
	hiders := openWalk[memberDoc](ctx, s, membersCollection, with(from, "hides", true), byID(1), "u")
	for more := true; more; {
		user := accounts.Name("")
		least := func(name accounts.Name) {
			if user == "" || name < user {
				user = name
			}
		}
		if relations.at != nil {
			least(relations.at.U)
		}
		if asks.at != nil {
			least(asks.at.User)
		}
		if hiders.at != nil {
			least(hiders.at.U)
		}
		if user == "" || relations.err != nil || asks.err != nil || hiders.err != nil {
			break
		}
		l := &transfer.List{User: user}
		for ; relations.at != nil && relations.at.U == user; relations.next() {
			l.Version = max(l.Version, uint64(relations.at.Version))
			if relations.at.State == string(chat.ContactAccepted) {
				l.Contacts++
			}
		}
		askedAt(asks, l)
		for ; hiders.at != nil && hiders.at.U == user; hiders.next() {
			l.Hides = true
		}
		more = p.add(l, 0)
	}
	return errors.Join(relations.close(), asks.close(), hiders.close())
}

// What an import keeps of a list among the times at which a user has asked, and is none of these.
const (
	askedNothing = 0  // there is a list
	hadHidden    = -1 // of somebody who has deleted messages for himself
)

// askedAt adds when the user of a list, at whom the walk stands, has approached strangers, in that order.
func askedAt(asks *walk[askDoc], l *transfer.List) {
	var all []*askDoc
	for ; asks.at != nil && asks.at.User == l.User; asks.next() {
		all = append(all, asks.at)
	}
	slices.SortFunc(all, func(a, b *askDoc) int { return slices.Compare(a.ID[:], b.ID[:]) })
	for _, a := range all {
		switch a.At {
		case askedNothing:
		case hadHidden:
			l.Hides = true
		default:
			l.Asked = append(l.Asked, a.At)
		}
	}
}

// writeLists writes nothing of what is counted.
func writeLists(ctx context.Context, s *Store, records []*transfer.List) error {
	var docs []any
	for _, l := range records {
		asked := l.Asked
		switch {
		case l.Hides:
			asked = append(slices.Clone(asked), hadHidden)
		case len(asked) == 0 && l.Version == 0:
			asked = []int64{askedNothing}
		}
		for i, at := range asked {
			docs = append(docs, askDoc{ID: askID(l.User, i), User: l.User, At: at})
		}
	}
	return s.fill(ctx, asksCollection, docs)
}

// askID names what a user has asked before the import: in its order, and before all that he will ask.
func askID(user accounts.Name, i int) (id bson.ObjectID) {
	id = importedID("ask", string(user), int64(i))
	binary.BigEndian.PutUint32(id[:], uint32(i))
	return id
}

// importedID names what comes by an import: the same thing always by the same id.
func importedID(kind, of string, n int64) bson.ObjectID {
	sum := sha256.New()
	sum.Write([]byte(kind))
	sum.Write([]byte{0})
	sum.Write(binary.BigEndian.AppendUint64([]byte(of), uint64(n)))
	return bson.ObjectID(sum.Sum(nil)[:len(bson.ObjectID{})])
}

func readContacts(ctx context.Context, s *Store, p *page, after *transfer.Contact) error {
	from := behind([]string{"u", "p"}, string(after.User), string(after.Other))
	return visit(ctx, s, relationsCollection, from, fields("u", "p"), func(d *relationDoc, size int) bool {
		r := recordOf[transfer.Contact](d)
		r.User, r.Other = d.U, d.P
		return p.add(r, size)
	})
}

func writeContacts(ctx context.Context, s *Store, records []*transfer.Contact) error {
	docs := make([]any, len(records))
	for i, r := range records {
		d := docOf[relationDoc](r)
		d.Key, d.U, d.P = relationKey{r.User, r.Other}, r.User, r.Other
		docs[i] = d
	}
	return s.fill(ctx, relationsCollection, docs)
}

func readEntries(ctx context.Context, s *Store, p *page, after *transfer.Entry) error {
	from := behind([]string{"u", "n"}, string(after.User), int64(after.USN))
	return visit(ctx, s, streamCollection, from, fields("u", "n"), func(d *streamDoc, size int) bool {
		r := recordOf[transfer.Entry](&d.Entry)
		r.User, r.USN = d.User, uint64(d.USN)
		return p.add(r, size)
	})
}

func writeEntries(ctx context.Context, s *Store, records []*transfer.Entry) error {
	docs := make([]any, len(records))
	for i, r := range records {
		docs[i] = importedEntry{importedID("entry", string(r.User), int64(r.USN)), streamDoc{
			User: r.User, USN: int64(r.USN), Ref: importedRef(r.USN), Entry: *docOf[entryDoc](r),
		}}
	}
	return s.fill(ctx, streamCollection, docs)
}

// importedEntry is a streamDoc that is written under the same id again.
type importedEntry struct {
	ID  bson.ObjectID `bson:"_id"`
	Doc streamDoc     `bson:",inline"`
}

// importedRef names where an entry was before it was imported.
func importedRef(usn uint64) string { return "import/" + strconv.FormatUint(usn, 10) }
