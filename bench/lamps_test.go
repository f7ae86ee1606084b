package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/automations"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/e2e/wire"
)

const (
	lampsOfOwner = 1000 // which is the most
	lampsOfHome  = 1000 // that are connected
	lampsOfScene = 50   // which is the most
)

// BenchmarkLamps prints how long scenes take that are for a thousand lamps of a home, twenty at a time for fifty lamps each, from
// when they are run until each lamp was told, and until each has said that it is so, and that is on the disk; and what memory it
// takes that there are many more lamps. MAGPIE_LAMPS is how many there are in all, those of other owners included.
func BenchmarkLamps(b *testing.B) {
	lamps := fromEnviron("MAGPIE_LAMPS", 100_000)
	for b.Loop() {
		empty := newInstallation(b)
		empty.serve()
		nothing := empty.settled()
		must(b, empty.m.stop())

		f := &lights{installation: newInstallation(b), lamps: lamps}
		began := time.Now()
		f.prepare()
		b.ReportMetric(float64(lamps)/time.Since(began).Seconds(), "lamps-made/s")
		f.serve()
		registered := f.settled()
		b.ReportMetric((registered-nothing)*(1<<20)/float64(lamps), "bytes/lamp")
		b.ReportMetric(registered, "server-MiB")
		f.connectAll()
		b.ReportMetric(f.settled(), "server-MiB-connected")
		f.run()
		b.Logf("%d lamps, %d of them of the home and connected", lamps, lampsOfHome)
	}
}

// settled is the memory of the magpie when it has done what it does after a start.
func (f *installation) settled() float64 {
	<-time.After(3 * time.Second)
	return f.memory()
}

// lights are many lamps.
type lights struct {
	*installation
	lamps   int
	home    string
	owner   string   // token of the owner of the first ones
	secrets []string // of lamps
	at      time.Time
	told    chan time.Duration
	done    chan time.Duration
}

func lampName(i int) string { return fmt.Sprintf("lamp%06d", i) }

func ownerName(i int) accounts.Name { return accounts.Name(fmt.Sprint("owner", i)) }

// prepare fills the installation.
func (f *lights) prepare() {
	ctx := f.b.Context()
	f.secrets = make([]string, f.lamps)
	must(f.b, inParallel((f.lamps-1)/lampsOfOwner+1, func(i int) error {
		token, err := f.person(ownerName(i))
		if i == 0 {
			f.owner = token
		}
		return err
	}))
	alice, title := ownerName(0), "Home"
	c, _, commit, err := f.n.Chat().CreateRoom(ctx, alice, chat.KindHome, chat.RoomPatch{Title: &title}, nil, nil)
	must(f.b, err)
	must(f.b, commit.Wait(ctx))
	f.home = string(c)
	must(f.b, inParallel(f.lamps, func(i int) (err error) {
		lamp := devices.Added{ID: accounts.Name(lampName(i)), Owner: ownerName(i / lampsOfOwner)}
		if i < lampsOfHome {
			lamp.Home = &f.home
		}
		if f.secrets[i], err = f.n.Accounts().AddDevice(ctx, string(lamp.ID), lamp.Owner); err == nil {
			_, err = f.n.Things().Add(ctx, lamp)
		}
		return err
	}))
	for scene := range lampsOfHome / lampsOfScene {
		x := automations.Scene{Home: f.home, ID: fmt.Sprint("s", scene), Title: "On"}
		for i := range lampsOfScene {
			did := accounts.Name(lampName(scene*lampsOfScene + i))
			x.Steps = append(x.Steps, automations.SceneStep{Device: did, Desired: json.RawMessage(`{"power":"on"}`)})
		}
		_, err := f.n.Automations().PutScene(ctx, alice, x)
		must(f.b, err)
	}
}

// connectAll connects the lamps of the home.
func (f *lights) connectAll() {
	f.told, f.done = make(chan time.Duration, lampsOfHome), make(chan time.Duration, lampsOfHome)
	must(f.b, inParallel(lampsOfHome, func(i int) error {
		lamp, err := f.subscribe("dev:"+lampName(i), f.secrets[i], "dev/me/want", 1)
		if err == nil {
			go f.shine(lamp)
		}
		return err
	}))
}

func (f *lights) run() {
	begin := f.begin()
	f.at = time.Now()
	var running sync.WaitGroup
	for scene := range lampsOfHome / lampsOfScene {
		running.Go(func() {
			in := map[string]any{"c": f.home, "id": fmt.Sprint("s", scene)}
			if err := f.call(f.owner, "scene.run", in, &json.RawMessage{}); err != nil {
				f.b.Error(err)
			}
		})
	}
	running.Wait()
	late, settled := f.collect(f.told), f.collect(f.done)
	use := f.since(begin)
	f.b.ReportMetric(float64(late[len(late)/2].Microseconds())/1000, "ms-p50-told")
	f.b.ReportMetric(float64(late[len(late)-1].Microseconds())/1000, "ms-last-told")
	f.b.ReportMetric(float64(settled[len(settled)-1].Microseconds())/1000, "ms-last-acknowledged")
	f.b.ReportMetric(float64(use.server.Microseconds())/lampsOfHome, "server-us/lamp")
}

// collect gives as many as there are lamps in the home, sorted.
func (f *lights) collect(from chan time.Duration) []time.Duration {
	all := make([]time.Duration, lampsOfHome)
	for i := range all {
		select {
		case all[i] = <-from:
		case <-time.After(time.Minute):
			f.b.Fatalf("%d of %d lamps have heard of the scenes", i, lampsOfHome)
		}
	}
	slices.Sort(all)
	return all
}

// shine is a lamp that does what it is told, and says so.
func (f *lights) shine(lamp *wire.Client) {
	for {
		p, err := lamp.Read(time.Now().Add(time.Hour))
		switch {
		case err != nil:
			return
		case p.Type == wire.PUBACK:
			f.done <- time.Since(f.at)
		case p.Type == wire.PUBLISH && strings.Contains(string(p.Payload), `"power":"on"`):
			f.told <- time.Since(f.at)
			state := wire.Packet{Type: wire.PUBLISH, Topic: "dev/me/state", Payload: []byte(`{"power":"on"}`), QoS: 1, ID: 9}
			if err := lamp.Send(state); err != nil {
				return
			}
		}
	}
}
