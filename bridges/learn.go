package bridges

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"

	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/devices/dialects"
	"github.com/magpie-im/magpie/records"
)

// learn keeps what a message says of what there is, and makes things of it.
func (s *Service) learn(ctx context.Context, b *bridge, topic string, payload []byte) error {
	before, known := b.said[topic]
	if known && before.digest == sha256.Sum256(payload) {
		return nil
	}
	parts, ok := dialects.Read(topic, payload)
	if !ok {
		return nil
	}
	parts = slices.DeleteFunc(parts, dialects.Part.Over)
	was, over := b.parts[topic], len(parts) == 0
	switch {
	case over && !known && len(was) == 0, known && !over && reflect.DeepEqual(was, parts):
		return nil
	case !over && !known && len(b.said) >= maxParts, b.bytes-before.size+len(payload) > maxBytes,
		b.values-values(was)+values(parts) > maxValues:
		return fmt.Errorf("%d messages, %d bytes, %d values: %w", len(b.said), b.bytes, b.values, devices.ErrTooMany)
	}
	if home, err := s.things.Mount(ctx, b.did); err != nil || home != b.home { // it has said so where it is no more
		return err
	}
	// First what follows from it: if that fails, the bridge may say it again, and it is done again.
	tooMany, err := s.settleAll(ctx, b, topic, parts)
	if err != nil || tooMany != nil {
		return cmp.Or(err, tooMany)
	}
	return s.remember(ctx, b, topic, payload, over)
}

// settleAll has things be there for all that a topic says now. What there is no room for is left out, which is not kept: it is
// tried again when it is said again.
func (s *Service) settleAll(ctx context.Context, b *bridge, topic string, parts []dialects.Part) (tooMany, err error) {
	was := b.parts[topic]
	all := map[string]dialects.Part{} // what they were
	for _, local := range locals(slices.Concat(was, parts)) {
		all[local], _ = b.whole(local)
	}
	b.put(topic, parts)
	b.index()
	for _, local := range sortedKeys(all) {
		whole, there := b.whole(local)
		d := b.devices[local]
		if there && d != nil && d.Device != "" && reflect.DeepEqual(whole, all[local]) {
			continue
		}
		switch err := s.settle(ctx, b, local); {
		case errors.Is(err, devices.ErrTooMany):
			tooMany = err
		case err != nil:
			b.put(topic, was)
			return nil, err
		}
	}
	return tooMany, nil
}

// remember stores what a topic says, or that it says nothing any more.
func (s *Service) remember(ctx context.Context, b *bridge, topic string, payload []byte, over bool) error {
	before, known := b.said[topic]
	key := records.Key{Kind: kindPart, Scope: string(b.did), ID: hex.EncodeToString(hashOf(topic))}
	if over {
		if !known {
			return nil
		}
		if err := s.records.Remove(ctx, key, before.rev); err != nil {
			return err
		}
		b.bytes -= before.size
		delete(b.said, topic)
		return nil
	}
	body, err := packed(topic, payload)
	if err != nil {
		return err
	}
	if err := s.records.Put(ctx, records.Record{Key: key, Rev: before.rev + 1, Body: body}); err != nil {
		return err
	}
	b.bytes += len(payload) - before.size
	b.said[topic] = kept{sha256.Sum256(payload), before.rev + 1, len(payload)}
	return nil
}

// values is how many values parts have, and what else there is of them.
func values(parts []dialects.Part) (n int) {
	for _, p := range parts {
		n += p.Weight()
	}
	return n
}

// packLonger is from which length on a message is stored compressed: a list of all devices may be as long as a record.
const packLonger = 16 << 10

// packed is the record of a message.
func packed(topic string, payload []byte) ([]byte, error) {
	m := said{Topic: topic, Payload: payload}
	if len(payload) > packLonger {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write(payload); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		m = said{Topic: topic, Packed: b.Bytes()}
	}
	return json.Marshal(m)
}

// unpacked reads a record of packed.
func unpacked(body []byte) (m said, err error) {
	if err := json.Unmarshal(body, &m); err != nil || m.Packed == nil {
		return m, err
	}
	r, err := gzip.NewReader(bytes.NewReader(m.Packed))
	if err != nil {
		return m, err
	}
	if m.Payload, err = io.ReadAll(r); err != nil {
		return m, err
	}
	return m, r.Close()
}
