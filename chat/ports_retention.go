package chat

import (
	"context"

	"github.com/magpie-im/magpie/accounts"
)

// Retention removes what is too old, some at a time.
type Retention interface {
	// Written gives up to limit conversations that have messages, in a stable order, those after after.
	Written(ctx context.Context, after Conversation, limit int) ([]Written, error)

	// Retire raises the floor of a conversation above all messages that are older than a time, so that nobody reads or counts
	// them any more, and then removes some of them, with their mids and all that belongs to them; more says that there are
	// more to remove. Seqs go on as if nothing had happened. Members who had not read what is gone have nothing unread of it;
	// their marks stay where they are.
	Retire(ctx context.Context, c Conversation, before int64) (more bool, err error)

	// RetireMIDs forgets up to limit mids that were used before a time, in Unix milliseconds, for what is not a message that is
	// there: messages that Trim or Compact has removed, likes, changes. more says that there are more. It does not say when that
	// is durable: done again, it does no harm. While another call is under way it may do nothing.
	RetireMIDs(ctx context.Context, before int64, limit int) (more bool, err error)

	// RetireStreams removes entries that are older than a time from the streams of up to limit users, those after after. The
	// last entry of a stream stays. It gives the last user it has looked at; empty: there are no more.
	RetireStreams(ctx context.Context, before int64, after accounts.Name, limit int) (accounts.Name, error)
}

// Written is a conversation that has messages.
type Written struct {
	Conversation Conversation
	Keep         int64 // of a room: days that its messages are kept; 0: as long as those of others
	Oldest       int64 // time of the first message that is kept, in Unix milliseconds
}
