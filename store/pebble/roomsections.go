package pebble

import (
	"encoding/binary"

	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/transfer"
)

func roomRecordKey(r *transfer.Room) []byte { return key1(tableRooms, r.C) }

func readRoom(_ source, key, value []byte) (*transfer.Room, bool, error) {
	r := &transfer.Room{}
	if err := cutName(key, &r.C); err != nil {
		return nil, false, err
	}
	return r, true, read1("room", value, &roomRow{}, r)
}

func putRoom(r *transfer.Room, put putter) error {
	if r.Link != "" {
		put(key1(tableLinks, r.Link), []byte(r.C))
	}
	return putRow(roomRecordKey(r), &roomRow{}, r, put)
}

func floorRecordKey(f *transfer.Floor) []byte { return key1(tableFloors, f.C) }

func readFloor(_ source, key, value []byte) (*transfer.Floor, bool, error) {
	f := &transfer.Floor{}
	if err := cutName(key, &f.C); err != nil {
		return nil, false, err
	}
	return f, true, read1("floor", value, &floorRow{}, f)
}

func putFloor(f *transfer.Floor, put putter) error {
	return putRow(floorRecordKey(f), &floorRow{}, f, put)
}

func snapshotRecordKey(n *transfer.Snapshot) []byte { return key1(tableSnapshots, n.C) }

func readSnapshot(_ source, key, value []byte) (*transfer.Snapshot, bool, error) {
	n := &transfer.Snapshot{}
	if err := cutName(key, &n.C); err != nil {
		return nil, false, err
	}
	return n, true, read1("snapshot", value, &snapshotRow{}, n)
}

func putSnapshotRecord(n *transfer.Snapshot, put putter) error {
	return putRow(snapshotRecordKey(n), &snapshotRow{}, n, put)
}

func outdatedRecordKey(o *transfer.Outdated) []byte { return outdatedKey(o.TS, o.C) }

func readOutdated(_ source, key, value []byte) (*transfer.Outdated, bool, error) {
	o := &transfer.Outdated{}
	ts, err := cutNumber(key)
	if err != nil {
		return nil, false, err
	}
	if err := cutName(key[8:], &o.C); err != nil {
		return nil, false, err
	}
	o.TS = int64(ts)
	o.Seq, err = cutNumber(value)
	return o, true, err
}

func putOutdated(o *transfer.Outdated, put putter) error {
	put(outdatedRecordKey(o), binary.BigEndian.AppendUint64(nil, o.Seq))
	return nil
}

func likesRecordKey(l *transfer.Likes) []byte { return key1(tableLive, l.C) }

func readLikes(_ source, key, value []byte) (*transfer.Likes, bool, error) {
	l := &transfer.Likes{}
	if err := cutName(key, &l.C); err != nil {
		return nil, false, err
	}
	return l, true, read1("likes", value, &liveRow{}, l)
}

func putLikes(l *transfer.Likes, put putter) error {
	return putRow(likesRecordKey(l), &liveRow{}, l, put)
}

func sideRecordKey(s *transfer.Side) []byte { return key2(tableSelf, s.User, s.C) }

func readSide(_ source, key, value []byte) (*transfer.Side, bool, error) {
	s := &transfer.Side{}
	if _, err := cutStrings(key, &s.User, &s.C); err != nil {
		return nil, false, err
	}
	return s, true, read1("own side", value, &selfRow{}, s)
}

func putSide(s *transfer.Side, put putter) error { return putRow(sideRecordKey(s), &selfRow{}, s, put) }

func ownRecordKey(o *transfer.Own) []byte { return ownKey(o.C, o.Who, o.Seq) }

func readOwn(_ source, key, value []byte) (*transfer.Own, bool, error) {
	o := &transfer.Own{}
	rest, err := cutStrings(key, &o.C, &o.Who)
	if err == nil {
		o.Seq, err = cutNumber(rest)
	}
	if err == nil {
		o.N, err = cutNumber(value)
	}
	return o, true, err
}

func putOwn(o *transfer.Own, put putter) error {
	put(ownRecordKey(o), binary.BigEndian.AppendUint64(nil, o.N))
	return nil
}

func goneRecordKey(g *transfer.Gone) []byte { return seqKey(tableGone, g.C, g.Seq) }

func readGoneRecord(_ source, key, value []byte) (*transfer.Gone, bool, error) {
	g := &transfer.Gone{}
	c, rest, err := cutString(key)
	if err == nil {
		g.C = chat.Conversation(c)
		g.Seq, err = cutNumber(rest)
	}
	if err != nil {
		return nil, false, err
	}
	return g, true, read1("gone", value, &goneRow{}, g)
}

func putGone(g *transfer.Gone, put putter) error { return putRow(goneRecordKey(g), &goneRow{}, g, put) }

func mentionRecordKey(m *transfer.Mention) []byte { return mentionKey(m.C, m.Who, m.Seq) }

func readMention(_ source, key, value []byte) (*transfer.Mention, bool, error) {
	m := &transfer.Mention{}
	rest, err := cutStrings(key, &m.C, &m.Who)
	if err == nil {
		m.Seq, err = cutNumber(rest)
	}
	if err != nil || len(value) == 0 { // somebody is mentioned by name
		return m, true, err
	}
	return m, true, read1("mention", value, &mentionRow{}, m)
}

func putMention(m *transfer.Mention, put putter) error {
	if m.Who != "" {
		put(mentionRecordKey(m), nil)
		return nil
	}
	return putRow(mentionRecordKey(m), &mentionRow{}, m, put)
}
