package chat

import "github.com/magpie-im/magpie/accounts"

// Late is that something was stored of which its sender was told that nothing is known, and has reached others only now.
type Late struct {
	Told         []accounts.Name // in whose streams it is
	Conversation Conversation    // empty: it is in none
	Seq          uint64          // of a message; 0: it is none
	Large        bool            // the message is in nobody's stream
}

// Mending is a Store that finishes by itself what it could not finish when it was called.
type Mending interface {
	Store
	// OnLate has f called for each thing that is finished so. f must not block.
	OnLate(f func(Late))
}

// arrived wakes those who get something late.
func (s *Service) arrived(l Late) {
	s.wake.Wake(l.Told...)
	if l.Seq == 0 {
		return
	}
	s.posted(l.Conversation, l.Seq)
	if l.Large {
		s.wroteLarge(l.Conversation, l.Seq)
	}
}
