package sessions

import "slices"

// Of what waits for a session, several deliveries may be sent as one: a batch, which is one flight, with one packet id. Its
// place is that of its last delivery, and what comes before that, from First on, belongs to it. When it is sent again it has
// the same deliveries: QoS 2 would not be exact otherwise, because the client takes what it has had under that id for a
// repetition. So a flight says where it begins, on the disk too: what a crash leaves of those before it does not.

const (
	// maxBatch is how many deliveries there are in one packet. No more than are read from the source at once.
	maxBatch = chunk
	// maxSpan is how many positions there may be from the last one that is finished to the end of a batch. Beyond it one is sent
	// at a time: a source keeps something of each until it is told that the client has it.
	maxSpan = 4096
	// batchBytes is how large the payload of a packet with several is.
	batchBytes = 64 << 10
	// joinRoom is how many bytes there may be around the deliveries that are joined.
	joinRoom = 64
	// packetRoom is how many bytes a packet has besides its topic, its subscription identifiers and its payload.
	packetRoom = 64
	// idRoom is how many bytes a subscription identifier has.
	idRoom = 5
)

// batchLocked gives how many of the deliveries that are next, at least one, go into one packet.
func (l *Link) batchLocked(s *feed) int {
	if !l.options.Batch || l.options.Text || s.joiner == nil {
		return 1
	}
	again := s.unsent()
	n, bytes, room := 1, s.ahead[0].size()+1, l.batchRoomLocked(s)-joinRoom
	for ; n < min(len(s.ahead), maxBatch); n++ {
		d := &s.ahead[n]
		bytes += d.size() + 1
		switch {
		case bytes > room, d.Pos-s.acked > maxSpan, d.unwanted(), s.finished(d.Pos), again != nil && again.first() <= d.Pos:
			return n
		}
	}
	return n
}

// batchRoomLocked is how large the payload of a batch may be.
func (l *Link) batchRoomLocked(s *feed) int {
	if l.packet == 0 {
		return batchBytes
	}
	return min(batchBytes, int(l.packet)-packetRoom-len(s.route.topic)-idRoom*len(s.route.ids))
}

// fitsLocked says whether the client takes a batch that was made for an earlier connection.
func (l *Link) fitsLocked(s *feed, d *Delivery) bool {
	return l.packet == 0 || len(d.Payload) <= int(l.packet)-packetRoom-len(s.route.topic)-idRoom*len(s.route.ids)
}

// nextFlightLocked makes a flight of the n deliveries that are next.
func (l *Link) nextFlightLocked(s *feed, qos byte) (f Flight, d Delivery, n int) {
	n = l.batchLocked(s)
	d = s.joined(n)
	f = Flight{ID: l.newIDLocked(), Pos: d.Pos, QoS: qos, Stage: StageSent}
	if n > 1 {
		f.First = s.ahead[0].Pos
	}
	return f, d, n
}

// joined makes one delivery of the next n.
func (s *feed) joined(n int) Delivery {
	if n == 1 || s.joiner == nil {
		return s.ahead[0]
	}
	return s.joiner.Join(s.ahead[:n])
}

// upTo gives how many deliveries there are in ahead up to a position.
func (s *feed) upTo(pos uint64) int {
	n := 0
	for n < len(s.ahead) && s.ahead[n].Pos <= pos {
		n++
	}
	return n
}

func (s *feed) popAll(n int) {
	for range n {
		s.pop()
	}
}

// drop forgets a flight, so that its deliveries are sent anew, and what was finished behind it: that would be taken for the end
// of everything before.
func (s *feed) drop(f *flight) {
	pos := f.Pos
	s.flights = slices.DeleteFunc(s.flights, func(g flight) bool {
		return g.Pos == pos || g.Pos > pos && g.Stage == StageDone
	})
}
