package pebble

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/magpie-im/magpie/broker/sessions"
)

func someMessages() []*sessions.Message {
	at := time.UnixMilli(1893553445006).UTC()
	return []*sessions.Message{
		{},
		{Topic: "t", Payload: []byte("x"), QoS: 1, Time: at},
		{
			Topic: "a/b", Payload: []byte("payload"), QoS: 2, Retain: true, From: sessions.Key{Account: "alice", Client: "\x00"},
			PayloadFormat: 1, HasPayloadFormat: true, ContentType: "c", ResponseTopic: "r", Correlation: []byte{},
			User: []sessions.UserProperty{{Name: "n", Value: "v"}, {}}, Time: at, Expires: at.Add(time.Hour),
		},
		{From: sessions.Key{Client: "only"}, ResponseTopic: "r", Time: time.UnixMilli(-1).UTC()},
		{Topic: "t", EmptyContentType: true, ResponseTopic: "r", Time: at},
	}
}

func TestContentComesBack(t *testing.T) {
	for _, m := range someMessages() {
		got, err := parseContent(appendContent(nil, m), sessions.StampOf(m))
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("content: got %+v, %v, want %+v", got, err, m)
		}
		target := sessions.Target{Number: 7, QoS: 2, Retain: true, IDs: []int{1, 268435455}}
		row := appendContent(appendEntry(nil, entryInline, target, sessions.StampOf(m)), m)
		h, content, err := parseEntry(row, true)
		if err != nil || !reflect.DeepEqual(h.target(7), target) || h.stamp != sessions.StampOf(m) {
			t.Errorf("entry: got %+v, %v, want %+v", h, err, target)
		}
		if got, err := parseContent(content, h.stamp); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("content of the entry: got %+v, %v, want %+v", got, err, m)
		}
	}
}

func TestContentStaysAsItIs(t *testing.T) {
	want := []string{
		"01000000",
		"0101010174" + "78",
		"01fe0703612f62" + "01" + "05616c6963650100" + "00" + "01630172" + "02016e01760000" + "7061796c6f6164",
		"0150000000046f6e6c79000172",
		"024000017400" + "0172",
	}
	for i, m := range someMessages() {
		if got := hex.EncodeToString(appendContent(nil, m)); got != want[i] {
			t.Errorf("content %d: got %s, want %s", i, got, want[i])
		}
	}
}

func FuzzRows(f *testing.F) {
	for _, m := range someMessages() {
		target := sessions.Target{Number: 7, QoS: 1, IDs: []int{5}}
		f.Add(appendContent(appendEntry(nil, entryInline, target, sessions.StampOf(m)), m))
		f.Add(appendEntry(nil, entryReference, target, sessions.StampOf(m)))
		f.Add(appendContent(nil, m))
	}
	f.Fuzz(func(t *testing.T, row []byte) {
		if h, content, err := parseEntry(row, true); err == nil {
			again := append(appendEntry(nil, h.kind, h.target(1), h.stamp), content...)
			if h2, _, err := parseEntry(again, true); err != nil || !reflect.DeepEqual(h, h2) {
				t.Errorf("entry: got %+v, %v, want %+v", h2, err, h)
			}
		}
		m, err := parseContent(row, sessions.Stamp{})
		if err != nil {
			return
		}
		again, err := parseContent(appendContent(nil, m), sessions.Stamp{})
		if err != nil || !bytes.Equal(m.Payload, again.Payload) || m.Topic != again.Topic {
			t.Errorf("content: got %+v, %v, want %+v", again, err, m)
		}
	})
}

// Every topic that is left out when looking for retained messages is one that the filter does not match.
func TestSeekingRetainedMissesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		level := rapid.SampledFrom([]string{"", "a", "a!", "a0", "b", "$x", "!", "ab"})
		levels := func(name string, level *rapid.Generator[string]) string {
			return strings.Join(rapid.SliceOfN(level, 1, 4).Draw(t, name), "/")
		}
		filter := levels("filter", rapid.SampledFrom([]string{"", "a", "a!", "b", "$x", "+", "+", "ab"}))
		if rapid.Bool().Draw(t, "deep") {
			filter += "/#"
		}
		if rapid.IntRange(0, 9).Draw(t, "all") == 0 {
			filter = "#"
		}
		from := levels("from", level)
		other := levels("topic", level)
		if other <= from || !sessions.Matches(filter, other) || sessions.Matches(filter, from) {
			return
		}
		to, more := sessions.SeekTopic(filter, from)
		if !more || to > other {
			t.Fatalf("seek %q from %q: got %q, %t, and %q matches", filter, from, to, more, other)
		}
		if to < from {
			t.Fatalf("seek %q from %q: got %q, which is before", filter, from, to)
		}
	})
}

func TestBitmap(t *testing.T) {
	m := bitmap{}
	set := map[uint64]bool{}
	for i := range uint64(2000) {
		pos := i * i * 7
		m.add(pos)
		set[pos] = true
	}
	for pos := range uint64(100000) {
		if m.has(pos) != set[pos] {
			t.Fatalf("position %d: got %t", pos, m.has(pos))
		}
	}
	if m.has(1 << 60) {
		t.Error(fmt.Sprint("position ", uint64(1)<<60, " is there"))
	}
}
