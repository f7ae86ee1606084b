package automations_test

import (
	"testing"
	"time"

	"github.com/magpie-im/magpie/automations"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
)

// zones are those of the home, as home.get and home.place.get give it.
func (h *house) zones() []string {
	h.t.Helper()
	rules, err := h.homes.Rules(h.t.Context(), "alice", h.home)
	h.must(err)
	place, err := h.Place(h.t.Context(), "alice", h.home)
	h.must(err)
	return []string{rules.Zone, place.Zone}
}

func TestAHomeHasOneZone(t *testing.T) {
	inHouse(t, func(h *house) {
		ctx := h.t.Context()
		h.put("alice", "a", `{'triggers':[{'on':'time','at':'12:00'}],'actions':[{'do':'stop'}]}`)
		next := func() string {
			a, err := h.Get(ctx, "alice", h.home, "a")
			h.must(err)
			return time.UnixMilli(a.Next).UTC().Format("15:04")
		}
		set := func(zone string) {
			_, err := h.homes.SetRules(ctx, "alice", h.home, devices.HomeRulesPatch{Zone: &zone})
			h.must(err)
		}
		place := func(zone *string) {
			_, err := h.SetPlace(ctx, "alice", h.home, automations.PlacePatch{Zone: zone, Lat: 1, Lon: 2, Known: true})
			h.must(err)
		}
		h.want("at first", []any{h.zones(), next()}, "[[ ] 12:00]")
		set("Europe/Berlin")
		h.want("by home.set", []any{h.zones(), next()}, "[[Europe/Berlin Europe/Berlin] 11:00]")
		place(nil)
		h.want("by home.place.put without one", h.zones(), "[Europe/Berlin Europe/Berlin]")
		tokyo, none := "Asia/Tokyo", ""
		place(&tokyo)
		h.crash(time.Second)
		h.want("by home.place.put", []any{h.zones(), next()}, "[[Asia/Tokyo Asia/Tokyo] 03:00]")
		set("Europe/Berlin")
		p, err := h.Place(ctx, "alice", h.home)
		h.must(err)
		h.want("the place stays", p, "{Europe/Berlin 1 2 true}")
		place(&none)
		h.want("by home.place.put with none", []any{h.zones(), next()}, "[[ ] 12:00]")
	})
}

// A server before had two.
func TestTheTwoZonesOfAHomeBecomeOne(t *testing.T) {
	for place, want := range map[string]string{"": "Europe/Berlin", "Asia/Tokyo": "Asia/Tokyo"} {
		t.Run(want, func(t *testing.T) {
			inHouse(t, func(h *house) {
				ctx := h.t.Context()
				h.must(h.SetZone(ctx, h.home, place))
				h.must(h.records.Store.Put(ctx, records.Record{
					Key: records.Key{Kind: "home.rules", Scope: h.home, ID: "it"}, Rev: 1,
					Body: []byte(`{"zone":"Europe/Berlin","escalate":[{"who":"bob","after":60}]}`),
				}))
				h.crash(time.Second)
				h.want("then", h.zones(), []string{want, want})
				rules, err := h.homes.Rules(ctx, "alice", h.home)
				h.must(err)
				h.want("and what else was said", rules.Escalate, "[{bob 60}]")
				h.must(h.SetZone(ctx, h.home, ""))
				h.crash(time.Second)
				h.want("what was before does not come back", h.zones(), []string{"", ""})
			})
		})
	}
}

// A zone that was one when it was set, and that this machine does not know, keeps no server from starting.
func TestAZoneThatIsNotKnownAnyMoreIsLeftAlone(t *testing.T) {
	inHouse(t, func(h *house) {
		ctx := h.t.Context()
		h.must(h.records.Store.Put(ctx, records.Record{
			Key: records.Key{Kind: "home.rules", Scope: h.home, ID: "it"}, Rev: 1, Body: []byte(`{"zone":"Europe/Atlantis"}`),
		}))
		h.crash(time.Second)
		h.want("then", h.zones(), []string{"", ""})
		calls := []devices.HomeCall{{Who: "bob", After: 60}}
		_, err := h.homes.SetRules(ctx, "alice", h.home, devices.HomeRulesPatch{Escalate: &calls})
		h.must(err)
		zone := "Europe/Berlin"
		_, err = h.homes.SetRules(ctx, "alice", h.home, devices.HomeRulesPatch{Zone: &zone})
		h.must(err)
		h.crash(time.Second)
		h.want("when it is set", h.zones(), []string{zone, zone})
	})
}
