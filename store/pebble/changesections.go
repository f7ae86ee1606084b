package pebble

import (
	"encoding/binary"

	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/transfer"
)

// cutPlace takes a key apart that is a conversation and a number, and maybe more.
func cutPlace(key []byte, c *chat.Conversation, n *uint64) (rest []byte, err error) {
	name, rest, err := cutString(key)
	if err != nil {
		return nil, err
	}
	*c = chat.Conversation(name)
	if *n, err = cutNumber(rest); err != nil {
		return nil, err
	}
	return rest[8:], nil
}

func changeRecordKey(c *transfer.Change) []byte { return changeKey(c.C, c.Rev) }

func readChange(_ source, key, value []byte) (*transfer.Change, bool, error) {
	c := &transfer.Change{}
	if _, err := cutPlace(key, &c.C, &c.Rev); err != nil {
		return nil, false, err
	}
	return c, true, read1("change", value, &changeRow{}, c)
}

func putChange(c *transfer.Change, put putter) error {
	return putRow(changeRecordKey(c), &changeRow{}, c, put)
}

func editRecordKey(e *transfer.Edit) []byte { return editKey(e.C, e.Seq, e.Rev) }

func readEdit(_ source, key, value []byte) (*transfer.Edit, bool, error) {
	e := &transfer.Edit{}
	rest, err := cutPlace(key, &e.C, &e.Seq)
	if err == nil {
		e.Rev, err = cutNumber(rest)
	}
	if err != nil {
		return nil, false, err
	}
	return e, true, read1("edit", value, &editRow{}, e)
}

func putEdit(e *transfer.Edit, put putter) error { return putRow(editRecordKey(e), &editRow{}, e, put) }

func reactionRecordKey(r *transfer.Reaction) []byte {
	return reactionKey(r.C, r.Seq, string(r.Emoji), r.Who)
}

func readReaction(_ source, key, value []byte) (*transfer.Reaction, bool, error) {
	r := &transfer.Reaction{}
	rest, err := cutPlace(key, &r.C, &r.Seq)
	if err == nil {
		_, err = cutStrings(rest, &r.Emoji, &r.Who)
	}
	if err != nil {
		return nil, false, err
	}
	n, err := cutNumber(value)
	if r.Who == "" {
		r.N = n
	} else {
		r.TS = int64(n)
	}
	return r, true, err
}

func putReaction(r *transfer.Reaction, put putter) error {
	n := r.N
	if r.Who != "" {
		n = uint64(r.TS)
	}
	put(reactionRecordKey(r), binary.BigEndian.AppendUint64(nil, n))
	return nil
}

func pinRecordKey(p *transfer.Pin) []byte { return seqKey(tablePins, p.C, p.Seq) }

func readPin(_ source, key, value []byte) (*transfer.Pin, bool, error) {
	p := &transfer.Pin{}
	if _, err := cutPlace(key, &p.C, &p.Seq); err != nil {
		return nil, false, err
	}
	ts, err := cutNumber(value)
	p.TS = int64(ts)
	return p, true, err
}

func putPin(p *transfer.Pin, put putter) error {
	put(pinRecordKey(p), binary.BigEndian.AppendUint64(nil, uint64(p.TS)))
	return nil
}

func hiddenRecordKey(h *transfer.Hidden) []byte { return hiddenKey(h.User, h.C, h.Seq) }

func readHiddenRecord(_ source, key, value []byte) (*transfer.Hidden, bool, error) {
	h := &transfer.Hidden{}
	rest, err := cutStrings(key, &h.User, &h.C)
	if err == nil {
		h.Seq, err = cutNumber(rest)
	}
	switch {
	case err != nil:
		return nil, false, err
	case h.Seq == 0:
		h.UpTo, err = cutNumber(value)
	default:
		h.Counts = len(value) > 0
	}
	return h, true, err
}

func putHidden(h *transfer.Hidden, put putter) error {
	var value []byte
	switch {
	case h.Seq == 0:
		value = binary.BigEndian.AppendUint64(nil, h.UpTo)
	case h.Counts:
		value = hiddenCounts
	}
	put(hiddenRecordKey(h), value)
	return nil
}
