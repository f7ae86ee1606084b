package devices

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

func TestAnAlarmIsToldWhenItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		steps := []struct {
			payload string
			told    string // type of what is told; empty: nothing
			alarm   AlarmState
			count   uint64
		}{
			{`{"id":"1","type":"smoke","msg":"test"}`, "event", "", 0},
			{`{"id":"1","type":"smoke","msg":"test"}`, "", "", 0},
			{`{"id":"2","type":"smoke","state":"cleared"}`, "", "", 0},
			{`{"id":"3","type":"smoke","sev":"warn","state":"active"}`, "event", AlarmActive, 1},
			{`{"id":"4","type":"smoke","sev":"warn","state":"active"}`, "", AlarmActive, 2},
			{`{"id":"4","type":"smoke","sev":"warn","state":"active"}`, "", AlarmActive, 2},
			{"ack", "alarm", AlarmAcknowledged, 2},
			{"ack", "", AlarmAcknowledged, 2},
			{`{"id":"5","type":"smoke","sev":"warn","state":"active"}`, "", AlarmAcknowledged, 3},
			{`{"id":"6","type":"smoke","sev":"crit"}`, "event", AlarmActive, 4},
			{`{"id":"7","type":"smoke","state":"cleared"}`, "event", AlarmCleared, 4},
			{`{"id":"7","type":"smoke","state":"cleared"}`, "", AlarmCleared, 4},
			{`{"id":"8","type":"smoke","sev":"crit"}`, "event", AlarmActive, 1},
		}
		for i, step := range steps {
			time.Sleep(time.Second)
			if step.payload == "ack" {
				if _, err := b.AckAlarm(t.Context(), "mia", "lamp", "smoke"); err != nil {
					t.Fatalf("%d: %v", i, err)
				}
			} else {
				h, err := ParseHappening([]byte(step.payload))
				if err != nil {
					t.Fatal(err)
				}
				if _, _, err := b.Happen(t.Context(), "lamp", h); err != nil {
					t.Fatalf("%d: %v", i, err)
				}
			}
			got := ""
			for _, x := range b.ear.heard(pathEvent) {
				got += field(x.Payload, "t")
			}
			a, err := b.store.Alarm(t.Context(), "lamp", "smoke")
			if err != nil || got != step.told || a.State != step.alarm || a.Count != step.count {
				t.Errorf("%d: %s: told %q, alarm %+v %v; want %+v", i, step.payload, got, a, err, step)
			}
		}
		if all, err := b.Events(t.Context(), "gus", "lamp", 0, 100); err != nil || len(all) != 8 || all[0].ID != "8" {
			t.Errorf("events: %+v %v", all, err)
		}
		if _, err := b.AckAlarm(t.Context(), "gus", "lamp", "smoke"); !errors.Is(err, ErrNoRight) {
			t.Errorf("ack by who only sees it: %v", err)
		}
		if _, err := b.AckAlarm(t.Context(), "mia", "lamp", "fire"); !errors.Is(err, ErrUnknown) {
			t.Errorf("ack of what never was: %v", err)
		}
	})
}

func TestParseHappening(t *testing.T) {
	for _, payload := range []string{
		``, `[]`, `{}`, `{"type":"a b"}`, `{"type":"x","sev":"loud"}`, `{"type":"x","state":"ack"}`, `{"type":"x","ts":-1}`,
		`{"type":"x","ts":"now"}`,
	} {
		if _, err := ParseHappening([]byte(payload)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", payload, err)
		}
	}
}

func FuzzWhatDevicesAndAppsSay(f *testing.F) {
	f.Add([]byte(`{"id":"1","type":"smoke","sev":"crit","ts":1,"msg":"m","data":{"a":[1]},"state":"active"}`))
	f.Add([]byte(`{"name":"on","args":{"a":1},"ttl":1.5,"timeout":2,"key":"k","mid":"m"}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if h, err := ParseHappening(payload); err == nil {
			e := Event{ID: h.ID, Type: h.Type, Text: h.Text, Data: h.Data}
			e.AppendJSON(nil, Alarm{})
		}
		if c, err := ParseCall(payload); err == nil {
			Command{Name: c.Name, Args: c.Args, Key: c.Key}.AppendJSON(nil)
			if c.TTL < 0 || c.Timeout < 0 {
				t.Errorf("%s: %+v", payload, c)
			}
		}
	})
}

// What a device is told to be stored was told to those who see it: it may come to them twice, and not never.
func TestAnEventThatMayNotHaveBeenToldIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		smoke := Happening{ID: "1", Type: "smoke", Severity: Critical, Alarm: AlarmActive}
		happens := func(h Happening, want error, told int) {
			t.Helper()
			if _, _, err := b.Happen(t.Context(), "lamp", h); !errors.Is(err, want) {
				t.Fatalf("event %s: %v, want %v", h.ID, err, want)
			}
			if got := b.ear.heard(pathEvent); len(got) != told {
				t.Errorf("event %s was told %d times, want %d", h.ID, len(got), told)
			}
		}
		b.ear.deaf = ErrUnavailable
		happens(smoke, ErrUnavailable, 0)
		b.ear.deaf = nil
		happens(smoke, nil, 1)
		happens(smoke, nil, 0)
		b.stop()
		b = startBench(t, b.store) // which does not know what the one before has told
		defer b.stop()
		happens(smoke, nil, 1)
		happens(smoke, nil, 0)
	})
}

func TestWhatHappensIsToldToWhoOwnsTheDeviceThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		if _, _, err := b.Happen(t.Context(), "lamp", Happening{ID: "1", Type: "smoke", Severity: Critical, Alarm: AlarmActive}); err != nil {
			t.Fatal(err)
		}
		b.ear.heard(pathEvent)
		errs := make(chan error, 2)
		err := b.InTurn(t.Context(), "lamp", func() error { // what comes now waits, and olga gives the lamp to otto meanwhile
			go func() {
				_, _, err := b.Happen(t.Context(), "lamp", Happening{ID: "2", Type: "door", Severity: Info})
				errs <- err
			}()
			go func() {
				_, err := b.AckAlarm(t.Context(), "olga", "lamp", "smoke")
				if !errors.Is(err, ErrUnknown) {
					t.Errorf("olga acknowledges an alarm: %v", err)
				}
				errs <- nil
			}()
			synctest.Wait()
			err := b.things.accept(t.Context(), Offer{Device: "lamp", From: "olga", To: "otto"})
			return err
		})
		if err = errors.Join(err, <-errs, <-errs); err != nil {
			t.Fatal(err)
		}
		for _, x := range b.ear.heard(pathEvent) {
			if field(x.Payload, "t") == "event" && !slices.Equal(x.To, []accounts.Name{"otto"}) {
				t.Errorf("%s is told to %q, want otto", x.Payload, x.To)
			}
		}
	})
}
