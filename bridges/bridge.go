package bridges

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/devices/dialects"
	"github.com/magpie-im/magpie/records"
)

// bridge is what is known of one. All but did belongs to the worker that has its tasks.
type bridge struct {
	did     accounts.Name
	home    string                      // in which it was heard last
	arrived time.Time                   // when it connected last
	devices map[string]*device          // by local name
	said    map[string]kept             // what is stored of it, by topic
	bytes   int                         // of that
	values  int                         // of parts
	parts   map[string][]dialects.Part  // what is said now, by topic
	topics  map[string]map[string]bool  // of that, by local name
	stale   map[string]bool             // local names of devices of which that has changed
	heard   map[string]map[*device]bool // devices that a topic says something of
	made    allowance                   // things
}

// device is one behind a bridge.
type device struct {
	Local  string        `json:"local"`
	Device accounts.Name `json:"did,omitempty"`   // empty: it is not there now
	Count  int           `json:"count,omitempty"` // how often it was there
	Title  string        `json:"title,omitempty"` // as the bridge has said it last
	rev    uint64
	points []dialects.Point
	hints  []dialects.Hint // one for a topic
	events []dialects.Occasion
	mode   string
	there  map[string]bool   // by topic
	last   map[string]string // what was reported, as JSON
}

// said is a message that is kept.
type said struct {
	Topic   string `json:"topic"`
	Payload []byte `json:"payload,omitempty"`
	Packed  []byte `json:"packed,omitempty"` // the payload, compressed
}

// kept is what is known of one that is stored.
type kept struct {
	digest [sha256.Size]byte
	rev    uint64
	size   int
}

// bridge gives what is known of a bridge.
func (s *Service) bridge(did accounts.Name) *bridge {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.bridges[did]
	if b == nil {
		b = &bridge{
			did: did, devices: map[string]*device{}, said: map[string]kept{}, parts: map[string][]dialects.Part{},
			topics: map[string]map[string]bool{}, stale: map[string]bool{}, heard: map[string]map[*device]bool{},
		}
		s.bridges[did] = b
	}
	return b
}

// put notes what a topic says now.
func (b *bridge) put(topic string, parts []dialects.Part) {
	for _, p := range b.parts[topic] {
		b.stale[p.Local] = true
		if delete(b.topics[p.Local], topic); len(b.topics[p.Local]) == 0 {
			delete(b.topics, p.Local)
		}
	}
	parts = slices.DeleteFunc(slices.Clone(parts), dialects.Part.Over)
	b.values += values(parts) - values(b.parts[topic])
	for _, p := range parts {
		b.stale[p.Local] = true
		if b.topics[p.Local] == nil {
			b.topics[p.Local] = map[string]bool{}
		}
		b.topics[p.Local][topic] = true
	}
	if len(parts) == 0 {
		delete(b.parts, topic)
	} else {
		b.parts[topic] = parts
	}
}

// heard does what a message of a bridge means.
func (s *Service) heard(ctx context.Context, did accounts.Name, home, topic string, payload []byte) error {
	b := s.bridge(did)
	b.home = home
	if err := s.learn(ctx, b, topic, payload); err != nil {
		return fmt.Errorf("learn from %s: %w", topic, err)
	}
	b.index()
	p := dialects.NewPayload(payload)
	return errors.Join(s.report(ctx, b, topic, p), s.presence(ctx, b, topic, p), s.happen(ctx, b, topic, p))
}

