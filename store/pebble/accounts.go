package pebble

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
)

// accountStore implements accounts.Store. Its changes are rare, so they take turns: each reads what it needs, writes, and
// gives the turn away before it waits for the disk.
type accountStore struct{ *Store }

func (a accountStore) change(ctx context.Context, fill func(b *pebble.Batch) error) error {
	return a.Store.change(ctx, a.accountTurn, fill)
}

// read is get, durable.
func (a accountStore) read(ctx context.Context, key []byte, what string, row any) error {
	s := a.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	found, err := s.get(key, what, row)
	if err != nil {
		return err
	}
	if err := s.seq.settled(ctx); err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("%s: %w", what, accounts.ErrUnknown)
	}
	return nil
}

func (a accountStore) CreateUser(ctx context.Context, u accounts.User) error {
	return a.change(ctx, func(b *pebble.Batch) error {
		if err := a.free(u.Name); err != nil {
			return fmt.Errorf("create user %s: %w", u.Name, err)
		}
		put(b, key1(tableUsers, u.Name), encode(userRow{
			Password: u.Password, Disabled: u.Disabled, Created: momentOf(u.Created), Role: u.Role,
			Reason: u.Reason, Until: momentOf(u.Until),
		}))
		return nil
	})
}

// free gives ErrTaken if a name belongs, or belonged, to a user or a device.
func (a accountStore) free(name accounts.Name) error {
	user, err := a.get(key1(tableUsers, name), "user", &userRow{})
	if err != nil {
		return err
	}
	device, err := a.get(key1(tableDevices, name), "device", &deviceAccountRow{})
	if err == nil && (user || device) {
		err = accounts.ErrTaken
	}
	return err
}

func (a accountStore) User(ctx context.Context, name accounts.Name) (accounts.User, error) {
	var row userRow
	if err := a.read(ctx, key1(tableUsers, name), "user", &row); err != nil {
		return accounts.User{}, err
	}
	return row.user(name), nil
}

func (a accountStore) SetPassword(ctx context.Context, name accounts.Name, old, hash string) error {
	return a.changeUser(ctx, name, func(_ *pebble.Batch, row *userRow) error {
		if old != "" && row.Password != old {
			return accounts.ErrChanged
		}
		row.Password = hash
		return nil
	})
}

func (a accountStore) SetSuspension(ctx context.Context, name accounts.Name, s accounts.Suspension) error {
	return a.changeUser(ctx, name, func(_ *pebble.Batch, row *userRow) error {
		row.Disabled, row.Reason, row.Until = s.Disabled, s.Reason, momentOf(s.Until)
		return nil
	})
}

func (a accountStore) SetRole(ctx context.Context, name accounts.Name, role accounts.Role) error {
	return a.changeUser(ctx, name, func(_ *pebble.Batch, row *userRow) error {
		row.Role = role
		return nil
	})
}

func (a accountStore) SetRecovery(ctx context.Context, name accounts.Name, r accounts.Recovery) error {
	return a.changeUser(ctx, name, func(_ *pebble.Batch, row *userRow) error {
		row.Recovery, row.RecoveryEnds = nil, moment{}
		if r != (accounts.Recovery{}) {
			row.Recovery, row.RecoveryEnds = r.Digest[:], momentOf(r.Expires)
		}
		return nil
	})
}

func (a accountStore) Recover(
	ctx context.Context, name accounts.Name, d accounts.Digest, now time.Time, hash string,
) (gone []accounts.Digest, err error) {
	err = a.changeUser(ctx, name, func(b *pebble.Batch, row *userRow) error {
		if !bytes.Equal(row.Recovery, d[:]) || !now.Before(row.RecoveryEnds.time()) {
			return accounts.ErrUnknown
		}
		row.Password, row.Recovery, row.RecoveryEnds = hash, nil, moment{}
		return a.eachToken(name, func(d accounts.Digest, row tokenRow) {
			removeToken(b, d, row)
			gone = append(gone, d)
		})
	})
	if err != nil {
		return nil, err
	}
	return gone, nil
}

func (a accountStore) DeleteUser(ctx context.Context, name accounts.Name, now time.Time) error {
	return a.changeUser(ctx, name, func(b *pebble.Batch, row *userRow) error {
		*row = userRow{Created: row.Created, Deleted: momentOf(now)}
		put(b, key1(tableLeaving, name), nil)
		return nil
	})
}

// changeUser changes the row of an account that was not deleted.
func (a accountStore) changeUser(
	ctx context.Context, name accounts.Name, change func(*pebble.Batch, *userRow) error,
) error {
	key := key1(tableUsers, name)
	return a.change(ctx, func(b *pebble.Batch) error {
		var row userRow
		found, err := a.get(key, "user", &row)
		if err == nil && (!found || row.Deleted != moment{}) {
			err = accounts.ErrUnknown
		}
		if err == nil {
			err = change(b, &row)
		}
		if err != nil {
			return fmt.Errorf("user %.80q: %w", name, err)
		}
		put(b, key, encode(row))
		return nil
	})
}

