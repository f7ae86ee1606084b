package chat

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/magpie-im/magpie/accounts"
)

// maxQuotas is how many accounts a quota remembers. Beyond it the one that did nothing for longest is forgotten, which
// gives it all that it may do.
const maxQuotas = 1 << 16

// quota lets each account do something so many times in a while, all at once or spread out. It is in memory, and full again
// after a start. Safe for concurrent use.
type quota struct {
	most int // 0: any number
	per  time.Duration
	now  func() time.Time

	mu   sync.Mutex // guards used
	used *simplelru.LRU[accounts.Name, usage]
}

// usage is how much of a quota was used at some time; it becomes less as time goes on.
type usage struct {
	level float64
	at    time.Time
}

func newQuota(most int, per time.Duration, now func() time.Time) *quota {
	used, err := simplelru.NewLRU[accounts.Name, usage](maxQuotas, nil)
	if err != nil {
		panic(err) // maxQuotas is more than 0
	}
	return &quota{most: most, per: per, now: now, used: used}
}

// take counts one time, or fails with a QuotaError.
func (q *quota) take(who accounts.Name) error {
	if q.most == 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	u, _ := q.used.Get(who)
	now := q.now()
	each := q.per / time.Duration(q.most)
	if passed := now.Sub(u.at); passed > 0 {
		u.level = max(0, u.level-float64(passed)/float64(each))
	}
	u.at = now
	if u.level+1 > float64(q.most) {
		q.used.Add(who, u)
		missing := time.Duration((u.level + 1 - float64(q.most)) * float64(each))
		return &QuotaError{RetryAfter: max(missing, time.Millisecond)}
	}
	u.level++
	q.used.Add(who, u)
	return nil
}
