package chat_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// room makes a group of alice and, as they are her contacts or not, of others, and gives what became of them.
func (m messenger) room(t testing.TB, who accounts.Name, p chat.RoomPatch, members ...accounts.Name) (
	chat.Conversation, chat.Guests,
) {
	t.Helper()
	if p.Title == nil {
		title := "T"
		p.Title = &title
	}
	c, guests, commit, err := m.CreateRoom(t.Context(), who, chat.KindGroup, p, members, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := commit.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c, guests
}

// roles gives who is what in a room: "alice owner, bob member".
func (m messenger) roles(t testing.TB, c chat.Conversation) string {
	t.Helper()
	list, err := m.store.RoomMembers(t.Context(), c, "", 100, func(m chat.Membership) bool { return m.Role != chat.RoleNone })
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, x := range list {
		all = append(all, fmt.Sprint(x.Who, " ", x.Role))
	}
	return strings.Join(all, ", ")
}

func TestWhoIsBroughtIntoARoom(t *testing.T) {
	cfg := chat.DefaultConfig()
	cfg.Invitations, cfg.MaxRooms = 2, 2
	m := startWith(t, cfg, nil)
	chat.SetClock(m.Service, m.clock.now)
	for _, name := range []accounts.Name{"blocked", "busy", "dave", "erin"} {
		m.users[name] = true
	}
	m.befriend(t, "alice", "blocked")
	m.befriend(t, "alice", "busy")
	if _, _, err := m.BlockContact(t.Context(), "blocked", "alice", nil); err != nil {
		t.Fatal(err)
	}
	m.room(t, "busy", chat.RoomPatch{})
	m.room(t, "busy", chat.RoomPatch{})
	c, got := m.room(t, "alice", chat.RoomPatch{},
		"alice", "bob", "bob", "carol", "blocked", "busy", "dave", "erin", "nobody")
	if !slices.Equal(got.Joined, []accounts.Name{"bob"}) || !slices.Equal(got.Invited, []accounts.Name{"carol", "dave"}) {
		t.Errorf("joined %v, invited %v", got.Joined, got.Invited)
	}
	for who, want := range map[accounts.Name]error{
		"blocked": chat.ErrBlocked, "busy": chat.ErrQuota, "erin": chat.ErrQuota, "nobody": chat.ErrNoConversation,
	} {
		if err := got.Refused[who]; !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", who, err, want)
		}
	}
	if len(got.Refused) != 4 {
		t.Errorf("refused: %v", got.Refused)
	}
	// Whoever is invited already does not count again.
	again, _, err := m.InviteToRoom(t.Context(), "alice", c, []accounts.Name{"carol"}, nil)
	if err != nil || len(again.Invited) != 1 || len(again.Refused) != 0 {
		t.Errorf("invited again: %+v, %v", again, err)
	}
	m.clock.advance(24 * time.Hour)
	if again, _, err = m.InviteToRoom(t.Context(), "alice", c, []accounts.Name{"erin"}, nil); err != nil || len(again.Invited) != 1 {
		t.Errorf("invited a day later: %+v, %v", again, err)
	}
}

func TestHowOftenSomebodyJoins(t *testing.T) {
	cfg := chat.DefaultConfig()
	cfg.Joins = 2
	m := startWith(t, cfg, nil)
	chat.SetClock(m.Service, m.clock.now)
	open := chat.JoinOpen
	c, _ := m.room(t, "alice", chat.RoomPatch{Join: &open})
	join := func() error {
		_, _, _, err := m.JoinRoom(t.Context(), "bob", c, "", "", nil)
		return err
	}
	leave := func() {
		t.Helper()
		if _, err := m.LeaveRoom(t.Context(), "bob", c, nil); err != nil {
			t.Fatal(err)
		}
	}
	for range cfg.Joins {
		for range 2 { // who is in it joins nothing
			if err := join(); err != nil {
				t.Fatal(err)
			}
		}
		leave()
	}
	var quota *chat.QuotaError
	if err := join(); !errors.As(err, &quota) || quota.RetryAfter <= 0 {
		t.Errorf("once too often: %v", err)
	}
	if got := m.roles(t, c); got != "alice owner" {
		t.Errorf("after that, there are %s", got)
	}
	if _, _, err := m.InviteToRoom(t.Context(), "alice", c, []accounts.Name{"bob"}, nil); err != nil {
		t.Fatal(err)
	}
	if got := m.roles(t, c); got != "alice owner, bob member" {
		t.Errorf("when alice brings bob in, there are %s", got)
	}
	leave()
	m.clock.advance(24 * time.Hour)
	if err := join(); err != nil {
		t.Errorf("a day later: %v", err)
	}
}