func (a accountStore) Leaving(
	ctx context.Context, after accounts.Name, limit int,
) (out []accounts.Name, err error) {
	err = a.names(ctx, tableLeaving, after, limit, func(name accounts.Name, _ []byte) error {
		out = append(out, name)
		return nil
	})
	return out, err
}

func (a accountStore) Left(ctx context.Context, name accounts.Name) error {
	return a.change(ctx, func(b *pebble.Batch) error {
		remove(b, key1(tableLeaving, name))
		return nil
	})
}

func (a accountStore) Users(
	ctx context.Context, after accounts.Name, limit int,
) (out []accounts.User, err error) {
	err = a.names(ctx, tableUsers, after, limit, func(name accounts.Name, value []byte) error {
		var row userRow
		if err := decode("user", value, &row); err != nil {
			return err
		}
		out = append(out, row.user(name))
		return nil
	})
	return out, err
}

// names visits up to limit rows of a table whose keys are names, those after after, and returns when all that is durable.
func (a accountStore) names(
	ctx context.Context, t table, after accounts.Name, limit int, visit func(accounts.Name, []byte) error,
) error {
	from := []byte{byte(t)}
	if after != "" {
		from = append(key1(t, after), 0)
	}
	return a.page(ctx, from, prefixEnd([]byte{byte(t)}), limit, func(key, value []byte) error {
		name, _, err := cutString(key[1:])
		if err != nil {
			return err
		}
		return visit(accounts.Name(name), value)
	})
}

// page visits up to limit rows between two keys, and returns when all that is durable.
func (a accountStore) page(
	ctx context.Context, from, to []byte, limit int, visit func(key, value []byte) error,
) error {
	s := a.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if limit <= 0 {
		return nil
	}
	err := s.scan(from, to, "accounts", func(key, value []byte) (bool, error) {
		limit--
		return limit > 0, visit(key, value)
	})
	if err != nil {
		return err
	}
	return s.seq.settled(ctx)
}

func (a accountStore) PutToken(ctx context.Context, t accounts.Token) error {
	return a.change(ctx, func(b *pebble.Batch) error {
		var old tokenRow
		found, err := a.get(digestKey(tableTokens, t.Digest), "token", &old)
		if err != nil {
			return err
		}
		if found {
			removeToken(b, t.Digest, old)
		}
		row := tokenRow{
			Owner: t.Owner, Label: t.Label, Created: momentOf(t.Created), Expires: momentOf(t.Expires),
		}
		put(b, digestKey(tableTokens, t.Digest), encode(row))
		put(b, ownerKey(t.Owner, t.Digest), nil)
		put(b, endKey(row.Expires, tableTokens, t.Digest), nil)
		return nil
	})
}

func removeToken(b *pebble.Batch, d accounts.Digest, row tokenRow) {
	remove(b, digestKey(tableTokens, d))
	remove(b, ownerKey(row.Owner, d))
	remove(b, endKey(row.Expires, tableTokens, d))
}

func (a accountStore) Token(ctx context.Context, d accounts.Digest) (accounts.Token, error) {
	var row tokenRow
	if err := a.read(ctx, digestKey(tableTokens, d), "token", &row); err != nil {
		return accounts.Token{}, err
	}
	return row.token(d), nil
}

func (a accountStore) Tokens(ctx context.Context, owner accounts.Name) ([]accounts.Token, error) {
	s := a.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	var out []accounts.Token
	err := a.eachToken(owner, func(d accounts.Digest, row tokenRow) { out = append(out, row.token(d)) })
	if err != nil {
		return nil, err
	}
	return out, s.seq.settled(ctx)
}

// eachToken visits the tokens of an account. One that is forgotten meanwhile may be left out.
func (a accountStore) eachToken(owner accounts.Name, visit func(accounts.Digest, tokenRow)) error {
	prefix := key1(tableOwners, owner)
	return a.scan(prefix, prefixEnd(prefix), "tokens", func(key, _ []byte) (bool, error) {
		if len(key) != len(prefix)+len(accounts.Digest{}) {
			return false, errKey
		}
		var row tokenRow
		d := accounts.Digest(key[len(prefix):])
		found, err := a.get(digestKey(tableTokens, d), "token", &row)
		if found {
			visit(d, row)
		}
		return true, err
	})
}

func (a accountStore) DeleteToken(ctx context.Context, d accounts.Digest) error {
	return a.change(ctx, func(b *pebble.Batch) error {
		var row tokenRow
		found, err := a.get(digestKey(tableTokens, d), "token", &row)
		if err != nil {
			return err
		}
		if !found {
			return errNothing
		}
		removeToken(b, d, row)
		return nil
	})
}

