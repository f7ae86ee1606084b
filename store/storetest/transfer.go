package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/transfer"
)

var transferTests = []test{
	{"what was moved is what there was", testMove},
	{"records come in one order, in pages of any size", testRecordPages},
	{"every kind of record is moved", testMoveKinds},
	{"an import goes on after a loss of power", testImportCrash},
	{"records that are imported again change nothing", testImportTwice},
	{"only an empty store takes an import", testImportNotEmpty},
}

// file is a file in memory.
type file struct {
	data []byte
	at   int64
}

func (f *file) Read(p []byte) (int, error) {
	if f.at >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.data[f.at:])
	f.at += int64(n)
	return n, nil
}

func (f *file) Write(p []byte) (int, error) {
	f.data = append(f.data[:f.at], p...)
	f.at += int64(len(p))
	return len(p), nil
}

func (f *file) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekStart {
		return 0, errors.ErrUnsupported
	}
	f.at = offset
	return offset, nil
}

func (f *file) Truncate(size int64) error {
	f.data = f.data[:size]
	return nil
}

func (f *file) Sync() error { return nil }

// export writes everything that the store has.
func (k *kit) export() []byte {
	k.Helper()
	f := &file{}
	_, err := transfer.Export(k.ctx(), k.store.Transfer(), f)
	k.ok("export", err)
	return f.data
}

// move goes on with another store, into which everything was imported.
func (k *kit) move() {
	k.Helper()
	data := k.export()
	k.ok("close", k.store.Close())
	k.harness = k.newHarness(k.t)
	k.open()
	_, err := transfer.Import(k.ctx(), k.store.Transfer(), &file{data: data}, nil)
	k.ok("import", err)
	k.reopen()
	k.sameExport(data)
}

func (k *kit) sameExport(want []byte) {
	k.Helper()
	if got := k.export(); !bytes.Equal(got, want) {
		k.Fatalf("export: got\n%s\nwant\n%s", got, want)
	}
}

// inhabit makes a store in which there is something of everything.
func (k *kit) inhabit() {
	k.Helper()
	ends := k.clock.Now().Add(24*time.Hour + 5)
	acc := k.accounts()
	for i, err := range []error{
		acc.CreateUser(k.ctx(), accounts.User{Name: alice, Password: "$hash", Role: accounts.RoleAdmin, Created: ends}),
		acc.CreateUser(k.ctx(), accounts.User{
			Name: bob, Suspension: accounts.Suspension{Disabled: true, Reason: "<spam>", Until: ends},
		}),
		acc.CreateUser(k.ctx(), accounts.User{Name: "dora", Created: ends}),
		acc.CreateUser(k.ctx(), accounts.User{Name: "erin", Created: ends}),
		acc.SetRecovery(k.ctx(), bob, accounts.Recovery{Digest: accounts.Digest{7}, Expires: ends}),
		acc.PutToken(k.ctx(), accounts.Token{
			Digest: accounts.Digest{1, 31: 0xFF}, Owner: alice, Label: "phone \xff", Expires: ends,
		}),
		acc.PutToken(k.ctx(), accounts.Token{Digest: accounts.Digest{2}, Owner: alice, Created: ends, Expires: ends.Add(1)}),
		acc.CreateDevice(k.ctx(), accounts.Device{
			Name: "lamp", Owner: alice, Created: ends, Rev: 1,
			Secrets: []accounts.Secret{{Digest: accounts.Digest{4}, Created: ends}, {Digest: accounts.Digest{5}}},
			Pins:    []accounts.Digest{{6}}, Suspension: accounts.Suspension{Disabled: true, Reason: "\xff", Until: ends},
		}),
		acc.CreateDevice(k.ctx(), accounts.Device{Name: "lock", Deleted: ends, Rev: 1}),
		acc.PutInvitation(k.ctx(), accounts.Invitation{
			Digest: accounts.Digest{3}, Uses: 2, Made: 3, Label: "3b", By: alice, Expires: ends,
		}),
		acc.PutAct(k.ctx(), accounts.Act{
			ID: "0001", Time: ends, By: alice, From: "192.0.2.1", Method: "user.add", Target: "frank",
		}),
	} {
		if err != nil {
			k.Fatalf("account %d: %v", i, err)
		}
	}
	k.inhabitChat()
	k.inhabitRooms()
	k.inhabitTopics()
	k.inhabitThings()
	k.inhabitTelemetry()
	k.inhabitRecords()
	for _, gone := range []accounts.Name{"dora", "erin"} {
		k.ok("delete", acc.DeleteUser(k.ctx(), gone, ends))
	}
	k.ok("forget", k.chat().Forget(k.ctx(), "erin"))
	k.ok("left", acc.Left(k.ctx(), "erin"))
	k.ok("note", k.chat().Note(k.ctx(), chat.Sighting{Who: alice, At: ends}, chat.Sighting{Who: bob, At: ends, There: true}))
}

