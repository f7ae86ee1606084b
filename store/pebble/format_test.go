package pebble_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	engine "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/fxamacker/cbor/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
	"github.com/magpie-im/magpie/store/pebble"
)

// MAGPIE_TEST_UPDATE=1 writes the golden files anew. A change of rows.txt is a change of the format: data of older versions
// has to stay readable. stores/ holds one small store written by each format version, and only ever grows.
var update = os.Getenv("MAGPIE_TEST_UPDATE") != ""

const rowsFile = "testdata/rows.txt"

// everything writes at least one row into each table.
func everything(t *testing.T, store *pebble.Store) {
	t.Helper()
	ctx := t.Context()
	wait := func(commit chat.Commit, err error) {
		t.Helper()
		if err == nil && commit != nil {
			err = commit.Wait(ctx)
		}
		if err != nil {
			t.Fatalf("write: %v", err)
		}
	}
	ends := time.Date(2031, 5, 6, 7, 8, 9, 10, time.UTC)
	acc := store.Accounts()
	wait(nil, acc.CreateUser(ctx, accounts.User{Name: "alice", Password: "$argon2id$", Created: ends}))
	wait(nil, acc.CreateUser(ctx, accounts.User{Name: "bob", Suspension: accounts.Suspension{Disabled: true}}))
	wait(nil, acc.PutToken(ctx, accounts.Token{
		Digest: accounts.Digest{1, 31: 0xFF}, Owner: "alice", Label: "phone", Created: ends, Expires: ends}))
	wait(nil, acc.PutInvitation(ctx, accounts.Invitation{Digest: accounts.Digest{2}, Uses: 3, Expires: ends}))

	wait(nil, store.Chat().Note(ctx, chat.Sighting{Who: "alice", At: ends, There: true}, chat.Sighting{Who: "bob", At: ends}))

	phone := sessions.Key{Account: "alice", Client: "phone\x00\xff"}
	change := func(c chat.Change) {
		t.Helper()
		_, commit, err := store.Chat().Change(ctx, c)
		wait(commit, err)
	}
	change(chat.ToRequest("alice", "bob", "", chat.Bounds{}))
	change(chat.ToAccept("bob", "alice", chat.Bounds{}))
	change(chat.ToRequest("carol", "alice", "hello", chat.Bounds{}))
	c := chat.Direct("alice", "bob")
	drafts := []chat.Draft{
		message(c, "alice", "mid\x00", "one"),
		message(c, "bob", "", "two"),
		{
			Conversation: c, From: "alice", ID: "id3", Kind: "x.poll",
			Body: []byte(`{"a":1}`), Re: 2, At: []accounts.Name{"bob"}, TTL: 60, Fallback: "a poll", Silent: true,
			Origin: sessions.Origin{Key: phone, ID: 258},
		},
	}
	for _, d := range drafts {
		_, commit, err := store.Chat().Append(ctx, d)
		wait(commit, err)
	}
	for _, m := range []chat.Marks{{Recv: 1}, {Recv: 3, Read: 2}} { // the second one is not told
		_, commit, err := store.Chat().Mark(ctx, c, "bob", m, nil)
		wait(commit, err)
	}
	everythingSaid(t, store)
	saved, err := store.Sessions().Save(ctx, sessions.State{
		Key: phone, Version: 5, Options: sessions.Options{Text: true, AckEvents: true, SyncCursor: true},
		Subscriptions: []sessions.Subscription{{
			Filter: "im/u/alice/in", Spelling: "im/u/me/in", QoS: 1, NoLocal: true, RetainAsPublished: true,
			RetainHandling: 2, ID: 7,
		}},
		ExpirySeconds: 3600, Open: true, Left: ends, Streaming: true, Acked: 4,
		Flights: []sessions.Flight{{ID: 5, Pos: 6, QoS: 2, Stage: sessions.StageReleased}}, NextID: 9,
		Unacked: []sessions.Answered{{ID: 3, Fingerprint: [32]byte{4}, Reply: sessions.Reply{
			Reason: 0x87, Text: "no", User: []sessions.UserProperty{{Name: "a", Value: "b"}}, Event: []byte("{}"),
		}}},
	})
	wait(saved, err)
}

