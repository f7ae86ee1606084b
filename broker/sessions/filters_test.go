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

// naive says whether a filter matches a topic, level by level, as MQTT 5, 4.7 puts it.
func naive(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	if strings.HasPrefix(topic, "$") && (f[0] == "+" || f[0] == "#") {
		return false
	}
	if f[len(f)-1] == "#" {
		f = f[:len(f)-1]
		if len(t) < len(f) {
			return false
		}
		t = t[:len(f)]
	}
	if len(f) != len(t) {
		return false
	}
	for i := range f {
		if f[i] != "+" && f[i] != t[i] {
			return false
		}
	}
	return true
}

func TestMatches(t *testing.T) {
	tests := []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true},
		{"a/b", "a/c", false},
		{"a/b", "a/b/c", false},
		{"a/+", "a/b", true},
		{"a/+", "a/", true},
		{"a/+", "a", false},
		{"+", "a", true},
		{"+/+", "/a", true},
		{"/+", "/a", true},
		{"+", "/a", false},
		{"#", "a/b/c", true},
		{"a/#", "a", true},
		{"a/#", "a/b/c", true},
		{"a/#", "ab", false},
		{"a/+/#", "a", false},
		{"+/b/#", "a/b", true},
		{"#", "$SYS/x", false},
		{"+/x", "$SYS/x", false},
		{"$SYS/#", "$SYS/x", true},
		{"$SYS/+", "$SYS/x", true},
		{"a/+", "a/$x", true},
	}
	for _, tt := range tests {
		if got := matches(tt.filter, tt.topic); got != tt.want {
			t.Errorf("matches(%q, %q) = %v, want %v", tt.filter, tt.topic, got, tt.want)
		}
		if got := naive(tt.filter, tt.topic); got != tt.want {
			t.Errorf("naive(%q, %q) = %v, want %v", tt.filter, tt.topic, got, tt.want)
		}
	}
}
