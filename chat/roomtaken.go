package chat

import (
	"slices"

	"github.com/magpie-im/magpie/accounts"
)

// RoomTaken is a change of a room as a store takes it: what the room was, what it is, and who is told.
type RoomTaken struct {
	Change RoomChange
	Before Room
	After  Room
	Told   RoomTold
}

// Concerned gives those who are to be among People, each once: first who does it.
func (c *RoomChange) Concerned() []accounts.Name {
	all := []accounts.Name{c.By}
	for _, who := range c.Who {
		if !slices.Contains(all, who) {
			all = append(all, who)
		}
	}
	return all
}

// Take takes the step.
func (c RoomChange) Take(before Room) (RoomTaken, error) {
	t := RoomTaken{Change: c, Before: before, After: before.Clone()}
	var err error
	if t.Told, err = c.Step(&t.After); err != nil {
		return RoomTaken{}, err
	}
	if t.After.Parted(&t.Before) {
		t.After.Partings++
	}
	return t, nil
}

// Says says whether there is anything to write or to tell.
func (t *RoomTaken) Says() bool {
	if t.Told.Line != nil || len(t.Told.Tells) > 0 || t.After.lasting() != t.Before.lasting() {
		return true
	}
	for who := range t.After.People {
		if t.Changes(who) {
			return true
		}
	}
	return false
}

// Changes says whether the step has changed what somebody is to the room.
func (t *RoomTaken) Changes(who accounts.Name) bool { return !t.After.Of(who).Equal(*t.Before.Of(who)) }

// Grew says whether the room has become large.
func (t *RoomTaken) Grew() bool { return t.After.Large && !t.Before.Large }

// Changed is what is said of the change, but for who was told and the line, which [RoomTaken.Line] is a draft of.
func (t *RoomTaken) Changed() RoomChanged {
	return RoomChanged{Room: t.After, Grew: t.Grew(), Parted: t.After.Partings != t.Before.Partings}
}

// Line is what the server says of the change in the conversation. There is none in large rooms.
func (t *RoomTaken) Line(id string) (d Draft, some bool) {
	if t.Told.Line == nil || t.After.Large {
		return Draft{}, false
	}
	return Draft{
		Conversation: t.Change.Conversation, From: t.Change.By, ID: id, Kind: KindSys, Body: t.Told.Line, Silent: true,
	}, true
}

// lastingRoom is what is kept of a room.
type lastingRoom struct {
	info              RoomInfo
	owner             accounts.Name
	created, ended    int64
	version, partings uint64
	members           int
	large             bool
	link              string
	linkUses          int
	linkEnds          int64
}

func (r *Room) lasting() lastingRoom {
	return lastingRoom{
		r.Info, r.Owner, r.Created, r.Ended, r.Version, r.Partings, r.Members, r.Large, r.Link, r.LinkUses, r.LinkEnds,
	}
}