// everythingOfSides does so with what members say of conversations for themselves.
func everythingOfSides(t *testing.T, store *pebble.Store) {
	t.Helper()
	mute, yes, text := int64(chat.MuteForEver), true, "t"
	_, _, commit, err := store.Chat().ChangeOwnSide(t.Context(), "d.alice.bob", "bob", chat.OwnChange{
		Mute: &mute, Pin: &yes, Archive: &yes, Hide: &yes, Flag: &yes, Draft: &text, Private: &yes, Remark: &text,
	}, nil)
	if err == nil {
		err = commit.Wait(t.Context())
	}
	if err != nil {
		t.Fatalf("write: %v", err)
	}
}

// everythingOfHalls does so with live rooms and boards.
func everythingOfHalls(t *testing.T, store *pebble.Store) {
	t.Helper()
	ctx := t.Context()
	wait := func(commit chat.Commit, err error) {
		t.Helper()
		if err == nil {
			err = commit.Wait(ctx)
		}
		if err != nil {
			t.Fatalf("write: %v", err)
		}
	}
	for _, c := range []chat.Conversation{"l.show", "b.board"} {
		_, commit, err := store.Chat().ChangeRoom(ctx, chat.RoomChange{
			Conversation: c, By: "grace", Who: []accounts.Name{"heidi"}, Step: func(r *chat.Room) (chat.RoomTold, error) {
				r.Owner, r.Created, r.Large = "grace", r.Now, c.Kind() == chat.KindLive
				r.Of("heidi").Banned = chat.Forever
				r.Enter("grace", chat.RoleOwner)
				return chat.RoomTold{}, nil
			}})
		wait(commit, err)
	}
	_, commit, err := store.Chat().Like(ctx, chat.Likes{Conversation: "l.show", From: "ivan", N: 3, MID: "m"})
	wait(commit, err)
	for range 3 {
		d := message("b.board", "grace", "", "op")
		d.Kind, d.Silent = chat.KindOp, true
		_, commit, err := store.Chat().Append(ctx, d)
		wait(commit, err)
	}
	_, commit, err = store.Chat().PutSnapshot(ctx, chat.Snapshot{Conversation: "b.board", Seq: 2, By: "grace", Body: []byte(`{}`)})
	wait(commit, err)
	if err := store.Chat().Trim(ctx, "b.board", 2, nil); err != nil {
		t.Fatalf("trim: %v", err)
	}
}

// everythingChanged does so with what is done to messages.
func everythingChanged(t *testing.T, store *pebble.Store) {
	t.Helper()
	ctx, c := t.Context(), chat.Direct("alice", "bob")
	if _, _, err := store.Chat().Append(ctx, message(c, "alice", "", "four")); err != nil {
		t.Fatalf("append: %v", err)
	}
	for _, d := range []chat.OpDraft{
		{
			By: "bob", Op: chat.OpEdit, Seq: 2, Body: []byte(`"2"`), At: []accounts.Name{"alice"}, Fallback: "2", MID: "e",
			Fingerprint: [32]byte{7},
		},
		{By: "alice", Op: chat.OpReact, Seq: 2, Emoji: "👍"},
		{By: "alice", Op: chat.OpPin, Seq: 2},
		{By: "alice", Op: chat.OpRecall, Seq: 4},
	} {
		d.Conversation = c
		_, commit, err := store.Chat().ApplyOp(ctx, d)
		if err == nil {
			err = commit.Wait(ctx)
		}
		if err != nil {
			t.Fatalf("%s: %v", d.Op, err)
		}
	}
	_, _, err := store.Chat().Clear(ctx, c, "alice", nil)
	if err != nil {
		t.Fatalf("clear: %v", err)
	}
	commit, err := store.Chat().Hide(ctx, c, "bob", []uint64{1, 2}, nil)
	if err == nil {
		err = commit.Wait(ctx)
	}
	if err != nil {
		t.Fatalf("hide: %v", err)
	}
}

