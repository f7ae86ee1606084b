package chat

import (
	"fmt"
	"time"
)

// Config bounds what users may store. [DefaultConfig] has the defaults, which are those of docs/protocol.md, section 8.
type Config struct {
	// MaxBody is the longest body of a message, in bytes of JSON without white space. Default 65536: media travel by
	// reference. 0: only the size of a packet bounds it.
	MaxBody int
	// MaxText is the longest text, in characters (Unicode code points), of the kinds "text" and "md". Default 10000, about
	// four pages. 0: only MaxBody bounds it.
	MaxText int
	// MaxMID is the longest mid, in bytes. Default 64. 16 to 256, cannot be switched off: it becomes part of a key.
	MaxMID int
	// MaxFallback is the longest fallback, in characters. Default 200: a line of a notification. Those that the server
	// makes are cut there. 0: no limit.
	MaxFallback int
	// MaxMentions is how many a message may mention. Default 50. 0: no limit.
	MaxMentions int
	// MaxGreeting is the longest greeting of a contact request, in characters. Default 300: strangers may send it. 0: no
	// limit.
	MaxGreeting int
	// MaxRequests is how many people one may ask for contact, or write to as a stranger, in a day. Default 20. 0: no limit.
	MaxRequests int
	// MaxContacts is how many contacts one may have. Default 5000. 0: no limit.
	MaxContacts int
	// EditFor is for how long a message may be edited after it was sent. Default 24 hours. 0: always.
	EditFor time.Duration
	// RecallFor is for how long its sender may recall a message; admins of a room always may. Default 2 minutes. 0: always.
	RecallFor time.Duration
	// WipeDeleted says that what a user has sent goes with his account. Otherwise it stays with those whom he sent it to,
	// which is the default.
	WipeDeleted bool
	// MaxUntold is how many members' receipts may wait for their turn in memory. Default 65536, about 15 MiB when all are
	// in use; beyond it they are found again by a look through the store, which makes them some seconds late. At least 1.
	MaxUntold int
	// Grace is how long somebody is shown as there after his last connection has ended. Default 5 s: a reconnect, another
	// network, a page that is loaded anew. 0: not at all.
	Grace time.Duration
	// Typing is how long somebody types who does not say so again. Default 6 s. 1 s at least.
	Typing time.Duration
	// LiveRing is how many messages a live room keeps. Default 200, about what somebody reads back who has just come. 1 to 1000.
	LiveRing int
	// BoardKeep is how long operations of a board are kept behind a snapshot that contains them. Default one hour, more than
	// anybody takes who has got the snapshot before. 1 s at least.
	BoardKeep time.Duration
	// Searches is how often an account may search for others in a minute. Default 100, more than anybody types. 0: any number.
	Searches int
	// SearchTime hides how long a search for one uid, number or address takes: it is answered at the first multiple of this
	// time, and up to as much later by chance. Default 5ms, some hundred times what it takes to look. 0: as soon as it can
	// be, which tells some microseconds about who exists and does not want to be found.
	SearchTime time.Duration
	// ProfileChanges is how often an account may change its profile in an hour: each change goes to all contacts. Default 60.
	// 0: any number.
	ProfileChanges int
	// HandleChanges is how often an account may take another phone number or e-mail address in a day: whoever is refused one
	// learns that an account has it. Default 10. 0: any number.
	HandleChanges int
	// HandleQuarantine is how long nobody gets the phone number or e-mail address of an account that was deleted. Default 30
	// days, so that nobody is taken for its owner by who has not heard. 0: it is free at once.
	HandleQuarantine time.Duration
	// KeepMessages is for how long messages are kept. 0, the default: for ever. Otherwise at least 7 days.
	KeepMessages time.Duration
	// KeepStreams is for how long the entries of streams are kept: who was away for longer starts over. Default 30 days.
	// 0: for ever.
	KeepStreams time.Duration
	// LargeFrom is up to how many members the messages of a room are in the streams of its members. Default 2000: each message
	// is one row for each of them. At least 1; a room that was larger once stays large.
	LargeFrom int
	// ReceiptsTo is up to how many members of a room senders are told how many have received and read their messages, and are
	// given their names; larger ones, up to LargeFrom, give numbers to who asks. Default 200. 0: no room.
	ReceiptsTo int
	// TypingTo is up to how many members of a room it is told who types. Default 200. 0: in no room.
	TypingTo int
	// MaxMembers is how many members a room may have. Default 100000. 0: any number.
	MaxMembers int
	// MaxRooms is how many rooms somebody may be in, dissolved ones too. Default 500. 0: any number.
	MaxRooms int
	// NewRooms is how many rooms an account may make in a day. Default 100. 0: any number.
	NewRooms int
	// Invitations is how often an account may, in a day, invite somebody to a room who is no contact, or ask to be let into
	// one. Default 100: each shows strangers a text. 0: any number.
	Invitations int
	// Joins is how often an account may, in a day, join rooms to which nobody has invited it: those that are open, and by link.
	// Default 100: joining and leaving are told to all members. 0: any number.
	Joins int
}

