package mongo

import (
	"strconv"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// attempts remember messages of QoS 2 of which the client was not told what became of them, because the database has failed, by
// the packet that they came in. It sends them again, and they may be stored: that the packet id was received follows from that,
// and the client may be quicker. After a crash that has followed before anybody is let in.
type attempts struct {
	mu   sync.Mutex
	last map[string]attempt
}

// attempt is a message that may be stored.
type attempt struct {
	entry       bson.ObjectID
	fingerprint [32]byte // of its content
}

// maxAttempts is how many are remembered.
const maxAttempts = 1 << 16

// packet names the packet that something came in; empty: none that is remembered.
func (o *originDoc) packet() string {
	if o == nil || o.Kind != originReceived {
		return ""
	}
	return o.key() + " " + strconv.Itoa(int(o.ID))
}

func (a *attempts) of(o *originDoc) attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last[o.packet()]
}

func (a *attempts) note(o *originDoc, is attempt) {
	packet := o.packet()
	if packet == "" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last == nil {
		a.last = map[string]attempt{}
	}
	for other := range a.last { // any: so many clients that were disconnected do not all come back
		if len(a.last) < maxAttempts {
			break
		}
		delete(a.last, other)
	}
	a.last[packet] = is
}

func (a *attempts) forget(o *originDoc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.last, o.packet())
}
