package chat

import (
	"crypto/rand"
	"fmt"
	"hash/maphash"
	mathrand "math/rand/v2"
	"sync"

	"github.com/magpie-im/magpie/accounts"
)

// decoys are accounts that are looked at besides those that somebody asks for, so that the time does not tell whether there
// is an account: reading one that is there takes some microseconds longer than finding that there is none. Whoever is
// asked for, one of each is read. Safe for concurrent use.
type decoys struct {
	seed maphash.Seed

	mu   sync.Mutex                // guards all below
	real [manyDecoys]accounts.Name // some that were there when they were asked for
	n    int
}

// manyDecoys is enough that one is no more likely to be in the processor's caches than anybody else is.
const manyDecoys = 256

// pick gives whom to look at besides somebody of that status: nobody, or one who was there, and who if there was none yet.
func (d *decoys) pick(who accounts.Name, status accounts.Status) accounts.Name {
	if status != accounts.Absent {
		return absent()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.n == 0 {
		return who
	}
	return d.real[mathrand.IntN(d.n)]
}

// met remembers somebody who was asked for and is there.
func (d *decoys) met(who accounts.Name) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.n < manyDecoys {
		d.real[d.n] = who
		d.n++
		return
	}
	d.real[mathrand.IntN(manyDecoys)] = who
}

// absent is a name that no account can have.
func absent() accounts.Name { return accounts.Name("-" + rand.Text()[:8]) }

// owner gives who stands for the owner of a handle that nobody has: always the same one, so that it is as well known to the
// caches as an owner is. Nobody knows the name, so that no account has it.
func (d *decoys) owner(h Handle) accounts.Name {
	return accounts.Name(fmt.Sprintf("%016x", maphash.Comparable(d.seed, h)))
}
