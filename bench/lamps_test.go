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
	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/e2e/wire"
)

const (
	lampsOfHome  = 1000 // that are connected
	lampsOfScene = 50   // which is the most
)

// BenchmarkLamps prints how long scenes take that are for a thousand lamps of a home, twenty at a time for fifty lamps each, from
// when they are run until each lamp was told, and until each has said that it is so, and that is on the disk. MAGPIE_LAMPS is how
// many there are in all, those of other owners included.
func BenchmarkLamps(b *testing.B) {
	lamps := fromEnviron("MAGPIE_LAMPS", 10_000)
	for b.Loop() {
		f := &fleets{b: b}
		f.n = brokertest.Start(b, func(c *broker.Config) {
			c.Accounts.HashMemory, c.Accounts.HashPasses = 8<<10, 1
			c.Limits.Connections, c.Limits.ConnectionsPerAddress, c.Limits.Handshakes, c.Limits.HandshakesPerAddress = 0, 0, 0, 0
			c.Limits.ConnectRate = 0
		})
		f.lamps(lamps)
	}
}

func lampName(i int) string { return fmt.Sprintf("lamp%06d", i) }

func (f *fleets) lamps(lamps int) {
	ctx := f.b.Context()
	began := time.Now()
	secrets := make([]string, lamps)
	for owner := range (lamps-1)/1000 + 1 {
		f.n.AddUsers(string(fleetOf(owner * 1000)))
	}
	var making sync.WaitGroup
	for w := range 32 { // so that they share syncs
		making.Go(func() {
			for i := w; i < lamps; i += 32 {
				secrets[i] = f.n.AddDevice(lampName(i), string(fleetOf(i)))
			}
		})
	}
	making.Wait()
	made := time.Since(began)
	alice, title := fleetOf(0), "Home"
	c, _, commit, err := f.n.Chat().CreateRoom(ctx, alice, chat.KindHome, chat.RoomPatch{Title: &title}, nil, nil)
	f.must(err)
	f.must(commit.Wait(ctx))
	home, at := string(c), time.Now()
	told, done := make(chan time.Duration, lampsOfHome), make(chan time.Duration, lampsOfHome)
	for i := range lampsOfHome {
		_, err := f.n.Things().Set(ctx, alice, accounts.Name(lampName(i)), devices.ThingPatch{Home: &home})
		f.must(err)
		lamp := f.open("dev:"+lampName(i), secrets[i], "l")
		f.must(lamp.Send(wire.Packet{Type: wire.SUBSCRIBE, ID: 1, Filters: []wire.Filter{{Topic: "dev/me/want", Options: 1}}}))
		if ack, err := lamp.Read(time.Now().Add(time.Minute)); err != nil || ack.Type != wire.SUBACK {
			f.b.Fatal(ack.Type, err)
		}
		go f.shine(lamp, &at, told, done)
	}
	for scene := range lampsOfHome / lampsOfScene {
		x := automations.Scene{Home: home, ID: fmt.Sprint("s", scene), Title: "On"}
		for i := range lampsOfScene {
			did := accounts.Name(lampName(scene*lampsOfScene + i))
			x.Steps = append(x.Steps, automations.SceneStep{Device: did, Desired: json.RawMessage(`{"power":"on"}`)})
		}
		_, err := f.n.Automations().PutScene(ctx, alice, x)
		f.must(err)
	}
	cpu := spentCPU()
	at = time.Now()
	var running sync.WaitGroup
	for scene := range lampsOfHome / lampsOfScene {
		running.Go(func() {
			_, err := f.n.Automations().RunScene(ctx, alice, home, fmt.Sprint("s", scene), "")
			f.must(err)
		})
	}
	running.Wait()
	late, settled := collect(told), collect(done)
	cpu = spentCPU() - cpu
	f.b.ReportMetric(float64(late[len(late)/2].Microseconds())/1000, "ms-p50-told")
	f.b.ReportMetric(float64(late[len(late)-1].Microseconds())/1000, "ms-last-told")
	f.b.ReportMetric(float64(settled[len(settled)-1].Microseconds())/1000, "ms-last-acknowledged")
	f.b.ReportMetric(float64(cpu.Microseconds())/lampsOfHome, "cpu-us/lamp-both-ends")
	f.b.ReportMetric(float64(lamps)/made.Seconds(), "lamps-made/s")
	f.b.Logf("%d lamps, %d of them of the home and connected", lamps, lampsOfHome)
}

// collect gives as many as there are lamps in the home, sorted.
func collect(from chan time.Duration) []time.Duration {
	all := make([]time.Duration, lampsOfHome)
	for i := range all {
		all[i] = <-from
	}
	slices.Sort(all)
	return all
}

// shine is a lamp that does what it is told, and says so.
func (f *fleets) shine(lamp *wire.Client, at *time.Time, told, done chan time.Duration) {
	for {
		p, err := lamp.Read(time.Now().Add(10 * time.Minute))
		switch {
		case err != nil:
			return
		case p.Type == wire.PUBACK:
			done <- time.Since(*at)
		case p.Type == wire.PUBLISH && strings.Contains(string(p.Payload), `"power":"on"`):
			told <- time.Since(*at)
			state := wire.Packet{Type: wire.PUBLISH, Topic: "dev/me/state", Payload: []byte(`{"power":"on"}`), QoS: 1, ID: 9}
			if err := lamp.Send(state); err != nil {
				return
			}
		}
	}
}
