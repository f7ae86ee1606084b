package mongo

import (
	"context"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func (d *sideDoc) side() chat.OwnSide {
	if d == nil {
		return chat.OwnSide{}
	}
	return chat.OwnSide{
		Mute: d.Mute, Pin: d.Pin, Archive: d.Archive, Hide: uint64(d.Hide), Flag: d.Flag, Draft: d.Draft, Private: d.Private,
		Remark: d.Remark,
	}
}

// setSide makes his own side what it is.
func (m *memberDoc) setSide(s chat.OwnSide) {
	m.Side = nil
	if s != (chat.OwnSide{}) {
		m.Side = &sideDoc{
			Mute: s.Mute, Pin: s.Pin, Archive: s.Archive, Hide: int64(s.Hide), Flag: s.Flag, Draft: s.Draft, Private: s.Private,
			Remark: s.Remark,
		}
	}
}

// changeSide changes somebody's own side of the conversation, whose entry has begun, and tells him.
func (t *turn) changeSide(m *memberDoc, c chat.OwnChange) {
	side := m.Side.side()
	changed := side.Take(c, uint64(t.Head))
	if changed == (chat.OwnChange{}) {
		return
	}
	m.setSide(side)
	t.save(m)
	own := sideChangeDoc(changed)
	t.tell(m.U, entryDoc{Type: chat.EntryConv, TS: t.now, Conversation: t.Name, OwnSide: &own})
}

func (c chatStore) ChangeOwnSide(
	ctx context.Context, name chat.Conversation, who accounts.Name, change chat.OwnChange, origin any,
) (out chat.OwnSide, head uint64, commit chat.Commit, err error) {
	s := c.Store
	if err := s.enterWrite(); err != nil {
		return out, 0, nil, err
	}
	defer s.leave()
	from, err := s.originOf(origin)
	if err != nil {
		return out, 0, nil, err
	}
	take := func(_ context.Context, t *turn) error {
		m, err := t.member(who)
		if err != nil {
			return err
		}
		out, head, commit = m.Side.side(), uint64(t.Head), nil
		if after := out; after.Take(change, head) == (chat.OwnChange{}) {
			return nil
		}
		t.begin(entryIsState)
		t.origin, commit = from, durable{}
		t.changeSide(m, change)
		out = m.Side.side()
		return nil
	}
	if err := s.take(ctx, name, &step{who: []accounts.Name{who}, take: take}); err != nil {
		return chat.OwnSide{}, 0, nil, err
	}
	return out, head, commit, nil
}

func (c chatStore) OwnSide(
	ctx context.Context, name chat.Conversation, who accounts.Name,
) (out chat.OwnSide, head uint64, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return out, 0, err
	}
	defer s.leave()
	err = s.look(ctx, name, []accounts.Name{who}, func(t *turn) error {
		m, err := t.member(who)
		head = uint64(t.Head)
		if err == nil {
			out = m.Side.side()
		}
		return err
	})
	return out, head, err
}
