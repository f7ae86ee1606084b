package bridges

import (
	"slices"

	"github.com/magpie-im/magpie/devices/dialects"
)

// of gives what parts say of a device, in the order of their topics.
func (b *bridge) of(local string) (all []dialects.Part) {
	for _, topic := range sortedKeys(b.topics[local]) {
		for _, p := range b.parts[topic] {
			if p.Local == local {
				all = append(all, p)
			}
		}
	}
	return all
}

// index makes anew what is made of parts, where they have changed.
func (b *bridge) index() {
	for local := range b.stale {
		delete(b.stale, local)
		d := b.devices[local]
		if d == nil {
			continue
		}
		b.unlisten(d)
		if d.Device == "" {
			continue
		}
		for _, p := range b.of(local) {
			d.add(p)
		}
		for _, topic := range d.topics() {
			if b.heard[topic] == nil {
				b.heard[topic] = map[*device]bool{}
			}
			b.heard[topic][d] = true
		}
	}
}

// unlisten has no topic say anything of a device.
func (b *bridge) unlisten(d *device) {
	for _, topic := range d.topics() {
		if delete(b.heard[topic], d); len(b.heard[topic]) == 0 {
			delete(b.heard, topic)
		}
	}
	d.points, d.hints, d.events, d.mode = nil, nil, nil, ""
}

// topics are those that say something of a device. They may come twice.
func (d *device) topics() (all []string) {
	for _, x := range d.points {
		if x.State != "" {
			all = append(all, x.State)
		}
	}
	for _, h := range d.hints {
		all = append(all, h.Topic)
	}
	for _, o := range d.events {
		all = append(all, o.Topic)
	}
	return all
}

// add makes a part be part of a device, as far as it has room.
func (d *device) add(p dialects.Part) {
	for _, x := range p.Points {
		d.points = merged(d.points, x)
	}
	if len(p.There.Hints) > 0 {
		d.mode = p.There.Mode
	}
	for _, h := range p.There.Hints {
		again := slices.ContainsFunc(d.hints, func(x dialects.Hint) bool { return x.Topic == h.Topic })
		if !again && len(d.hints) < maxHints {
			d.hints = append(d.hints, h)
		}
	}
	d.events = append(d.events, p.Events[:min(len(p.Events), maxHints-len(d.events))]...)
}

// merged adds a point to those of a device. Two that have one key are one value that is said in two messages, if each says what
// the other does not; else they are two of a kind, and the second is called otherwise.
func merged(points []dialects.Point, x dialects.Point) []dialects.Point {
	i := slices.IndexFunc(points, func(p dialects.Point) bool { return p.Key == x.Key })
	if i >= 0 && x.Other != "" && points[i].Differs(x) {
		x.Key, x.Other = x.Other, ""
		i = slices.IndexFunc(points, func(p dialects.Point) bool { return p.Key == x.Key })
	}
	switch {
	case i < 0 && len(points) >= maxPoints:
		return points
	case i < 0:
		return append(points, x)
	}
	p := &points[i]
	if p.State == "" {
		p.ReadAs(x)
	}
	if p.Command == "" {
		p.WrittenAs(x)
	}
	return points
}
