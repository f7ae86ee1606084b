package automations

import (
	"sync"
	"sync/atomic"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
)

const (
	maxFollows = 1000 // scenes that may run at once
	maxOfHome  = 50   // of those, so that no home takes the others' place
)

// follows are the scenes that run here, by what they wait to hear of. The zero value has none. Safe for concurrent use.
type follows struct {
	mu       sync.Mutex // guards what follows
	active   map[records.Key]bool
	homes    map[string]int // how many of those are a home's
	byCID    map[string]*ears
	byDevice map[accounts.Name]map[*ears]bool
}

// ears is where a scene that runs hears what devices say.
type ears struct {
	news   chan news
	missed atomic.Bool // there was no room for something: who follows asks
}

// news is that a command has come to a state, or that a device's shadow has changed.
type news struct {
	command devices.Command // its zero value: of a shadow
	device  accounts.Name
	shadow  devices.Shadow
}

func newEars() *ears { return &ears{news: make(chan news, 2*maxSceneSteps)} }

func (e *ears) tell(n news) {
	select {
	case e.news <- n:
	default:
		e.missed.Store(true)
	}
}

// enter has a scene run: ErrTooMany, or runs if it does already. One that ran when the process ended goes on, however many do.
func (f *follows) enter(k records.Key, again bool) (runs bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.active[k]:
		return true, nil
	case !again && (len(f.active) >= maxFollows || f.homes[k.Scope] >= maxOfHome):
		return false, ErrTooMany
	case f.active == nil:
		f.homes = map[string]int{}
		f.active, f.byCID, f.byDevice = map[records.Key]bool{}, map[string]*ears{}, map[accounts.Name]map[*ears]bool{}
	}
	f.active[k] = true
	f.homes[k.Scope]++
	return false, nil
}

// leave is the end of that.
func (f *follows) leave(k records.Key, e *ears, results []SceneResult) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.active, k)
	if f.homes[k.Scope]--; f.homes[k.Scope] == 0 {
		delete(f.homes, k.Scope)
	}
	for _, r := range results {
		if f.byCID[r.CID] == e {
			delete(f.byCID, r.CID)
		}
		delete(f.byDevice[r.Device], e)
		if len(f.byDevice[r.Device]) == 0 {
			delete(f.byDevice, r.Device)
		}
	}
}

// hear has a scene that runs hear of a command.
func (f *follows) hear(cid string, e *ears) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.byCID[cid] = e
}

// watch has it hear of a device's shadow.
func (f *follows) watch(did accounts.Name, e *ears) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byDevice[did] == nil {
		f.byDevice[did] = map[*ears]bool{}
	}
	f.byDevice[did][e] = true
}

func (f *follows) shadowChanged(did accounts.Name, shadow devices.Shadow) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for e := range f.byDevice[did] {
		e.tell(news{device: did, shadow: shadow})
	}
}

// Stepped is that of devices.Watcher.
func (s *Service) Stepped(c devices.Command) {
	s.follows.mu.Lock()
	e := s.follows.byCID[c.ID]
	s.follows.mu.Unlock()
	if e != nil {
		e.tell(news{command: c})
	}
}
