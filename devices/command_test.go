package devices_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/magpie-im/magpie/devices"
)

// command is one that expires after 100 ms, and has to be done 50 ms after its delivery.
func command() devices.Command {
	return devices.Command{
		ID: "c1", Device: "lamp", Name: "on", By: "alice", Created: 1000, Expires: 1100, Timeout: 50, State: devices.CommandQueued,
	}
}

// happened does things to a command, each 10 ms after the one before: "send", "deliver", "cancel", "supersede", "wait" (100 ms), or
// what the device says.
func happened(t *testing.T, c devices.Command, things ...string) (devices.Command, []string) {
	t.Helper()
	var states []string
	now := c.Created
	for _, thing := range things {
		now += 10
		before := c.State
		var err error
		switch thing {
		case "send":
			c, _, err = c.Send(now)
		case "deliver":
			c = c.Deliver(now)
		case "cancel":
			c, err = c.Cancel(now)
		case "supersede":
			c, err = c.Supersede(now)
		case "wait":
			now += 90
			c = c.Tick(now)
		default:
			var through []devices.CommandState
			c, through, err = c.Ack(devices.CommandAck{State: devices.CommandState(thing), Percent: 10}, now)
			for _, s := range through[:max(0, len(through)-1)] {
				states = append(states, string(s))
			}
		}
		if err != nil {
			states = append(states, "!")
		}
		if c.State != before {
			states = append(states, string(c.State))
		}
	}
	return c, states
}

func TestHowFarACommandComes(t *testing.T) {
	tests := map[string]struct {
		things []string
		states string
		late   devices.CommandState
	}{
		"as it should be": {
			[]string{"send", "deliver", "accepted", "progress", "succeeded"}, "sent delivered accepted progress succeeded", "",
		},
		"at once":                      {[]string{"send", "deliver", "failed"}, "sent delivered failed", ""},
		"a result before the PUBACK":   {[]string{"send", "succeeded", "deliver"}, "sent delivered succeeded", ""},
		"accepted before the PUBACK":   {[]string{"send", "accepted", "deliver", "rejected"}, "sent delivered accepted rejected", ""},
		"never fetched":                {[]string{"wait", "send"}, "expired !", ""},
		"sent, and no PUBACK":          {[]string{"send", "wait", "deliver"}, "sent expired", ""},
		"done after it has expired":    {[]string{"send", "wait", "succeeded", "failed"}, "sent expired", devices.CommandSucceeded},
		"delivered, and nothing":       {[]string{"send", "deliver", "wait"}, "sent delivered timed_out", ""},
		"done after its time":          {[]string{"send", "deliver", "wait", "accepted", "failed"}, "sent delivered timed_out", devices.CommandFailed},
		"two results":                  {[]string{"send", "succeeded", "failed"}, "sent delivered succeeded", ""},
		"out of order":                 {[]string{"send", "progress", "accepted", "accepted", "succeeded", "progress"}, "sent delivered progress succeeded", ""},
		"taken back":                   {[]string{"cancel", "send"}, "canceled !", ""},
		"taken back when it was sent":  {[]string{"send", "cancel", "succeeded"}, "sent canceled", devices.CommandSucceeded},
		"taken back too late":          {[]string{"send", "deliver", "cancel"}, "sent delivered !", ""},
		"superseded":                   {[]string{"supersede", "send"}, "superseded !", ""},
		"superseded when it was sent":  {[]string{"send", "supersede"}, "sent !", ""},
		"sent again":                   {[]string{"send", "send", "deliver", "send"}, "sent delivered !", ""},
		"spoken of before it was sent": {[]string{"succeeded"}, "!", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, states := happened(t, command(), tt.things...)
			if got := strings.Join(states, " "); got != tt.states {
				t.Errorf("%v: %s, want %s", tt.things, got, tt.states)
			}
			var late devices.CommandState
			if c.Late != nil {
				late = c.Late.State
			}
			if late != tt.late {
				t.Errorf("%v: late %q, want %q", tt.things, late, tt.late)
			}
		})
	}
}

func TestDeadlinesAreExact(t *testing.T) {
	c := command()
	if c = c.Tick(1099); c.State != devices.CommandQueued || c.Due() != 1100 {
		t.Errorf("a millisecond before: %s, due %d", c.State, c.Due())
	}
	if is := c.Tick(1100); is.State != devices.CommandExpired || is.Due() != 0 {
		t.Errorf("at its end: %s, due %d", is.State, is.Due())
	}
	if _, _, err := c.Send(1100); !errors.Is(err, devices.ErrTooLate) {
		t.Errorf("sent at its end: %v", err)
	}
	c, _, err := c.Send(1099)
	if err != nil {
		t.Fatal(err)
	}
	if is := c.Deliver(1100); is.State != devices.CommandExpired {
		t.Errorf("delivered at its end: %s", is.State)
	}
	c = c.Deliver(1099)
	if c.Due() != 1149 || c.Tick(1148).State != devices.CommandDelivered || c.Tick(1149).State != devices.CommandTimedOut {
		t.Errorf("delivered at 1099 with a timeout of 50: due %d", c.Due())
	}
	c.Timeout = 0
	if c.Due() != 0 || c.Tick(1<<60).State != devices.CommandDelivered {
		t.Errorf("without a timeout: due %d", c.Due())
	}
}