func (k *kit) inhabitChat() {
	k.Helper()
	c := k.contacts(alice, bob)
	k.contacts(alice, "erin")
	k.send(draft(chat.Direct(alice, "erin"), "erin", "m1", "bye"))
	for i, text := range []string{"one", "two", "three"} {
		d := draft(c, []accounts.Name{alice, bob, alice}[i], []string{"m\x00\xff", "", "m2"}[i], text)
		d.Silent, d.At, d.TTL, d.Re = i == 1, []accounts.Name{bob}, int64(i), uint64(i)
		k.send(d)
	}
	odd := draft(c, bob, "odd", "odd")
	odd.Body, odd.Fallback = []byte(`{"a": "<&>\u003c  "}`), "a\u2028b"
	k.send(odd)
	odd = draft(c, bob, "plain", "plain")
	odd.Body = []byte(`{"a":"<&>\u003c` + "\u2028" + `","b":1e3}`)
	k.send(odd)
	k.inhabitChanges(c)
	k.mark(c, bob, 2, 1)
	k.mark(c, bob, 3, 3) // not told
	_, commit, err := k.request(carol, alice, "hello", nil)
	k.durable("request", commit, err)
	stranger := draft(chat.Direct(bob, "zoe"), "zoe", "", "hello")
	stranger.Stranger = true
	k.send(stranger)
	_, commit, err = k.chat().Change(k.ctx(), chat.ToBlock(bob, carol))
	k.durable("block", commit, err)
	for who, p := range map[accounts.Name]chat.Person{alice: everySetting(), "dora": {Profile: chat.Profile{
		Phone: chat.Field{Value: "+441865000002", Show: chat.AudienceNobody},
	}, Settings: chat.Settings{Find: chat.Find{Hidden: true}}}} {
		k.changeTelling(who, who == alice, func(to *chat.Person) { *to = p })
	}
	commit, err = k.chat().ForgetPerson(k.ctx(), "dora", k.clock.Now().Add(time.Hour))
	k.durable("forget person", commit, err)
	login := chat.Login{State: chat.LoggedIn, ID: "m1", Label: "phone", Addr: "192.0.2.1"}
	commit, err = k.chat().TellSession(k.ctx(), alice, login)
	k.durable("tell session", commit, err)
}

func (k *kit) inhabitChanges(c chat.Conversation) {
	k.Helper()
	k.apply(named(editing(c, alice, 1, "better"), "e1"))
	k.apply(reacting(c, bob, chat.OpReact, 1, "+\xff"))
	k.apply(op(c, bob, chat.OpPin, 1))
	k.apply(op(c, alice, chat.OpRecall, 3))
	k.hide(c, bob, 1, 2)
	k.clear(chat.Direct(alice, "erin"), alice)
}

const crowd chat.Conversation = "g.crowd"

