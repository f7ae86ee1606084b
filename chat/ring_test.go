package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func say(seq uint64, body string) (uint64, *Line) {
	return seq, messageLine(Message{Conversation: "l.x", Seq: seq, Kind: "text", Body: json.RawMessage(body)})
}

const (
	aChat = `{"text":"hi"}`
	aGift = `{"text":"rose","p":"gift"}`
)

func (r *ring) seqs() (seqs []uint64) {
	for _, x := range r.list {
		seqs = append(seqs, x.seq)
	}
	return seqs
}

func TestARingPrefersGifts(t *testing.T) {
	tests := map[string]struct {
		bodies []string
		want   []uint64
	}{
		"chat":                         {slices.Repeat([]string{aChat}, 9), []uint64{6, 7, 8, 9}},
		"gifts":                        {slices.Repeat([]string{aGift}, 9), []uint64{6, 7, 8, 9}},
		"a gift, then chat":            {append([]string{aGift}, slices.Repeat([]string{aChat}, 8)...), []uint64{1, 7, 8, 9}},
		"three gifts, then chat":       {append(slices.Repeat([]string{aGift}, 3), slices.Repeat([]string{aChat}, 6)...), []uint64{2, 3, 8, 9}},
		"chat, then more than room is": {append(slices.Repeat([]string{aChat}, 4), slices.Repeat([]string{aGift}, 5)...), []uint64{6, 7, 8, 9}},
		"by turns":                     {slices.Repeat([]string{aGift, aChat}, 4), []uint64{3, 5, 7, 8}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := ring{most: 4}
			for i, body := range tt.bodies {
				r.add(say(uint64(i+1), body))
			}
			if got := r.seqs(); !slices.Equal(got, tt.want) {
				t.Errorf("kept %d of %d, want %d", got, len(tt.bodies), tt.want)
			}
			if got := len(r.gone) + len(r.list); got != len(tt.bodies) {
				t.Errorf("%d are kept or gone, want %d", got, len(tt.bodies))
			}
		})
	}
}

// What a ring keeps does not depend on what had been removed already when it was read again.
func TestARingThatIsReadAgainIsTheSame(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		r, there := ring{most: 1 + random.IntN(12)}, map[uint64]string{}
		for seq := uint64(1); seq < 100; seq++ {
			body := aChat
			if random.IntN(3) == 0 {
				body = aGift
			}
			there[seq] = body
			r.add(say(seq, body))
			if random.IntN(4) == 0 { // some of it
				for _, gone := range r.gone[:random.IntN(len(r.gone)+1)] {
					delete(there, gone)
				}
			}
			again := ring{most: r.most}
			for s := uint64(1); s <= seq; s++ {
				if body, ok := there[s]; ok {
					again.add(say(s, body))
				}
			}
			if !slices.Equal(again.seqs(), r.seqs()) {
				t.Fatalf("seed %d, at %d: read again %d, was %d", seed, seq, again.seqs(), r.seqs())
			}
		}
	}
}

func TestARingHasABoundInBytes(t *testing.T) {
	r := ring{most: 200}
	body := fmt.Sprintf(`{"text":"%0*d"}`, 64<<10, 1)
	for seq := uint64(1); seq <= 100; seq++ {
		r.add(say(seq, body))
	}
	if r.bytes > ringBytes || len(r.list) < 15 {
		t.Errorf("%d bytes in %d messages, want up to %d", r.bytes, len(r.list), ringBytes)
	}
}

func TestLikesOf(t *testing.T) {
	for body, want := range map[string]uint64{
		`{"p":"like"}`: 1, `{"p":"like","n":3}`: 3, `{"p":"gift","n":3}`: 0, `{"n":3}`: 0, `"like"`: 0, `{"p":["like"]}`: 0,
	} {
		if got, err := likesOf([]byte(body)); got != want || err != nil {
			t.Errorf("likesOf(%s) = %d, %v, want %d", body, got, err, want)
		}
	}
	for _, body := range []string{`{"p":"like","n":0}`, `{"p":"like","n":-1}`, `{"p":"like","n":1001}`, `{"p":"like","n":"3"}`} {
		if got, err := likesOf([]byte(body)); !errors.Is(err, ErrMalformed) {
			t.Errorf("likesOf(%s) = %d, %v, want %v", body, got, err, ErrMalformed)
		}
	}
}

func FuzzParsePosition(f *testing.F) {
	f.Add([]byte(`{"lat": 48.1,"lon":11.5,"acc":3e1}`))
	f.Add([]byte(`{"lat":-0,"lon":1E2,"\u006cat":1}`))
	f.Add([]byte(`{"lat":1,"lon":1,"x":{"y":["\ud800"]}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		where, err := parsePosition(payload)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooLarge) {
				t.Errorf("parsePosition(%q): %v", payload, err)
			}
			return
		}
		var got struct {
			Lat, Lon *float64
		}
		e := Event{Entry: Entry{Type: EventPlace, Conversation: "d.a.b", Who: "a"}, Where: where}.AppendJSON(nil)
		if !json.Valid(e) || json.Unmarshal(where, &got) != nil {
			t.Fatalf("parsePosition(%q) = %s", payload, where)
		}
		if got.Lat != nil && math.Abs(*got.Lat) > 90 && got.Lon != nil && math.Abs(*got.Lon) > 180 {
			t.Errorf("parsePosition(%q) = %s: nowhere on Earth", payload, where)
		}
	})
}
