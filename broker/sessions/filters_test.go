package sessions

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheFiltersOfASessionAreBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		x := open(t, r, persistent("phone", 5))
		defer x.close()
		long := strings.Repeat("x", maxFilterBytes/4)
		for i, want := range []byte{1, 1, reasonQuotaExceeded, 1} {
			x.w.take()
			x.subscribe(uint16(i+1), Subscription{Filter: strings.Repeat(string(rune('a'+i%3)), len(long)), Spelling: long, QoS: 1})
			time.Sleep(10 * syncTime)
			synctest.Wait()
			for _, p := range x.w.take() {
				if p.kind == "suback" && p.codes[0] != want {
					t.Errorf("SUBACK %d says %#x, want %#x", i+1, p.codes[0], want)
				}
			}
		}
	})
}