// everythingOfLives does so with what accounts have besides their secrets.
func everythingOfLives(t *testing.T, store *pebble.Store) {
	t.Helper()
	ctx := t.Context()
	ends := time.Date(2031, 5, 6, 7, 8, 9, 10, time.UTC)
	acc := store.Accounts()
	tell := func(l chat.Login) error {
		commit, err := store.Chat().TellSession(ctx, "erin", l)
		if err == nil {
			err = commit.Wait(ctx)
		}
		return err
	}
	save := func(ctx context.Context, s sessions.State) error {
		commit, err := store.Sessions().Save(ctx, s)
		if err == nil {
			err = commit.Wait(ctx)
		}
		return err
	}
	for i, err := range []error{
		acc.CreateUser(ctx, accounts.User{
			Name: "erin", Role: accounts.RoleAdmin, Created: ends,
			Suspension: accounts.Suspension{Disabled: true, Reason: "spam", Until: ends},
		}),
		acc.SetRecovery(ctx, "erin", accounts.Recovery{Digest: accounts.Digest{3}, Expires: ends}),
		acc.CreateUser(ctx, accounts.User{Name: "frank", Password: "$argon2id$", Created: ends}),
		acc.DeleteUser(ctx, "frank", ends),
		acc.CreateDevice(ctx, accounts.Device{
			Name: "lamp", Owner: "erin", Pins: []accounts.Digest{{8}}, Created: ends, Rev: 1,
			Secrets: []accounts.Secret{{Digest: accounts.Digest{6}, Created: ends}, {Digest: accounts.Digest{7}, Created: ends}},
		}),
		acc.CreateDevice(ctx, accounts.Device{Name: "lock", Created: ends, Rev: 1}),
		acc.PutDevice(ctx, accounts.Device{
			Name: "lock", Suspension: accounts.Suspension{Disabled: true, Reason: "lost", Until: ends}, Deleted: ends, Rev: 2,
		}),
		acc.PutInvitation(ctx, accounts.Invitation{
			Digest: accounts.Digest{4}, Uses: 2, Made: 3, Label: "class 3b", By: "erin", Created: ends, Expires: ends,
		}),
		acc.PutAct(ctx, accounts.Act{
			ID: "0001", Time: ends, By: "erin", From: "192.0.2.1", Method: "user.add", Target: "frank", Outcome: "ok",
		}),
		save(ctx, sessions.State{
			Key: sessions.Key{Account: "erin", Client: "phone"}, Token: accounts.Digest{5}, Name: "my phone", Invisible: true,
			Options: sessions.Options{Batch: true, Device: true},
			Flights: []sessions.Flight{{ID: 1, Pos: 9, QoS: 2, Stage: sessions.StageSent, First: 3}},
		}),
		tell(chat.Login{State: chat.LoggedIn, ID: "m1", Label: "phone", Addr: "192.0.2.1"}),
	} {
		if err != nil {
			t.Fatalf("write %d: %v", i, err)
		}
	}
}

// everythingSaid does so with what people say of themselves.
func everythingSaid(t *testing.T, store *pebble.Store) {
	t.Helper()
	ctx := t.Context()
	said := chat.Person{
		Profile: chat.Profile{
			Card: chat.Card{Name: "Alice 王", Avatar: "a.png", Trust: chat.Trust{Verified: true, Bot: true}},
			Ver:  3, Text: "hello", Fields: map[string]chat.Field{
				"town": {Value: "Oxford", Show: chat.AudienceEveryone}, "job": {Value: "", Show: chat.AudienceContacts},
			},
			Phone: chat.Field{Value: "+441865000000", Show: chat.AudienceNobody},
			Email: chat.Field{Value: "alice@example.org", Show: chat.AudienceContacts},
		},
		Settings: chat.Settings{
			Strangers: chat.AudienceNear, Seen: chat.AudienceEveryone,
			Find: chat.Find{Phone: true, Email: true, Listed: true, Nearby: chat.Area{Cell: 258, Until: 1 << 41}},
		},
	}
	hidden := chat.Person{
		Profile:  chat.Profile{Phone: chat.Field{Value: "+441865000001"}},
		Settings: chat.Settings{Find: chat.Find{Hidden: true}},
	}
	for who, is := range map[accounts.Name]chat.Person{"alice": said, "bob": hidden} {
		_, commit, err := store.Chat().ChangePerson(ctx, who, func(p *chat.Person) (bool, error) {
			*p = is
			return true, nil
		}, nil)
		if err == nil {
			err = commit.Wait(ctx)
		}
		if err != nil {
			t.Fatalf("write: %v", err)
		}
	}
	commit, err := store.Chat().ForgetPerson(ctx, "bob", time.Date(2030, 2, 2, 3, 4, 5, 0, time.UTC))
	if err == nil {
		err = commit.Wait(ctx)
	}
	if err != nil {
		t.Fatalf("forget: %v", err)
	}
}

