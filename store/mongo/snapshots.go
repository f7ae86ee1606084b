package mongo

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// boardDoc is the newest snapshot of a board.
type boardDoc struct {
	C    chat.Conversation `bson:"_id"`
	N    int64             `bson:"n"`
	Seq  int64             `bson:"s"`
	TS   int64             `bson:"ts"`
	By   accounts.Name     `bson:"by"`
	Body []byte            `bson:"body"` // JSON
}

// outdatedDoc says up to which seq operations of a board are to be removed some time after a time. When they are, it stays for
// some time still, so that no entry of before brings it back.
type outdatedDoc struct {
	Key  outdatedKey       `bson:"_id"`
	N    int64             `bson:"n"`
	C    chat.Conversation `bson:"c"`
	Seq  int64             `bson:"s"`
	Due  int64             `bson:"due,omitempty"` // the time of the snapshot, in Unix milliseconds; 0: it is done
	Ends *time.Time        `bson:"x,omitempty"`   // when it may be removed
}

type outdatedKey struct {
	C   chat.Conversation `bson:"c"`
	Seq int64             `bson:"s"`
}

func (c chatStore) Snapshot(ctx context.Context, name chat.Conversation) (chat.Snapshot, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.Snapshot{}, err
	}
	defer s.leave()
	var d boardDoc
	if err := s.get(ctx, snapshotsCollection, name, &d); err != nil {
		return chat.Snapshot{}, err
	}
	return chat.Snapshot{Conversation: name, Seq: uint64(d.Seq), By: d.By, TS: d.TS, Body: d.Body}, nil
}

func (c chatStore) PutSnapshot(ctx context.Context, n chat.Snapshot) (seq uint64, commit chat.Commit, err error) {
	s := c.Store
	if err := s.enterWrite(); err != nil {
		return 0, nil, err
	}
	defer s.leave()
	origin, err := s.originOf(n.Origin)
	if err != nil {
		return 0, nil, err
	}
	if n.Conversation.Kind() != chat.KindBoard {
		return 0, nil, fmt.Errorf("snapshot of %s: %w", n.Conversation, chat.ErrNoConversation)
	}
	take := func(_ context.Context, t *turn) error {
		seq, commit = t.snapshot(), nil
		r := t.room([]accounts.Name{n.By}, t.now)
		if err := r.Act(n.By); err != nil {
			return err
		}
		if n.Seq == 0 || n.Seq > uint64(t.Head) {
			return fmt.Errorf("snapshot of %s at %d of %d: %w", n.Conversation, n.Seq, t.Head, chat.ErrMalformed)
		}
		if n.Seq <= seq {
			return nil
		}
		t.begin(entryIsState)
		t.origin = origin
		t.putSnapshot(n)
		seq, commit = n.Seq, durable{}
		return nil
	}
	err = s.take(ctx, n.Conversation, &step{who: []accounts.Name{n.By}, take: take})
	if err != nil {
		return 0, nil, err
	}
	return seq, commit, nil
}

// snapshot gives the seq of the snapshot of a board; 0: there is none.
func (st *state) snapshot() uint64 {
	if st.Snap == nil {
		return 0
	}
	return uint64(st.Snap.Seq)
}

func (t *turn) putSnapshot(n chat.Snapshot) {
	seq := int64(n.Seq)
	t.Snap = &snapshotDoc{Seq: seq, TS: t.now}
	t.put(snapshotsCollection, t.Name, boardDoc{C: t.Name, N: t.N, Seq: seq, TS: t.now, By: n.By, Body: n.Body})
	key := outdatedKey{t.Name, seq}
	t.put(outdatedCollection, key, outdatedDoc{Key: key, N: t.N, C: t.Name, Seq: seq, Due: t.now})
}

// compacted notes that what a snapshot has outdated is removed.
func (t *turn) compacted(o chat.Snapshot) {
	ends := time.UnixMilli(t.now).Add(fenceLife)
	key := outdatedKey{t.Name, int64(o.Seq)}
	t.put(outdatedCollection, key, outdatedDoc{Key: key, N: t.N, C: t.Name, Seq: key.Seq, Ends: &ends})
}

func (c chatStore) Outdated(ctx context.Context, before int64, limit int) (out []chat.Snapshot, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if limit <= 0 {
		return nil, nil
	}
	var docs []outdatedDoc
	due := bson.D{{Key: "due", Value: bson.D{{Key: "$gt", Value: 0}, {Key: "$lt", Value: before}}}}
	if err := s.findAll(ctx, outdatedCollection, due, &docs, inOrder("due", "c"), limitedTo(limit)); err != nil {
		return nil, err
	}
	for _, d := range docs {
		out = append(out, chat.Snapshot{Conversation: d.C, Seq: uint64(d.Seq), TS: d.Due})
	}
	return out, nil
}
