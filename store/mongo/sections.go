package mongo

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/transfer"
)

// section is how records of a kind lie in the database. One document may be several records; then those that come later are added
// to what the first one has made.
type section struct {
	// read adds records to a page, in their order, until it is full or there are no more.
	read func(ctx context.Context, s *Store, p *page) error
	// write puts some records, all at once.
	write func(ctx context.Context, s *Store, records []transfer.Record) error
}

// sections are those of all kinds.
var sections = map[transfer.Kind]section{
	transfer.KindUser:         sectionOf(readUsers, writeUsers),
	transfer.KindToken:        sectionOf(readTokens, writeTokens),
	transfer.KindDevice:       sectionOf(readDeviceAccounts, writeDeviceAccounts),
	transfer.KindInvitation:   sectionOf(readInvitations, writeInvitations),
	transfer.KindAct:          sectionOf(readActs, writeActs),
	transfer.KindPerson:       sectionOf(readPeople, writePeople),
	transfer.KindHandle:       sectionOf(readHandles, writeHandles),
	transfer.KindTelling:      sectionOf(readTellings, writeTellings),
	transfer.KindSeen:         sectionOf(readSeen, writeSeen),
	transfer.KindList:         sectionOf(readLists, writeLists),
	transfer.KindContact:      sectionOf(readContacts, writeContacts),
	transfer.KindConversation: sectionOf(readConversations, writeConversations),
	transfer.KindRoom:         sectionOf(readRooms, writeRooms),
	transfer.KindFloor:        sectionOf(readFloors, writeFloors),
	transfer.KindSnapshot:     sectionOf(readSnapshots, writeSnapshots),
	transfer.KindOutdated:     sectionOf(readOutdated, writeOutdated),
	transfer.KindLikes:        sectionOf(readLikes, writeLikes),
	transfer.KindMember:       sectionOf(readMembers, writeMembers),
	transfer.KindSide:         sectionOf(readSides, writeSides),
	transfer.KindBoxed:        sectionOf(readBoxed, writeBoxed),
	transfer.KindMessage:      sectionOf(readMessages, writeMessages),
	transfer.KindOwn:          sectionOf(readOwn, writeOwn),
	transfer.KindGone:         sectionOf(readGone, writeGone),
	transfer.KindMention:      sectionOf(readMentions, writeMentions),
	transfer.KindChange:       sectionOf(readChanges, writeChanges),
	transfer.KindEdit:         sectionOf(readEdits, writeEdits),
	transfer.KindReaction:     sectionOf(readReactions, writeReactions),
	transfer.KindPin:          sectionOf(readPins, writePins),
	transfer.KindHidden:       sectionOf(readHidden, writeHidden),
	transfer.KindMID:          sectionOf(readMIDs, writeMIDs),
	transfer.KindEntry:        sectionOf(readEntries, writeEntries),
	transfer.KindRetained:     sectionOf(readRetained, writeRetained),
	transfer.KindThing:        sectionOf(readThings, writeThings),
	transfer.KindShadow:       sectionOf(readShadows, writeShadows),
	transfer.KindCommand:      sectionOf(readCommands, writeCommands),
	transfer.KindEvent:        sectionOf(readEvents, writeEvents),
	transfer.KindAlarm:        sectionOf(readAlarms, writeAlarms),
	transfer.KindPresence:     sectionOf(readPresences, writePresences),
	transfer.KindPoints:       sectionOf(readPoints, writePoints),
	transfer.KindMinutes:      sectionOf(readMinutes, writeMinutes),
	transfer.KindHours:        sectionOf(readHours, writeHours),
	transfer.KindLast:         sectionOf(readLast, writeLast),
	transfer.KindTeleFloor:    sectionOf(readTeleFloor, writeTeleFloor),
	transfer.KindKept:         sectionOf(readKept, writeKept),
}

// sectionOf makes a section of functions that know what their records are. read is given the record after which it is to begin;
// an empty one: from the first on.
func sectionOf[R any, P interface {
	*R
	transfer.Record
}](
	read func(ctx context.Context, s *Store, p *page, after P) error,
	write func(ctx context.Context, s *Store, records []P) error,
) section {
	return section{
		read: func(ctx context.Context, s *Store, p *page) error {
			after := P(new(R))
			if p.after != nil {
				after = p.after.(P)
			}
			return read(ctx, s, p, after)
		},
		write: func(ctx context.Context, s *Store, records []transfer.Record) error {
			all := make([]P, len(records))
			for i, r := range records {
				all[i] = r.(P)
			}
			return write(ctx, s, all)
		},
	}
}

