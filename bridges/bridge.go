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
	home    string                     // in which it was heard last
	arrived time.Time                  // when it connected last
	devices map[string]*device         // by local name
	said    map[string]kept            // what is stored of it, by topic
	parts   map[string][]dialects.Part // what is said now, by topic
	stale   bool                       // what follows is to be made anew
	states  map[string][]reading       // by topic
	hints   map[string][]hint
}

// device is one behind a bridge.
type device struct {
	Local  string        `json:"local"`
	Device accounts.Name `json:"did,omitempty"`   // empty: it is not there now
	Count  int           `json:"count,omitempty"` // how often it was there
	Title  string        `json:"title,omitempty"` // as the bridge has said it last
	rev    uint64
	points []dialects.Point
	mode   string
	there  map[string]bool   // by topic
	last   map[string]string // what was reported, as JSON
}

// said is a message that is kept.
type said struct {
	Topic   string `json:"topic"`
	Payload []byte `json:"payload"`
}

// kept is what is known of one that is stored.
type kept struct {
	digest [sha256.Size]byte
	rev    uint64
}

type reading struct {
	device *device
	point  dialects.Point
}

type hint struct {
	device *device
	hint   dialects.Hint
}

// bridge gives what is known of a bridge.
func (s *Service) bridge(did accounts.Name) *bridge {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.bridges[did]
	if b == nil {
		b = &bridge{
			did: did, devices: map[string]*device{}, said: map[string]kept{}, parts: map[string][]dialects.Part{},
		}
		s.bridges[did] = b
	}
	return b
}

// put notes what a topic says now.
func (b *bridge) put(topic string, parts []dialects.Part) {
	parts = slices.DeleteFunc(slices.Clone(parts), dialects.Part.Over)
	if len(parts) == 0 {
		delete(b.parts, topic)
	} else {
		b.parts[topic] = parts
	}
	b.stale = true
}

// heard does what a message of a bridge means.
func (s *Service) heard(ctx context.Context, did accounts.Name, home, topic string, payload []byte) error {
	b := s.bridge(did)
	b.home = home
	if parts, ok := dialects.Read(topic, payload); ok {
		if err := s.learn(ctx, b, topic, payload, parts); err != nil {
			return fmt.Errorf("learn from %s: %w", topic, err)
		}
	}
	b.index()
	return errors.Join(s.report(ctx, b, topic, payload), s.presence(ctx, b, topic, payload))
}

