package sessions

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheEndOfAnOldWillLeavesTheNewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		handed, goOn := make(chan struct{}), make(chan struct{})
		r.SetWillHandler(func(ctx context.Context, w Will, from Number, origin any) Outcome {
			if string(w.Publish.Payload) == "old" {
				close(handed)
				<-goOn
			}
			out, err := r.Publish(ctx, Posting{Message: said(w.Publish, w.Key), From: from, Origin: origin})
			if err != nil {
				t.Error(err)
			}
			return Outcome{Commit: out.Commit, Deliver: out.Deliver}
		})
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan error)
		go func() { ran <- r.Run(ctx) }()
		c := persistent("phone", 5)
		c.Will = &Will{Publish: to("will", 1, "old"), DelaySeconds: 1}
		open(t, r, c).close()
		<-handed
		c.Will = &Will{Publish: to("will", 1, "new")}
		opened := make(chan *conn)
		go func() {
			x, err := tryOpen(r, c)
			if err != nil {
				t.Error(err)
			}
			opened <- x
		}()
		time.Sleep(5 * syncTime)
		close(goOn)
		x := <-opened
		time.Sleep(10 * syncTime)
		synctest.Wait()
		store.mu.Lock()
		w, found := store.durable.wills[c.Key]
		store.mu.Unlock()
		if !found || string(w.Publish.Payload) != "new" {
			t.Errorf("stored will: %q, want the new one", w.Publish.Payload)
		}
		x.close()
		cancel()
		<-ran
	})
}
