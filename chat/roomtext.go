package chat

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/magpie-im/magpie/accounts"
)

// Entitle gives events of who's about messages in rooms that he is in, and about edits and recalls of them, the titles that
// [Event.Text] names the rooms by.
func (s *Service) Entitle(ctx context.Context, who accounts.Name, events []Event) error {
	known := map[Conversation]string{}
	for i := range events {
		e := &events[i]
		switch e.Type {
		case EntryMessage, EntryEdit, EntryRecall:
		default:
			continue
		}
		if !e.Conversation.Kind().Room() {
			continue
		}
		title, ok := known[e.Conversation]
		if !ok {
			var err error
			if title, err = s.title(ctx, who, e.Conversation); err != nil {
				return err
			}
			known[e.Conversation] = title
		}
		e.Title = title
	}
	return nil
}

// title gives the title of a room; of one that who is not in, an empty one.
func (s *Service) title(ctx context.Context, who accounts.Name, c Conversation) (string, error) {
	r, err := s.store.Room(ctx, c, who)
	switch {
	case err == nil && r.Of(who).Role == RoleNone:
		return "", nil
	case err == nil:
		_, err = s.store.Messages(ctx, c, 0, 0, 0) // waits until what was read is durable
	}
	if err != nil {
		return "", fmt.Errorf("title of %s: %w", c, err)
	}
	return r.Info.Title, nil
}

// place is where the event happens, as a line names it: the title of a room.
func (e Event) place() string { return oneLine(cmp.Or(e.Title, e.Room.Title, string(e.Conversation))) }

// by names somebody who has done something where the event happens.
func (e Event) by(who accounts.Name) string {
	if !e.Conversation.Kind().Room() {
		return string(who)
	}
	return string(who) + "@" + e.place()
}

// messageText is the line of a message.
func (e Event) messageText() string {
	from := e.by(e.Message.From)
	if e.Message.Kind == KindSys {
		return "* " + from + " " + oneLine(e.Message.line())
	}
	return from + ": " + oneLine(e.Message.line())
}

// roomLine puts what the server says in a room in words, after the name of the one who did it.
func (m Message) roomLine() string {
	var l RoomLine
	if err := json.Unmarshal(m.Body, &l); err != nil {
		return "[sys]"
	}
	who := listOf(l.Who)
	switch l.Do {
	case DoCreate:
		return "makes the room"
	case DoJoin:
		if slices.Equal(l.Who, []accounts.Name{m.From}) {
			return "joins"
		}
		return "lets " + who + " in"
	case DoLeave:
		return "leaves"
	case DoKick, DoBan, DoMute, DoUnmute:
		return string(l.Do) + "s " + cmp.Or(who, "everybody")
	case DoRole:
		return "makes " + who + " " + string(l.Role)
	case DoTransfer:
		return "makes " + who + " owner"
	case DoSet:
		if l.Title != nil {
			return "calls the room " + *l.Title
		}
		return "changes the room"
	case DoDissolve:
		return "dissolves the room"
	}
	return "[" + string(l.Do) + "]"
}

func listOf(who []accounts.Name) string {
	all := make([]string, 0, len(who))
	for _, name := range who {
		all = append(all, string(name))
	}
	return strings.Join(all, ", ")
}

// roomText is the line of an event about what somebody is to a room, if no message of the room says it.
func (e Event) roomText() (line string, ok bool) {
	by, place := "* "+string(e.Room.By), e.place()
	switch e.Room.State {
	case RoomInvited:
		return by + " invites you to " + place + " (" + string(e.Conversation) + ")", true
	case RoomAsked:
		if e.Who == "" {
			return "", false // oneself has asked
		}
		line = "* " + string(e.Who) + " asks to be let into " + place
		if e.Room.Text != "" {
			line += ": " + oneLine(e.Room.Text)
		}
		return line, true
	case RoomKicked:
		return by + " kicks you out of " + place, true
	case RoomBanned:
		return by + " bans you from " + place, true
	}
	return "", false
}
