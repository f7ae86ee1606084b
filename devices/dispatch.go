package devices

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

const (
	// busyPage is how many devices with open commands are looked up at once.
	busyPage = 1000
	// maxFlights is how many commands are on their way to a device at once.
	maxFlights = 32
)

// loadCommands looks up which devices have open commands; what becomes of them is seen to as soon as Run runs.
func (s *Service) loadCommands(ctx context.Context) error {
	after := accounts.Name("")
	for {
		page, err := s.store.Busy(ctx, after, busyPage)
		if err != nil {
			return err
		}
		for _, did := range page {
			s.commands.set(did, s.now())
		}
		if len(page) < busyPage {
			return nil
		}
		after = page[len(page)-1]
	}
}

// Ready says that a session of a device takes commands from now on: it has subscribed to them, or come back.
func (s *Service) Ready(did accounts.Name) {
	s.flights.begin(did)
	s.commands.set(did, s.now())
}

// round is one look at the open commands of a device, by who has the device to himself.
type round struct {
	*Service
	thing   Thing
	viewers []accounts.Name
	known   bool // viewers are
	open    []Command
	again   time.Time // when something is to be posted again; zero: not known
}

// attend does what is to be done with the commands of a device now, and says when it is to be called again.
func (s *Service) attend(ctx context.Context, did accounts.Name) error {
	leave, err := s.turns.take(ctx, did)
	if err != nil {
		return err
	}
	defer leave()
	thing, err := s.thing(ctx, did)
	if err == nil {
		err = s.renew(ctx, &thing)
	}
	if err != nil {
		return err
	}
	open, err := s.store.OpenCommands(ctx, did)
	if err != nil {
		return fmt.Errorf("open commands: %w", err)
	}
	news := s.flights.peek(did)
	if len(open) > 0 {
		r := &round{Service: s, thing: thing, open: open}
		for _, do := range []func(context.Context) error{
			func(ctx context.Context) error { return r.hear(ctx, news) },
			r.tick,
			r.supersede,
			r.post,
		} {
			if err := do(ctx); err != nil {
				return err
			}
		}
		r.setDue()
	}
	s.flights.drop(did, len(news))
	s.flights.forget(did, open)
	return nil
}

// put stores what has become of the ith command, and tells it.
func (r *round) put(ctx context.Context, i int, next Command) error {
	before := r.open[i]
	if next.Rev == before.Rev {
		return nil
	}
	next.Rev = before.Rev + 1
	if err := r.store.PutCommand(ctx, next); err != nil {
		return fmt.Errorf("put command %s: %w", next.ID, err)
	}
	r.open[i] = next
	if !r.known {
		r.viewers, r.known = r.Service.viewers(ctx, r.thing), true
	}
	r.tellStep(ctx, next, r.viewers)
	return nil
}

// hear notes what devices have acknowledged.
func (r *round) hear(ctx context.Context, all []news) error {
	for _, n := range all {
		i := slices.IndexFunc(r.open, func(c Command) bool { return c.ID == n.cid })
		if i < 0 || n.acked == 0 {
			continue
		}
		if err := r.put(ctx, i, r.open[i].Deliver(n.acked)); err != nil {
			return err
		}
	}
	return nil
}

// tick ends those whose time is over.
func (r *round) tick(ctx context.Context) error {
	for i, c := range r.open {
		if err := r.put(ctx, i, c.Tick(r.now().UnixMilli())); err != nil {
			return err
		}
	}
	return nil
}

// cancel takes a command back whose sender may not give it any longer.
func (r *round) cancel(ctx context.Context, i int) error {
	next, err := r.open[i].Cancel(r.now().UnixMilli())
	if err != nil {
		return nil //nolint:nilerr // the device has it, or it is over
	}
	next.Outcome.Code = "no_right"
	return r.put(ctx, i, next)
}

// supersede takes back those that there are newer ones for.
func (r *round) supersede(ctx context.Context) error {
	newest := map[string]int{}
	for i, c := range r.open {
		if c.Key != "" && !c.State.Final() {
			newest[c.Key] = i
		}
	}
	for i, c := range r.open {
		if n, keyed := newest[c.Key]; !keyed || n == i {
			continue
		}
		next, err := c.Supersede(r.now().UnixMilli())
		if err != nil {
			continue // it was sent
		}
		if err := r.put(ctx, i, next); err != nil {
			return err
		}
	}
	return nil
}