// everythingQueued does so with the tables of free topics.
func everythingQueued(t *testing.T, store *pebble.Store) {
	t.Helper()
	ctx := t.Context()
	queues, ok := store.Sessions().(sessions.Queues)
	if !ok {
		t.Fatal("the store of sessions has no queues")
	}
	wait := func(commit sessions.Commit, err error) {
		t.Helper()
		if err == nil {
			err = commit.Wait(ctx)
		}
		if err != nil {
			t.Fatalf("write: %v", err)
		}
	}
	phone := sessions.Key{Account: "alice", Client: "tv"}
	wait(store.Sessions().Save(ctx, sessions.State{
		Key: phone, Number: 258,
		Queue: sessions.Cursor{Acked: 1, Flights: []sessions.Flight{{ID: 5, Pos: 2, QoS: 2, Stage: sessions.StageSent}}},
		Replays: []sessions.Replay{
			{ID: 3, Filter: "a/#", QoS: 1, SubID: 4, NoLocal: true, After: "a/b", Until: 5},
		},
	}))
	now := time.Date(2030, 1, 2, 3, 4, 5, 6e6, time.UTC)
	small := &sessions.Message{Topic: "t", Payload: []byte("small"), QoS: 1, Time: now}
	full := &sessions.Message{
		Topic: "a/b", Payload: []byte("full"), QoS: 2, Retain: true, From: phone, PayloadFormat: 1, HasPayloadFormat: true,
		ContentType: "text/plain", ResponseTopic: "r", Correlation: []byte{0, 1},
		User: []sessions.UserProperty{{Name: "n", Value: "v"}}, Time: now, Expires: now.Add(24 * 365 * time.Hour),
	}
	for _, step := range []sessions.Step{
		{Message: small, To: []sessions.Target{{Number: 258, QoS: 1, IDs: []int{300}}}},
		{Message: full, To: []sessions.Target{{Number: 258, QoS: 2, Retain: true}, {Number: 1 << 31, QoS: 1}}, Retain: true},
		{Message: small, Due: now.Add(time.Hour)},
	} {
		a, err := queues.Append(sessions.Bounds{}, step)
		wait(a.Commit, err)
	}
	wait(queues.PutWill(ctx, sessions.Will{
		Key: phone, Version: 5, DelaySeconds: 60, Due: now,
		Publish: sessions.Publish{
			Topic: "w", Payload: []byte("gone"), QoS: 1, Retain: true, ContentType: "text/plain", ResponseTopic: "r",
			Correlation: []byte{2}, User: []sessions.UserProperty{{Name: "n", Value: "v"}}, Expiry: 7, PayloadFormat: 1,
		},
	}))
	wait(queues.SaveGroup(ctx, "g", 1<<31))
	if err := queues.Beat(ctx, now); err != nil {
		t.Fatalf("beat: %v", err)
	}
}

// everythingOfThings does so with what devices are and do.
func everythingOfThings(t *testing.T, store *pebble.Store) {
	t.Helper()
	ctx, d := t.Context(), store.Devices()
	object := devices.Object{"a": json.Number("1.0")}
	section := devices.Section{State: object, Meta: devices.Object{"a": devices.Object{"timestamp": json.Number("5")}}}
	command := devices.Command{
		ID: "c\x00", Device: "lamp", Order: 258, Name: "on", Args: json.RawMessage(`{}`), By: "alice", MID: "m", Key: "k", Created: 1,
		Expires: 2, Timeout: 3, State: devices.CommandProgress, Rev: 1, Sent: 4, Delivered: 5, Percent: 6,
		Outcome: devices.Outcome{State: devices.CommandFailed, Result: json.RawMessage(`1`), Code: "E", Text: "t"},
	}
	done := command
	done.ID, done.Order, done.State = "d", 259, devices.CommandTimedOut
	done.Late = &devices.Outcome{State: devices.CommandSucceeded}
	_, _, err := d.PutEvent(ctx, devices.Event{
		Device: "lamp", ID: "e", Order: 258, Type: "door", Severity: "warn", TS: 1, Stored: 2, Text: "t", Data: json.RawMessage(`[]`),
	})
	for i, err := range []error{
		err,
		d.PutThing(ctx, devices.Thing{
			ID: "lamp", Type: "light", Model: "m", Title: "Lamp", Owner: "alice", Home: "h.1", Room: "r", Tags: []string{"a"}, Serial: true,
			Sleepy: true, Bridge: "hub", Grants: []devices.Grant{
				{ID: "g", To: "bob", Verbs: []devices.Verb{devices.VerbSee}, By: "alice", From: 1, Until: 2},
			}, Created: 3, Epoch: 4, Rev: 1,
		}),
		d.PutThing(ctx, devices.Thing{ID: "old", Rev: 1, Gone: true}),
		d.PutShadow(ctx, "lamp", "", devices.Shadow{Desired: section, Reported: section, Version: 1}),
		d.PutShadow(ctx, "lamp", "s", devices.Shadow{Version: 1}),
		d.PutShadow(ctx, "lamp", "t", devices.Shadow{Version: 1, Deleted: true}),
		d.PutCommand(ctx, command), d.PutCommand(ctx, done),
		d.PutAlarm(ctx, devices.Alarm{
			Device: "lamp", Type: "hot", State: devices.AlarmActive, Severity: "crit", Text: "t", Since: 1, Last: 2, Count: 3, By: "alice",
			Changed: 4, Rev: 1,
		}),
		d.PutPresences(ctx, []devices.Presence{
			{Device: "lamp", State: devices.Online, Since: 1, Seen: 2, Reason: "connect"}, {Device: "old", State: devices.Unknown},
		}),
	} {
		if err != nil {
			t.Fatalf("write %d: %v", i, err)
		}
	}
}

