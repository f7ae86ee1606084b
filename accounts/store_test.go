package accounts

import (
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
	tokens      map[Digest]Token
	invitations map[Digest]Invitation
	onPut       func() // called by PutToken when the token is stored, without the lock
}

func newMemory() *memory {
	return &memory{
		users:       make(map[Name]User),
		tokens:      make(map[Digest]Token),
		invitations: make(map[Digest]Invitation),
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

func (m *memory) change(name Name, f func(*User)) error {
	return m.with(func() error {
		u, ok := m.users[name]
		if !ok {
			return ErrUnknown
		}
		f(&u)
		m.users[name] = u
		return nil
	})
}

func (m *memory) CreateUser(_ context.Context, u User) error {
	return m.with(func() error {
		if _, ok := m.users[u.Name]; ok {
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

func (m *memory) SetPassword(_ context.Context, name Name, hash string) error {
	return m.change(name, func(u *User) { u.Password = hash })
}

func (m *memory) SetDisabled(_ context.Context, name Name, disabled bool) error {
	return m.change(name, func(u *User) { u.Disabled = disabled })
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

func (m *memory) DeleteTokens(_ context.Context, owner Name) (n int, err error) {
	return n, m.with(func() error {
		n = len(m.tokens)
		maps.DeleteFunc(m.tokens, func(_ Digest, t Token) bool { return t.Owner == owner })
		n -= len(m.tokens)
		return nil
	})
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