func (k *kit) inhabitRooms() {
	k.Helper()
	k.take(group, alice, create(alice))
	k.take(group, alice, enter(bob, carol), bob, carol)
	k.take(group, alice, step(func(r *chat.Room) error {
		r.Link, r.LinkUses, r.LinkEnds = "secret", 3, r.Now+1000
		r.Info.Notice, r.Info.Join, r.Info.Slow = "be kind", chat.JoinApproval, 5
		r.Info.Rooms = chat.PlacesOf([]string{"Hall", "Attic"})
		r.Of(bob).Role, r.Of(carol).Muted = chat.RoleAdmin, r.Now+500
		r.Of("zoe").Inviter, r.Of("zoe").Text = alice, "come"
		return nil
	}), bob, carol, "zoe")
	k.send(draft(group, bob, "r1", "first"))
	d := draft(group, bob, "", "to alice")
	d.At, d.Everyone = []accounts.Name{alice}, true
	d.Quote, d.Fwd = true, chat.Forward{From: carol, TS: 7}
	k.send(d)
	k.mark(group, alice, 5, 4)
	k.take(group, carol, exit(carol), carol)
	k.send(draft(group, alice, "", "bye"))
	k.take(crowd, alice, create(alice))
	k.take(crowd, alice, enter(bob, carol, "zoe"), bob, carol, "zoe")
	k.send(draft(crowd, bob, "", "loud"))
	k.mark(crowd, carol, 1, 1)
	k.send(chat.Draft{Conversation: chat.Notes(alice), From: alice, ID: "note", Kind: "text", Body: []byte(`{}`)})
	mute, remark, off := int64(-1), "", false
	k.own(group, alice, chat.OwnChange{Mute: &mute, Pin: is(true), Draft: is("a \xff"), Flag: is(true)})
	k.own(group, alice, chat.OwnChange{Remark: &remark, Flag: &off, Private: is(true)})
	k.openHall(live)
	k.like(likes(bob, "", 3))
	k.like(likes(bob, "m", 5))
	for i := range 5 {
		k.send(draft(live, alice, "", fmt.Sprint("live", i)))
	}
	k.ok("trim", k.chat().Trim(k.ctx(), live, 3, []uint64{4}))
	k.send(draft(live, carol, "", "from outside"))
	k.openHall(board)
	k.draw(3)
	k.snapshot(snapshot(alice, 2, `[1, 2]`))
}

func (k *kit) inhabitTopics() {
	k.Helper()
	now := k.clock.Now()
	for _, m := range []*sessions.Message{
		{Topic: "a", Payload: []byte("x"), Retain: true, Time: now},
		{
			Topic: "a/b", Payload: []byte{0, 255}, QoS: 2, Retain: true, From: sessions.Key{Account: alice, Client: "tv"},
			HasPayloadFormat: true, ContentType: "text/plain", ResponseTopic: "r", Correlation: []byte{},
			User: []sessions.UserProperty{{Name: "n", Value: "v"}}, Time: now, Expires: now.Add(time.Hour),
		},
	} {
		a, err := k.queues().Append(sessions.Bounds{}, sessions.Step{Message: m, Retain: true})
		k.durable("retain", a.Commit, err)
	}
}

