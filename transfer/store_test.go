package transfer_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"sort"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/transfer"
)

// list is a source that has what is in it.
type list []transfer.Record

func (l list) Records(_ context.Context, after transfer.Record, limit int) ([]transfer.Record, error) {
	if after == nil {
		return l[:min(limit, len(l))], nil
	}
	i := sort.Search(len(l), func(i int) bool { return transfer.Compare(l[i], after) > 0 })
	return l[i:min(i+limit, len(l))], nil
}

// sink takes an import, and breaks down after some steps.
type sink struct {
	records list // in their order
	at      transfer.Progress
	under   bool
	steps   int // left; -1: any number
	ended   bool
}

var errBroken = errors.New("broken")

func newSink() *sink { return &sink{steps: -1} }

func (s *sink) Progress(context.Context) (transfer.Progress, bool, error) { return s.at, s.under, nil }

func (s *sink) Import(_ context.Context, records []transfer.Record, p transfer.Progress) error {
	if s.ended || !s.under && len(s.records) > 0 {
		return transfer.ErrNotEmpty
	}
	for _, r := range records {
		i, found := slices.BinarySearchFunc(s.records, r, transfer.Compare)
		if !found {
			s.records = slices.Insert(s.records, i, r)
		}
		s.records[i] = r
	}
	if s.steps--; s.steps == -1 {
		return errBroken // after the records, before the progress
	}
	s.at, s.under = p, true
	return nil
}

func (s *sink) Finish(context.Context) error {
	s.under, s.ended = false, true
	return nil
}

// file is a file in memory.
type file struct {
	data   []byte
	at     int64
	synced int // bytes
}

func (f *file) Read(p []byte) (int, error) {
	if f.at >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.data[f.at:])
	f.at += int64(n)
	return n, nil
}

func (f *file) Write(p []byte) (int, error) {
	f.data = append(f.data[:f.at], p...)
	f.at += int64(len(p))
	return len(p), nil
}

func (f *file) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekStart {
		return 0, errors.ErrUnsupported
	}
	f.at = offset
	return offset, nil
}

func (f *file) Truncate(size int64) error {
	f.data = f.data[:size]
	return nil
}

func (f *file) Sync() error {
	f.synced = len(f.data)
	return nil
}

// world is a store in which everything fits together.
func world() list {
	var l list
	for _, name := range []accounts.Name{"alice", "bob"} {
		l = append(l, &transfer.User{Name: name, Password: "$hash"})
	}
	l = append(l,
		&transfer.List{User: "alice", Contacts: 1, Version: 2}, &transfer.List{User: "bob", Contacts: 1, Version: 1},
		&transfer.Contact{User: "alice", Other: "bob", State: chat.ContactAccepted, Version: 2},
		&transfer.Contact{User: "bob", Other: "alice", State: chat.ContactAccepted, Version: 1},
		&transfer.Conversation{C: "d.alice.bob", Members: []accounts.Name{"alice", "bob"}},
		&transfer.Conversation{C: "g.one", Info: &transfer.RoomInfo{Title: "One"}},
		&transfer.Room{C: "g.one", Owner: "alice", Members: 1},
		&transfer.Member{C: "d.alice.bob", Who: "alice", Recv: 3, Read: 3, ReadN: 2, ReadOwn: 1},
		&transfer.Member{C: "d.alice.bob", Who: "bob", Recv: 2, Read: 1, ReadN: 1},
		&transfer.Member{C: "g.one", Who: "alice", Role: chat.RoleOwner, Recv: 1, Read: 1, ReadN: 1, ReadOwn: 1, Own: 1},
		&transfer.Message{C: "d.alice.bob", Seq: 1, TS: 10, N: 1, Own: 1, ID: "i1", MID: "m1", From: "alice", Kind: "text"},
		&transfer.Message{C: "d.alice.bob", Seq: 2, TS: 11, N: 1, Own: 0, ID: "i2", From: "bob", Kind: "text", Silent: true},
		&transfer.Message{C: "d.alice.bob", Seq: 3, TS: 11, N: 2, Own: 1, ID: "i3", MID: "m1", From: "bob", Kind: "text"},
		&transfer.Message{C: "g.one", Seq: 1, TS: 12, N: 1, Own: 1, ID: "i4", From: "alice", Kind: "text"},
		&transfer.Own{C: "g.one", Who: "alice", Seq: 1, N: 1},
		&transfer.MID{C: "d.alice.bob", From: "alice", MID: "m1", Seq: 1},
		&transfer.MID{C: "d.alice.bob", From: "bob", MID: "m1", Seq: 3},
	)
	for _, name := range []accounts.Name{"alice", "bob"} {
		for seq := range uint64(3) {
			l = append(l, &transfer.Entry{User: name, USN: seq + 1, Type: chat.EntryMessage, Conversation: "d.alice.bob", Seq: seq + 1})
		}
		if name == "alice" {
			l = append(l, &transfer.Entry{User: name, USN: 4, Type: chat.EntryMessage, Conversation: "g.one", Seq: 1})
		}
	}
	return l
}

// export gives the file of a source.
func export(t testing.TB, l list) []byte {
	t.Helper()
	f := &file{}
	s, err := transfer.Export(t.Context(), l, f)
	if err != nil || s.Records != uint64(len(l)) || f.synced != len(f.data) {
		t.Fatalf("export: got %+v, %v, %d of %d bytes synced; want %d records", s, err, f.synced, len(f.data), len(l))
	}
	return f.data
}