// dump writes all rows of a store that is closed, for people to read.
func dump(t *testing.T, fs vfs.FS, dir string) string {
	t.Helper()
	db, err := engine.Open(dir, &engine.Options{FS: fs, ReadOnly: true})
	if err != nil {
		t.Fatalf("open engine: %v", err)
	}
	iter, err := db.NewIter(nil)
	if err != nil {
		t.Fatalf("iterate: %v", err)
	}
	var out strings.Builder
	for ok := iter.First(); ok; ok = iter.Next() {
		fmt.Fprintf(&out, "%q\n", iter.Key())
		for rest := iter.Value(); len(rest) > 0; {
			if strings.IndexByte("PpnqmrdgbJTH-/[<>]_", iter.Key()[0]) >= 0 { // no CBOR
				fmt.Fprintf(&out, "\t%x\n", rest)
				break
			}
			var text string
			if text, rest, err = cbor.DiagnoseFirst(rest); err != nil {
				t.Fatalf("value of %q: %v", iter.Key(), err)
			}
			fmt.Fprintf(&out, "\t%s\n", text)
		}
	}
	if err := errors.Join(iter.Error(), iter.Close(), db.Close()); err != nil {
		t.Fatalf("read: %v", err)
	}
	return out.String()
}

func TestTheFormatStaysAsItIs(t *testing.T) {
	mem := vfs.NewMem()
	now := time.Date(2030, 1, 2, 3, 4, 5, 6e6, time.UTC)
	store := open(t, pebble.Config{FS: mem, Clock: func() time.Time { return now }})
	everything(t, store)
	everythingQueued(t, store)
	everythingChanged(t, store)
	everythingOfLives(t, store)
	everythingOfSides(t, store)
	everythingOfHalls(t, store)
	everythingOfThings(t, store)
	if err := store.Records().Put(t.Context(), records.Record{
		Key: records.Key{Kind: "job", Scope: "h.1", ID: "j"}, Rev: 1, Due: 258, Body: []byte(`{"a":1}`),
	}); err != nil {
		t.Fatalf("put a record: %v", err)
	}
	everythingMeasured(t, store)
	if err := store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	got := dump(t, mem, dataDir)
	if update {
		if err := os.WriteFile(rowsFile, []byte(got), 0o600); err != nil {
			t.Fatalf("write: %v", err)
		}
	}
	want, err := os.ReadFile(rowsFile)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	if got != string(want) {
		t.Errorf("rows: got\n%s\nwant\n%s", got, want)
	}
	tables := map[byte]bool{}
	for line := range strings.Lines(got) {
		if line[0] == '"' {
			tables[line[1]] = true
		}
	}
	for _, table := range "0VAKkIeCMDBUWLRvoaSPFQNhijnqmpfyrwdgblustz512679JTHXYEc!$+&,*-:.=/;()^@#%[~<>]_" {
		if !tables[byte(table)] {
			t.Errorf("no row in table %c", table)
		}
	}
}

