package spaces_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
)

// run has the voice, and the things, work until the returned function is called.
func (w *town) run() (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{w.voice.Run, w.fleet.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				w.t.Error(err)
			}
		})
	}
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	w.t.Cleanup(stop)
	return stop
}

// eventually waits until what is asked for is so.
func (w *town) eventually(what string, is func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		if time.Now().After(deadline) {
			w.t.Fatalf("not so: %s", what)
		}
		<-tick.C
	}
}

// said gives what devices have said in a home, as somebody sees it.
func (w *town) said(who accounts.Name, c chat.Conversation) (all []chat.Message) {
	w.t.Helper()
	page, err := w.chat.History(w.t.Context(), who, chat.HistoryQuery{Conversation: c, Limit: 100})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range page.Messages {
		if strings.HasPrefix(m.Kind, "device.") || m.Why == chat.WhyUnseen {
			all = append(all, m)
		}
	}
	return all
}

func (w *town) lines(who accounts.Name, c chat.Conversation) (all []string) {
	for _, m := range w.said(who, c) {
		line := m.Digest()
		if m.Why == chat.WhyUnseen {
			line = fmt.Sprintf("unseen %s%s", m.From, m.Body)
		}
		all = append(all, line)
	}
	return all
}

func (w *town) happen(did accounts.Name, payload string) {
	w.t.Helper()
	h, err := devices.ParseHappening([]byte(payload))
	if err == nil {
		_, _, err = w.fleet.Happen(w.t.Context(), did, h)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// letSee has alice let somebody see one of her things.
func (w *town) letSee(who, did accounts.Name) {
	w.t.Helper()
	g := devices.Grant{To: who, Verbs: []devices.Verb{devices.VerbSee}}
	if _, err := w.things.Grant(w.t.Context(), "alice", did, g); err != nil {
		w.t.Fatal(err)
	}
}

func (w *town) unread(who accounts.Name) uint64 {
	w.t.Helper()
	u, err := w.chat.Unread(w.t.Context(), who)
	if err != nil {
		w.t.Fatal(err)
	}
	return u.Total
}

func (w *town) write(who accounts.Name, c chat.Conversation, text string) chat.Sent {
	w.t.Helper()
	content, err := chat.ParseContent([]byte(text), "text/plain")
	if err != nil {
		w.t.Fatal(err)
	}
	sent, commit, err := w.chat.Send(w.t.Context(), who, chat.Target{Conversation: c}, content, nil)
	w.done(commit, err)
	return sent
}

func TestWhatHappensToAThingIsSaidInItsHome(t *testing.T) {
	w := newTown(t)
	c := w.home()
	w.add("lamp", "alice", c)
	w.add("shed", "alice", "")
	before := w.unread("bob")
	w.happen("shed", `{"type":"door"}`)
	for range 2 {
		w.happen("lamp", `{"id":"e1","type":"door","msg":"open"}`)
		w.happen("lamp", `{"id":"e2","type":"hot","state":"active","msg":"92 degrees"}`)
	}
	w.happen("lamp", `{"id":"e3","type":"hot","state":"active"}`) // no news
	w.happen("lamp", `{"id":"e4","type":"hot","state":"cleared"}`)
	want := []string{"lamp: door: open", "⚠ lamp: hot: 92 degrees", "lamp: hot is over"}
	if got := w.lines("bob", c); !slices.Equal(got, want) {
		t.Errorf("said %q, want %q", got, want)
	}
	if got := w.unread("bob") - before; got != 1 {
		t.Errorf("%d of it count as unread, want the alarm alone", got)
	}
	m := w.said("bob", c)[1]
	var said struct {
		DID, Type string
		Alarm     struct{ State string }
	}
	if err := json.Unmarshal(m.Body, &said); err != nil || said.DID != "lamp" || said.Type != "hot" ||
		said.Alarm.State != "active" || m.From != "lamp" || m.Kind != chat.KindDeviceEvent {
		t.Errorf("the alarm is %s by %s: %s, %v", m.Kind, m.From, m.Body, err)
	}
	_, _, err := w.chat.Send(t.Context(), "bob", chat.Target{Conversation: c},
		chat.Content{Kind: chat.KindDeviceEvent, Body: json.RawMessage(`{}`)}, nil)
	if !errors.Is(err, chat.ErrMalformed) {
		t.Errorf("somebody speaks for a device: %v", err)
	}
	_, _, err = w.chat.Send(t.Context(), "bob", chat.Target{User: "alice"},
		chat.Content{Fwd: chat.Source{Conversation: c, Seq: m.Seq}}, nil)
	if err == nil {
		t.Error("what a device has said is forwarded")
	}
}

func TestAnEventThatWasStoredBeforeACrashIsSaidAfterIt(t *testing.T) {
	w := newTown(t)
	c := w.home()
	w.add("lamp", "alice", c)
	w.happen("lamp", `{"id":"e1","type":"door"}`)
	// The process ends when these are stored, and nothing else.
	for i, e := range []devices.Event{
		{ID: "e2", Type: "door"}, {ID: "e3", Type: "hot", Alarm: devices.AlarmActive, Text: "92 degrees"},
	} {
		e.Device, e.Order, e.Severity, e.TS, e.Stored = "lamp", uint64(i+2), devices.Info, 1, time.Now().UnixMilli()+int64(i)
		if _, _, err := w.store.Devices().PutEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"lamp: door", "lamp: door", "⚠ lamp: hot: 92 degrees"}
	for range 2 {
		w.open()
		stop := w.run()
		w.eventually("all of it is said", func() bool { return len(w.lines("bob", c)) >= len(want) })
		stop()
		if got := w.lines("bob", c); !slices.Equal(got, want) {
			t.Errorf("said %q, want %q", got, want)
		}
	}
	if alarms, err := w.fleet.Alarms(t.Context(), "bob", "lamp", "", 10); err != nil || len(alarms) != 1 {
		t.Errorf("alarms %+v, %v", alarms, err)
	}
	w.happen("lamp", `{"id":"e3","type":"hot","state":"active","msg":"92 degrees"}`) // the device says it again
	if got := w.lines("bob", c); !slices.Equal(got, want) {
		t.Errorf("said again: %q", got)
	}
}

func TestAThingThatSaysTooMuchIsSummedUp(t *testing.T) {
	w := newTown(t)
	c := w.home()
	w.add("lamp", "alice", c)
	for i := range 35 {
		w.happen("lamp", fmt.Sprintf(`{"id":"e%d","type":"door"}`, i))
	}
	if got := len(w.lines("bob", c)); got != 10 {
		t.Errorf("%d messages, want 10", got)
	}
	w.open()
	w.run()
	w.later.Add(int64(2 * time.Minute))
	w.eventually("it is summed up", func() bool { return len(w.lines("bob", c)) > 10 })
	if got := w.lines("bob", c)[10:]; !slices.Equal(got, []string{"lamp: 25 more events"}) {
		t.Errorf("in the end %q", got)
	}
}

func TestGuestsReadWhatDevicesSayThatTheyMaySee(t *testing.T) {
	w := newTown(t)
	c := w.home()
	w.add("lamp", "alice", c)
	w.add("door", "alice", c)
	w.happen("lamp", `{"type":"first"}`)
	before := time.Now().UnixMilli()
	w.eventually("the clock goes on", func() bool { return time.Now().UnixMilli() > before })
	w.letSee("carol", "lamp")
	w.happen("lamp", `{"type":"second"}`)
	w.happen("door", `{"type":"third"}`)
	for who, want := range map[accounts.Name][]string{
		"bob":   {"lamp: first", "lamp: second", "door: third"},
		"carol": {"unseen ", "lamp: second", "unseen "},
	} {
		if got := w.lines(who, c); !slices.Equal(got, want) {
			t.Errorf("%s reads %q, want %q", who, got, want)
		}
		page, err := w.chat.Sync(t.Context(), who, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range page.Events {
			if text := string(e.AppendJSON(nil)); strings.Contains(text, "first") {
				got = append(got, text)
			}
		}
		if (len(got) > 0) != (who == "bob") {
			t.Errorf("%s is told %q", who, got)
		}
	}
	if list, err := w.chat.Conversations(t.Context(), "carol", chat.ListMain, "", 0); err != nil {
		t.Error(err)
	} else if i := slices.IndexFunc(list.List, func(o chat.Overview) bool { return o.Tally.Conversation == c }); i < 0 ||
		list.List[i].Last.Why != chat.WhyUnseen {
		t.Errorf("the last message of her list is %+v", list.List)
	}
}

func TestALineTellsAThingSomething(t *testing.T) {
	w := newTown(t)
	c := w.home()
	w.add("lamp", "alice", c)
	w.add("door", "alice", c)
	w.add("shed", "alice", "")
	title := "Front door"
	if _, err := w.things.Set(t.Context(), "alice", "door", devices.ThingPatch{Title: &title}); err != nil {
		t.Fatal(err)
	}
	w.run()
	said := func(want ...string) {
		t.Helper()
		w.eventually(strings.Join(want, ", "), func() bool { return slices.Equal(w.lines("bob", c), want) })
	}
	w.write("bob", c, "@alice on my way")
	w.write("bob", c, "@shed on")
	w.write("carol", c, "@lamp on") // who may not see it
	line := w.write("bob", c, "@lamp on")
	said(`{"power":"on"}: wanted`)
	m := w.said("bob", c)[0]
	if m.Re != line.Seq || m.From != "lamp" || m.Kind != chat.KindDeviceReply || !m.Silent {
		t.Errorf("the answer is %+v", m)
	}
	u, err := devices.ParseReported([]byte(`{"power":"on"}`))
	if err == nil {
		_, err = w.fleet.UpdateShadow(t.Context(), "lamp", "lamp", "", u)
	}
	if err != nil {
		t.Fatal(err)
	}
	said(`{"power":"on"}: reported`)
	w.write("bob", c, "@lamp toggle")
	said(`{"power":"on"}: reported`, `{"power":"off"}: wanted`)
	w.write("bob", c, "@lamp set power dim")
	said(`{"power":"on"}: reported`, `{"power":"off"}: replaced`, `{"power":"dim"}: wanted`)
	w.write("alice", c, "@front-door call open {\"wide\":true}")
	said(`{"power":"on"}: reported`, `{"power":"off"}: replaced`, `{"power":"dim"}: wanted`, "open: queued")
	commands, err := w.fleet.Commands(t.Context(), "alice", "door", 0, 10)
	if err != nil || len(commands) != 1 || commands[0].By != "alice" || string(commands[0].Args) != `{"wide":true}` {
		t.Fatalf("commands %+v, %v", commands, err)
	}
	if _, err := w.fleet.Cancel(t.Context(), "alice", "door", commands[0].ID); err != nil {
		t.Fatal(err)
	}
	said(`{"power":"on"}: reported`, `{"power":"off"}: replaced`, `{"power":"dim"}: wanted`, "open: canceled")
	w.letSee("carol", "lamp")
	w.write("carol", c, "@lamp off")
	w.write("carol", c, "@lamp dance")
	w.eventually("she is refused, and helped", func() bool {
		all := w.lines("bob", c)
		return slices.Equal(all[4:], []string{
			`{"power":"off"}: refused (no_right)`, "on, off, toggle, set KEY VALUE, call NAME {JSON}",
		})
	})
}

func TestATextWithMarksTellsAThingSomethingToo(t *testing.T) {
	w := newTown(t)
	c := w.home()
	w.add("lamp", "alice", c)
	w.run()
	for _, content := range []string{
		`{"k":"md","body":{"text":"@lamp on"}}`, `{"k":"x.note","body":{"text":"@lamp off"},"fallback":"@lamp off"}`,
	} {
		parsed, err := chat.ParseContent([]byte(content), "application/json")
		if err != nil {
			t.Fatal(err)
		}
		_, commit, err := w.chat.Send(t.Context(), "bob", chat.Target{Conversation: c}, parsed, nil)
		w.done(commit, err)
	}
	w.write("bob", c, "@lamp set level 3")
	w.write("bob", c, "@lamp toggle") // what it is to be then
	want := []string{`{"power":"on"}: replaced`, `{"level":3}: wanted`, `{"power":"off"}: wanted`}
	w.eventually("what has a text is done", func() bool { return slices.Equal(w.lines("bob", c), want) })
}

func TestWhoWantsToKnowIsToldWhatALineTellsAThing(t *testing.T) {
	w := newTown(t)
	c := w.home()
	w.add("lamp", "alice", c)
	told := make(chan string, 2)
	w.voice.OnTold(func(did accounts.Name, mid string) { told <- string(did) + " " + mid })
	w.run()
	content, err := chat.ParseContent([]byte(`{"k":"text","body":{"text":"@lamp on"},"mid":"m1"}`), "application/json")
	if err != nil {
		t.Fatal(err)
	}
	_, commit, err := w.chat.Send(t.Context(), "bob", chat.Target{Conversation: c}, content, nil)
	w.done(commit, err)
	select {
	case got := <-told:
		if got != "lamp m1" {
			t.Errorf("told %q", got)
		}
	case <-time.After(20 * time.Second):
		t.Error("nobody was told")
	}
}

func TestALineIsCarriedOutOnceThoughTheServerCrashes(t *testing.T) {
	w := newTown(t)
	c := w.home()
	w.add("lamp", "alice", c)
	w.write("bob", c, "@lamp toggle") // and nothing is done
	w.write("bob", c, "@lamp call blink")
	want := []string{`{"power":"on"}: wanted`, "blink: queued"}
	for range 3 {
		w.open()
		stop := w.run()
		w.eventually("it is answered", func() bool { return len(w.lines("bob", c)) >= 2 })
		stop()
		if got := w.lines("bob", c); !slices.Equal(got, want) {
			t.Errorf("answered %q, want %q", got, want)
		}
	}
	if commands, err := w.fleet.Commands(t.Context(), "bob", "lamp", 0, 10); err != nil || len(commands) != 1 {
		t.Errorf("commands %+v, %v", commands, err)
	}
	if s, err := w.fleet.Shadow(t.Context(), "bob", "lamp", ""); err != nil || s.Version != 1 {
		t.Errorf("the shadow has version %d, %v", s.Version, err)
	}
	w.write("bob", c, "@lamp off")
	w.later.Add(int64(time.Hour)) // that is how long the server was away
	w.open()
	w.run()
	w.eventually("it is too late", func() bool {
		got := w.lines("bob", c)
		return len(got) == 3 && got[2] == `{"power":"off"}: expired`
	})
}

// left are the records of a kind, as "scope/id".
func (w *town) left(kind string) (all []string) {
	w.t.Helper()
	page, err := w.kept.All(w.t.Context(), kind, records.Key{}, 100)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range page {
		all = append(all, r.Scope+"/"+r.ID)
	}
	return all
}

func TestNothingIsLeftOfAHomeThatHasEnded(t *testing.T) {
	for what, crash := range map[string]bool{"at once": false, "after a crash": true} {
		t.Run(what, func(t *testing.T) {
			w := newTown(t)
			c, other := w.home(), w.home()
			w.add("lamp", "alice", c)
			calls := []devices.HomeCall{{Who: "bob", After: 60}}
			kinds := []string{"home.rules", "home.grant", "home.ear"}
			for _, home := range []chat.Conversation{c, other} {
				g := devices.HomeGrant{Grant: devices.Grant{To: "carol", Verbs: []devices.Verb{devices.VerbSee}}}
				if _, err := w.homes.Grant(t.Context(), "alice", string(home), g); err != nil {
					t.Fatal(err)
				}
				if _, err := w.homes.SetRules(t.Context(), "alice", string(home), devices.HomeRulesPatch{Escalate: &calls}); err != nil {
					t.Fatal(err)
				}
				w.write("bob", home, "@nobody on")
			}
			var before []records.Record
			for _, kind := range kinds {
				if got := w.left(kind); len(got) != 2 {
					t.Fatalf("%s: %v, want two", kind, got)
				}
				page, err := w.kept.Records(t.Context(), kind, string(c), "", 10)
				if err != nil {
					t.Fatal(err)
				}
				before = append(before, page...)
			}
			w.done(w.chat.DissolveRoom(t.Context(), "alice", c, nil))
			if crash { // before it was forgotten
				if err := w.kept.PutAll(t.Context(), before); err != nil {
					t.Fatal(err)
				}
				w.open()
				w.run()
			}
			for _, kind := range kinds {
				w.eventually(kind+" is left of the other one alone", func() bool {
					got := w.left(kind)
					return len(got) == 1 && strings.HasPrefix(got[0], string(other)+"/")
				})
			}
			if got, err := w.homes.GrantsFor(t.Context(), "carol", string(c)); err == nil && len(got) > 0 {
				t.Errorf("granted %+v", got)
			}
		})
	}
}

func TestNothingIsLeftOfADeviceThatWasRemoved(t *testing.T) {
	w := newTown(t)
	c := w.home()
	calls := []devices.HomeCall{{Who: "bob", After: 60}}
	if _, err := w.homes.SetRules(t.Context(), "alice", string(c), devices.HomeRulesPatch{Escalate: &calls}); err != nil {
		t.Fatal(err)
	}
	w.run()
	for _, did := range []accounts.Name{"lamp", "shed"} {
		w.add(did, "alice", c)
		w.happen(did, `{"type":"hot","state":"active"}`)
	}
	if got := len(w.left("home.noted")) + len(w.left("home.alarm")); got != 4 {
		t.Fatalf("%d records, want two of each device", got)
	}
	if _, err := w.things.Remove(t.Context(), "alice", "lamp"); err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]string{"home.noted": "shed/it", "home.alarm": "shed/hot"} {
		w.eventually(kind+" is left of the other one alone", func() bool { return slices.Equal(w.left(kind), []string{want}) })
	}
}

// ending is a store that keeps so many answers, and nothing after that: the process has ended.
type ending struct {
	records.Store
	left atomic.Int64
}

func (e *ending) Put(ctx context.Context, r records.Record) error {
	if r.Kind == "home.answer" && e.left.Add(-1) < 0 {
		return accounts.ErrUnavailable
	}
	return e.Store.Put(ctx, r)
}

// The server is killed at each moment between a line and what is kept of it. What it wants is wanted once, and not again when
// somebody wants something else by then.
func TestWhatALineWantsIsWantedOnceThoughTheServerCrashes(t *testing.T) {
	for kept, want := range map[int64]string{
		0: `{"power":"on"}: wanted`,   // nothing was known of it
		1: `{"power":"on"}: wanted`,   // it was heard
		2: `{"power":"on"}: replaced`, // it was wanted, and that was not kept
		3: `{"power":"on"}: replaced`,
	} {
		t.Run(fmt.Sprint(kept), func(t *testing.T) {
			w := newTown(t)
			c := w.home()
			w.add("lamp", "alice", c)
			w.desire("alice", `{"power":"dim","level":1}`)
			store := &ending{Store: w.store.Records()}
			store.left.Store(kept)
			w.kept = store
			w.open()
			stop := w.run()
			w.write("bob", c, "@lamp on")
			w.eventually("as much as can be is kept", func() bool { return store.left.Load() < 0 || kept == 3 && len(w.lines("bob", c)) > 0 })
			stop()
			w.desire("alice", `{"power":"off"}`)
			u, err := devices.ParseReported([]byte(`{"level":2}`))
			if err == nil {
				_, err = w.fleet.UpdateShadow(t.Context(), "lamp", "lamp", "", u)
			}
			if err != nil {
				t.Fatal(err)
			}
			w.kept = nil
			w.open()
			w.run()
			w.eventually("it is answered", func() bool { return slices.Equal(w.lines("bob", c), []string{want}) })
			s, err := w.fleet.Shadow(t.Context(), "bob", "lamp", "")
			if err != nil || s.Version != 4 {
				t.Errorf("the shadow has version %d, %v, want 4: it was changed by alice twice, by the lamp and by the line", s.Version, err)
			}
		})
	}
}

// It was kept which shadow is to be changed, and not changed: a shadow that has changed otherwise meanwhile is none that was.
func TestWhatALineWantsIsWantedThoughTheShadowHasChanged(t *testing.T) {
	for _, changed := range []string{`{"level":2}`, ""} {
		w := newTown(t)
		c := w.home()
		w.add("lamp", "alice", c)
		sent := w.write("bob", c, "@lamp on")
		row := fmt.Sprintf(`{"home":%q,"line":%d,"id":%q,"by":"bob","ts":%d,"order":{"do":"on"},"want":{"power":"on"},"was":{}}`,
			c, sent.Seq, sent.ID, sent.TS)
		if err := w.kept.Put(t.Context(), records.Record{Rev: 1, Body: []byte(row),
			Key: records.Key{Kind: "home.answer", Scope: "lamp", ID: fmt.Sprintf("%s/%d", c, sent.Seq)}}); err != nil {
			t.Fatal(err)
		}
		if changed != "" {
			w.desire("alice", changed)
		}
		w.open()
		w.run()
		w.eventually("it is wanted", func() bool { return slices.Equal(w.lines("bob", c), []string{`{"power":"on"}: wanted`}) })
	}
}

// desire has somebody want the lamp to be something.
func (w *town) desire(who accounts.Name, state string) {
	w.t.Helper()
	u, err := devices.ParseDesired([]byte(state))
	if err == nil {
		_, err = w.fleet.UpdateShadow(w.t.Context(), who, "lamp", "", u)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// silent is a store that has written every third thing, or the first of a kind, and says that it has not.
type silent struct {
	records.Store
	first string // the kind; empty: every third thing
	puts  atomic.Int64
}

func (s *silent) Put(ctx context.Context, r records.Record) error {
	if s.first != "" && r.Kind != s.first {
		return s.Store.Put(ctx, r)
	}
	if err := s.Store.Put(ctx, r); err != nil {
		return err
	}
	if n := s.puts.Add(1); s.first == "" && n%3 != 0 || s.first != "" && n > 1 {
		return nil
	}
	return accounts.ErrUnavailable
}

func TestWhatIsGrantedThoughTheStoreDoesNotSaySo(t *testing.T) {
	w := newTown(t)
	w.kept = &silent{Store: w.store.Records(), first: "home.grant"}
	w.open()
	c := w.home()
	for range 2 {
		g := devices.HomeGrant{Grant: devices.Grant{To: "carol", Verbs: []devices.Verb{devices.VerbSee}}}
		if _, err := w.homes.Grant(t.Context(), "alice", string(c), g); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if got, err := w.homes.GrantsFor(t.Context(), "alice", string(c)); err != nil || len(got) != 2 {
			t.Errorf("granted %+v, %v, want two", got, err)
		}
		w.open()
	}
}

func TestLinesAreCarriedOutThoughTheStoreDoesNotSayThatItHasWritten(t *testing.T) {
	w := newTown(t)
	w.kept = &silent{Store: w.store.Records()}
	w.open()
	w.run()
	c := w.home()
	w.add("lamp", "alice", c)
	zone := "Europe/Berlin"
	for range 4 {
		_, err := w.homes.SetRules(t.Context(), "alice", string(c), devices.HomeRulesPatch{Zone: &zone})
		if err != nil && !errors.Is(err, accounts.ErrUnavailable) {
			t.Error(err)
		}
	}
	var want []string
	for i := range 4 {
		w.write("bob", c, fmt.Sprintf("@lamp set level %d", i))
		u, err := devices.ParseReported(fmt.Appendf(nil, `{"level":%d}`, i))
		want = append(want, fmt.Sprintf(`{"level":%d}: wanted`, i))
		w.eventually("it is wanted", func() bool { return slices.Equal(w.lines("bob", c), want) })
		if err == nil {
			_, err = w.fleet.UpdateShadow(t.Context(), "lamp", "lamp", "", u)
		}
		if err != nil {
			t.Fatal(err)
		}
		want[i] = fmt.Sprintf(`{"level":%d}: reported`, i)
		w.eventually("it is reported", func() bool { return slices.Equal(w.lines("bob", c), want) })
	}
	w.eventually("nothing is open", func() bool {
		open, err := w.kept.All(t.Context(), "home.answer", records.Key{}, 10)
		return err == nil && len(open) == 0
	})
}

// The store does not say that it has kept how far a home was listened to, when a line was heard.
func TestALineIsNotLostThoughTheStoreDoesNotSayThatItWasHeard(t *testing.T) {
	w := newTown(t)
	c := w.home()
	w.add("lamp", "alice", c)
	w.write("bob", c, "@lamp on")
	w.kept = &silent{Store: w.store.Records(), first: "home.ear"}
	w.open()
	w.run()
	w.eventually("it is carried out", func() bool {
		return slices.Equal(w.lines("bob", c), []string{`{"power":"on"}: wanted`})
	})
}

func TestPeopleAreCalledUntilSomebodyKnowsOfAnAlarm(t *testing.T) {
	w := newTown(t)
	c := w.home()
	w.add("lamp", "alice", c)
	calls := []devices.HomeCall{{Who: "carol", After: 60}, {Who: "bob", After: 60}, {Who: "alice", After: 60}}
	rules := devices.HomeRulesPatch{Escalate: &calls}
	if _, err := w.homes.SetRules(t.Context(), "bob", string(c), rules); !errors.Is(err, chat.ErrNoRight) {
		t.Errorf("a member sets rules: %v", err)
	}
	if _, err := w.homes.SetRules(t.Context(), "alice", string(c), rules); err != nil {
		t.Fatal(err)
	}
	w.happen("lamp", `{"id":"e1","type":"hot","state":"active"}`)
	w.happen("lamp", `{"id":"e2","type":"wet","state":"active"}`)
	if _, err := w.fleet.AckAlarm(t.Context(), "alice", "lamp", "wet"); err != nil {
		t.Fatal(err)
	}
	called := func() (all []string) {
		for _, m := range w.said("alice", c)[2:] {
			all = append(all, fmt.Sprint(m.At, m.Silent))
		}
		return all
	}
	for _, want := range [][]string{{"[bob] false"}, {"[bob] false", "[alice] false"}, {"[bob] false", "[alice] false"}} {
		w.open()
		stop := w.run()
		w.later.Add(int64(2 * time.Minute))
		w.eventually(fmt.Sprint(want), func() bool { return slices.Equal(called(), want) })
		stop()
	}
	if u, err := w.chat.Unread(t.Context(), "bob"); err != nil || len(u.Conversations) == 0 || u.Conversations[0].Mention != 1 {
		t.Errorf("bob has unread %+v, %v", u.Conversations, err)
	}
}

func TestWhatIsGrantedInAHome(t *testing.T) {
	w := newTown(t)
	c := w.home()
	w.add("lamp", "alice", c)
	w.add("door", "alice", c)
	hall := "Hall"
	if _, err := w.things.Set(t.Context(), "alice", "door", devices.ThingPatch{Room: &hall}); err != nil {
		t.Fatal(err)
	}
	g := devices.HomeGrant{Room: "Hall", Grant: devices.Grant{To: "carol", Verbs: []devices.Verb{"cmd:open"}}}
	if _, err := w.homes.Grant(t.Context(), "bob", string(c), g); !errors.Is(err, chat.ErrNoRight) {
		t.Errorf("a member grants: %v", err)
	}
	g, err := w.homes.Grant(t.Context(), "alice", string(c), g)
	if err != nil {
		t.Fatal(err)
	}
	sees := func(want ...accounts.Name) {
		t.Helper()
		var got []accounts.Name
		seen, err := w.things.Seen(t.Context(), "carol", "", 10)
		for _, t := range seen {
			got = append(got, t.ID)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("carol sees %v, %v; want %v", got, err, want)
		}
	}
	sees("door")
	if got := w.viewers("door"); !slices.Contains(got, "carol") {
		t.Errorf("viewers of the door: %v", got)
	}
	if _, err := w.things.May(t.Context(), "carol", "door", devices.VerbControl); !errors.Is(err, devices.ErrNoRight) {
		t.Errorf("she controls it: %v", err)
	}
	w.open() // it is kept
	sees("door")
	if err := w.homes.Revoke(t.Context(), "bob", string(c), g.ID); !errors.Is(err, chat.ErrNoRight) {
		t.Errorf("a member revokes: %v", err)
	}
	if err := w.homes.Revoke(t.Context(), "carol", string(c), g.ID); err != nil {
		t.Error(err)
	}
	sees()
	g.Room, g.Verbs = "", []devices.Verb{devices.VerbSee}
	if _, err := w.homes.Grant(t.Context(), "alice", string(c), g); err != nil {
		t.Fatal(err)
	}
	sees("door", "lamp")
	w.leave("carol")
	if all, err := w.homes.GrantsFor(t.Context(), "alice", string(c)); err != nil || len(all) != 0 {
		t.Errorf("granted to who is gone: %v, %v", all, err)
	}
}

func TestWhatIsToBeForgottenIsForgottenThoughTheServerCrashes(t *testing.T) {
	w := newTown(t)
	c := w.home()
	w.add("lamp", "alice", c)
	w.happen("lamp", `{"id":"e1","type":"hot","state":"active"}`)
	thing, err := w.things.Known(t.Context(), "lamp")
	if err != nil {
		t.Fatal(err)
	}
	thing.Owner, thing.Home, thing.Moved, thing.Epoch, thing.Stale = "bob", "", 0, thing.Epoch+1, true
	thing.Rev++
	if err := w.store.Devices().PutThing(t.Context(), thing); err != nil { // and the process ends
		t.Fatal(err)
	}
	w.open()
	w.run()
	w.eventually("it is forgotten", func() bool {
		last, err := w.store.Devices().LastEvent(t.Context(), "lamp")
		now, again := w.things.Known(t.Context(), "lamp")
		return err == nil && again == nil && last == 0 && !now.Stale
	})
	w.happen("lamp", `{"id":"e1","type":"hot","state":"active"}`)
	if events, err := w.fleet.Events(t.Context(), "bob", "lamp", 0, 10); err != nil || len(events) != 1 {
		t.Errorf("bob's events: %+v, %v", events, err)
	}
	if got := len(w.lines("alice", c)); got != 1 {
		t.Errorf("%d messages in the home that it was in, want 1", got)
	}
}

func TestWhoIsGrantedADeviceSeesNothingOfBefore(t *testing.T) {
	w := newTown(t)
	c := w.home()
	w.add("lamp", "alice", c)
	w.happen("lamp", `{"id":"e1","type":"door"}`)
	if _, _, err := w.fleet.Call(t.Context(), "alice", "lamp", devices.Call{Name: "on"}); err != nil {
		t.Fatal(err)
	}
	before := time.Now().UnixMilli()
	w.eventually("the clock goes on", func() bool { return time.Now().UnixMilli() > before })
	w.letSee("carol", "lamp")
	w.happen("lamp", `{"id":"e2","type":"door"}`)
	for who, want := range map[accounts.Name]int{"alice": 2, "bob": 2, "carol": 1} {
		events, err := w.fleet.Events(t.Context(), who, "lamp", 0, 10)
		if err != nil || len(events) != want {
			t.Errorf("%s sees %d events, %v; want %d", who, len(events), err, want)
		}
		commands, err := w.fleet.Commands(t.Context(), who, "lamp", 0, 10)
		if err != nil || len(commands) != want-1 {
			t.Errorf("%s sees %d commands, %v; want %d", who, len(commands), err, want-1)
		}
	}
}

func TestWhatWasMeasuredBeforeASaleIsNotKnownAfterIt(t *testing.T) {
	w := newTown(t)
	w.add("lamp", "alice", "")
	w.fleet.SetTelemeter(devices.NewTelemeter(
		devices.DefaultTelemetryConfig(), w.store.Telemetry(), w.now, slog.New(slog.DiscardHandler)))
	if _, err := w.fleet.Measure(t.Context(), "lamp", []byte(`{"t":21}`)); err != nil {
		t.Fatal(err)
	}
	if last, err := w.fleet.LastMeasured(t.Context(), "alice", "lamp"); err != nil || len(last) != 1 {
		t.Fatalf("alice is given %v, %v", last, err)
	}
	_, err := w.things.Release(t.Context(), "alice", "lamp")
	if err == nil {
		_, err = w.things.Claim(t.Context(), "bob", "lamp")
	}
	if err != nil {
		t.Fatal(err)
	}
	if last, err := w.fleet.LastMeasured(t.Context(), "bob", "lamp"); err != nil || len(last) != 0 {
		t.Errorf("bob is given %v, %v", last, err)
	}
}

func TestWhoGetsAThingReadsNothingOfWhatItHasSaidBefore(t *testing.T) {
	w := newTown(t)
	c := w.home()
	w.add("lamp", "alice", c)
	w.happen("lamp", `{"type":"first"}`)
	_, err := w.things.Release(t.Context(), "alice", "lamp")
	if err == nil {
		_, err = w.things.Claim(t.Context(), "carol", "lamp")
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := w.lines("carol", c); !slices.Equal(got, []string{"unseen "}) {
		t.Errorf("carol reads %q", got)
	}
}
