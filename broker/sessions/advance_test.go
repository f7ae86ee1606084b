package sessions

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// slowSources let a test hold up one call of Acked.
type slowSources struct {
	log  *fakeLog
	held chan chan struct{} // takes the channel that lets the next call go on
}

func (s *slowSources) Open(k Key, o Options) Source { return &slowSource{s.log.Open(k, o), s.held} }

type slowSource struct {
	Source
	held chan chan struct{}
}

func (s *slowSource) Acked(ctx context.Context, pos uint64) error {
	goOn := make(chan struct{})
	select {
	case s.held <- goOn:
		<-goOn
	default:
	}
	return s.Source.Acked(ctx, pos)
}

// An Advance that was on its way while a SUBSCRIBE saved the session with a later cursor, and without the flights before
// it, would take the cursor back to messages that look as if they had never been sent.
func TestAnAdvanceDoesNotGoBackBehindASave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages = 10
		store, log := newFakeStore(emptyDisk()), &fakeLog{}
		sources := &slowSources{log: log, held: make(chan chan struct{})}
		x := open(t, New(DefaultConfig(), store, sources, quiet()), persistent("phone", 5))
		seen := map[string]int{}
		var completed []uint16 // ids whose PUBREL has come
		settle := func() {
			for range messages {
				time.Sleep(2 * syncTime)
				synctest.Wait()
				for _, p := range x.w.take() {
					switch {
					case p.kind == "publish":
						seen[string(p.publish.Payload)]++
						x.send(func(l *Link) { l.Pubrec(p.publish.ID, 0) })
					case p.kind == "ack" && p.ack.Kind == Pubrel:
						completed = append(completed, p.ack.ID)
					}
				}
			}
		}
		x.subscribe(1, Subscription{Filter: streamTopic, QoS: 2})
		settle()
		var goOn chan struct{}
		go func() { goOn = <-sources.held }()
		log.head.Store(messages)
		x.link.registry.Wake("alice")
		settle()
		if len(completed) != messages {
			t.Fatalf("%d messages released, want %d", len(completed), messages)
		}
		for _, id := range completed { // the first one starts an Advance, which hangs in Acked
			x.send(func(l *Link) { l.Pubcomp(id) })
			settle()
		}
		if goOn == nil {
			t.Fatal("no Advance is on its way")
		}
		x.subscribe(2, Subscription{Filter: "im/u/alice/eph"})
		settle()
		close(goOn)
		settle()

		disk := store.crash(func(n int) int { return n })
		x.close()
		x = open(t, newRegistry(newFakeStore(disk), log), persistent("phone", 5))
		settle()
		x.close()
		for content, n := range seen {
			if n != 1 {
				t.Errorf("message %s of QoS 2 came %d times", content, n)
			}
		}
	})
}
