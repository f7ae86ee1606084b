package sessions

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// topics is what survives a crash of what was published on free topics.
type topics struct {
	last     uint64
	queues   map[Number][]Entry
	retained map[string]Retained
	wills    map[Key]Will
	delayed  []Delayed
	groups   map[string]Number
	beat     time.Time
}

func (t topics) clone() topics {
	c := topics{last: t.last, queues: map[Number][]Entry{}, retained: map[string]Retained{}, wills: map[Key]Will{},
		delayed: slices.Clone(t.delayed), groups: map[string]Number{}, beat: t.beat}
	for n, q := range t.queues {
		c.queues[n] = slices.Clone(q)
	}
	maps.Copy(c.retained, t.retained)
	maps.Copy(c.wills, t.wills)
	maps.Copy(c.groups, t.groups)
	return c
}

func (t *topics) remove(n Number, pos uint64) {
	t.queues[n] = slices.DeleteFunc(slices.Clone(t.queues[n]), func(e Entry) bool { return e.Pos == pos })
}

func (f *fakeStore) Room(ctx context.Context) error { return ctx.Err() }

func (f *fakeStore) Append(b Bounds, steps ...Step) (Appended, error) {
	f.mu.Lock()
	if b.Refuse && b.Count > 0 {
		for _, s := range steps {
			for _, to := range s.To {
				if len(f.applied.queues[to.Number]) >= b.Count {
					f.mu.Unlock()
					return Appended{}, fmt.Errorf("%d: %w", to.Number, ErrQueueFull)
				}
			}
		}
	}
	first := f.positions + 1
	f.positions += uint64(len(steps))
	f.mu.Unlock()
	for i := range steps {
		steps[i].To = slices.Clone(steps[i].To)
	}
	dropped := 0
	c, err := f.write(func(d *disk) {
		dropped = 0
		for i, s := range steps {
			dropped += d.step(first+uint64(i), s, b)
		}
		d.last = first + uint64(len(steps)) - 1
	})
	return Appended{First: first, Commit: c, Dropped: dropped}, err
}

func (d *disk) step(pos uint64, s Step, b Bounds) (dropped int) {
	for _, to := range s.To {
		q := d.queues[to.Number]
		q = append(q, Entry{Pos: pos, Target: to, Message: s.Message}) // who reads sees no further than before
		if b.Count > 0 && len(q) > b.Count {
			q = q[1:]
			dropped++
		}
		d.queues[to.Number] = q
	}
	if s.Retain {
		if len(s.Message.Payload) == 0 {
			delete(d.retained, s.Message.Topic)
		} else {
			d.retained[s.Message.Topic] = Retained{pos, s.Message}
		}
	}
	if !s.Due.IsZero() {
		d.delayed = append(slices.Clone(d.delayed), Delayed{s.Due, pos, s.Message})
	}
	switch o := s.Origin.(type) {
	case Origin:
		d.receive(o)
	case WillOrigin:
		delete(d.wills, o.Key)
	case DelayedOrigin:
		d.delayed = slices.DeleteFunc(slices.Clone(d.delayed), func(x Delayed) bool { return x.Pos == o.Pos })
	case MoveOrigin:
		d.remove(o.Number, o.Pos)
	case ReplayOrigin:
		st := d.sessions[o.Key]
		st.Replays = slices.DeleteFunc(slices.Clone(st.Replays), func(p Replay) bool { return p.ID == o.Replay.ID })
		if !o.Done {
			st.Replays = append(st.Replays, o.Replay)
		}
		d.sessions[o.Key] = st
	}
	return dropped
}

func (d *disk) receive(o Origin) {
	st := d.sessions[o.Key]
	st.Received = append(slices.Clone(st.Received), o.ID)
	d.sessions[o.Key] = st
}

func (f *fakeStore) Last() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.positions
}

// read gives what is on the disk when everything that was visible is durable.
func (f *fakeStore) read(ctx context.Context) (topics, error) {
	f.mu.Lock()
	t := f.applied.topics
	t.queues, t.retained, t.wills = maps.Clone(t.queues), maps.Clone(t.retained), maps.Clone(t.wills)
	t.groups, t.delayed = maps.Clone(t.groups), slices.Clone(t.delayed)
	commit := fakeCommit{f, f.applies}
	f.mu.Unlock()
	return t, commit.Wait(ctx)
}

func (f *fakeStore) Queue(ctx context.Context, n Number, after uint64, limit int, age time.Duration) ([]Entry, error) {
	t, err := f.read(ctx)
	if err != nil {
		return nil, err
	}
	var out []Entry
	for _, e := range t.queues[n] {
		old := age > 0 && time.Since(e.Message.Time) > age && !e.Message.Time.IsZero()
		if e.Pos > after && len(out) < limit && !old {
			out = append(out, e)
		}
	}
	return out, nil
}