// DefaultConfig is what is in force when nothing is said.
func DefaultConfig() Config {
	return Config{
		MaxBody:     64 << 10,
		MaxText:     10_000,
		MaxMID:      64,
		MaxFallback: 200,
		MaxMentions: 50,
		MaxGreeting: 300,
		MaxRequests: 20,
		MaxContacts: 5000,
		EditFor:     24 * time.Hour,
		RecallFor:   2 * time.Minute,
		MaxUntold:   1 << 16,
		Grace:       5 * time.Second,
		Typing:      6 * time.Second,
		LiveRing:    200,
		BoardKeep:   time.Hour,

		Searches:         100,
		SearchTime:       5 * time.Millisecond,
		ProfileChanges:   60,
		HandleChanges:    10,
		HandleQuarantine: 30 * 24 * time.Hour,

		KeepStreams: 30 * day,
		LargeFrom:   2000,
		ReceiptsTo:  200,
		TypingTo:    200,
		MaxMembers:  100_000,
		MaxRooms:    500,
		NewRooms:    100,
		Invitations: 100,
		Joins:       100,
	}
}

// Validate says what is wrong with c, naming the field.
func (c Config) Validate() error {
	for _, f := range []struct {
		name               string
		value, least, most int
	}{
		{"MaxBody", c.MaxBody, 0, 256 << 20},
		{"MaxText", c.MaxText, 0, 256 << 20},
		{"MaxMID", c.MaxMID, 16, 256},
		{"MaxFallback", c.MaxFallback, 0, 256 << 20},
		{"MaxMentions", c.MaxMentions, 0, 1 << 20},
		{"MaxGreeting", c.MaxGreeting, 0, 256 << 20},
		{"MaxRequests", c.MaxRequests, 0, 10_000},
		{"MaxContacts", c.MaxContacts, 0, 1 << 20},
		{"EditFor", int(c.EditFor), 0, int(10 * 366 * 24 * time.Hour)},
		{"RecallFor", int(c.RecallFor), 0, int(10 * 366 * 24 * time.Hour)},
		{"MaxUntold", c.MaxUntold, 1, 1 << 24},
		{"LiveRing", c.LiveRing, 1, 1000},
		{"Searches", c.Searches, 0, 1 << 20},
		{"SearchTime", int(c.SearchTime), 0, int(time.Second)},
		{"ProfileChanges", c.ProfileChanges, 0, 1 << 20},
		{"HandleChanges", c.HandleChanges, 0, 1 << 20},
		{"LargeFrom", c.LargeFrom, 1, 1 << 16},
		{"ReceiptsTo", c.ReceiptsTo, 0, 1 << 11},
		{"TypingTo", c.TypingTo, 0, 1 << 11},
		{"MaxMembers", c.MaxMembers, 0, 1 << 24},
		{"MaxRooms", c.MaxRooms, 0, 1 << 20},
		{"NewRooms", c.NewRooms, 0, 1 << 20},
		{"Invitations", c.Invitations, 0, 1 << 20},
		{"Joins", c.Joins, 0, 1 << 20},
		{"HandleQuarantine", int(c.HandleQuarantine), 0, int(10 * 366 * 24 * time.Hour)},
	} {
		if f.value < f.least || f.value > f.most {
			return fmt.Errorf("chat: %s: %d is not between %d and %d", f.name, f.value, f.least, f.most)
		}
	}
	switch {
	case c.Grace < 0 || c.Grace > time.Hour:
		return fmt.Errorf("chat: Grace: %s is not between 0 and 1h", c.Grace)
	case c.BoardKeep < time.Second:
		return fmt.Errorf("chat: BoardKeep: %s is less than 1s", c.BoardKeep)
	case c.KeepMessages != 0 && c.KeepMessages < 7*day:
		return fmt.Errorf("chat: KeepMessages: %s is less than 7 days", c.KeepMessages)
	case c.KeepStreams != 0 && c.KeepStreams < day:
		return fmt.Errorf("chat: KeepStreams: %s is less than a day", c.KeepStreams)
	case c.Typing < time.Second || c.Typing > time.Minute:
		return fmt.Errorf("chat: Typing: %s is not between 1s and 1m", c.Typing)
	}
	return nil
}

// over says whether n is more than limit, where 0 means that there is none.
func over(n, limit int) bool { return limit > 0 && n > limit }
