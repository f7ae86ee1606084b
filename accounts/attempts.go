package accounts

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// maxAddresses is how many addresses an account is known to log in from; the one not used for longest goes first.
	maxAddresses = 8
	// maxSlowed is how many attempts may wait at once because their account is under attack.
	maxSlowed = 1024
	// slowedWeight is what a failure counts for its address on an account under attack.
	slowedWeight = 5
)

// attempts decides who may try a password; the package comment has the scheme. Everything is in memory, and bounded:
// after a restart nobody is known and nobody has failed. Safe for concurrent use.
type attempts struct {
	perAddress float64 // failures a minute; 0: no limit
	perAccount float64 // failures an hour; 0: no limit
	slowDown   time.Duration
	now        func() time.Time

	mu        sync.Mutex // guards all below
	addresses *simplelru.LRU[netip.Addr, *bucket]
	accounts  *simplelru.LRU[Name, *bucket] // failures of strangers, also at names that nobody has
	known     *simplelru.LRU[Name, *acquaintances]
	slowed    map[netip.Addr]struct{} // who waits now
}

// acquaintances are the addresses that an account logged in from, the last one first.
type acquaintances struct {
	addresses []acquaintance
}

type acquaintance struct {
	addr   netip.Addr
	failed bucket
}

func newAttempts(c Config, now func() time.Time) *attempts {
	return &attempts{
		perAddress: float64(c.FailedPerMinute),
		perAccount: float64(c.FailedPerAccount),
		slowDown:   c.SlowDown,
		now:        now,
		addresses:  newLRU[netip.Addr, *bucket](c.Remembered),
		accounts:   newLRU[Name, *bucket](c.Remembered),
		known:      newLRU[Name, *acquaintances](c.Remembered),
		slowed:     make(map[netip.Addr]struct{}),
	}
}

func newLRU[K comparable, V any](size int) *simplelru.LRU[K, V] {
	l, err := simplelru.NewLRU[K, V](size, nil)
	if err != nil {
		panic(err) // a size below 1, which Config.Validate refuses
	}
	return l
}

// attempt is one try at a password that was let through.
type attempt struct {
	name   Name // empty: a name that no account can have
	addr   netip.Addr
	weight float64
}

// admit lets an attempt through, perhaps after a while, or fails with ErrThrottled or the error of ctx.
func (a *attempts) admit(ctx context.Context, name Name, addr netip.Addr) (attempt, error) {
	t := attempt{name: name, addr: network(addr), weight: 1}
	slow, err := a.enter(t)
	if err != nil || !slow {
		return t, err
	}
	defer a.leave(t)
	t.weight = slowedWeight
	timer := time.NewTimer(a.slowDown)
	defer timer.Stop()
	select {
	case <-timer.C:
		return t, nil
	case <-ctx.Done():
		return attempt{}, ctx.Err()
	}
}

func (a *attempts) enter(t attempt) (slow bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if b := a.ofAddressLocked(t); b != nil && a.perAddress > 0 {
		b.drain(now, a.perAddress/60)
		if b.level+1 > a.perAddress {
			missing := (b.level + 1 - a.perAddress) / a.perAddress * float64(time.Minute)
			return false, &ThrottledError{RetryAfter: max(time.Duration(missing), time.Second)}
		}
	}
	if t.name == "" || a.perAccount == 0 || a.slowDown == 0 || a.acquaintanceLocked(t) != nil {
		return false, nil
	}
	b, ok := a.accounts.Get(t.name)
	if !ok {
		return false, nil
	}
	b.drain(now, a.perAccount/3600)
	if b.level+1 <= a.perAccount {
		return false, nil
	}
	if _, waits := a.slowed[t.addr]; waits || len(a.slowed) >= maxSlowed {
		return false, &ThrottledError{RetryAfter: max(a.slowDown, time.Second)}
	}
	a.slowed[t.addr] = struct{}{}
	return true, nil
}

func (a *attempts) leave(t attempt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.slowed, t.addr)
}

// failed counts an attempt whose password was wrong. Attempts that are under way together are counted as they fail:
// they may go over the limit, and the next ones wait until that is paid off.
func (a *attempts) failed(t attempt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if known := a.acquaintanceLocked(t); known != nil {
		known.failed.add(now, a.perAddress/60, 1)
		return
	}
	b := a.ofAddressLocked(t)
	if b == nil {
		b = new(bucket)
		a.addresses.Add(t.addr, b)
	}
	b.add(now, a.perAddress/60, t.weight)
	if t.name == "" {
		return
	}
	b, ok := a.accounts.Get(t.name)
	if !ok {
		b = new(bucket)
		a.accounts.Add(t.name, b)
	}
	b.add(now, a.perAccount/3600, 1)
	b.level = min(b.level, 2*a.perAccount) // quiet an hour after an attack, however long it was
}

// succeeded makes addr known to the account.
func (a *attempts) succeeded(name Name, addr netip.Addr) {
	addr = network(addr)
	a.mu.Lock()
	defer a.mu.Unlock()
	k, ok := a.known.Get(name)
	if !ok {
		k = &acquaintances{}
		a.known.Add(name, k)
	}
	found := acquaintance{addr: addr}
	for i, q := range k.addresses {
		if q.addr == addr {
			found = q
			k.addresses = append(k.addresses[:i], k.addresses[i+1:]...)
			break
		}
	}
	k.addresses = append(k.addresses, acquaintance{})
	copy(k.addresses[1:], k.addresses)
	k.addresses[0] = found
	if len(k.addresses) > maxAddresses {
		k.addresses = k.addresses[:maxAddresses]
	}
}

// knows says whether addr has logged in to the account before.
func (a *attempts) knows(name Name, addr netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.acquaintanceLocked(attempt{name: name, addr: network(addr)}) != nil
}

// ofAddressLocked gives what counts the failures of t's address: the account's own count if it knows the address.
func (a *attempts) ofAddressLocked(t attempt) *bucket {
	if known := a.acquaintanceLocked(t); known != nil {
		return &known.failed
	}
	b, _ := a.addresses.Get(t.addr)
	return b
}

func (a *attempts) acquaintanceLocked(t attempt) *acquaintance {
	k, ok := a.known.Get(t.name)
	if !ok {
		return nil
	}
	for i := range k.addresses {
		if k.addresses[i].addr == t.addr {
			return &k.addresses[i]
		}
	}
	return nil
}

// network gives what counts as one address: an IPv4 address, or the /64 of an IPv6 address, which is what one
// subscriber has for himself.
func network(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if !addr.Is6() {
		return addr
	}
	p, err := addr.Prefix(64)
	if err != nil {
		return addr
	}
	return p.Addr()
}

// bucket is what has been poured in and not yet drained away. The zero value is empty.
type bucket struct {
	level float64
	at    time.Time
}

func (b *bucket) drain(now time.Time, perSecond float64) {
	if since := now.Sub(b.at).Seconds(); since > 0 {
		b.level = max(0, b.level-since*perSecond)
		b.at = now
	}
}

func (b *bucket) add(now time.Time, perSecond, n float64) {
	b.drain(now, perSecond)
	b.level += n
}