func TestHowManyRooms(t *testing.T) {
	cfg := chat.DefaultConfig()
	cfg.MaxRooms, cfg.NewRooms = 3, 2
	m := startWith(t, cfg, nil)
	chat.SetClock(m.Service, m.clock.now)
	c, _ := m.room(t, "alice", chat.RoomPatch{})
	m.room(t, "alice", chat.RoomPatch{})
	_, _, _, err := m.CreateRoom(t.Context(), "alice", chat.KindGroup, chat.RoomPatch{Title: new("T")}, nil, nil)
	var quota *chat.QuotaError
	if !errors.As(err, &quota) || quota.RetryAfter <= 0 {
		t.Errorf("a third one in a day: %v", err)
	}
	m.clock.advance(24 * time.Hour)
	m.room(t, "alice", chat.RoomPatch{})
	m.clock.advance(24 * time.Hour)
	create := func() error {
		_, _, _, err := m.CreateRoom(t.Context(), "alice", chat.KindGroup, chat.RoomPatch{Title: new("T")}, nil, nil)
		return err
	}
	if err := create(); !errors.Is(err, chat.ErrQuota) || errors.As(err, &quota) {
		t.Errorf("a fourth one at all: %v", err)
	}
	if _, err := m.LeaveRoom(t.Context(), "alice", c, nil); err != nil {
		t.Fatal(err)
	}
	if err := create(); err != nil {
		t.Errorf("after one was left: %v", err)
	}
}

func TestRoomsAreRefusedWhatBreaksTheRules(t *testing.T) {
	m := start(t)
	c, _ := m.room(t, "alice", chat.RoomPatch{}, "bob")
	x := func(n int) *string { s := strings.Repeat("é", n); return &s }
	many := make([]accounts.Name, 101)
	for name, tt := range map[string]struct {
		do   func(ctx context.Context) error
		want error
	}{
		"no title":       {m.creates(chat.RoomPatch{}), chat.ErrMalformed},
		"long title":     {m.creates(chat.RoomPatch{Title: x(65)}), chat.ErrTooLarge},
		"NUL":            {m.creates(chat.RoomPatch{Title: new("a\x00")}), chat.ErrMalformed},
		"two lines":      {m.creates(chat.RoomPatch{Title: new("a\nb")}), chat.ErrMalformed},
		"escape":         {m.creates(chat.RoomPatch{Title: new("\x1b[2J")}), chat.ErrMalformed},
		"avatar":         {m.creates(chat.RoomPatch{Title: x(1), Avatar: x(257)}), chat.ErrTooLarge},
		"notice":         {m.creates(chat.RoomPatch{Title: x(1), Notice: x(2001)}), chat.ErrTooLarge},
		"join":           {m.creates(chat.RoomPatch{Title: x(1), Join: new(chat.JoinPolicy("never"))}), chat.ErrMalformed},
		"invite":         {m.creates(chat.RoomPatch{Title: x(1), Invite: new(chat.Group("all"))}), chat.ErrMalformed},
		"post":           {m.creates(chat.RoomPatch{Title: x(1), Post: new(chat.Group("members"))}), chat.ErrMalformed},
		"history":        {m.creates(chat.RoomPatch{Title: x(1), History: new(chat.HistoryPolicy("none"))}), chat.ErrMalformed},
		"slow":           {m.creates(chat.RoomPatch{Title: x(1), Slow: new(int64(-1))}), chat.ErrMalformed},
		"muted":          {m.creates(chat.RoomPatch{Title: x(1), Muted: new(int64(-2))}), chat.ErrMalformed},
		"keep":           {m.creates(chat.RoomPatch{Title: x(1), Keep: new(int64(40_000))}), chat.ErrMalformed},
		"rooms":          {m.creates(chat.RoomPatch{Title: x(1), Rooms: new(chat.Places)}), chat.ErrMalformed},
		"too many":       {m.creates(chat.RoomPatch{Title: x(1)}, many...), chat.ErrTooLarge},
		"no room":        {m.leaves(chat.Direct("alice", "bob")), chat.ErrNoConversation},
		"another's pair": {m.leaves(chat.Direct("bob", "carol")), chat.ErrNotMember},
		"no name":        {m.leaves("g."), chat.ErrMalformed},
		"ban for a while that is too long": {func(ctx context.Context) error {
			_, err := m.BanFromRoom(ctx, "alice", c, "bob", 1<<40, nil)
			return err
		}, chat.ErrMalformed},
		"ban of nobody": {func(ctx context.Context) error {
			_, err := m.BanFromRoom(ctx, "alice", c, "nobody", 0, nil)
			return err
		}, chat.ErrNoConversation},
		"another owner": {func(ctx context.Context) error {
			_, err := m.SetRoomRole(ctx, "alice", c, "bob", chat.RoleOwner, nil)
			return err
		}, chat.ErrMalformed},
		"a guest": {func(ctx context.Context) error {
			_, err := m.SetRoomRole(ctx, "alice", c, "bob", chat.RoleGuest, nil)
			return err
		}, chat.ErrMalformed},
		"a link for less than no time": {func(ctx context.Context) error {
			_, _, err := m.LinkRoom(ctx, "alice", c, chat.Linking{TTL: new(int64(-1))}, nil)
			return err
		}, chat.ErrMalformed},
		"join by name and link": {func(ctx context.Context) error {
			_, _, _, err := m.JoinRoom(ctx, "carol", c, "link", "", nil)
			return err
		}, chat.ErrMalformed},
		"no such filter": {func(ctx context.Context) error {
			_, err := m.RoomMembers(ctx, "alice", c, "viewer", "", 0)
			return err
		}, chat.ErrMalformed},
		"who is banned, for a member": {func(ctx context.Context) error {
			_, err := m.RoomMembers(ctx, "bob", c, chat.Banned, "", 0)
			return err
		}, chat.ErrNoRight},
	} {
		if err := tt.do(t.Context()); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
}

func (m messenger) creates(p chat.RoomPatch, members ...accounts.Name) func(context.Context) error {
	return func(ctx context.Context) error {
		_, _, _, err := m.CreateRoom(ctx, "alice", chat.KindGroup, p, members, nil)
		return err
	}
}

func (m messenger) leaves(c chat.Conversation) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := m.LeaveRoom(ctx, "alice", c, nil)
		return err
	}
}