// inhabitThings makes things, one of which was removed, and what they have.
func (k *kit) inhabitThings() {
	k.Helper()
	k.putThing(lamp())
	k.putThing(devices.Thing{ID: "hub", Owner: bob, Home: "h.1", Rev: 1})
	k.putThing(devices.Thing{ID: "old", Owner: bob, Home: "h.1", Rev: 1})
	k.putThing(devices.Thing{ID: "old", Owner: bob, Home: "h.1", Gone: true, Rev: 2})
	s := k.shadow(`{"state":{"desired":{"a":[1.0,"<&>"],"o":{"x":{}}},"reported":{"on":true}}}`)
	k.ok("shadow", k.devices().PutShadow(k.ctx(), "lamp", "", s))
	k.ok("shadow", k.devices().PutShadow(k.ctx(), "lamp", "ä", s))
	k.ok("shadow", k.devices().PutShadow(k.ctx(), "lamp", "b", devices.Shadow{Version: 1, Deleted: true}))
	for i, state := range []devices.CommandState{devices.CommandProgress, devices.CommandSucceeded, devices.CommandQueued} {
		c := command(uint64(300-i), state)
		c.Args, c.MID, c.Key, c.Timeout, c.Percent = json.RawMessage(`{"a":1.0}`), "m\x00\xff", "k", 5, i
		k.putCommand(c)
	}
	c := command(299, devices.CommandTimedOut)
	c.Rev, c.Late = 2, &devices.Outcome{State: devices.CommandFailed, Result: json.RawMessage(`[ 1 ]`), Code: "E", Text: "late"}
	k.putCommand(c)
	for order := range uint64(3) {
		k.putEvent(event(order+1, fmt.Sprint("e\xff", order)))
		e := event(order+1, fmt.Sprint(order))
		e.Device, e.Data = "hub", json.RawMessage(`"text"`)
		k.putEvent(e)
	}
	equal(k, "purged", k.purgeEvents(1002, 9), 2)
	for _, kind := range []string{"hot", "cold"} {
		k.ok("alarm", k.devices().PutAlarm(k.ctx(), devices.Alarm{
			Device: "lamp", Type: kind, State: devices.AlarmAcknowledged, Severity: "crit", Text: "<hot>", Since: 1, Last: 2,
			Count: 3, By: alice, Changed: 4, Rev: 1,
		}))
	}
	k.putPresences(
		devices.Presence{Device: "lamp", State: devices.Online, Since: 5, Seen: 6, Reason: "connect"},
		devices.Presence{Device: "hub", State: devices.Unknown, Since: 7, Reason: "server_restart"},
	)
}

// everyThing is what ports say of what inhabitThings has made.
func (k *kit) everyThing() (out []any) {
	k.Helper()
	for _, who := range []accounts.Name{alice, bob, carol} {
		out = append(out, k.thingsOf(who))
	}
	out = append(out, k.things(), k.thingsIn("h.1"), k.busy(), k.there())
	add := func(v any, err error) {
		k.Helper()
		k.ok("read", err)
		out = append(out, v)
	}
	for _, did := range k.things() {
		out = append(out, k.thing(did), k.presence(did), k.shadowNames(did), k.openOrders(did), k.lastEvent(did))
		all, err := k.devices().CommandsOf(k.ctx(), did, 0, 100)
		add(all, err)
		events, err := k.devices().EventsOf(k.ctx(), did, 0, 100)
		add(events, err)
		alarms, err := k.devices().Alarms(k.ctx(), did, "", 100)
		add(alarms, err)
		for _, name := range []string{"", "ä", "b"} {
			s, err := k.devices().Shadow(k.ctx(), did, name)
			add(s, err)
		}
	}
	return out
}