func (f *fakeStore) QueueSize(ctx context.Context, n Number, after uint64) (count int, bytes int64, at time.Time, err error) {
	es, err := f.Queue(ctx, n, after, 1<<30, 0)
	for _, e := range es {
		bytes += int64(e.Message.weight())
	}
	if len(es) > 0 {
		at = es[0].Message.Time
	}
	return len(es), bytes, at, err
}

func (f *fakeStore) FlyQueue(_ context.Context, k Key, flights []Flight) (Commit, error) {
	flights = slices.Clone(flights)
	return f.update(k, func(st *State) {
		st.Queue.Flights = slices.DeleteFunc(slices.Clone(st.Queue.Flights), func(x Flight) bool {
			return x.Pos <= st.Queue.Acked || slices.ContainsFunc(flights, func(y Flight) bool { return x.Pos == y.Pos })
		})
		st.Queue.Flights = append(st.Queue.Flights, flights...)
		slices.SortFunc(st.Queue.Flights, func(a, b Flight) int { return cmp.Compare(a.Pos, b.Pos) })
	})
}

func (f *fakeStore) AdvanceQueue(_ context.Context, k Key, n Number, acked uint64) error {
	_, err := f.write(func(d *disk) {
		st, ok := d.sessions[k]
		if !ok {
			return
		}
		st.Queue.Acked = acked
		st.Queue.Flights = slices.DeleteFunc(slices.Clone(st.Queue.Flights), func(x Flight) bool { return x.Pos <= acked })
		d.sessions[k] = st
		d.queues[n] = slices.DeleteFunc(slices.Clone(d.queues[n]), func(e Entry) bool { return e.Pos <= acked })
	})
	return err
}

func (f *fakeStore) Remove(_ context.Context, n Number, positions []uint64) error {
	_, err := f.write(func(d *disk) {
		for _, pos := range positions {
			d.remove(n, pos)
		}
	})
	return err
}

func (f *fakeStore) Retained(ctx context.Context, filter, after string, limit int) (found []Retained, next string, err error) {
	t, err := f.read(ctx)
	if err != nil {
		return nil, "", err
	}
	if f.onRetained != nil {
		defer func() { f.onRetained() }()
	}
	for _, topic := range slices.Sorted(maps.Keys(t.retained)) {
		if topic <= after || !matches(filter, topic) {
			continue
		}
		if len(found) == limit {
			return found, found[limit-1].Message.Topic, nil
		}
		found = append(found, t.retained[topic])
	}
	return found, "", nil
}

func (f *fakeStore) RetainedCount() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int64(len(f.applied.retained))
}

func (f *fakeStore) HasRetained(topic string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.applied.retained[topic]
	return ok
}

func (f *fakeStore) DelayedCount() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int64(len(f.applied.delayed))
}

func (f *fakeStore) PutWill(_ context.Context, w Will) (Commit, error) {
	return f.write(func(d *disk) { d.wills[w.Key] = w })
}

func (f *fakeStore) DropWill(_ context.Context, k Key) (Commit, error) {
	return f.write(func(d *disk) { delete(d.wills, k) })
}

func (f *fakeStore) Wills(ctx context.Context, after Key, limit int) ([]Will, error) {
	t, err := f.read(ctx)
	var out []Will
	for _, k := range slices.SortedFunc(maps.Keys(t.wills), compareKeys) {
		if compareKeys(k, after) > 0 && len(out) < limit {
			out = append(out, t.wills[k])
		}
	}
	return out, err
}

func (f *fakeStore) Delayed(ctx context.Context, now time.Time, limit int) (due []Delayed, next time.Time, err error) {
	t, err := f.read(ctx)
	slices.SortStableFunc(t.delayed, func(a, b Delayed) int { return a.Due.Compare(b.Due) })
	for _, x := range t.delayed {
		if x.Due.After(now) || len(due) == limit {
			return due, x.Due, err
		}
		due = append(due, x)
	}
	return due, time.Time{}, err
}

func (f *fakeStore) Groups(ctx context.Context) (map[string]Number, error) {
	t, err := f.read(ctx)
	return t.groups, err
}

func (f *fakeStore) SaveGroup(_ context.Context, name string, n Number) (Commit, error) {
	return f.write(func(d *disk) { d.groups[name] = n })
}

func (f *fakeStore) DropGroup(_ context.Context, name string, n Number) (Commit, error) {
	return f.write(func(d *disk) {
		delete(d.groups, name)
		delete(d.queues, n)
	})
}

func (f *fakeStore) Beat(_ context.Context, now time.Time) error {
	_, err := f.write(func(d *disk) { d.beat = now })
	return err
}

func (f *fakeStore) LastBeat(ctx context.Context) (time.Time, error) {
	t, err := f.read(ctx)
	return t.beat, err
}
