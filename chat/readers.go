package chat

import "math"

// Progress is how far a member has come in a conversation. Hid is how much of what he has read others are not to know.
type Progress struct{ Recv, Read, Hid uint64 }

// Move gives how far he has come with marks, which never go back, in a conversation whose last seq is head. private says that he
// tells nobody what he reads there.
func (p Progress) Move(to Marks, head uint64, private bool) (next Progress) {
	read, public := min(to.Read, head), p.Read-p.Hid
	next.Read = max(p.Read, read)
	next.Recv = max(p.Recv, min(to.Recv, head), next.Read)
	if !to.Private && !private {
		public = max(public, read)
	}
	next.Hid = next.Read - public
	return next
}

// Reader is how far a member of a room has come, as far as others may know, and what of that was told.
type Reader struct {
	Recv, Read         uint64
	ToldRecv, ToldRead uint64
	Joined             uint64 // the first seq after he has joined
}

// Moved says whether he has come further than what was told.
func (r Reader) Moved() bool { return r.Recv > r.ToldRecv || r.Read > r.ToldRead }

// MovedPast says whether a message was received, or read, since that was told.
func (r Reader) MovedPast(seq uint64) bool {
	return r.Joined <= seq && (r.ToldRecv < seq && seq <= r.Recv || r.ToldRead < seq && seq <= r.Read)
}

// Readers are how far the members of a room have come, one by one. They say for whose messages something has changed, so that
// their senders are told.
type Readers []Reader

// Told is up to where everything was told of all who have moved since: whose last message is not after that hears nothing new.
func (all Readers) Told() uint64 {
	first := uint64(math.MaxUint64)
	for i := range all {
		if all[i].Moved() {
			first = min(first, all[i].ToldRecv, all[i].ToldRead)
		}
	}
	return first
}

// Newest gives the newest message of one of the members that somebody else has received or read since that was told; 0: there is
// none. last gives the last counting message that he has sent up to a seq; 0: there is none.
func (all Readers) Newest(of int, last func(seq uint64) (uint64, error)) (uint64, error) {
	for below := uint64(math.MaxUint64); ; {
		most := all.reached(of, below)
		if most == 0 {
			return 0, nil
		}
		seq, err := last(most)
		if err != nil || seq == 0 {
			return 0, err
		}
		for i := range all {
			if i != of && all[i].MovedPast(seq) {
				return seq, nil
			}
		}
		below = seq
	}
}

// reached gives the highest mark of another member that has moved and is below a seq.
func (all Readers) reached(but int, below uint64) (most uint64) {
	for i := range all {
		r := &all[i]
		if i == but {
			continue
		}
		if r.Recv > r.ToldRecv && r.Recv < below {
			most = max(most, r.Recv)
		}
		if r.Read > r.ToldRead && r.Read < below {
			most = max(most, r.Read)
		}
	}
	return most
}

// Count counts a member among those whom a message is for, and who have received and read it. Seq is set.
func (n *ReceiptCounts) Count(r Reader) {
	if r.Joined > n.Seq {
		return
	}
	n.Of++
	if r.Recv >= n.Seq {
		n.Recv++
	}
	if r.Read >= n.Seq {
		n.Read++
	}
}

// Quiet says whether nobody is told in a room how far others have come: it is one in which few write for many, or has more
// members than receipts are for.
func (r *Room) Quiet(receiptsTo int) bool {
	k := r.Conversation.Kind()
	return r.Large || k == KindChannel || k == KindLive || r.Members > receiptsTo
}
