package mongo

import (
	"context"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func (c chatStore) Stream(ctx context.Context, user accounts.Name, after uint64, limit int) (page chat.StreamPage, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return page, err
	}
	defer s.leave()
	page.Floor = 1
	if s.ends(user, after) {
		page.Head = after
		return page, nil
	}
	var docs []streamDoc
	if limit > 0 {
		filter := bson.D{{Key: "u", Value: user}, {Key: "n", Value: bson.D{{Key: "$gt", Value: int64(min(after, 1<<62))}}}}
		if err := s.findAll(ctx, streamCollection, filter, &docs, sortedBy("n", 1), limitedTo(limit)); err != nil {
			return page, err
		}
	}
	if len(docs) > 0 && len(docs) < limit {
		page.Head = uint64(docs[len(docs)-1].USN)
	} else if page.Head, err = s.headNow(ctx, user); err != nil {
		return page, err
	}
	if docs = contiguous(docs); len(docs) == 0 {
		if page.Floor, err = s.streamFloor(ctx, user); err != nil {
			return page, err
		}
	} else if first := uint64(docs[0].USN); first != after+1 {
		page.Floor = first // also if what is before it is still being cut off
	}
	r := streamReading{store: s, user: user, now: s.now()}
	if page.Entries, err = r.entries(ctx, docs); err != nil {
		return chat.StreamPage{}, err
	}
	if n := len(page.Entries); n > 0 {
		s.noteHead(user, page.Head)
		s.see(user, page.Entries[n-1].USN)
	}
	return page, nil
}

// ends says whether it is known, without asking, that a stream ends with a usn: nobody else writes to it.
func (s *Store) ends(user accounts.Name, usn uint64) bool {
	s.headMu.Lock()
	defer s.headMu.Unlock()
	h, known := s.heads[user]
	return known && s.cfg.Alone && h.head == usn
}

// headNow gives the last usn of a stream, of this moment.
func (s *Store) headNow(ctx context.Context, user accounts.Name) (head uint64, err error) {
	if s.cfg.Alone {
		head, err = s.head(ctx, user)
	} else {
		err = retried(ctx, func() (err error) { head, err = s.readHead(ctx, user); return err })
	}
	return head, failed(ctx, "read head of stream", err)
}

// streamFloor gives the first usn of a stream that is there; 1 if it is empty.
func (s *Store) streamFloor(ctx context.Context, user accounts.Name) (uint64, error) {
	var first []streamDoc
	err := s.findAll(ctx, streamCollection, bson.D{{Key: "u", Value: user}}, &first, sortedBy("n", 1), limitedTo(1), only("n"))
	if err != nil || len(first) == 0 {
		return 1, err
	}
	return uint64(first[0].USN), nil
}

// streamReading reads what the entries of a stream point at.
type streamReading struct {
	store    *Store
	user     accounts.Name
	now      int64
	messages map[place]*logDoc
	changes  map[place]*logDoc
	members  map[chat.Conversation]*memberDoc // the reader
	hidden   map[place]bool
}

// place is a seq, or a rev, of a conversation.
type place struct {
	c chat.Conversation
	n int64
}