// TestOlderStoresOpen opens a copy of each store in testdata/stores, which hold what everything writes.
func TestOlderStoresOpen(t *testing.T) {
	const stores = "testdata/stores"
	if newest := filepath.Join(stores, "2"); update {
		if _, err := os.Stat(newest); err != nil {
			store := open(t, pebble.Config{Dir: newest})
			everything(t, store)
			if err := store.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
		}
	}
	dirs, err := os.ReadDir(stores)
	if err != nil || len(dirs) == 0 {
		t.Fatalf("stores: got %d, %v", len(dirs), err)
	}
	for _, dir := range dirs {
		t.Run(dir.Name(), func(t *testing.T) {
			copied := t.TempDir()
			if err := os.CopyFS(copied, os.DirFS(filepath.Join(stores, dir.Name()))); err != nil {
				t.Fatalf("copy: %v", err)
			}
			written := time.UnixMilli(1795445614525) // one of the messages has a minute to live
			store := open(t, pebble.Config{Dir: copied, Clock: func() time.Time { return written }})
			page, err := store.Chat().Stream(t.Context(), "bob", 0, 100)
			if err != nil || page.Head != 6 {
				t.Errorf("stream of bob: got head %d, %v, want 6", page.Head, err)
			}
			messages, err := store.Chat().Messages(t.Context(), "d.alice.bob", 0, 0, 100)
			if err != nil || len(messages.Messages) != 3 || messages.Messages[2].Fallback != "a poll" {
				t.Errorf("messages: got %+v, %v", messages, err)
			}
			state, err := store.Sessions().Load(t.Context(), sessions.Key{Account: "alice", Client: "phone\x00\xff"})
			if err != nil || len(state.Flights) != 1 || len(state.Received) != 1 || state.Acked != 4 {
				t.Errorf("session: got %+v, %v", state, err)
			}
			user, err := store.Accounts().User(t.Context(), "alice")
			if err != nil || user.Password != "$argon2id$" {
				t.Errorf("user: got %+v, %v", user, err)
			}
			_, _, err = store.Chat().Append(t.Context(), message("d.alice.bob", "alice", "mid\x00", "other"))
			if !errors.Is(err, chat.ErrConflict) {
				t.Errorf("repeated mid: got %v, want %v", err, chat.ErrConflict)
			}
			changed, version, err := store.Chat().Changes(t.Context(), "alice", 0, 10)
			if err != nil || version < 2 || len(changed) != 2 || changed[0].Who != "bob" || changed[1].State != chat.ContactRequested {
				t.Errorf("list of alice since its beginning: got %+v, %d, %v", changed, version, err)
			}
			if n, err := store.Chat().Requests(t.Context(), "alice", 10); err != nil || n != 1 {
				t.Errorf("requests to alice: got %d, %v, want 1", n, err)
			}
			contacts(t, store, "alice", "dora") // can be written to
		})
	}
}

// Keys sort as what they are made of, and none is the beginning of another.
func TestKeysSortAsTheirParts(t *testing.T) {
	mem := vfs.NewMem()
	store := open(t, pebble.Config{FS: mem})
	parts := []string{"", "\x00", "\x00\x00", "\x00\x01", "\x00\xff", "\x01", "a", "a\x00", "a\x00\x01", "a\x01", "ab", "\xff"}
	for _, account := range parts {
		for _, client := range parts {
			key := sessions.Key{Account: accounts.Name(account), Client: client}
			if _, err := store.Sessions().Save(t.Context(), sessions.State{Key: key}); err != nil {
				t.Fatalf("save: %v", err)
			}
		}
	}
	all, err := store.Sessions().Sessions(t.Context(), "", sessions.Key{}, 1000)
	if err != nil || len(all) != len(parts)*len(parts) {
		t.Fatalf("sessions: got %d, %v, want %d", len(all), err, len(parts)*len(parts))
	}
	for i, s := range all {
		account, client := parts[i/len(parts)], parts[i%len(parts)]
		if string(s.Key.Account) != account || s.Key.Client != client {
			t.Errorf("session %d: got %q, want %q of %q", i, s.Key, client, account)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	db := openEngine(t, mem)
	defer db.Close()
	iter, err := db.NewIter(nil)
	if err != nil {
		t.Fatalf("iterate: %v", err)
	}
	defer iter.Close()
	var last []byte
	for ok := iter.First(); ok; ok = iter.Next() {
		if last != nil && bytes.HasPrefix(iter.Key(), last) {
			t.Errorf("key %q is the beginning of %q", last, iter.Key())
		}
		last = bytes.Clone(iter.Key())
	}
}
