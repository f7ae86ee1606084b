package spaces

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/automations"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
)

// maxHomeGrants is how much may be granted in a home.
const maxHomeGrants = 200

// house is what is kept of a home. It is not changed: another one takes its place.
type house struct {
	rules    devices.HomeRules
	rulesRev uint64
	grants   []heldGrant
}

type heldGrant struct {
	devices.HomeGrant
	rev uint64
}

// Load takes up what is kept. It is called once, before anybody asks.
func (h *Homes) Load(ctx context.Context) error {
	houses := map[string]house{}
	err := all(ctx, h.kept, keptRules, func(r records.Record, rules devices.HomeRules) {
		houses[r.Scope] = house{rules: rules, rulesRev: r.Rev}
	})
	if err == nil {
		err = all(ctx, h.kept, keptGrant, func(r records.Record, g devices.HomeGrant) {
			x := houses[r.Scope]
			x.grants = append(x.grants, heldGrant{g, r.Rev})
			houses[r.Scope] = x
		})
	}
	if err != nil {
		return fmt.Errorf("take up homes: %w", err)
	}
	for home, x := range houses {
		h.setHouse(home, x)
	}
	return nil
}

func (h *Homes) house(home string) house {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.houses[home]
}

func (h *Homes) setHouse(home string, x house) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, g := range h.houses[home].grants {
		if in := h.granted[g.To]; in[home] > 1 {
			in[home]--
		} else if delete(in, home); len(in) == 0 {
			delete(h.granted, g.To)
		}
	}
	for _, g := range x.grants {
		if h.granted[g.To] == nil {
			h.granted[g.To] = map[string]int{}
		}
		h.granted[g.To][home]++
	}
	h.houses[home] = x
}

// Zones knows the clocks of homes, by which they do things themselves. Safe for concurrent use.
type Zones interface {
	// Zone gives the time zone of a home; empty: nobody has said so.
	Zone(home string) string
	SetZone(ctx context.Context, home, zone string) error
}

// SetZones has somebody else keep the time zones of homes, of which there is one for each. It is called once, before Load.
func (h *Homes) SetZones(z Zones) { h.zones = z }

// LoadZones takes up the zones that were kept here before they were kept elsewhere: what is there already counts. It is called
// once, after Load, when the others are loaded, before anybody asks. One that is none any more keeps nobody from starting.
func (h *Homes) LoadZones(ctx context.Context) error {
	h.mu.Lock()
	houses := maps.Clone(h.houses)
	h.mu.Unlock()
	for home, x := range houses {
		if h.zones == nil || x.rules.Zone == "" {
			continue
		}
		if h.zones.Zone(home) == "" {
			err := h.zones.SetZone(ctx, home, x.rules.Zone)
			if errors.Is(err, automations.ErrMalformed) {
				h.log.Error("zone not taken up", "conversation", home, "err", err)
				continue
			}
			if err != nil {
				return fmt.Errorf("take up the zone of %s: %w", home, err)
			}
		}
		x.rules.Zone = ""
		if err := rewrite(ctx, h.kept, rulesKey(home), &x.rulesRev, 0, x.rules); err != nil {
			return fmt.Errorf("take up the zone of %s: %w", home, err)
		}
		h.setHouse(home, x)
	}
	return nil
}

func rulesKey(home string) records.Key { return records.Key{Kind: keptRules, Scope: home, ID: theOne} }

// rulesOf gives what is said of a home, and its zone, wherever that is kept.
func (h *Homes) rulesOf(home string) devices.HomeRules {
	rules := h.house(home).rules
	if h.zones != nil {
		rules.Zone = h.zones.Zone(home)
	}
	return rules
}