// everything is what ports say of what inhabit has made.
func (k *kit) everything() []any {
	k.Helper()
	var out []any
	add := func(v any, err error) {
		k.Helper()
		k.ok("read", err)
		out = append(out, v)
	}
	ctx := k.ctx()
	users, err := k.accounts().Users(ctx, "", 100)
	add(users, err)
	leaving, err := k.accounts().Leaving(ctx, "", 100)
	add(leaving, err)
	devices, err := k.accounts().Devices(ctx, "", 100)
	add(devices, err)
	theirs, err := k.accounts().DevicesOf(ctx, alice, "", 100)
	add(theirs, err)
	lamp, err := k.accounts().DeviceByPin(ctx, accounts.Digest{6})
	add(lamp, err)
	lamp, err = k.accounts().DeviceBySecret(ctx, accounts.Digest{5})
	add(lamp, err)
	invitations, err := k.accounts().Invitations(ctx, accounts.Digest{}, 100)
	add(invitations, err)
	acts, err := k.accounts().Acts(ctx, "", 100)
	add(acts, err)
	for _, who := range []accounts.Name{alice, bob, carol, "dora", "erin", "zoe"} {
		tokens, err := k.accounts().Tokens(ctx, who)
		add(tokens, err)
		list, err := k.chat().List(ctx, who, "", 100)
		add(list, err)
		changes, version, err := k.chat().Changes(ctx, who, 0, 100)
		add(changes, err)
		requests, err := k.chat().Requests(ctx, who, 100)
		add(requests, err)
		partners, err := k.chat().Partners(ctx, who, "", 100)
		add(partners, err)
		seen, err := k.chat().LastSeen(ctx, who)
		add(seen, err)
		spoken, err := k.chat().SpokenIn(ctx, who, "", 100)
		add(spoken, err)
		tallies, _ := k.tallies(who)
		out = append(out, version, k.person(who), k.stream(who), tallies, k.conversations(who, false), k.conversations(who, true))
	}
	for _, c := range []chat.Conversation{
		chat.Direct(alice, bob), chat.Direct(alice, "erin"), chat.Direct(bob, "zoe"), chat.Notes(alice),
		group, crowd, live, board,
	} {
		page, err := k.chat().Messages(ctx, c, 0, 0, 100)
		add(page, err)
		for _, who := range []accounts.Name{alice, bob, carol, "zoe"} {
			room, err := k.chat().Room(ctx, c, who)
			add(room, err)
			side, _, err := k.chat().OwnSide(ctx, c, who)
			out = append(out, side, fmt.Sprint(err))
		}
	}
	linked, err := k.chat().LinkedRoom(ctx, "secret")
	add(linked, err)
	likes, err := k.chat().Liked(ctx, live)
	add(likes, err)
	drawn, err := k.chat().Snapshot(ctx, board)
	add(drawn, err)
	outdated, err := k.chat().Outdated(ctx, 1<<60, 100)
	add(outdated, err)
	for _, phone := range []string{"+441865000000", "+441865000002"} {
		owner, err := k.chat().Owner(ctx, chat.Handle{Kind: chat.HandlePhone, Value: phone})
		add(owner, err)
	}
	hits, err := k.chat().Found(ctx, chat.TermWord, "", chat.Hit{}, 100)
	add(hits, err)
	tellings, err := k.chat().Tellings(ctx, "", 100)
	add(tellings, err)
	retained, _, err := k.queues().Retained(ctx, "#", "", 100)
	for i := range retained {
		retained[i].Pos = 0
	}
	add(retained, err)
	out = append(out, k.everyThing()...)
	out = append(out, k.allTelemetry()...)
	out = append(out, k.everyRecord()...)
	return append(out, k.untold())
}

func testMove(k *kit) {
	k.inhabit()
	before := k.export()
	k.reopen()
	k.ok("settle", k.chat().Settle(k.ctx())) // as a start does, and an export
	want := k.everything()
	k.sameExport(before)
	k.move()
	for i, got := range k.everything() {
		if i == len(want)-1 { // in a stable order, which is the store's
			equal(k, "number of the untold", len(got.([]chat.Member)), len(want[i].([]chat.Member)))
			continue
		}
		same(k, "what there is", got, want[i])
	}
	_, _, err := k.chat().Append(k.ctx(), draft(chat.Direct(alice, bob), alice, "m2", "another"))
	k.is("a mid that was used", err, chat.ErrConflict)
	head := uint64(len(k.stream(alice)))
	equal(k, "seq of the next message", k.send(draft(chat.Direct(alice, bob), alice, "m3", "more")).Seq, 6)
	equal(k, "usn of the next message", uint64(len(k.stream(alice))), head+1)
	_, again, err := k.devices().PutEvent(k.ctx(), event(9, "e\xff2"))
	k.ok("an event again", err)
	equal(k, "again", again, true)
	equal(k, "old events but the last ones", k.purgeEvents(1<<41, 9), 2)
	equal(k, "old commands", k.purgeCommands(1<<41, 9), 1)
}

func testRecordPages(k *kit) {
	k.inhabit()
	all, err := k.store.Transfer().Records(k.ctx(), nil, 10_000)
	k.ok("records", err)
	for _, limit := range []int{1, 2, 7, len(all) - 1, len(all)} {
		var got []transfer.Record
		for {
			var after transfer.Record
			if len(got) > 0 {
				after = got[len(got)-1]
			}
			page, err := k.store.Transfer().Records(k.ctx(), after, limit)
			k.ok("records", err)
			got = append(got, page...)
			if len(page) == 0 {
				break
			}
		}
		same(k, "records", got, all)
	}
}

