package chat_test

import (
	"context"
	"errors"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// departed is a directory in which alice's account was deleted.
type departed struct{ directory }

func (d departed) Status(ctx context.Context, name accounts.Name) (accounts.Status, error) {
	if name == "alice" {
		return accounts.Deleted, nil
	}
	return d.directory.Status(ctx, name)
}

func TestWhatADeletedAccountStillDoesLeavesNothing(t *testing.T) {
	m := start(t)
	m.befriend(t, "bob", "carol")
	m.hear(t, "carol")
	m.hear(t, "alice")
	m.send(t, "carol", "alice", "are you there?") // not answered
	m.Service = chat.New(quick(), m.store, departed{m.users}, m.woken, discard)
	if err := m.Leave(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	// These had begun before the account was deleted.
	if _, _, err := m.Send(t.Context(), "alice", chat.Target{User: "carol"}, content(t, "yes"), nil); !errors.Is(err, chat.ErrGone) {
		t.Errorf("answer to a stranger: %v", err)
	}
	if _, _, err := m.RequestContact(t.Context(), "alice", "carol", "hi", nil); !errors.Is(err, chat.ErrGone) {
		t.Errorf("request: %v", err)
	}
	if _, _, err := m.AcceptContact(t.Context(), "carol", "alice", nil); !errors.Is(err, chat.ErrNoRequest) {
		t.Errorf("carol accepts the request of a deleted account: %v", err)
	}
	_, _, err := m.SetProfile(t.Context(), "alice", func(p *chat.Profile) error {
		p.Phone.Value = "+441865123456"
		return nil
	}, nil)
	if !errors.Is(err, chat.ErrGone) {
		t.Errorf("profile: %v", err)
	}
	_, _, err = m.SetSettings(t.Context(), "alice", func(s *chat.Settings) error {
		s.Find.Listed = true
		return nil
	}, nil)
	if !errors.Is(err, chat.ErrGone) {
		t.Errorf("settings: %v", err)
	}
	p, err := m.store.Person(t.Context(), "alice")
	if err != nil || p.Profile.Phone.Value != "" || p.Settings.Find.Listed {
		t.Errorf("left of alice: %+v, %v", p, err)
	}
}