func TestADeletedAccountLeavesItsRooms(t *testing.T) {
	m := start(t)
	for _, name := range []accounts.Name{"dave", "erin"} {
		m.users[name] = true
	}
	for _, name := range []accounts.Name{"carol", "dave", "erin"} {
		m.befriend(t, "alice", name)
	}
	m.befriend(t, "bob", "carol")
	oldest, _ := m.room(t, "alice", chat.RoomPatch{}, "erin")
	m.clock.advance(time.Second)
	if _, _, err := m.InviteToRoom(t.Context(), "alice", oldest, []accounts.Name{"bob", "carol"}, nil); err != nil {
		t.Fatal(err)
	}
	admins, _ := m.room(t, "alice", chat.RoomPatch{}, "bob", "carol", "dave")
	for _, name := range []accounts.Name{"dave", "carol"} {
		m.clock.advance(time.Second)
		if _, err := m.SetRoomRole(t.Context(), "alice", admins, name, chat.RoleAdmin, nil); err != nil {
			t.Fatal(err)
		}
	}
	alone, _ := m.room(t, "alice", chat.RoomPatch{})
	member, _ := m.room(t, "bob", chat.RoomPatch{}, "alice", "carol")
	for range 2 { // it may be done again
		m.Service = chat.New(quick(), m.store, departed{m.users}, m.woken, discard)
		if err := m.Leave(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		for c, want := range map[chat.Conversation]string{
			oldest: "bob member, carol member, erin owner",
			admins: "bob member, carol admin, dave owner",
			alone:  "",
			member: "bob owner, carol member",
		} {
			if got := m.roles(t, c); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	}
	if r, err := m.store.Room(t.Context(), alone); err != nil || r.Ended == 0 {
		t.Errorf("the room in which nobody is left: %+v, %v", r, err)
	}
	// These had begun before the account was deleted.
	if _, err := m.AnswerRoom(t.Context(), "alice", member, true, nil); err == nil {
		t.Error("a deleted account joins by an invitation that there is not")
	}
	open := chat.JoinOpen
	c, _ := m.room(t, "bob", chat.RoomPatch{Join: &open})
	if _, _, _, err := m.JoinRoom(t.Context(), "alice", c, "", "", nil); !errors.Is(err, chat.ErrGone) {
		t.Errorf("join: %v", err)
	}
	if got := m.roles(t, c); got != "bob owner" {
		t.Errorf("after a deleted account has joined, there are %s", got)
	}
	_, guests := m.room(t, "bob", chat.RoomPatch{}, "alice")
	if err := guests.Refused["alice"]; !errors.Is(err, chat.ErrGone) {
		t.Errorf("invited: %+v", guests)
	}
}

func TestWhatADeletedAccountHasSaidInRoomsIsWiped(t *testing.T) {
	m := start(t)
	c, _ := m.room(t, "alice", chat.RoomPatch{}, "bob")
	for _, who := range []accounts.Name{"alice", "bob"} {
		if _, _, err := m.Send(t.Context(), who, chat.Target{Conversation: c}, content(t, "secret"), nil); err != nil {
			t.Fatal(err)
		}
	}
	cfg := quick()
	cfg.WipeDeleted = true
	m.Service = chat.New(cfg, m.store, departed{m.users}, m.woken, discard)
	if err := m.Leave(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	page, err := m.History(t.Context(), "bob", chat.HistoryQuery{Conversation: c})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range page.Messages {
		if secret := strings.Contains(string(x.Body), "secret"); secret != (x.From == "bob" && x.Kind == "text") {
			t.Errorf("message %d of %s: %s", x.Seq, x.From, x.Body)
		}
	}
}

func TestWhatADeletedAccountHasSaidWhereItIsNoMemberIsWiped(t *testing.T) {
	m := start(t)
	say := func(who accounts.Name, c chat.Conversation) {
		t.Helper()
		if _, _, err := m.Send(t.Context(), who, chat.Target{Conversation: c}, content(t, "secret"), nil); err != nil {
			t.Fatal(err)
		}
	}
	open := chat.JoinOpen
	left, _ := m.room(t, "alice", chat.RoomPatch{Join: &open}, "bob")
	banned, _ := m.room(t, "alice", chat.RoomPatch{}, "bob")
	title := "T"
	live, _, _, err := m.CreateRoom(t.Context(), "alice", chat.KindLive, chat.RoomPatch{Title: &title}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	rooms := []chat.Conversation{left, banned, live}
	for _, c := range rooms {
		say("bob", c)
		say("alice", c)
	}
	if _, err := m.LeaveRoom(t.Context(), "bob", left, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := m.BanFromRoom(t.Context(), "alice", banned, "bob", 0, nil); err != nil {
		t.Fatal(err)
	}
	cfg := quick()
	cfg.WipeDeleted = true
	m.Service = chat.New(cfg, m.store, departed{m.users}, m.woken, discard)
	if err := m.Leave(t.Context(), "bob"); err != nil {
		t.Fatal(err)
	}
	for _, c := range rooms {
		page, err := m.History(t.Context(), "alice", chat.HistoryQuery{Conversation: c})
		if err != nil {
			t.Fatal(err)
		}
		secrets := 0
		for _, x := range page.Messages {
			if !strings.Contains(string(x.Body), "secret") {
				continue
			}
			if secrets++; x.From != "alice" {
				t.Errorf("%s: message %d of %s: %s", c, x.Seq, x.From, x.Body)
			}
		}
		if secrets != 1 {
			t.Errorf("%s: %d messages say something, want that of alice", c, secrets)
		}
	}
}

// latecomers is a store in which somebody joins a room while its members are being looked at.
type latecomers struct {
	chat.Store
	join func()
}

func (l *latecomers) RoomMembers(
	ctx context.Context, c chat.Conversation, after accounts.Name, limit int, keep func(chat.Membership) bool,
) ([]chat.RoomMember, error) {
	list, err := l.Store.RoomMembers(ctx, c, after, limit, keep)
	if join := l.join; join != nil {
		l.join = nil
		join()
	}
	return list, err
}

func TestWhoJoinsWhileARoomIsDissolvedIsTold(t *testing.T) {
	var late *latecomers
	m := startWith(t, chat.DefaultConfig(), func(s chat.Store) chat.Store {
		late = &latecomers{Store: s}
		return late
	})
	open := chat.JoinOpen
	c, _ := m.room(t, "alice", chat.RoomPatch{Join: &open}, "bob")
	late.join = func() {
		if _, _, _, err := m.JoinRoom(t.Context(), "carol", c, "", "", nil); err != nil {
			t.Error(err)
		}
	}
	commit, err := m.DissolveRoom(t.Context(), "alice", c, nil)
	if err == nil {
		err = commit.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []accounts.Name{"alice", "bob", "carol"} {
		page, err := m.store.Stream(t.Context(), who, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(page.Entries, func(e chat.Entry) bool {
			return e.Conversation == c && e.Type == chat.EntryConv && e.Room.State == chat.RoomDissolved
		}) {
			t.Errorf("%s does not hear that the room was dissolved", who)
		}
	}
}

func TestLargeRooms(t *testing.T) {
	cfg := chat.DefaultConfig()
	cfg.LargeFrom = 2
	m := startWith(t, cfg, nil)
	m.befriend(t, "alice", "carol")
	c, _ := m.room(t, "alice", chat.RoomPatch{}, "bob")
	if v, err := m.SeeRoom(t.Context(), "bob", c); err != nil || v.Large {
		t.Errorf("of two: %+v, %v", v, err)
	}
	if _, _, err := m.InviteToRoom(t.Context(), "alice", c, []accounts.Name{"carol"}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := m.LeaveRoom(t.Context(), "carol", c, nil); err != nil {
		t.Fatal(err)
	}
	if v, err := m.SeeRoom(t.Context(), "bob", c); err != nil || !v.Large {
		t.Errorf("of three, once: %+v, %v", v, err)
	}
	ch, _, _, err := m.CreateRoom(t.Context(), "alice", chat.KindChannel, chat.RoomPatch{Title: new("T")}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := m.SeeRoom(t.Context(), "bob", ch); err != nil || !v.Large {
		t.Errorf("a channel: %+v, %v", v, err)
	}
}

func TestARoomIsFull(t *testing.T) {
	cfg := chat.DefaultConfig()
	cfg.MaxMembers = 2
	m := startWith(t, cfg, nil)
	open := chat.JoinOpen
	c, _ := m.room(t, "alice", chat.RoomPatch{Join: &open}, "bob")
	if _, _, _, err := m.JoinRoom(t.Context(), "carol", c, "", "", nil); !errors.Is(err, chat.ErrFull) {
		t.Errorf("got %v", err)
	}
}

func TestWhoJoinsMayWriteAtOnceInSlowMode(t *testing.T) {
	m := start(t)
	slow := int64(60)
	open := chat.JoinOpen
	c, _ := m.room(t, "alice", chat.RoomPatch{Slow: &slow, Join: &open})
	if _, _, _, err := m.JoinRoom(t.Context(), "bob", c, "", "", nil); err != nil {
		t.Fatal(err)
	}
	send := func() error {
		_, _, err := m.Send(t.Context(), "bob", chat.Target{Conversation: c}, content(t, "hello"), nil)
		return err
	}
	if err := send(); err != nil {
		t.Errorf("the first message: %v", err)
	}
	if err := send(); !errors.Is(err, chat.ErrSlow) {
		t.Errorf("the second message: %v, want %v", err, chat.ErrSlow)
	}
}

func TestAForwardedOperationOfABoardIsSilent(t *testing.T) {
	m := start(t)
	title := "T"
	c, _, _, err := m.CreateRoom(t.Context(), "alice", chat.KindBoard, chat.RoomPatch{Title: &title}, []accounts.Name{"bob"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	to := chat.Target{Conversation: c}
	first := said(t, m, "alice", "bob", to, chat.Content{Kind: chat.KindOp, Body: []byte(`{"x":1}`)})
	again := said(t, m, "alice", "bob", to, chat.Content{Fwd: chat.Source{Conversation: c, Seq: first.Seq}})
	if !first.Silent || again.Kind != chat.KindOp || !again.Silent {
		t.Errorf("silent: %v, forwarded %s: %v", first.Silent, again.Kind, again.Silent)
	}
}