func (a accountStore) SetLabel(ctx context.Context, d accounts.Digest, label string) error {
	key := digestKey(tableTokens, d)
	return a.change(ctx, func(b *pebble.Batch) error {
		var row tokenRow
		found, err := a.get(key, "token", &row)
		if err == nil && !found {
			err = fmt.Errorf("label token: %w", accounts.ErrUnknown)
		}
		if err != nil {
			return err
		}
		row.Label = label
		put(b, key, encode(row))
		return nil
	})
}

func (a accountStore) DeleteTokens(
	ctx context.Context, owner accounts.Name, keep accounts.Digest,
) (gone []accounts.Digest, err error) {
	err = a.change(ctx, func(b *pebble.Batch) error {
		err := a.eachToken(owner, func(d accounts.Digest, row tokenRow) {
			if d != keep {
				removeToken(b, d, row)
				gone = append(gone, d)
			}
		})
		if err == nil && len(gone) == 0 {
			return errNothing
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return gone, nil
}

func (a accountStore) PurgeTokens(ctx context.Context, now time.Time, limit int) (int, error) {
	n := 0
	if limit <= 0 {
		return 0, nil
	}
	end := endKey(momentOf(now), 0, accounts.Digest{})
	err := a.change(ctx, func(b *pebble.Batch) error {
		err := a.scan([]byte{byte(tableEnds)}, end, "ends", func(key, _ []byte) (bool, error) {
			err := a.purge(b, key)
			n++
			return n < limit, err
		})
		if err == nil && n == 0 {
			return errNothing
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// purge removes what a row of tableEnds names: 8 bytes of seconds, 4 of nanoseconds, a table, a digest.
func (a accountStore) purge(b *pebble.Batch, key []byte) error {
	const at = 1 + 8 + 4
	if len(key) != at+1+len(accounts.Digest{}) {
		return errKey
	}
	remove(b, append([]byte(nil), key...))
	t, d := table(key[at]), accounts.Digest(key[at+1:])
	if t == tableInvitations {
		remove(b, digestKey(t, d))
		return nil
	}
	var row tokenRow
	found, err := a.get(digestKey(t, d), "token", &row)
	if found {
		removeToken(b, d, row)
	}
	return err
}

func (a accountStore) PutInvitation(ctx context.Context, i accounts.Invitation) error {
	key := digestKey(tableInvitations, i.Digest)
	return a.change(ctx, func(b *pebble.Batch) error {
		var old invitationRow
		found, err := a.get(key, "invitation", &old)
		if err != nil {
			return err
		}
		if found {
			remove(b, endKey(old.Expires, tableInvitations, i.Digest))
		}
		row := invitationRow{
			Uses: i.Uses, Expires: momentOf(i.Expires), Made: i.Made, Label: i.Label, By: i.By, Created: momentOf(i.Created),
		}
		put(b, key, encode(row))
		put(b, endKey(row.Expires, tableInvitations, i.Digest), nil)
		return nil
	})
}

func (a accountStore) Invitation(ctx context.Context, d accounts.Digest) (accounts.Invitation, error) {
	var row invitationRow
	if err := a.read(ctx, digestKey(tableInvitations, d), "invitation", &row); err != nil {
		return accounts.Invitation{}, err
	}
	return row.invitation(d), nil
}

func (a accountStore) Invitations(
	ctx context.Context, after accounts.Digest, limit int,
) (out []accounts.Invitation, err error) {
	from, to := append(digestKey(tableInvitations, after), 0), prefixEnd([]byte{byte(tableInvitations)})
	if after == (accounts.Digest{}) {
		from = digestKey(tableInvitations, after)
	}
	err = a.page(ctx, from, to, limit, func(key, value []byte) error {
		var row invitationRow
		if len(key) != 1+len(after) {
			return errKey
		}
		if err := decode("invitation", value, &row); err != nil {
			return err
		}
		out = append(out, row.invitation(accounts.Digest(key[1:])))
		return nil
	})
	return out, err
}

func (a accountStore) DeleteInvitation(ctx context.Context, d accounts.Digest) error {
	key := digestKey(tableInvitations, d)
	return a.change(ctx, func(b *pebble.Batch) error {
		var row invitationRow
		found, err := a.get(key, "invitation", &row)
		if err == nil && !found {
			err = fmt.Errorf("delete invitation: %w", accounts.ErrUnknown)
		}
		if err != nil {
			return err
		}
		remove(b, key)
		remove(b, endKey(row.Expires, tableInvitations, d))
		return nil
	})
}

func (a accountStore) TakeInvitation(ctx context.Context, d accounts.Digest, now time.Time) error {
	key := digestKey(tableInvitations, d)
	return a.change(ctx, func(b *pebble.Batch) error {
		var row invitationRow
		found, err := a.get(key, "invitation", &row)
		if err != nil {
			return err
		}
		if !found || row.Uses < 1 || !now.Before(row.Expires.time()) {
			return accounts.ErrInvitation
		}
		row.Uses--
		put(b, key, encode(row))
		return nil
	})
}