func (r *streamReading) entries(ctx context.Context, docs []streamDoc) (out []chat.Entry, err error) {
	if err := r.load(ctx, docs); err != nil {
		return nil, err
	}
	out = make([]chat.Entry, 0, len(docs))
	for i := range docs {
		e, err := r.entry(ctx, &docs[i])
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// load reads all that entries point at, in as many steps as there are kinds of that.
func (r *streamReading) load(ctx context.Context, docs []streamDoc) (err error) {
	seqs, revs := map[chat.Conversation][]int64{}, map[chat.Conversation][]int64{}
	for _, d := range docs {
		switch e := &d.Entry; {
		case e.Type == chat.EntryMessage:
			seqs[e.Conversation] = append(seqs[e.Conversation], e.Seq)
		case e.Rev != 0:
			revs[e.Conversation] = append(revs[e.Conversation], e.Rev)
			if e.Type == chat.EntryEdit {
				seqs[e.Conversation] = append(seqs[e.Conversation], e.Seq)
			}
		}
	}
	s := r.store
	if r.messages, err = s.entriesAt(ctx, "s", seqs); err != nil {
		return err
	}
	if r.changes, err = s.entriesAt(ctx, "r", revs); err != nil {
		return err
	}
	if r.members, err = s.membersOf(ctx, r.user, r.messages); err != nil {
		return err
	}
	r.hidden, err = s.hiddenOf(ctx, r.user, r.members, seqs)
	return err
}

// entriesAt reads entries of conversations by their seqs, or their revs, all at once.
func (s *Store) entriesAt(ctx context.Context, field string, at map[chat.Conversation][]int64) (map[place]*logDoc, error) {
	if len(at) == 0 {
		return nil, nil
	}
	var either bson.A
	for c, numbers := range at {
		either = append(either, bson.D{{Key: "c", Value: c}, {Key: field, Value: in(numbers)}})
	}
	var all []*logDoc
	if err := s.findAll(ctx, logCollection, bson.D{{Key: "$or", Value: either}}, &all); err != nil {
		return nil, err
	}
	out := make(map[place]*logDoc, len(all))
	for _, e := range all {
		n := e.Seq
		if field == "r" {
			n = e.Rev
		}
		out[place{e.Conversation, n}] = e
	}
	return out, nil
}

// membersOf reads what somebody is to the conversations of messages for which that matters: those that were edited, and those in
// which he has deleted something for himself, which only he knows.
func (s *Store) membersOf(
	ctx context.Context, user accounts.Name, of map[place]*logDoc,
) (map[chat.Conversation]*memberDoc, error) {
	known := map[chat.Conversation]bool{}
	var keys bson.A
	for at := range of {
		if !known[at.c] {
			known[at.c] = true
			keys = append(keys, memberKey{user, at.c})
		}
	}
	if len(keys) == 0 {
		return nil, nil
	}
	var all []*memberDoc
	if err := s.findAll(ctx, membersCollection, bson.D{{Key: "_id", Value: in(keys)}}, &all); err != nil {
		return nil, err
	}
	out := make(map[chat.Conversation]*memberDoc, len(all))
	for _, m := range all {
		out[m.C] = m
	}
	return out, nil
}

func (r *streamReading) entry(ctx context.Context, d *streamDoc) (e chat.Entry, err error) {
	row := &d.Entry
	e = row.entry(uint64(d.USN))
	switch {
	case row.Type == chat.EntryMessage:
		e.Message, err = r.message(ctx, row.Conversation, row.Seq)
		e.TS = e.Message.TS
	case row.Rev != 0:
		e.Change, err = r.change(ctx, row)
		e.TS = e.Change.TS
	}
	return e, err
}

// entry is all that the entry itself says.
func (row *entryDoc) entry(usn uint64) chat.Entry {
	e := chat.Entry{
		USN: usn, Type: row.Type, TS: row.TS, Conversation: row.Conversation, Who: row.Who, Recv: uint64(row.Recv),
		Read: uint64(row.Read), State: row.State, Greeting: row.Greeting, Version: uint64(row.Version),
		Contact: chat.Note{Until: row.Until, Blocked: row.Blocked, Ignored: row.Ignored, Remark: row.Remark, Tags: row.Tags},
		Card:    chat.Card{Name: row.Name, Avatar: row.Avatar, Trust: chat.Trust{Verified: row.Verified, Bot: row.Bot}},
		Login:   chat.Login{State: row.Login, ID: row.LoginID, Label: row.LoginLabel, Addr: row.LoginAddr},
	}
	if row.Type == chat.EntryReceipt && row.Who == "" {
		e.Counts = chat.ReceiptCounts{Seq: uint64(row.Seq), Recv: row.RecvN, Read: row.ReadN, Of: row.OfN}
	}
	if row.OwnSide != nil {
		e.OwnSide = chat.OwnChange(*row.OwnSide)
	}
	if row.Type == chat.EntryConv {
		e.Room = chat.RoomNews{State: row.Room, By: row.By, Title: row.Title, Role: row.Role, Until: row.Until, Text: row.Text}
	}
	if row.Type == chat.EntryHide {
		e.Hidden, e.Read = chat.Hidden{Seqs: unsigned(row.Seqs), UpTo: uint64(row.Read)}, 0
	}
	return e
}

// message is a message as the reader of the stream sees it now.
func (r *streamReading) message(ctx context.Context, c chat.Conversation, seq int64) (m chat.Message, err error) {
	at := place{c, seq}
	doc := r.messages[at]
	if doc == nil {
		m, err = r.store.gap(ctx, c, uint64(seq))
	} else {
		m = shown(doc.message(), r.now)
	}
	if err != nil {
		return m, err
	}
	if left := r.members[c].leftAt(); m.Edited != 0 && left != 0 {
		doc.asItWas(left, &m)
	}
	if r.hidden[at] {
		m.Vanish(chat.WhyHidden)
	}
	return m, nil
}

// leftAt gives when somebody has left a room, in Unix milliseconds; 0: he is in it, or never was. Nobody leaves a live room.
func (m *memberDoc) leftAt() int64 {
	if m == nil || !m.C.Kind().Room() || m.C.Kind() == chat.KindLive || m.Role != chat.RoleNone {
		return 0
	}
	return m.Since
}

// asItWas makes a message of a room say what it said when somebody left: of edits he hears no more.
func (e *logDoc) asItWas(left int64, m *chat.Message) {
	if m.Edited < left {
		return
	}
	for _, was := range e.Message.Edits {
		if was.TS >= left && was.TS != m.TS { // the first one was there when he was
			return
		}
		m.Body, m.At, m.Fallback, m.Rev, m.Edited = was.Body, nil, "", uint64(was.Rev), 0
		if was.Rev != 0 {
			m.Edited = was.TS
		}
	}
}

// change is a change of a message, and of an edit what the message says now. Of one that was removed with its message no more is
// known than that there was one.
func (r *streamReading) change(ctx context.Context, row *entryDoc) (change chat.Revision, err error) {
	if doc := r.changes[place{row.Conversation, row.Rev}]; doc != nil {
		change = doc.revision()
	} else {
		change = chat.Revision{
			Conversation: row.Conversation, Rev: uint64(row.Rev), Op: chat.Op(row.Type), Seq: uint64(row.Seq),
		}
		if change.TS, err = r.store.changeTime(ctx, row.Conversation, row.Rev); err != nil {
			return change, err
		}
	}
	if change.Op == chat.OpEdit {
		change.Message, err = r.message(ctx, change.Conversation, int64(change.Seq))
	}
	return change, err
}

// revision is the change of a message that an entry is.
func (e *logDoc) revision() chat.Revision {
	c := e.Change
	return chat.Revision{
		Conversation: e.Conversation, Rev: uint64(e.Rev), Op: c.Op, Seq: uint64(c.Seq), By: c.By, TS: e.TS,
		Emoji: c.Emoji, Why: c.Why,
	}
}

// changeTime gives the time of the first change that is there from a rev on; 0: there is none.
func (s *Store) changeTime(ctx context.Context, c chat.Conversation, rev int64) (int64, error) {
	var next []*logDoc
	filter := bson.D{{Key: "c", Value: c}, {Key: "r", Value: bson.D{{Key: "$gte", Value: rev}}}}
	err := s.findAll(ctx, logCollection, filter, &next, sortedBy("r", 1), limitedTo(1))
	if err != nil || len(next) == 0 {
		return 0, err
	}
	return next[0].TS, nil
}

func unsigned(list []int64) []uint64 {
	if list == nil {
		return nil
	}
	out := make([]uint64, len(list))
	for i, n := range list {
		out[i] = uint64(n)
	}
	return out
}

// hiddenDoc is a message that somebody has deleted for himself.
type hiddenDoc struct {
	Key    hiddenKey         `bson:"_id"`
	N      int64             `bson:"n"`
	U      accounts.Name     `bson:"u"` // as in Key, for the indexes
	C      chat.Conversation `bson:"c"`
	S      int64             `bson:"s"` // 0: UpTo is the last of all that he has deleted at once
	Counts bool              `bson:"counts,omitempty"`
	UpTo   int64             `bson:"upto,omitempty"`
}

type hiddenKey struct {
	User accounts.Name     `bson:"u"`
	C    chat.Conversation `bson:"c"`
	Seq  int64             `bson:"s"`
}

// hiddenOf finds which of some messages somebody has deleted for himself.
func (s *Store) hiddenOf(
	ctx context.Context, user accounts.Name, members map[chat.Conversation]*memberDoc, seqs map[chat.Conversation][]int64,
) (map[place]bool, error) {
	var keys bson.A
	for c, list := range seqs {
		if m := members[c]; m == nil || !m.Hides {
			continue
		}
		keys = append(keys, hiddenKey{user, c, 0})
		for _, seq := range list {
			keys = append(keys, hiddenKey{user, c, seq})
		}
	}
	if len(keys) == 0 {
		return nil, nil
	}
	var all []hiddenDoc
	if err := s.findAll(ctx, hiddenCollection, bson.D{{Key: "_id", Value: in(keys)}}, &all); err != nil {
		return nil, err
	}
	out := map[place]bool{}
	for _, h := range all {
		out[place{h.C, h.S}] = h.S != 0
		for _, seq := range seqs[h.C] {
			if h.S == 0 && seq <= h.UpTo {
				out[place{h.C, seq}] = true
			}
		}
	}
	return out, nil
}

// sortedSeqs says where a seq is, or would be, in a sorted list.
func sortedSeqs(list []int64, seq int64) (int, bool) { return slices.BinarySearch(list, seq) }
