package sessions

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestASessionWhoseEndCouldNotBeStoredIsNotOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, log := newFakeStore(emptyDisk()), &fakeLog{}
		r := newRegistry(store, log)
		x := open(t, r, persistent("phone", 5))
		x.subscribe(1, Subscription{Filter: streamTopic, QoS: 1})
		time.Sleep(2 * time.Hour) // the process is older than the session's expiry of one hour
		breaks := func(err error) {
			store.mu.Lock()
			defer store.mu.Unlock()
			store.broken = err
		}
		breaks(ErrUnavailable)
		x.close()
		breaks(nil)

		time.Sleep(time.Minute)
		x = open(t, r, persistent("phone", 5))
		if !x.link.Present() {
			t.Error("the session is gone a minute after its connection")
		}
		breaks(ErrUnavailable)
		x.close()
		breaks(nil)
		time.Sleep(61 * time.Minute)
		x = open(t, r, persistent("phone", 5))
		if x.link.Present() {
			t.Error("the session is still there after its expiry")
		}
		x.close()
	})
}
