package chat

import "github.com/magpie-im/magpie/accounts"

// Arrival is that something has reached others.
type Arrival struct {
	Told         []accounts.Name // in whose streams it is
	Conversation Conversation    // empty: it is in none
	Seq          uint64          // of a message; 0: it is none
	Large        bool            // the message is in nobody's stream
	Message      *Message        // of a home; nil: it is not known
}

// Mending is a Store that finishes by itself what it could not finish when it was called.
type Mending interface {
	Store
	// OnLate has f called for each thing that is finished so, after its sender was told that nothing is known of it. f must not
	// block.
	OnLate(f func(Arrival))
}

// arrived wakes those who get something.
func (s *Service) arrived(a Arrival) {
	s.wake.Wake(a.Told...)
	if a.Seq == 0 {
		return
	}
	if a.Conversation.Kind() == KindHome {
		s.wrote(a.Conversation, a.Message)
	}
	s.posted(a.Conversation, a.Seq)
	if a.Large {
		s.wroteLarge(a.Conversation, a.Seq)
	}
}