// recordOf makes a record of a document that has all its fields.
func recordOf[R any](doc any) *R {
	r := new(R)
	fit(r, doc)
	return r
}

// docOf is recordOf backwards.
func docOf[D any](record any) *D {
	d := new(D)
	fit(d, record)
	return d
}

// docsOf makes documents of records.
func docsOf[D any, R any](records []*R) []any {
	docs := make([]any, len(records))
	for i, r := range records {
		docs[i] = docOf[D](r)
	}
	return docs
}

// afterID finds what comes after an _id; one that is empty: everything.
func afterID(id string) bson.D { return behind([]string{"_id"}, id) }

// afterDigest is afterID for digests.
func afterDigest(d transfer.Hex) bson.D {
	if len(d) == 0 {
		return bson.D{}
	}
	return bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: []byte(d)}}}}
}

func readUsers(ctx context.Context, s *Store, p *page, after *transfer.User) error {
	filter := append(afterID(string(after.Name)), isUser)
	return visit(ctx, s, usersCollection, filter, byID(1), func(d *userDoc, size int) bool {
		return p.add(recordOf[transfer.User](d), size)
	})
}

func writeUsers(ctx context.Context, s *Store, records []*transfer.User) error {
	return s.fill(ctx, usersCollection, docsOf[userDoc](records))
}

// readTokens leaves those out that are of an older epoch than their owners: they are none.
func readTokens(ctx context.Context, s *Store, p *page, after *transfer.Token) error {
	at := after.Digest
	for !p.full() {
		var some []*tokenDoc
		if err := s.findAll(ctx, tokensCollection, afterDigest(at), &some, sortedBy("_id", 1), limitedTo(p.left())); err != nil {
			return err
		}
		if len(some) == 0 {
			return nil
		}
		epochs, err := s.epochs(ctx, some)
		if err != nil {
			return err
		}
		for _, t := range some {
			if t.Epoch == epochs[t.Owner] {
				p.add(recordOf[transfer.Token](t), len(t.Label))
			}
		}
		at = some[len(some)-1].Digest
	}
	return nil
}

// epochs gives those of the owners of tokens.
func (s *Store) epochs(ctx context.Context, of []*tokenDoc) (map[accounts.Name]int64, error) {
	names := make(bson.A, len(of))
	for i, t := range of {
		names[i] = t.Owner
	}
	var owners []*userDoc
	filter := bson.D{{Key: "_id", Value: in(names)}}
	if err := s.findAll(ctx, usersCollection, filter, &owners, only("epoch")); err != nil {
		return nil, err
	}
	epochs := make(map[accounts.Name]int64, len(owners))
	for _, u := range owners {
		epochs[u.Name] = u.Epoch
	}
	return epochs, nil
}

func writeTokens(ctx context.Context, s *Store, records []*transfer.Token) error {
	for _, t := range records {
		if len(t.Digest) != len(accounts.Digest{}) {
			return fmt.Errorf("a digest of %d bytes", len(t.Digest))
		}
	}
	return s.fill(ctx, tokensCollection, docsOf[tokenDoc](records)) // no user has an epoch yet
}

func readInvitations(ctx context.Context, s *Store, p *page, after *transfer.Invitation) error {
	return visit(ctx, s, invitationsCollection, afterDigest(after.Digest), byID(1), func(d *invitationDoc, size int) bool {
		return p.add(recordOf[transfer.Invitation](d), size)
	})
}

func writeInvitations(ctx context.Context, s *Store, records []*transfer.Invitation) error {
	for _, i := range records {
		if len(i.Digest) != len(accounts.Digest{}) {
			return fmt.Errorf("a digest of %d bytes", len(i.Digest))
		}
	}
	return s.fill(ctx, invitationsCollection, docsOf[invitationDoc](records))
}

func readActs(ctx context.Context, s *Store, p *page, after *transfer.Act) error {
	return visit(ctx, s, actsCollection, afterID(string(after.ID)), byID(1), func(d *actDoc, size int) bool {
		return p.add(recordOf[transfer.Act](d), size)
	})
}

func writeActs(ctx context.Context, s *Store, records []*transfer.Act) error {
	return s.fill(ctx, actsCollection, docsOf[actDoc](records))
}
