package locations_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/locations"
	"github.com/magpie-im/magpie/records"
)

// tour begins one of alice's phone, from some minutes from now on and until others.
func (h *town) tour(from, to time.Duration) locations.Tour {
	h.t.Helper()
	now := h.now()
	t, err := h.AddTour(h.t.Context(), locations.Tour{Subject: phone, From: now.Add(from).UnixMilli(), To: now.Add(to).UnixMilli()})
	if err != nil {
		h.t.Fatal(err)
	}
	return t
}

// storedTours gives how many are stored.
func (h *town) storedTours() int {
	h.t.Helper()
	all, err := h.store.All(h.t.Context(), "loc.tour", records.Key{}, 1000)
	if err != nil {
		h.t.Fatal(err)
	}
	return len(all)
}

func TestATourShowsItsTimeAndNoMore(t *testing.T) {
	h := newTown(t)
	h.goes(0, 0)
	h.goes(time.Minute, 60)
	tour := h.tour(time.Minute, 10*time.Minute)
	if _, p, known, err := h.OnTour(tour.ID); err != nil || known {
		t.Errorf("before it begins it shows %+v, %t, %v", p, known, err)
	}
	h.goes(30*time.Second, 90)
	h.goes(time.Minute, 150)
	h.goes(time.Minute, 210)
	_, p, known, err := h.OnTour(tour.ID)
	if err != nil || !known || p.Lat < 52.5018 || p.Note != nil {
		t.Errorf("it shows %+v, %t, %v", p, known, err)
	}
	_, way, err := h.WayOf(t.Context(), tour.ID, 0)
	if err != nil || len(way.Points) != 2 || way.Points[0].At != h.now().Add(-time.Minute).UnixMilli() {
		t.Errorf("the way is %+v, %v", way, err)
	}
	short := h.tour(0, time.Minute)
	h.report(phone, locations.Position{At: h.now().Add(2 * time.Minute).UnixMilli(), Lat: 52.502, Lon: 13.4}) // its clock is fast
	if _, p, known, err := h.OnTour(short.ID); err != nil || known {
		t.Errorf("after the end of another one that shows %+v, %v", p, err)
	}
	if err := h.RemoveTour(t.Context(), phone, short.ID); err != nil {
		t.Error(err)
	}
	if again, err := h.AddTour(t.Context(), tour); err != nil || again != tour {
		t.Errorf("asked again: %+v, %v", again, err)
	}
	h.restart()
	if all := h.Tours(phone); !slices.Equal(all, []locations.Tour{tour}) {
		t.Errorf("after a restart there are %+v", all)
	}
	h.pass(10 * time.Minute)
	_, _, _, err = h.OnTour(tour.ID)
	_, _, err2 := h.WayOf(t.Context(), tour.ID, 0)
	if !errors.Is(err, locations.ErrNone) || !errors.Is(err2, locations.ErrNone) || len(h.Tours(phone)) > 0 {
		t.Errorf("after its end: %v, %v, %v", err, err2, h.Tours(phone))
	}
}

func TestNothingIsLeftOfATour(t *testing.T) {
	for name, end := range map[string]func(h *town, id string) error{
		"taken back":   func(h *town, id string) error { return h.RemoveTour(h.t.Context(), phone, id) },
		"forgotten":    func(h *town, _ string) error { return h.Forget(h.t.Context(), phone) },
		"user is gone": func(h *town, _ string) error { return h.Leave(h.t.Context(), "alice") },
		"over":         func(h *town, _ string) error { h.pass(time.Hour); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			h := newTown(t, func(c *locations.Config) { c.Flush = 100 * time.Millisecond })
			h.goes(0, 0)
			tour := h.tour(-time.Minute, time.Minute)
			if _, _, known, err := h.OnTour(tour.ID); err != nil || !known {
				t.Fatalf("before: %t, %v", known, err)
			}
			other := locations.Subject{Who: "alice", Label: "other"}
			if err := h.RemoveTour(t.Context(), other, tour.ID); !errors.Is(err, locations.ErrNone) {
				t.Errorf("another phone ends it: %v", err)
			}
			if err := end(h, tour.ID); err != nil {
				t.Fatal(err)
			}
			if _, err := h.Tour(tour.ID); !errors.Is(err, locations.ErrNone) {
				t.Errorf("it is there: %v", err)
			}
			for deadline := time.Now().Add(10 * time.Second); h.storedTours() > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("it is stored")
				}
			}
			h.restart()
			if all := h.Tours(phone); len(all) > 0 {
				t.Errorf("after a restart there is %+v", all)
			}
		})
	}
}

// TestATourShowsNothingThatWasForgotten has a phone be forgotten while the store removes nothing.
func TestATourShowsNothingThatWasForgotten(t *testing.T) {
	h := newTown(t)
	h.goes(0, 0)
	h.goes(time.Minute, 60)
	h.restart() // and so it is stored
	before := h.tour(-9*time.Minute, 10*time.Minute)
	h.store.fails.Store(true)
	if err := h.Forget(t.Context(), phone); !errors.Is(err, accounts.ErrUnavailable) {
		t.Fatalf("forgotten: %v", err)
	}
	if _, way, err := h.WayOf(t.Context(), before.ID, 0); !errors.Is(err, accounts.ErrUnavailable) {
		t.Errorf("the way is %+v, %v", way, err)
	}
	again := locations.Tour{Subject: phone, From: before.From - 1, To: before.To}
	if _, err := h.AddTour(t.Context(), again); !errors.Is(err, accounts.ErrUnavailable) {
		t.Errorf("a new one: %v", err)
	}
	h.store.fails.Store(false)
	again, err := h.AddTour(t.Context(), again)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Tour(before.ID); !errors.Is(err, locations.ErrNone) {
		t.Errorf("that of before is there: %v", err)
	}
	if _, way, err := h.WayOf(t.Context(), again.ID, 0); err != nil || len(way.Points) > 0 {
		t.Errorf("the way is %+v, %v", way, err)
	}
}

func TestWhatCanBeATour(t *testing.T) {
	h := newTown(t)
	now := h.now().UnixMilli()
	for _, bad := range []locations.Tour{
		{Subject: phone, From: now, To: now}, {Subject: phone, From: now - 2, To: now - 1}, {Subject: phone, From: -1, To: now + 1},
		{Subject: phone, From: now, To: now + 400*24*3600_000}, {Subject: phone, From: now, To: now + 1, Title: "a\nb"},
		{Subject: phone, From: now, To: now + 1, Title: strings.Repeat("x", 129)},
		{Subject: phone, From: now, To: now + 1, Title: "\xff"}, {Subject: locations.Subject{Who: "car"}, From: now, To: now + 1},
		{Subject: locations.Subject{Who: "alice", Label: "a/b"}, From: now, To: now + 1},
	} {
		if _, err := h.AddTour(t.Context(), bad); !errors.Is(err, locations.ErrMalformed) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	seen := map[string]bool{}
	for i := range 21 {
		x, err := h.AddTour(t.Context(), locations.Tour{Subject: phone, From: now + int64(i), To: now + 1000})
		if (i == 20) != errors.Is(err, locations.ErrTooMany) || seen[x.ID] {
			t.Errorf("tour %d: %+v, %v", i, x, err)
		}
		seen[x.ID] = true
	}
	if _, err := h.AddTour(t.Context(), locations.Tour{Subject: locations.Subject{Who: accounts.Name("bob"), Label: "p"}, From: now, To: now + 1}); err != nil {
		t.Errorf("of somebody else: %v", err)
	}
}