// learn keeps what a message says of what there is, and makes things of it.
func (s *Service) learn(ctx context.Context, b *bridge, topic string, payload []byte, parts []dialects.Part) error {
	digest := sha256.Sum256(payload)
	before, known := b.said[topic]
	over := !slices.ContainsFunc(parts, func(p dialects.Part) bool { return !p.Over() })
	switch {
	case over && !known, known && !over && before.digest == digest:
		return nil
	case !known && len(b.said) >= maxParts:
		return fmt.Errorf("%d messages: %w", len(b.said), devices.ErrTooMany)
	}
	// First what follows from it: if that fails, the bridge may say it again, and it is done again.
	was := b.parts[topic]
	b.put(topic, parts)
	b.index()
	for _, local := range locals(slices.Concat(was, parts)) {
		if err := s.settle(ctx, b, local); err != nil {
			b.put(topic, was)
			return err
		}
	}
	key := records.Key{Kind: kindPart, Scope: string(b.did), ID: hex.EncodeToString(hashOf(topic))}
	if over {
		if err := s.records.Remove(ctx, key, before.rev); err != nil {
			return err
		}
		delete(b.said, topic)
		return nil
	}
	body, err := json.Marshal(said{topic, payload})
	if err != nil {
		return err
	}
	if err := s.records.Put(ctx, records.Record{Key: key, Rev: before.rev + 1, Body: body}); err != nil {
		return err
	}
	b.said[topic] = kept{digest, before.rev + 1}
	return nil
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

// index makes anew what is made of parts.
func (b *bridge) index() {
	if !b.stale && b.states != nil {
		return
	}
	b.states, b.hints, b.stale = map[string][]reading{}, map[string][]hint{}, false
	for _, d := range b.devices {
		d.points, d.mode = nil, ""
	}
	hinted := map[string]bool{}
	for _, topic := range sortedKeys(b.parts) {
		for _, p := range b.parts[topic] {
			d := b.devices[p.Local]
			if d == nil || d.Device == "" {
				continue
			}
			for _, x := range p.Points {
				d.points = merged(d.points, x)
			}
			if len(p.There.Hints) > 0 {
				d.mode = p.There.Mode
			}
			for _, h := range p.There.Hints {
				if once := d.Local + "\x00" + h.Topic; !hinted[once] {
					hinted[once] = true
					b.hints[h.Topic] = append(b.hints[h.Topic], hint{d, h})
				}
			}
		}
	}
	for _, d := range b.devices {
		for _, x := range d.points {
			if x.State != "" {
				b.states[x.State] = append(b.states[x.State], reading{d, x})
			}
		}
	}
}

// merged adds a point to those of a device. Two that have one key are one value that is said in two messages, if each says what
// the other does not.
func merged(points []dialects.Point, x dialects.Point) []dialects.Point {
	i := slices.IndexFunc(points, func(p dialects.Point) bool { return p.Key == x.Key })
	if i < 0 {
		return append(points, x)
	}
	p := &points[i]
	if p.State == "" {
		p.State, p.Path, p.Kind, p.Words = x.State, x.Path, x.Kind, x.Words
	}
	if p.Command == "" {
		p.Command, p.Field, p.Writes, p.Calls = x.Command, x.Field, x.Writes, x.Calls
	}
	return points
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
	for _, topic := range sortedKeys(b.parts) {
		for _, p := range b.parts[topic] {
			if p.Local != local {
				continue
			}
			there = true
			if w.Name == "" {
				w.Name = p.Name
			}
			if w.Model == "" {
				w.Model = p.Model
			}
			w.Type = dialects.MoreTelling(w.Type, p.Type)
		}
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
	if d == nil {
		if len(b.devices) >= maxDevices {
			return fmt.Errorf("%d devices: %w", len(b.devices), devices.ErrTooMany)
		}
		d = &device{Local: local}
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
		if !errors.Is(err, accounts.ErrTaken) || next.Count > d.Count+maxNames {
			return err
		}
	}
	if err := s.keep(ctx, b, &next); err != nil {
		return err
	}
	b.devices[local], b.stale = &next, true
	s.mu.Lock()
	s.behind[next.Device] = place{b.did, local}
	s.mu.Unlock()
	s.work.Ready(next.Device)
	return nil
}

// maxNames is how many names are tried that somebody else has.
const maxNames = 8

// make makes a device's account, and a thing of it, or goes on where that ended. accounts.ErrTaken: the name is another's.
func (s *Service) make(ctx context.Context, bridge devices.Thing, did accounts.Name, w dialects.Part) error {
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
	kind, model, title, home := w.Type, clipped(w.Model), clipped(w.Name), bridge.Home
	_, err = s.things.Make(ctx, devices.Added{ID: did, Owner: bridge.Owner, Bridge: bridge.ID, ThingPatch: devices.ThingPatch{
		Type: &kind, Model: &model, Title: &title, Home: &home,
	}})
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
	key := records.Key{Kind: kindBehind, Scope: string(b.did), ID: hex.EncodeToString(hashOf(d.Local))}
	if err := s.records.Put(ctx, records.Record{Key: key, Rev: d.rev + 1, Body: body}); err != nil {
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
	d.Device, d.Title, b.stale = "", "", true
	return s.keep(ctx, b, d)
}

// report has shadows say what a message says of devices.
func (s *Service) report(ctx context.Context, b *bridge, topic string, payload []byte) error {
	changed := map[*device]devices.Object{}
	for _, r := range b.states[topic] {
		v, ok := r.point.Read(payload)
		if !ok {
			continue
		}
		text, err := json.Marshal(v)
		if err != nil || r.device.last[r.point.Key] == string(text) {
			continue
		}
		if changed[r.device] == nil {
			changed[r.device] = devices.Object{}
		}
		var read devices.Object // in the words of a shadow
		if err := json.Unmarshal(fmt.Appendf(nil, `{"v":%s}`, text), &read); err == nil {
			changed[r.device][r.point.Key] = read["v"]
		}
	}
	var errs []error
	for d, state := range changed {
		if speaks, err := s.things.Speaks(ctx, b.did, d.Device); err != nil || !speaks { // it is somebody else's
			errs = append(errs, err)
			continue
		}
		u := devices.ShadowUpdate{Reported: devices.Patch{Set: true, State: state}}
		if _, err := s.work.UpdateShadow(ctx, d.Device, d.Device, "", u); err != nil {
			if !errors.Is(err, devices.ErrUnknown) { // somebody has removed it
				errs = append(errs, err)
			}
			continue
		}
		if d.last == nil {
			d.last = map[string]string{}
		}
		for key, v := range state {
			text, _ := json.Marshal(v) // which was JSON
			d.last[key] = string(text)
		}
	}
	return errors.Join(errs...)
}

// presence has devices be there, or not, if a message says so.
func (s *Service) presence(ctx context.Context, b *bridge, topic string, payload []byte) error {
	var errs []error
	for _, h := range b.hints[topic] {
		says, ok := h.hint.Says(payload)
		if !ok {
			continue
		}
		d := h.device
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
