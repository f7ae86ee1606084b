package database

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if err := server.Cleanup(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// FaultEnv says for how long there is trouble of each kind.
const FaultEnv = "MAGPIE_TEST_FAULT"

func lasting(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv(FaultEnv)
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestNothingAcknowledgedIsLostWhenTheDatabaseIsInTrouble(t *testing.T) {
	mongotest.Only(t)
	if d := lasting(t); d > 0 {
		for _, f := range troubles() {
			t.Run(f.name, func(t *testing.T) {
				n, w := open(t, 10*time.Second)
				n.suffer(w, f, d)
				n.finish()
			})
		}
		return
	}
	all := troubles()
	for half := range slices.Chunk(all, (len(all)+1)/2) {
		t.Run("from "+half[0].name, func(t *testing.T) {
			t.Parallel() // with the other half: most of the time is spent waiting
			n, w := open(t, 4*time.Second)
			for _, f := range half {
				n.suffer(w, f, 3*time.Second)
			}
			n.finish()
		})
	}
}

// open begins a scene in which everybody is busy.
func open(t *testing.T, timeout time.Duration) (*scene, *watch) {
	n, w := begin(t, timeout), newWatch(t)
	n.readers(w)
	token := n.s.Token(stranger)
	n.work.Go(func() { n.probe(w, token, 3*timeout+20*time.Second) })
	return n, w
}

// What a node may want of a database that does not serve, in connections that are made or refused and in requests.
const (
	atFirst   = 100 // by what was under way
	perSecond = 10
)

// suffer has trouble for a while, and waits until all goes on by itself.
func (n *scene) suffer(w *watch, f trouble, d time.Duration) {
	n.t.Helper()
	w.taken()
	before, began := n.proxy.Load(), time.Now()
	seen := n.endure(f, d)
	lasted, after := time.Since(began), n.proxy.Load()
	n.proxy.Set()
	ended := time.Now()
	said := w.taken()
	server.Eventually(n.t, "the node is ready after it was "+f.name, n.ready)
	ready := time.Since(ended)
	server.Eventually(n.t, "everybody has an answer after it was "+f.name, func() bool { return w.acknowledged() && n.idle() })
	connections, requests := after.Connections-before.Connections, after.Requests-before.Requests
	n.t.Logf("%s for %s: unready after %s; afterwards ready in %s, all acknowledged in %s; %d connections, %d requests; %s",
		f.name, round(lasted), round(seen), round(ready), round(time.Since(ended)), connections, requests, said)
	if f.unready && !f.reads {
		if want := atFirst + perSecond*lasted.Seconds(); float64(connections+requests) > want {
			n.t.Errorf("%s: %d connections and %d requests, want %.0f at most", f.name, connections, requests, want)
		}
	}
}

// endure is the trouble. It says after how long /readyz said so; 0: it did not.
func (n *scene) endure(f trouble, d time.Duration) (seen time.Duration) {
	n.t.Helper()
	began, over := time.Now(), time.After(d)
	phase := time.NewTicker(min(d/time.Duration(2*len(f.does)), 5*time.Second))
	defer phase.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	n.proxy.Set(f.does[0]...)
	for i, ended := 0, false; !ended; {
		select {
		case <-phase.C:
			if i++; len(f.does) > 1 {
				n.proxy.Set(f.does[i%len(f.does)]...)
			}
		case <-look.C:
			if seen == 0 && !n.ready() {
				seen = time.Since(began)
			}
		case <-over:
			ended = true
		}
	}
	if f.unready && seen == 0 {
		server.Eventually(n.t, f.name+": /readyz says so", func() bool { return !n.ready() })
		seen = time.Since(began)
	}
	if f.unready && n.ready() {
		n.t.Errorf("%s: at the end of it, /readyz says that all is well", f.name)
	}
	return seen
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }
