package sessions

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/magpie-im/magpie/accounts"
)

// ID is a name for a session that says nothing about it; it stays the same as long as account and client id do.
func (k Key) ID() string {
	sum := sha256.Sum256([]byte(string(k.Account) + "/" + k.Client))
	return "m" + base64.RawURLEncoding.EncodeToString(sum[:12])
}

// Revoked ends at once the connections of an account that were opened with these tokens (not authorized, 0x87), but for
// those that are spared. It waits for nothing.
func (r *Registry) Revoked(account accounts.Name, tokens []accounts.Digest) {
	for _, l := range r.linksOf(account) {
		if l.token != (accounts.Digest{}) && slices.Contains(tokens, l.token) {
			l.dismiss(reasonNotAuthorized)
		}
	}
}

// Spare keeps the connection of a session until end is called, whatever becomes of its account and tokens: its client has
// asked for something that may end it, and gets an answer first. end is called soon, in any case, and once.
func (r *Registry) Spare(k Key) (end func()) {
	l, err := r.current(k)
	if l == nil || err != nil {
		return func() {}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spared++
	return sync.OnceFunc(func() {
		l.mu.Lock()
		l.spared--
		reason := l.dismissed
		if l.spared > 0 {
			reason = 0
		}
		l.mu.Unlock()
		if reason != 0 {
			l.disconnect(reason)
		}
	})
}

// dismiss ends the connection with this reason, at once or when it is not spared any more. Until then nothing more is taken
// in, and the answers wait for no client that does not read them.
func (l *Link) dismiss(reason byte) {
	l.mu.Lock()
	l.dismissed = reason
	spared := l.spared > 0
	l.notifyLocked()
	l.mu.Unlock()
	if !spared {
		l.disconnect(reason)
	}
}

// Refuse is called before Start, and End after it, if the client is not let in after all: a session that this connection has
// made ends with it, one that was there stays.
func (l *Link) Refuse() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doomed = l.doomed || !l.present
}

// Kick ends a session, connected or not, as its owner wants it: its connection at once with the reason "administrative
// action" (0x98), unless it is spared, and all that is stored of it, durably when Kick returns. It waits for no client.
// ErrNoSession: there is none.
func (r *Registry) Kick(ctx context.Context, k Key) error {
	if err := r.kick(ctx, k); err != nil {
		return fmt.Errorf("kick %s %.80q: %w", k.Account, k.Client, err)
	}
	return nil
}

func (r *Registry) kick(ctx context.Context, k Key) error {
	if done, err := r.kickLink(ctx, k); done || err != nil {
		return err
	}
	unlock, err := r.lock(ctx, k)
	if err != nil {
		return err
	}
	defer unlock()
	old, err := r.current(k)
	if err != nil {
		return err
	}
	if old != nil {
		if done, err := r.kickLink(ctx, k); done || err != nil { // it has come meanwhile
			return err
		}
		if err := r.endConnection(ctx, old, reasonAdministrative); err != nil { // it was ending already
			return err
		}
	}
	return r.dropStored(ctx, k, old)
}

// kickLink ends the session of a connection; not done: there is none that has not been ended already.
func (r *Registry) kickLink(ctx context.Context, k Key) (done bool, err error) {
	l, err := r.current(k)
	if l == nil || err != nil {
		return false, err
	}
	commit, err := l.amend(ctx, func() { l.doomed = true })
	if errors.Is(err, errEnded) {
		return false, nil
	}
	l.dismiss(reasonAdministrative)
	if err != nil {
		return false, err
	}
	return true, wait(ctx, commit)
}

// errEnded means that nothing of a link can be changed any more.
var errEnded = errors.New("the link writes its session for the last time")

// amend changes what is stored of the session, unless it is being written for the last time.
func (l *Link) amend(ctx context.Context, apply func()) (Commit, error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.unloading {
		return nil, errEnded
	}
	return l.saveLocked(ctx, apply)
}

// settleEnd lets nobody change the session from outside any more, and says whether it is doomed.
func (l *Link) settleEnd() (doomed bool) {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.unloading = true
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.doomed
}

// Leave ends every session of an account, as Kick does.
func (r *Registry) Leave(ctx context.Context, account accounts.Name) error {
	r.Disconnect(account, reasonAdministrative)
	for after := (Key{}); ; {
		page, err := r.store.Sessions(ctx, account, after, sweepPage)
		if err != nil {
			return fmt.Errorf("sessions of %s: %w", account, err)
		}
		for _, st := range page {
			after = st.Key
			if err := r.Kick(ctx, st.Key); err != nil && !errors.Is(err, ErrNoSession) {
				return err
			}
		}
		if len(page) < sweepPage {
			return nil
		}
	}
}

// Settings are what the owner of a session can say of it; nil: it stays as it is.
type Settings struct {
	Name      *string
	Invisible *bool
}

// Set changes the settings of a session, connected or not, durably when it returns if the session is stored; otherwise they
// last as long as its connection. ErrNoSession.
func (r *Registry) Set(ctx context.Context, k Key, s Settings) error {
	if err := r.set(ctx, k, s); err != nil {
		return fmt.Errorf("set %s %.80q: %w", k.Account, k.Client, err)
	}
	return nil
}

func (r *Registry) set(ctx context.Context, k Key, s Settings) error {
	if done, err := r.setLink(ctx, k, s); done || err != nil {
		return err
	}
	unlock, err := r.lock(ctx, k)
	if err != nil {
		return err
	}
	defer unlock()
	old, err := r.current(k)
	if err != nil {
		return err
	}
	if old != nil {
		if done, err := r.setLink(ctx, k, s); done || err != nil {
			return err
		}
		select {
		case <-old.ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	stored, found, err := r.find(ctx, k)
	if err != nil {
		return err
	}
	if !found {
		return ErrNoSession
	}
	s.apply(&stored.Name, &stored.Invisible)
	commit, err := r.store.Save(ctx, stored.State)
	if err != nil {
		return err
	}
	return wait(ctx, commit)
}

func (r *Registry) setLink(ctx context.Context, k Key, s Settings) (done bool, err error) {
	l, err := r.current(k)
	if l == nil || err != nil {
		return false, err
	}
	commit, err := l.amend(ctx, func() { s.apply(&l.name, &l.invisible) })
	switch {
	case errors.Is(err, errEnded):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, wait(ctx, commit)
}

func (s Settings) apply(name *string, invisible *bool) {
	if s.Name != nil {
		*name = *s.Name
	}
	if s.Invisible != nil {
		*invisible = *s.Invisible
	}
}
