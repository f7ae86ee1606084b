package accounts

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// memory is a Store that keeps what it is given. reads counts what logins cost.
type memory struct {
	reads atomic.Int64
	fail  atomic.Bool // every method fails with ErrUnavailable

	mu          sync.Mutex
	users       map[Name]User
	devices     map[Name]Device
	tokens      map[Digest]Token
	invitations map[Digest]Invitation
	recoveries  map[Name]Recovery
	leaving     map[Name]bool
	acts        map[string]Act
	onDelete    func() error // called by DeleteTokens before anything else, and what it fails with
	onPut       func()       // called by PutToken when the token is stored, without the lock
}

func newMemory() *memory {
	return &memory{
		users:       make(map[Name]User),
		devices:     make(map[Name]Device),
		tokens:      make(map[Digest]Token),
		invitations: make(map[Digest]Invitation),
		recoveries:  make(map[Name]Recovery),
		leaving:     make(map[Name]bool),
		acts:        make(map[string]Act),
	}
}

func (m *memory) with(f func() error) error {
	if m.fail.Load() {
		return ErrUnavailable
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return f()
}

func (m *memory) change(name Name, f func(*User) error) error {
	return m.with(func() error {
		u, ok := m.users[name]
		if !ok || !u.Deleted.IsZero() {
			return ErrUnknown
		}
		if err := f(&u); err != nil {
			return err
		}
		m.users[name] = u
		return nil
	})
}

func (m *memory) CreateUser(_ context.Context, u User) error {
	return m.with(func() error {
		if m.takenLocked(u.Name) {
			return ErrTaken
		}
		m.users[u.Name] = u
		return nil
	})
}

func (m *memory) User(_ context.Context, name Name) (u User, err error) {
	m.reads.Add(1)
	return u, m.with(func() error {
		var ok bool
		if u, ok = m.users[name]; !ok {
			return ErrUnknown
		}
		return nil
	})
}

func (m *memory) SetPassword(_ context.Context, name Name, old, hash string) error {
	return m.change(name, func(u *User) error {
		if old != "" && u.Password != old {
			return ErrChanged
		}
		u.Password = hash
		return nil
	})
}

func (m *memory) SetSuspension(_ context.Context, name Name, s Suspension) error {
	return m.change(name, func(u *User) error { u.Suspension = s; return nil })
}

func (m *memory) SetRole(_ context.Context, name Name, role Role) error {
	return m.change(name, func(u *User) error { u.Role = role; return nil })
}

func (m *memory) SetRecovery(_ context.Context, name Name, r Recovery) error {
	return m.change(name, func(*User) error { m.recoveries[name] = r; return nil })
}

func (m *memory) Recover(_ context.Context, name Name, d Digest, now time.Time, hash string) (gone []Digest, err error) {
	err = m.change(name, func(u *User) error {
		r, ok := m.recoveries[name]
		if !ok || r.Digest != d || !now.Before(r.Expires) {
			return ErrUnknown
		}
		delete(m.recoveries, name)
		u.Password = hash
		gone = m.deleteTokensLocked(name, Digest{})
		return nil
	})
	return gone, err
}

func (m *memory) DeleteUser(_ context.Context, name Name, now time.Time) error {
	return m.change(name, func(u *User) error {
		*u = User{Name: name, Created: u.Created, Deleted: now}
		m.leaving[name] = true
		return nil
	})
}

func (m *memory) Leaving(_ context.Context, after Name, limit int) (names []Name, err error) {
	return names, m.with(func() error {
		for _, name := range slices.Sorted(maps.Keys(m.leaving)) {
			if name > after && len(names) < limit {
				names = append(names, name)
			}
		}
		return nil
	})
}

func (m *memory) Left(_ context.Context, name Name) error {
	return m.with(func() error { delete(m.leaving, name); return nil })
}

func (m *memory) SetLabel(_ context.Context, d Digest, label string) error {
	return m.with(func() error {
		t, ok := m.tokens[d]
		if !ok {
			return ErrUnknown
		}
		t.Label = label
		m.tokens[d] = t
		return nil
	})
}

func (m *memory) Invitations(_ context.Context, after Digest, limit int) (list []Invitation, err error) {
	return list, m.with(func() error {
		for _, i := range m.invitations {
			if bytes.Compare(i.Digest[:], after[:]) > 0 {
				list = append(list, i)
			}
		}
		slices.SortFunc(list, func(a, b Invitation) int { return bytes.Compare(a.Digest[:], b.Digest[:]) })
		list = list[:min(limit, len(list))]
		return nil
	})
}

func (m *memory) DeleteInvitation(_ context.Context, d Digest) error {
	return m.with(func() error {
		if _, ok := m.invitations[d]; !ok {
			return ErrUnknown
		}
		delete(m.invitations, d)
		return nil
	})
}

func (m *memory) PutAct(_ context.Context, a Act) error {
	return m.with(func() error { m.acts[a.ID] = a; return nil })
}

func (m *memory) Acts(_ context.Context, before string, limit int) (acts []Act, err error) {
	return acts, m.with(func() error {
		for _, id := range slices.Backward(slices.Sorted(maps.Keys(m.acts))) {
			if (before == "" || id < before) && len(acts) < limit {
				acts = append(acts, m.acts[id])
			}
		}
		return nil
	})
}

func (m *memory) PurgeActs(_ context.Context, before string, limit int) (n int, err error) {
	return n, m.with(func() error {
		for id := range m.acts {
			if id < before && n < limit {
				delete(m.acts, id)
				n++
			}
		}
		return nil
	})
}

func (m *memory) Users(_ context.Context, after Name, limit int) (users []User, err error) {
	return users, m.with(func() error {
		for _, name := range slices.Sorted(maps.Keys(m.users)) {
			if name > after && len(users) < limit {
				users = append(users, m.users[name])
			}
		}
		return nil
	})
}

func (m *memory) PutToken(_ context.Context, t Token) error {
	err := m.with(func() error {
		m.tokens[t.Digest] = t
		return nil
	})
	if m.onPut != nil {
		m.onPut()
	}
	return err
}

func (m *memory) Token(_ context.Context, d Digest) (t Token, err error) {
	m.reads.Add(1)
	return t, m.with(func() error {
		var ok bool
		if t, ok = m.tokens[d]; !ok {
			return ErrUnknown
		}
		return nil
	})
}

func (m *memory) Tokens(_ context.Context, owner Name) (tokens []Token, err error) {
	return tokens, m.with(func() error {
		for _, t := range m.tokens {
			if t.Owner == owner {
				tokens = append(tokens, t)
			}
		}
		return nil
	})
}

func (m *memory) DeleteToken(_ context.Context, d Digest) error {
	return m.with(func() error {
		delete(m.tokens, d)
		return nil
	})
}

func (m *memory) DeleteTokens(_ context.Context, owner Name, keep Digest) (gone []Digest, err error) {
	if m.onDelete != nil {
		if err := m.onDelete(); err != nil {
			return nil, err
		}
	}
	err = m.with(func() error { gone = m.deleteTokensLocked(owner, keep); return nil })
	return gone, err
}

func (m *memory) deleteTokensLocked(owner Name, keep Digest) (gone []Digest) {
	for d, t := range m.tokens {
		if t.Owner == owner && d != keep {
			delete(m.tokens, d)
			gone = append(gone, d)
		}
	}
	return gone
}

func (m *memory) PurgeTokens(_ context.Context, now time.Time, limit int) (n int, err error) {
	return n, m.with(func() error {
		for d, t := range m.tokens {
			if n < limit && t.Expires.Before(now) {
				delete(m.tokens, d)
				n++
			}
		}
		for d, i := range m.invitations {
			if n < limit && i.Expires.Before(now) {
				delete(m.invitations, d)
				n++
			}
		}
		return nil
	})
}

func (m *memory) PutInvitation(_ context.Context, i Invitation) error {
	return m.with(func() error {
		m.invitations[i.Digest] = i
		return nil
	})
}

func (m *memory) Invitation(_ context.Context, d Digest) (i Invitation, err error) {
	return i, m.with(func() error {
		var ok bool
		if i, ok = m.invitations[d]; !ok {
			return ErrUnknown
		}
		return nil
	})
}

func (m *memory) TakeInvitation(_ context.Context, d Digest, now time.Time) error {
	return m.with(func() error {
		i, ok := m.invitations[d]
		if !ok || i.Uses < 1 || !now.Before(i.Expires) {
			return ErrInvitation
		}
		i.Uses--
		m.invitations[d] = i
		return nil
	})
}
