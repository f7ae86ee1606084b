package mongo

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/transfer"
)

func readMembers(ctx context.Context, s *Store, p *page, after *transfer.Member) error {
	from := behind([]string{"c", "u"}, string(after.C), string(after.Who))
	members := openWalk[memberDoc](ctx, s, membersCollection, from, fields("c", "u"))
	large := openWalk[convDoc](ctx, s, convsCollection, with(fromConversation(after.C), "room.large", true), byID(1), "_id")
	for ; members.at != nil && large.err == nil && !p.full(); members.next() {
		m := members.at
		for large.at != nil && large.at.Name < m.C {
			large.next()
		}
		if r := m.record(); r != nil {
			r.Large = m.isIn() && large.at != nil && large.at.Name == m.C
			p.add(r, members.size)
		}
	}
	return errors.Join(members.close(), large.close())
}

// isIn says whether the member is one now.
func (m *memberDoc) isIn() bool { return !m.C.Kind().Room() || m.Role != chat.RoleNone }

// record is what somebody is to a conversation; nil: he only has written to a room in which he never was.
func (m *memberDoc) record() *transfer.Member {
	r := recordOf[transfer.Member](m)
	r.C, r.Who, r.Hides = m.C, m.U, m.HidCounted
	if m.Spoke != "" && same(r, &transfer.Member{C: m.C, Who: m.U}) {
		return nil
	}
	pends := m.Inviter != "" || m.Asked != 0
	r.Forgotten = m.isIn() && !m.In || pends && m.Pending == ""
	return r
}

// same says whether two records say the same.
func same(a, b transfer.Record) bool {
	x, errX := transfer.Marshal(a)
	y, errY := transfer.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

func writeMembers(ctx context.Context, s *Store, records []*transfer.Member) error {
	docs := make([]any, len(records))
	for i, r := range records {
		m := docOf[memberDoc](r)
		m.Key, m.U, m.C = memberKey{r.Who, r.C}, r.Who, r.C
		m.Hides, m.HidCounted = r.Hides, r.Hides
		if m.In = m.isIn() && !r.Forgotten; !r.Forgotten && (m.Inviter != "" || m.Asked != 0) {
			m.Pending = m.U
		}
		if r.C.Kind() != chat.KindNotes && m.isIn() && !r.Large {
			m.noteUntold()
		}
		docs[i] = m
	}
	return s.fill(ctx, membersCollection, docs)
}

// addToMembers adds to members what records say of them.
func addToMembers[R any](ctx context.Context, s *Store, records []R, of func(R) memberKey, add func(m *memberDoc, r R)) error {
	if len(records) == 0 {
		return nil
	}
	keys := bson.A{}
	for _, r := range records {
		if key := of(r); len(keys) == 0 || keys[len(keys)-1] != key {
			keys = append(keys, key)
		}
	}
	var all []*memberDoc
	these := bson.D{{Key: "_id", Value: in(keys)}}
	if err := s.findAll(ctx, membersCollection, these, &all); err != nil {
		return err
	}
	docs := make(map[memberKey]*memberDoc, len(all))
	for _, m := range all {
		docs[m.Key] = m
	}
	for _, r := range records {
		key := of(r)
		if docs[key] == nil {
			docs[key] = &memberDoc{Key: key, U: key.User, C: key.C}
		}
		add(docs[key], r)
	}
	models := make([]mongo.WriteModel, 0, len(docs))
	for key, m := range docs {
		filter := bson.D{{Key: "_id", Value: key}, {Key: "u", Value: key.User}}
		models = append(models, mongo.NewReplaceOneModel().SetFilter(filter).SetReplacement(m).SetUpsert(true))
	}
	return s.writeAll(ctx, membersCollection, models)
}

// afterMember finds what comes after a member in the order of users.
func afterMember(user accounts.Name, c chat.Conversation) bson.D {
	if user == "" {
		return bson.D{}
	}
	return bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: memberKey{user, c}}}}}
}

func readSides(ctx context.Context, s *Store, p *page, after *transfer.Side) error {
	filter := with(afterMember(after.User, after.C), "side", isThere)
	return visit(ctx, s, membersCollection, filter, byID(1), func(m *memberDoc, size int) bool {
		r := recordOf[transfer.Side](m.Side)
		r.User, r.C = m.U, m.C
		return p.add(r, size)
	})
}

func writeSides(ctx context.Context, s *Store, records []*transfer.Side) error {
	of := func(r *transfer.Side) memberKey { return memberKey{r.User, r.C} }
	return addToMembers(ctx, s, records, of, func(m *memberDoc, r *transfer.Side) { m.Side = docOf[sideDoc](r) })
}

func readBoxed(ctx context.Context, s *Store, p *page, after *transfer.Boxed) error {
	filter := with(afterMember(after.User, after.C), "boxed", true)
	return visit(ctx, s, membersCollection, filter, byID(1), func(m *memberDoc, size int) bool {
		return p.add(&transfer.Boxed{User: m.U, C: m.C, Dropped: m.Dropped}, size)
	})
}

func writeBoxed(ctx context.Context, s *Store, records []*transfer.Boxed) error {
	of := func(r *transfer.Boxed) memberKey { return memberKey{r.User, r.C} }
	return addToMembers(ctx, s, records, of, func(m *memberDoc, r *transfer.Boxed) { m.Boxed, m.Dropped = true, r.Dropped })
}

// readMentions reads of each conversation what mentions everyone, and then what mentions its members.
func readMentions(ctx context.Context, s *Store, p *page, after *transfer.Mention) error {
	calls := openWalk[convDoc](ctx, s, convsCollection, with(fromConversation(after.C), "calls", isThere), byID(1), "calls")
	filter := bson.D{{Key: "mentions", Value: isThere}}
	if after.C != "" {
		filter = with(filter, "c", bson.D{{Key: "$gte", Value: after.C}})
	}
	members := openWalk[memberDoc](ctx, s, membersCollection, filter, fields("c", "u"), "c", "u", "mentions")
	for !p.full() && calls.err == nil && members.err == nil && (calls.at != nil || members.at != nil) {
		if members.at == nil || calls.at != nil && calls.at.Name <= members.at.C {
			for _, call := range calls.at.Calls {
				p.add(&transfer.Mention{C: calls.at.Name, Seq: uint64(call.Seq), From: call.From}, 0)
			}
			calls.next()
			continue
		}
		for _, seq := range members.at.Mentions {
			p.add(&transfer.Mention{C: members.at.C, Who: members.at.U, Seq: uint64(seq)}, 0)
		}
		members.next()
	}
	return errors.Join(calls.close(), members.close())
}

func writeMentions(ctx context.Context, s *Store, records []*transfer.Mention) error {
	var calls, named []*transfer.Mention
	for _, r := range records {
		if r.Who == "" {
			calls = append(calls, r)
		} else {
			named = append(named, r)
		}
	}
	of := func(r *transfer.Mention) chat.Conversation { return r.C }
	err := addToConversations(ctx, s, calls, of, func(c *convDoc, r *transfer.Mention) {
		c.Calls = addMark(c.Calls, seqMark{int64(r.Seq), r.From})
	})
	if err != nil {
		return err
	}
	who := func(r *transfer.Mention) memberKey { return memberKey{r.Who, r.C} }
	return addToMembers(ctx, s, named, who, func(m *memberDoc, r *transfer.Mention) {
		m.Mentions = addSeq(m.Mentions, int64(r.Seq))
	})
}