func hashOf(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

func locals(parts []dialects.Part) (all []string) {
	for _, p := range parts {
		if !p.Over() {
			all = append(all, p.Local)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func sortedKeys[V any](m map[string]V) []string {
	all := make([]string, 0, len(m))
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// whole is what all parts say of a device.
func (b *bridge) whole(local string) (w dialects.Part, there bool) {
	for _, p := range b.of(local) {
		there = true
		if w.Name == "" {
			w.Name = p.Name
		}
		if w.Model == "" {
			w.Model = p.Model
		}
		w.Type = dialects.MoreTelling(w.Type, p.Type)
	}
	return w, there
}

// settle has a thing be there for what parts say of a device, or none if they say nothing any more.
func (s *Service) settle(ctx context.Context, b *bridge, local string) error {
	whole, there := b.whole(local)
	d := b.devices[local]
	switch {
	case there && (d == nil || d.Device == ""):
		return s.adopt(ctx, b, local, whole)
	case there:
		return s.describe(ctx, b, d, whole)
	case d != nil && d.Device != "":
		return s.dismiss(ctx, b, d)
	}
	return nil
}

// adopt makes a thing of a device, in its bridge's home.
func (s *Service) adopt(ctx context.Context, b *bridge, local string, w dialects.Part) error {
	bridge, err := s.things.Whole(ctx, b.did)
	if err != nil {
		return err
	}
	d := b.devices[local]
	if n := b.present(); n >= maxDevices {
		return fmt.Errorf("%d devices: %w", n, devices.ErrTooMany)
	}
	if d == nil {
		if err := s.tidy(ctx, b); err != nil {
			return err
		}
		d = &device{Local: local}
	}
	if !b.mayMake() {
		return fmt.Errorf("%d devices in a short time: %w", makeAtOnce, devices.ErrTooMany)
	}
	next := *d
	next.Title, next.there, next.last = clipped(w.Name), map[string]bool{}, map[string]string{}
	for {
		next.Device = nameOf(b.did, local, next.Count)
		next.Count++
		err := s.make(ctx, bridge, next.Device, w)
		if err == nil {
			break
		}
		if errors.Is(err, devices.ErrTooMany) {
			b.made.back()
		}
		if !errors.Is(err, accounts.ErrTaken) || next.Count > d.Count+maxNames {
			return err
		}
	}
	if err := s.keep(ctx, b, &next); err != nil {
		return err
	}
	b.unlisten(d)
	b.devices[local], b.stale[local] = &next, true
	s.mu.Lock()
	s.behind[next.Device] = place{b.did, local}
	s.mu.Unlock()
	s.work.Ready(next.Device)
	return nil
}

// present is how many devices are there.
func (b *bridge) present() (n int) {
	for _, d := range b.devices {
		if d.Device != "" {
			n++
		}
	}
	return n
}

// tidy forgets devices that are not there any more, if they are many: those that a bridge hears of once, and never again.
func (s *Service) tidy(ctx context.Context, b *bridge) error {
	if len(b.devices) < maxKnown {
		return nil
	}
	for local, d := range b.devices {
		if d.Device != "" {
			continue
		}
		if err := s.records.Remove(ctx, keyOf(b, d), d.rev); err != nil && !errors.Is(err, records.ErrNone) {
			return err
		}
		b.unlisten(d)
		delete(b.devices, local)
	}
	return nil
}

// keyOf is under which what is known of a device is stored.
func keyOf(b *bridge, d *device) records.Key {
	return records.Key{Kind: kindBehind, Scope: string(b.did), ID: hex.EncodeToString(hashOf(d.Local))}
}

// maxNames is how many names are tried that somebody else has.
const maxNames = 8

// make makes a device's account, and a thing of it, or goes on where that ended. accounts.ErrTaken: the name is another's.
func (s *Service) make(ctx context.Context, bridge devices.Thing, did accounts.Name, w dialects.Part) error {
	select { // one after the other, so that several bridges do not all make accounts for the last thing that somebody may have
	case s.making <- struct{}{}:
		defer func() { <-s.making }()
	case <-ctx.Done():
		return ctx.Err()
	}
	kind, model, title, home := w.Type, clipped(w.Model), clipped(w.Name), bridge.Home
	added := devices.Added{ID: did, Owner: bridge.Owner, Bridge: bridge.ID, ThingPatch: devices.ThingPatch{
		Type: &kind, Model: &model, Title: &title, Home: &home,
	}}
	if err := s.things.MayMake(ctx, added); err != nil { // or there would be an account of no thing
		return err
	}
	_, err := s.accounts.AddDevice(ctx, string(did), bridge.Owner)
	if errors.Is(err, accounts.ErrTaken) {
		old, missing := s.accounts.Device(ctx, did)
		switch {
		case errors.Is(missing, accounts.ErrUnknown): // it is a user's
			return err
		case missing != nil:
			return missing
		case old.Owner != bridge.Owner || !old.Deleted.IsZero():
			return err
		}
	} else if err != nil {
		return err
	}
	_, err = s.things.Make(ctx, added)
	if !errors.Is(err, accounts.ErrTaken) {
		return err
	}
	if old, missing := s.things.Whole(ctx, did); missing != nil || old.Bridge == bridge.ID { // it was begun, and is
		err = missing
	}
	if errors.Is(err, devices.ErrUnknown) { // somebody has removed it
		err = accounts.ErrTaken
	}
	return err
}

// clipped is a text that is short enough to be a label, without what it may not have in it.
func clipped(s string) string { return accounts.CleanLine(s, devices.MaxLabel) }

// keep stores what is known of a device.
func (s *Service) keep(ctx context.Context, b *bridge, d *device) error {
	body, err := json.Marshal(d)
	if err != nil {
		return err
	}
	if err := s.records.Put(ctx, records.Record{Key: keyOf(b, d), Rev: d.rev + 1, Body: body}); err != nil {
		return err
	}
	d.rev++
	return nil
}

// describe has a thing be called what the bridge calls it, unless somebody has called it otherwise.
func (s *Service) describe(ctx context.Context, b *bridge, d *device, w dialects.Part) error {
	t, err := s.things.Whole(ctx, d.Device)
	if errors.Is(err, devices.ErrUnknown) { // somebody has removed it, and does not want it
		return nil
	}
	if err != nil || t.Owner == "" || t.Bridge != b.did {
		return err
	}
	kind, model, title := w.Type, clipped(w.Model), clipped(w.Name)
	patch := devices.ThingPatch{Type: &kind, Model: &model}
	if t.Title == d.Title {
		patch.Title = &title
	}
	if _, err := s.things.Set(ctx, t.Owner, d.Device, patch); err != nil {
		return err
	}
	if d.Title == title {
		return nil
	}
	next := *d
	next.Title = title
	if err := s.keep(ctx, b, &next); err != nil {
		return err
	}
	*d = next
	return nil
}

// dismiss removes a thing of which its bridge says nothing any more. If it is there again one day, it is another one.
func (s *Service) dismiss(ctx context.Context, b *bridge, d *device) error {
	t, err := s.things.Whole(ctx, d.Device)
	if err != nil && !errors.Is(err, devices.ErrUnknown) {
		return err
	}
	if err != nil || t.Bridge == b.did { // else it is somebody else's
		if err := s.accounts.DeleteDevice(ctx, d.Device); err != nil && !errors.Is(err, accounts.ErrUnknown) {
			return err
		}
		if err := s.things.Forget(ctx, d.Device); err != nil {
			return err
		}
	}
	s.mu.Lock()
	delete(s.behind, d.Device)
	s.mu.Unlock()
	d.Device, d.Title, b.stale[d.Local] = "", "", true
	return s.keep(ctx, b, d)
}

// report has shadows say what a message says of devices.
func (s *Service) report(ctx context.Context, b *bridge, topic string, payload *dialects.Payload) error {
	changed := map[*device]devices.Object{}
	for d := range b.heard[topic] {
		if state := d.reads(topic, payload); len(state) > 0 {
			changed[d] = state
		}
	}
	var errs []error
	for d, state := range changed {
		if speaks, err := s.things.Speaks(ctx, b.did, d.Device); err != nil || !speaks { // it is somebody else's
			errs = append(errs, err)
			continue
		}
		err := s.write(ctx, d, state)
		if errors.Is(err, devices.ErrMalformed) || errors.Is(err, devices.ErrTooLarge) {
			// What does not fit keeps out nothing else.
			for key, v := range state {
				errs = append(errs, s.write(ctx, d, devices.Object{key: v}))
			}
			continue
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// reads gives what a message says of a device that it has not said before.
func (d *device) reads(topic string, payload *dialects.Payload) devices.Object {
	state := devices.Object{}
	for _, x := range d.points {
		if x.State != topic {
			continue
		}
		v, ok := x.From(payload)
		if !ok {
			continue
		}
		text, err := json.Marshal(v)
		if err != nil || d.last[x.Key] == string(text) {
			continue
		}
		var read devices.Object // in the words of a shadow
		if err := json.Unmarshal(fmt.Appendf(nil, `{"v":%s}`, text), &read); err == nil {
			state[x.Key] = read["v"]
		}
	}
	return state
}

// write has the shadow of a device say what it reports.
func (s *Service) write(ctx context.Context, d *device, state devices.Object) error {
	u := devices.ShadowUpdate{Reported: devices.Patch{Set: true, State: state}}
	if _, err := s.work.UpdateShadow(ctx, d.Device, d.Device, "", u); err != nil {
		if errors.Is(err, devices.ErrUnknown) { // somebody has removed it
			return nil
		}
		return err
	}
	if d.last == nil {
		d.last = map[string]string{}
	}
	for key, v := range state {
		text, _ := json.Marshal(v) // which was JSON
		d.last[key] = string(text)
	}
	return nil
}

// presence has devices be there, or not, if a message says so.
func (s *Service) presence(ctx context.Context, b *bridge, topic string, payload *dialects.Payload) error {
	var errs []error
	for d := range b.heard[topic] {
		i := slices.IndexFunc(d.hints, func(h dialects.Hint) bool { return h.Topic == topic })
		if i < 0 {
			continue
		}
		says, ok := d.hints[i].From(payload)
		if !ok {
			continue
		}
		if d.there == nil {
			d.there = map[string]bool{}
		}
		d.there[topic] = says
		err := s.work.Hear(ctx, b.did, d.Device, b.together(d, says))
		if err != nil && !errors.Is(err, devices.ErrUnknown) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// together is what all hints say of a device, after one of them has said something.
func (b *bridge) together(d *device, latest bool) bool {
	if d.mode != "all" && d.mode != "any" {
		return latest
	}
	all := d.mode == "all"
	for _, says := range d.there {
		if says != all {
			return says
		}
	}
	return all
}

// ready has commands given to the devices behind a bridge that is there.
func (s *Service) ready(did accounts.Name) {
	for _, d := range s.bridge(did).devices {
		if d.Device != "" {
			s.work.Ready(d.Device)
		}
	}
}

// command publishes what a device is to do. Nothing is known of what becomes of it but that it was passed on.
func (s *Service) command(ctx context.Context, at place, p devices.Post) error {
	b := s.bridge(at.bridge)
	b.index()
	home, err := s.things.Mount(ctx, b.did)
	if err != nil {
		p.Lost()
		return err
	}
	bridge, err := s.work.Presence(ctx, b.did, b.did)
	if err != nil {
		p.Lost()
		return err
	}
	speaks, err := s.things.Speaks(ctx, b.did, p.Device)
	if err != nil {
		p.Lost()
		return err
	}
	d := b.devices[at.local]
	if home == "" || d == nil || !speaks || bridge.State != devices.Online {
		p.Lost()
		return nil
	}
	for _, x := range d.points {
		text, ok := x.Call(p.Command.Name)
		if !ok && p.Command.Name == "set:"+x.Key {
			text, ok = argument(x, p.Command.Args)
		}
		if !ok {
			continue
		}
		m := Message{Topic: x.Command, Payload: text, Expires: p.Expires}
		heard, err := s.mounts.Publish(ctx, home, m)
		if err != nil { // it may have been heard
			p.Written()
		}
		if err != nil || !heard { // it is given again, as long as it may be
			p.Lost()
			return err
		}
		s.forgo(at) // what was wanted before it is not said again after it
		p.Acked()
		return s.over(ctx, p, devices.CommandAck{State: devices.CommandSucceeded, Code: "passed_on"})
	}
	p.Acked()
	return s.over(ctx, p, devices.CommandAck{State: devices.CommandRejected, Code: "no_such_command"})
}

// argument is the payload for {"value":...}.
func argument(x dialects.Point, args json.RawMessage) ([]byte, bool) {
	var o devices.Object
	if json.Unmarshal(args, &o) != nil {
		return nil, false
	}
	return x.Write(o["value"])
}

func (s *Service) over(ctx context.Context, p devices.Post, a devices.CommandAck) error {
	_, err := s.work.AckCommand(ctx, p.Device, p.Command.ID, a)
	if errors.Is(err, devices.ErrUnknown) {
		return nil
	}
	return err
}