// alone gives the caller what is kept of homes to himself until he calls leave.
func (h *Homes) alone(ctx context.Context) (leave func(), err error) {
	select {
	case h.writing <- struct{}{}:
		return func() { <-h.writing }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// MayRule checks that somebody is in a home, and rules it. chat.ErrNotMember, chat.ErrNoRight.
func (h *Homes) MayRule(ctx context.Context, who accounts.Name, home string) error {
	role, err := h.Role(ctx, home, who)
	switch {
	case err != nil:
		return err
	case role == devices.HomeNone:
		return fmt.Errorf("%s in %.80s: %w", who, home, chat.ErrNotMember)
	case role != devices.HomeOwner && role != devices.HomeAdmin:
		return fmt.Errorf("%s in %s: %w", who, home, chat.ErrNoRight)
	}
	return nil
}

// Rules gives what is said of a home, to who is in it and no guest.
func (h *Homes) Rules(ctx context.Context, who accounts.Name, home string) (devices.HomeRules, error) {
	switch role, err := h.Role(ctx, home, who); {
	case err != nil:
		return devices.HomeRules{}, err
	case role == devices.HomeNone:
		return devices.HomeRules{}, fmt.Errorf("rules of %.80s: %w", home, chat.ErrNotMember)
	case role == devices.HomeGuest:
		return devices.HomeRules{}, fmt.Errorf("rules of %s: %w", home, chat.ErrNoRight)
	}
	return h.rulesOf(home), nil
}

// SetRules changes what is said of a home. Its owner and admins may. chat.ErrNotMember, chat.ErrNoRight,
// devices.ErrMalformed, devices.ErrTooMany.
func (h *Homes) SetRules(ctx context.Context, who accounts.Name, home string, p devices.HomeRulesPatch) (
	devices.HomeRules, error,
) {
	leave, err := h.alone(ctx)
	if err != nil {
		return devices.HomeRules{}, err
	}
	defer leave()
	if err := h.MayRule(ctx, who, home); err != nil {
		return devices.HomeRules{}, fmt.Errorf("set rules: %w", err)
	}
	x := h.house(home)
	rules := x.rules
	switch {
	case p.Zone != nil:
		rules.Zone = *p.Zone
	case h.zones != nil: // one that could not be taken up
		rules.Zone = ""
	}
	if p.Escalate != nil {
		rules.Escalate = *p.Escalate
	}
	if err := rules.Check(); err != nil {
		return devices.HomeRules{}, fmt.Errorf("set rules of %s: %w", home, err)
	}
	if h.zones != nil {
		rules.Zone = ""
		if p.Zone != nil {
			if err := h.zones.SetZone(ctx, home, *p.Zone); err != nil {
				return devices.HomeRules{}, fmt.Errorf("set zone of %s: %w", home, err)
			}
		}
	}
	if err := rewrite(ctx, h.kept, rulesKey(home), &x.rulesRev, 0, rules); err != nil {
		return devices.HomeRules{}, err
	}
	x.rules = rules
	h.setHouse(home, x)
	return h.rulesOf(home), nil
}

// Grants is that of devices.Homes.
func (h *Homes) Grants(ctx context.Context, home string) (grants []devices.HomeGrant, err error) {
	x := h.house(home)
	if len(x.grants) == 0 {
		return nil, nil
	}
	roles, err := h.roles(ctx, home)
	if err != nil || len(roles) == 0 { // it has ended
		return nil, err
	}
	for _, g := range x.grants {
		grants = append(grants, g.HomeGrant)
	}
	return grants, nil
}

// GrantsFor gives what is granted in a home: to who rules it all of it, to others what was granted to them.
func (h *Homes) GrantsFor(ctx context.Context, who accounts.Name, home string) ([]devices.HomeGrant, error) {
	grants, err := h.Grants(ctx, home)
	if err != nil {
		return nil, err
	}
	own := func(g devices.HomeGrant) bool { return g.To == who }
	switch err := h.MayRule(ctx, who, home); {
	case err == nil:
		return grants, nil
	case errors.Is(err, chat.ErrNotMember) && !slices.ContainsFunc(grants, own):
		return nil, fmt.Errorf("grants of %.80s: %w", home, err)
	case !errors.Is(err, chat.ErrNotMember) && !errors.Is(err, chat.ErrNoRight):
		return nil, err
	}
	return slices.DeleteFunc(grants, func(g devices.HomeGrant) bool { return !own(g) }), nil
}

// Grant lets somebody do something with the things of a home, or of one of its rooms, and gives what was granted with its ID.
// Without a zone of their own its windows are in that of the home. Its owner and admins may. What is over makes room. The
// errors of SetRules.
func (h *Homes) Grant(ctx context.Context, who accounts.Name, home string, g devices.HomeGrant) (devices.HomeGrant, error) {
	leave, err := h.alone(ctx)
	if err != nil {
		return g, err
	}
	defer leave()
	if err := h.MayRule(ctx, who, home); err != nil {
		return g, fmt.Errorf("grant: %w", err)
	}
	x, now := h.house(home), h.now().UnixMilli()
	if g.Zone == "" {
		g.Zone = h.rulesOf(home).Zone
	}
	if g, err = h.things.NewHomeGrant(who, g); err != nil {
		return g, fmt.Errorf("grant in %s: %w", home, err)
	}
	var grants []heldGrant
	for _, old := range x.grants {
		if !old.Over(now) {
			grants = append(grants, old)
			continue
		}
		if err := h.kept.Remove(ctx, grantKey(home, old.ID), old.rev); err != nil {
			return g, fmt.Errorf("grant in %s: %w", home, err)
		}
	}
	if len(grants) >= maxHomeGrants {
		return g, fmt.Errorf("%d grants in %s: %w", len(grants), home, devices.ErrTooMany)
	}
	if err := writeNew(ctx, h.kept, grantKey(home, g.ID), g); err != nil {
		return g, err
	}
	grants = append(grants, heldGrant{g, 1})
	x.grants = grants
	h.setHouse(home, x)
	return g, h.things.HomeChanged(ctx, home)
}

func grantKey(home, id string) records.Key { return records.Key{Kind: keptGrant, Scope: home, ID: id} }

// Revoke takes a grant back: who rules the home may, and who has it. devices.ErrUnknown: there is none.
func (h *Homes) Revoke(ctx context.Context, who accounts.Name, home, id string) error {
	is := func(g heldGrant) bool { return g.ID == id }
	i := slices.IndexFunc(h.house(home).grants, is)
	if i < 0 || h.house(home).grants[i].To != who {
		if err := h.MayRule(ctx, who, home); err != nil {
			return fmt.Errorf("revoke: %w", err)
		}
	}
	if i < 0 {
		return fmt.Errorf("grant %.40q of %s: %w", id, home, devices.ErrUnknown)
	}
	return h.revoke(ctx, home, is)
}

// revoke takes back what is so.
func (h *Homes) revoke(ctx context.Context, home string, is func(heldGrant) bool) error {
	leave, err := h.alone(ctx)
	if err != nil {
		return err
	}
	defer leave()
	x := h.house(home)
	var grants []heldGrant
	for _, g := range x.grants {
		if !is(g) {
			grants = append(grants, g)
			continue
		}
		if err := h.kept.Remove(ctx, grantKey(home, g.ID), g.rev); err != nil {
			return fmt.Errorf("revoke grant %s of %s: %w", g.ID, home, err)
		}
	}
	x.grants = grants
	h.setHouse(home, x)
	return h.things.HomeChanged(ctx, home)
}

// strip takes back all that was granted to somebody in any home.
func (h *Homes) strip(ctx context.Context, who accounts.Name) error {
	for _, home := range h.grantedIn(who) {
		if err := h.revoke(ctx, home, func(g heldGrant) bool { return g.To == who }); err != nil {
			return err
		}
	}
	return nil
}

// grantedIn gives the homes in which something is granted to somebody.
func (h *Homes) grantedIn(who accounts.Name) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.granted[who]))
}

// Shows says whether somebody may be shown what a device has said in a home: who is more than a guest there, and who may see
// the device, what it has said since he may and since it is there.
func (h *Homes) Shows(ctx context.Context, who accounts.Name, m *chat.Message) (bool, error) {
	switch role, err := h.Role(ctx, string(m.Conversation), who); {
	case err != nil:
		return false, err
	case role != devices.HomeNone && role != devices.HomeGuest:
		return true, nil
	}
	thing, err := h.things.May(ctx, who, m.From, devices.VerbSee)
	if errors.Is(err, devices.ErrUnknown) || errors.Is(err, devices.ErrNoRight) {
		return false, nil
	}
	if err != nil || thing.Home != string(m.Conversation) { // whose it was then may be somebody else
		return false, err
	}
	since, err := h.things.Since(ctx, who, thing)
	return m.TS >= max(since, thing.Moved), err
}
