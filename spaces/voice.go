package spaces

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
)

// Voice joins the conversation of a home with its things: what happens to them is said there, and what people say to them there
// they are told. It is the devices.Journal, a devices.Watcher and a chat.Listener of an installation.
//
// Whatever it writes into a conversation has a mid that is made of what it is about, so that it is there once, however often it
// is written; and what is not written yet is known from records after a crash.
type Voice struct {
	devices.Deaf // to what is no step and no change of a shadow

	homes  *Homes
	chat   *chat.Service
	things *devices.Things
	fleet  *devices.Service
	kept   *diary
	now    func() time.Time
	log    *slog.Logger
	told   func(did accounts.Name, mid string) // nil: nobody wants to know

	noted *lru.Cache[accounts.Name, notedRow] // of things to which something has happened; used by who has the thing to himself

	heard *jobs[string]        // homes in which something was written
	moved *jobs[accounts.Name] // things of which what was answered may have become another

	mu      sync.Mutex // guards what follows
	ears    map[string]*ear
	answers map[accounts.Name][]*answer
}

// knownNoted is of how many things it is known without asking the store how far their events are noted.
const knownNoted = 10_000

// NewVoice joins them. It is called once, before any of them is used.
func NewVoice(homes *Homes, fleet *devices.Service, kept records.Store, now func() time.Time, log *slog.Logger) *Voice {
	noted, err := lru.New[accounts.Name, notedRow](knownNoted)
	if err != nil {
		panic(err) // of a size that is none
	}
	v := &Voice{
		homes: homes, chat: homes.chat, things: homes.things, fleet: fleet, kept: newDiary(kept), now: now, log: log,
		noted: noted,
		heard: newJobs[string](), moved: newJobs[accounts.Name](),
		ears: map[string]*ear{}, answers: map[accounts.Name][]*answer{},
	}
	homes.OnEnd(v.forgetEar, v.keptEars)
	fleet.SetJournal(v)
	fleet.Watch(v)
	v.chat.Listen(v)
	return v
}

// OnTold has f called before a thing is told something by a line, with the mid of that. It is called once, before Run.
func (v *Voice) OnTold(f func(did accounts.Name, mid string)) { v.told = f }

// Load takes up what was open when the process ended. It is called once, before anybody arrives.
func (v *Voice) Load(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	err := all(ctx, v.kept, keptEar, func(r records.Record, row earRow) {
		v.ears[r.Scope] = &ear{seq: row.Seq, saved: row.Seq, rev: r.Rev}
		v.heard.add(r.Scope)
	})
	if err == nil {
		err = all(ctx, v.kept, keptAnswer, func(r records.Record, row answerRow) {
			did := accounts.Name(r.Scope)
			v.answers[did] = append(v.answers[did], &answer{answerRow: row, device: did, rev: r.Rev})
			v.moved.add(did)
		})
	}
	if err != nil {
		return fmt.Errorf("take up what is said in homes: %w", err)
	}
	return nil
}

const (
	// voiceWorkers is how many homes are listened to, and how many things are looked at, at once.
	voiceWorkers = 4
	// voiceTick is how often it is looked whether something's time has come. The store is asked only if it has.
	voiceTick = time.Second
)

// Run does all that until ctx ends; it returns nil then. It is called once, after Load.
func (v *Voice) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { v.heard.run(ctx, voiceWorkers, v.log, v.listen) })
	running.Go(func() { v.moved.run(ctx, voiceWorkers, v.log, v.look) })
	running.Go(func() { v.catchUp(ctx) })
	for pause(ctx, voiceTick) {
		v.ring(ctx)
	}
	return nil
}

// catchUp finishes what was not finished of what has happened to things, and what is to be forgotten of them, and of homes.
func (v *Voice) catchUp(ctx context.Context) {
	v.homes.Sweep(ctx)
	for t, err := range v.things.Every(ctx) {
		if err == nil && !t.Gone && (len(t.Grants) > 0 || t.Home != "") {
			v.fleet.WatchGrants(t.ID)
		}
		for err == nil {
			if err = v.catchUpWith(ctx, t); err == nil || ctx.Err() != nil {
				break
			}
			v.log.Warn("events of a device not finished, and will be", "device", t.ID, "err", err)
			err = nil
			pause(ctx, jobRetry)
		}
		if err != nil && ctx.Err() == nil {
			v.log.Warn("things not looked at", "err", err)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// catchUpWith is catchUp for one of them. To one of which nothing was noted nothing has happened in its home.
func (v *Voice) catchUpWith(ctx context.Context, t devices.Thing) error {
	if !t.Stale {
		if t.Gone || t.Home == "" {
			return nil
		}
		if _, rev, err := read[notedRow](ctx, v.kept, notedKey(t.ID)); err != nil || rev == 0 {
			return err
		}
	}
	return v.fleet.CatchUp(ctx, t.ID)
}

// ring does what has its time.
func (v *Voice) ring(ctx context.Context) {
	for kind, do := range map[string]func(context.Context, records.Record) error{
		keptNoted: v.summarise, keptAlarm: v.escalate, keptAnswer: v.overdue,
	} {
		due, err := v.kept.due(ctx, kind, v.now().UnixMilli())
		for _, r := range due {
			if err := do(ctx, r); err != nil && ctx.Err() == nil {
				v.log.Warn("not done in time, and will be", "what", kind, "scope", r.Scope, "err", err)
				v.kept.note(kind, r.Due)
			}
		}
		if err != nil && ctx.Err() == nil {
			v.log.Warn("not known what is due", "what", kind, "err", err)
		}
	}
}

// pause waits, and says whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return ctx.Err() == nil
	}
}

// midOf is the same for what is the same.
func midOf(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return "~" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:20]))
}

// called is what people call a thing.
func called(t devices.Thing) string {
	if t.Title != "" {
		return t.Title
	}
	return string(t.ID)
}