// post writes to the device what it may have now.
func (r *round) post(ctx context.Context) error {
	for i, c := range r.open {
		ready, n, flies, lost := r.flights.state(c.Device, c.ID)
		switch next := time.UnixMilli(lost).Add(retry); {
		case ready == 0 || n >= maxFlights:
			return nil
		case lost != 0 && r.now().Before(next):
			r.again = next
			continue
		case flies, c.State != CommandQueued && c.State != CommandSent, r.blocked(i):
			continue
		}
		switch thing, err := r.things.mayCall(ctx, c.By, c.Device, c.Name); {
		case err == nil && (thing.Epoch != r.thing.Epoch || thing.Stale): // all of them are void, and forgotten in the next round
			r.again = r.now()
			return nil
		case errors.Is(err, ErrNoRight), errors.Is(err, ErrUnknown): // any longer
			if err := r.cancel(ctx, i); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		next, again, err := c.Send(r.now().UnixMilli())
		if err != nil {
			continue // its time ended while the others were seen to
		}
		if !again {
			r.flights.keep(c.Device, c.ID)
		}
		again = r.flights.seen(c.Device, c.ID)
		if err := r.put(ctx, i, next); err != nil { // it is known to be sent before it can be
			return err
		}
		switch err := r.write(r.open[i], r.thing.Bridge, again); {
		case errors.Is(err, ErrAway):
			r.flights.end(c.Device, ready)
			return nil
		case err != nil && !errors.Is(err, ErrUnfit): // which it is alone
			r.again = r.now().Add(retry)
			return nil
		}
	}
	return nil
}

func (r *round) blocked(i int) bool {
	return slices.ContainsFunc(r.open[:i], func(c Command) bool { return c.Blocks(r.open[i], r.thing.Serial) })
}

// write hands a command over. Its errors are those of Router.Post.
func (s *Service) write(c Command, bridge accounts.Name, again bool) error {
	arrive := s.flights.depart(c.Device, c.ID)
	came := func(acked int64) {
		if arrive(acked, s.now().UnixMilli()) {
			s.commands.set(c.Device, s.now())
		}
	}
	err := s.router.Post(Post{
		Device: c.Device, Bridge: bridge, Path: "cmd/" + c.ID, Payload: c.document(again), Command: c, Again: again,
		Expires: time.UnixMilli(c.Expires),
		Written: func() { s.flights.written(c.Device, c.ID) },
		Acked:   func() { came(s.now().UnixMilli()) }, Lost: func() { came(0) },
	})
	what := "first"
	switch {
	case err != nil:
		s.flights.recall(c.Device, c.ID)
		what = "untaken"
	case again:
		what = "again"
	}
	s.metrics.posts.WithLabelValues(what).Inc()
	return err
}

// setDue says when something happens to the commands by itself.
func (r *round) setDue() {
	first := int64(0)
	for _, c := range r.open {
		if d := c.Due(); d != 0 && (first == 0 || d < first) {
			first = d
		}
	}
	if first != 0 {
		r.commands.set(r.thing.ID, time.UnixMilli(first))
	}
	if !r.again.IsZero() {
		r.commands.set(r.thing.ID, r.again)
	}
}

// document is what the device is told.
func (c Command) document(again bool) []byte {
	return encoded(struct {
		ID      string          `json:"cid"`
		Name    string          `json:"name"`
		Args    json.RawMessage `json:"args,omitempty"`
		By      accounts.Name   `json:"by"`
		Expires int64           `json:"exp"`
		Timeout int64           `json:"timeout,omitempty"` // milliseconds
		Key     string          `json:"key,omitempty"`
		Again   bool            `json:"dup,omitempty"`
	}{c.ID, c.Name, c.Args, c.By, c.Expires, c.Timeout, c.Key, again})
}

// outcomeJSON is an Outcome on the wire.
type outcomeJSON struct {
	State  CommandState    `json:"s,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Code   string          `json:"code,omitempty"`
	Text   string          `json:"msg,omitempty"`
}

// AppendJSON adds to dst what is told of a command, as docs/devices.md has it.
func (c Command) AppendJSON(dst []byte) []byte {
	var late *outcomeJSON
	if c.Late != nil {
		late = (*outcomeJSON)(c.Late)
	}
	return append(dst, encoded(struct {
		ID        string          `json:"cid"`
		Device    accounts.Name   `json:"did"`
		Name      string          `json:"name"`
		By        accounts.Name   `json:"by"`
		State     CommandState    `json:"s"`
		Rev       uint64          `json:"rev"`
		Percent   int             `json:"pct,omitempty"`
		Result    json.RawMessage `json:"result,omitempty"`
		Code      string          `json:"code,omitempty"`
		Text      string          `json:"msg,omitempty"`
		Late      *outcomeJSON    `json:"late,omitempty"`
		Key       string          `json:"key,omitempty"`
		MID       string          `json:"mid,omitempty"`
		Created   int64           `json:"ts"`
		Expires   int64           `json:"exp"`
		Sent      int64           `json:"sent,omitempty"`
		Delivered int64           `json:"delivered,omitempty"`
	}{
		c.ID, c.Device, c.Name, c.By, c.State, c.Rev, c.Percent, c.Outcome.Result, c.Outcome.Code, c.Outcome.Text, late,
		c.Key, c.MID, c.Created, c.Expires, c.Sent, c.Delivered,
	})...)
}

// tellStep tells one step of a command to who has given it and to those who may see the device.
func (s *Service) tellStep(ctx context.Context, c Command, viewers []accounts.Name) {
	s.metrics.commands.WithLabelValues(string(c.State)).Inc()
	s.stepped(c)
	to := viewers
	if !slices.Contains(to, c.By) {
		to = append(slices.Clone(to), c.By)
	}
	s.publish(ctx, to, Topic{Device: c.Device, Path: "status/" + c.ID}, c.AppendJSON(nil))
}
