package dialects

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/locations"
)

// desk keeps tours, of which there may be two.
type desk struct{ all []locations.Tour }

func (d *desk) AddTour(_ context.Context, t locations.Tour) (locations.Tour, error) {
	if t.To <= t.From {
		return t, locations.ErrMalformed
	}
	if len(d.all) == 2 {
		return t, locations.ErrTooMany
	}
	t.ID = "id" + string(rune('0'+len(d.all)))
	d.all = append(d.all, t)
	return t, nil
}

func (d *desk) Tours(locations.Subject) []locations.Tour { return d.all }

func (d *desk) RemoveTour(_ context.Context, _ locations.Subject, id string) error {
	for i, t := range d.all {
		if t.ID == id {
			d.all = append(d.all[:i], d.all[i+1:]...)
			return nil
		}
	}
	return locations.ErrNone
}

func TestWhatPhonesAskFor(t *testing.T) {
	d := &desk{}
	const tour = `{"_type":"request","request":"tour","tour":{"label":"Meeting","from":"2022-08-01T05:35:58","to":"2022-08-02T17:00:58+02:00"}}`
	for _, tt := range []struct{ asked, want string }{
		{`{"request":"tours"}`, `{"_type":"cmd","action":"response","request":"tours","status":200,"tours":[],"ntours":0}`},
		{tour, `{"_type":"cmd","action":"response","request":"tour","status":200,"tour":{"label":"Meeting",` +
			`"from":"2022-08-01T05:35:58Z","to":"2022-08-02T15:00:58Z","uuid":"id0","url":"https://x.org/view/id0"}}`},
		{`{"request":"tour","tour":{"from":"2022-08-01T05:35:58","to":"2022-08-01"}}`, `"request":"tour","status":400}`},
		{`{"request":"tour","tour":{"from":"2022-08-03T05:35:58Z","to":"2022-08-01T05:35:58Z"}}`, `"request":"tour","status":400}`},
		{`{"request":"tour"}`, `"status":400}`},
		{tour, `"uuid":"id1"`},
		{tour, `"status":429}`},
		{`{"request":"tours"}`, `"ntours":2}`},
		{`{"request":"untour","uuid":"id0"}`, `"request":"untour","status":200,"uuid":"id0"}`},
		{`{"request":"untour","uuid":"id0"}`, `"status":404,"uuid":"id0"}`},
		{`{"request":"weather"}`, ``},
	} {
		got, err := AnswerOwnTracks(t.Context(), d, jane, []byte(tt.asked), "https://x.org")
		if err != nil || !strings.HasSuffix(string(got), tt.want) && !strings.Contains(string(got), tt.want) || (tt.want == "") != (got == nil) {
			t.Errorf("%s: %s, %v, want %s", tt.asked, got, err, tt.want)
		}
	}
	if at := time.UnixMilli(d.all[0].To).UTC(); at.Hour() != 15 || d.all[0].Subject != jane {
		t.Errorf("it is of %v until %v", d.all[0].Subject, at)
	}
	if _, err := AnswerOwnTracks(t.Context(), d, jane, []byte(`[]`), ""); !errors.Is(err, ErrOwnTracks) {
		t.Errorf("no object: %v", err)
	}
}

func FuzzAnswerOwnTracks(f *testing.F) {
	f.Add([]byte(`{"request":"tour","tour":{"label":"x","from":"2022-08-01T05:35:58","to":"2022-08-02T15:00:58Z"}}`))
	f.Add([]byte(`{"request":"untour","uuid":"x"}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		d := &desk{}
		answer, err := AnswerOwnTracks(t.Context(), d, jane, payload, "http://x")
		if (err != nil) == (answer != nil) && err != nil || answer != nil && !json.Valid(answer) {
			t.Fatalf("%q: %q, %v", payload, answer, err)
		}
		for _, tour := range d.all {
			if tour.From < 0 || tour.To <= tour.From {
				t.Errorf("%q makes %+v", payload, tour)
			}
		}
	})
}