func testMoveKinds(k *kit) {
	k.inhabit()
	all, err := k.store.Transfer().Records(k.ctx(), nil, 10_000)
	k.ok("records", err)
	counts := map[transfer.Kind]int{}
	for _, r := range all {
		counts[r.Of()]++
	}
	for _, kind := range transfer.Kinds() {
		if counts[kind] == 0 && kind != transfer.KindGone { // nothing can be recalled yet
			k.Errorf("there is no record of kind %s", kind)
		}
	}
}

// limited is a store that breaks down in the middle of an import.
type limited struct {
	transfer.Store
	left int
}

var errLimit = errors.New("broken")

func (l *limited) Import(ctx context.Context, records []transfer.Record, p transfer.Progress) error {
	was, _, err := l.Progress(ctx)
	if err != nil {
		return err
	}
	for _, r := range records { // one at a time, as a store may that has no larger steps
		if l.left--; l.left < 0 {
			return errLimit
		}
		if err := l.Store.Import(ctx, []transfer.Record{r}, was); err != nil {
			return err
		}
	}
	return l.Store.Import(ctx, nil, p)
}

func testImportCrash(k *kit) {
	k.inhabit()
	data := k.export()
	k.ok("close", k.store.Close())
	k.harness = k.newHarness(k.t)
	k.open()
	for left := 1; ; left += 100 / k.few(10) {
		_, err := transfer.Import(k.ctx(), &limited{k.store.Transfer(), left}, &file{data: data}, nil)
		if err == nil {
			break
		}
		k.is("import", err, errLimit)
		k.crash()
		_, under, err := k.store.Transfer().Progress(k.ctx())
		k.ok("progress", err)
		equal(k, "an import is under way", under, true)
		_, err = transfer.Import(k.ctx(), k.store.Transfer(), &file{data: data[:len(data)-1]}, nil)
		k.is("import of a file that is cut off", err, transfer.ErrCut)
	}
	k.crash()
	_, under, err := k.store.Transfer().Progress(k.ctx())
	k.ok("progress", err)
	equal(k, "an import is under way", under, false)
	k.sameExport(data)
}

func testImportTwice(k *kit) {
	k.inhabit()
	data := k.export()
	all, err := k.store.Transfer().Records(k.ctx(), nil, 10_000)
	k.ok("records", err)
	k.ok("close", k.store.Close())
	k.harness = k.newHarness(k.t)
	k.open()
	to := k.store.Transfer()
	for range 2 {
		k.ok("import", to.Import(k.ctx(), all[:len(all)/2], transfer.Progress{Records: 1}))
		k.ok("import", to.Import(k.ctx(), all, transfer.Progress{Records: 2, Bytes: 3, Sum: []byte{4}}))
	}
	p, _, err := to.Progress(k.ctx())
	k.ok("progress", err)
	same(k, "progress", p, transfer.Progress{Records: 2, Bytes: 3, Sum: []byte{4}})
	k.ok("finish", to.Finish(k.ctx()))
	k.reopen()
	k.sameExport(data)
}

func testImportNotEmpty(k *kit) {
	empty := k.export()
	k.ok("create", k.accounts().CreateUser(k.ctx(), accounts.User{Name: alice}))
	k.is("import", k.store.Transfer().Import(k.ctx(), nil, transfer.Progress{}), transfer.ErrNotEmpty)
	_, err := transfer.Import(k.ctx(), k.store.Transfer(), &file{data: empty}, nil)
	k.is("import", err, transfer.ErrNotEmpty)
	_, under, err := k.store.Transfer().Progress(k.ctx())
	k.ok("progress", err)
	equal(k, "an import is under way", under, false)
}

// Filled gives the export of a store in which there is something of everything.
func Filled(t *testing.T, harness func(t *testing.T) Harness) []byte {
	k := newKit(t, harness)
	k.inhabit()
	return k.export()
}