// The oracle knows the order of states and which deadline counts, and nothing of how a step is made.
func TestCommandsOnlyMoveForward(t *testing.T) {
	order := []devices.CommandState{
		devices.CommandQueued, devices.CommandSent, devices.CommandDelivered, devices.CommandAccepted, devices.CommandProgress,
	}
	rank := func(s devices.CommandState) int {
		if i := slices.Index(order, s); i >= 0 {
			return i
		}
		return len(order)
	}
	rapid.Check(t, func(t *rapid.T) {
		c, now := command(), int64(1000)
		acked := false // the device has acknowledged it, or spoken of it
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			now += rapid.Int64Range(0, 40).Draw(t, "pause")
			before := c
			overdue := before.Delivered == 0 && now >= before.Expires ||
				before.Delivered != 0 && now >= before.Delivered+before.Timeout
			result := devices.CommandState("")
			switch rapid.SampledFrom([]string{"send", "deliver", "ack", "cancel", "supersede", "tick"}).Draw(t, "step") {
			case "send":
				next, again, err := c.Send(now)
				if (err == nil) != (!before.State.Final() && !overdue && rank(before.State) <= 1) {
					t.Fatalf("send at %d when %s: %v", now, before.State, err)
				}
				if again != (err == nil && before.State == devices.CommandSent) {
					t.Fatalf("send when %s says again: %v", before.State, again)
				}
				c = next
			case "deliver":
				c = c.Deliver(now)
				acked = acked || before.Sent != 0
			case "ack":
				result = rapid.SampledFrom([]devices.CommandState{"accepted", "progress", "succeeded", "failed", "rejected"}).Draw(t, "says")
				next, _, err := c.Ack(devices.CommandAck{State: result, Percent: rapid.IntRange(0, 100).Draw(t, "pct")}, now)
				if (err != nil) != (before.Sent == 0) {
					t.Fatalf("ack when it was sent at %d: %v", before.Sent, err)
				}
				acked = acked || err == nil
				c = next
			case "cancel":
				c, _ = c.Cancel(now)
			case "supersede":
				c, _ = c.Supersede(now)
			default:
				c = c.Tick(now)
			}
			switch {
			case rank(c.State) < rank(before.State), before.State.Final() && c.State != before.State:
				t.Fatalf("%s after %s", c.State, before.State)
			case c.Delivered != 0 && !acked:
				t.Fatal("delivered, and the device has said nothing")
			case c.State != before.State && c.Rev == before.Rev:
				t.Fatalf("%s has the rev of %s", c.State, before.State)
			case overdue && !before.State.Final() && c.State != devices.CommandExpired && c.State != devices.CommandTimedOut:
				t.Fatalf("%s at %d, after its time", c.State, now)
			case before.State.Final() && c.Late != before.Late && (before.Late != nil || !result.Final()):
				t.Fatalf("late: %+v, then %+v", before.Late, c.Late)
			}
		}
	})
}

func TestWhatADeviceMaySayOfACommand(t *testing.T) {
	tests := map[string]bool{
		`{"s":"accepted"}`:                         true,
		`{"s":"progress","pct":40}`:                true,
		`{"s":"succeeded","result":{"a":1}}`:       true,
		`{"s":"failed","code":"E1","msg":"stuck"}`: true,
		`{"s":"rejected","result":null}`:           true,
		`{"s":"delivered"}`:                        false, // that is the PUBACK's to say
		`{"s":"expired"}`:                          false,
		`{"s":""}`:                                 false,
		`{}`:                                       false,
		`[]`:                                       false,
		`{"s":"progress","pct":101}`:               false,
		`{"s":"progress","pct":-1}`:                false,
		`{"s":"failed","msg":"` + strings.Repeat("x", 1025) + `"}`:      false,
		`{"s":"failed","code":"` + strings.Repeat("x", 65) + `"}`:       false,
		`{"s":"failed","result":"` + strings.Repeat("x", 16<<10) + `"}`: false,
	}
	for payload, fine := range tests {
		if _, err := devices.ParseCommandAck([]byte(payload)); (err == nil) != fine || err != nil && !errors.Is(err, devices.ErrMalformed) {
			t.Errorf("%.60s: %v", payload, err)
		}
	}
}

func FuzzParseCommandAck(f *testing.F) {
	f.Add([]byte(`{"s":"progress","pct":40,"result":[1],"code":"c","msg":"m"}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		a, err := devices.ParseCommandAck(payload)
		if err != nil {
			if !errors.Is(err, devices.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		c, _, err := command().Send(1001)
		if err != nil {
			t.Fatal(err)
		}
		if c, _, err = c.Ack(a, 1002); err != nil || c.State != a.State {
			t.Errorf("%q: %s, %v", payload, c.State, err)
		}
	})
}

func TestWhatHoldsACommandBack(t *testing.T) {
	first, later := command(), command()
	later.ID = "c2"
	first.Key, later.Key = "power", "power"
	for state, blocks := range map[devices.CommandState]bool{
		devices.CommandSent: true, devices.CommandProgress: true, devices.CommandSucceeded: false, devices.CommandExpired: false,
	} {
		first.State = state
		if got := first.Blocks(later, false); got != blocks {
			t.Errorf("one of the same key that is %s: %v", state, got)
		}
	}
	first.State, later.Key = devices.CommandSent, ""
	if first.Blocks(later, false) || !first.Blocks(later, true) {
		t.Error("one of another key holds a command back, or does not where things are done one at a time")
	}
}
