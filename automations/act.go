package automations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// attempts is how often an action is tried while the store cannot serve.
const attempts = 5

// act does what a step says, with the rights that the owner has now.
func (s *Service) act(ctx context.Context, r *run, st *step) TraceStep {
	note := TraceStep{Step: st.name, Do: st.Do, Device: st.Device}
	if st.text != nil {
		note.Looked = st.text.devices()
	}
	owner := r.a.owner(s)
	var err error
	for i := range attempts {
		if i > 0 {
			pause(ctx, retry)
		}
		if err = s.stands(ctx, owner, r.a.key.home); err == nil {
			err = s.actAs(ctx, owner, r, st, &note)
		} else if errors.Is(err, ErrNoHome) {
			err = ErrNoRight
		}
		if !errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		note.Err = word(err)
		if note.Err == "failed" && ctx.Err() == nil {
			s.log.Warn("action failed", "conversation", r.a.key.home, "automation", r.a.key.id, "step", st.name, "err", err)
		}
	}
	return note
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (s *Service) actAs(ctx context.Context, owner accounts.Name, r *run, st *step, note *TraceStep) error {
	mid := r.mid(r.state.At)
	switch st.Do {
	case doCommand:
		c, err := s.call(ctx, owner, st.Device, st.call, mid, r.state.Depth)
		note.CID, note.Result = c.ID, string(c.State)
		return err
	case doDesired:
		shadow, err := s.desire(ctx, owner, st.Device, st.Name, st.desired, r.state.Depth)
		if err == nil {
			note.Result = fmt.Sprintf("version %d", shadow.Version)
		}
		return err
	case doScene:
		x, err := s.runScene(ctx, owner, r.a.key.home, st.Scene, mid, r.state.Depth)
		if err == nil {
			note.Result = x.Run
		}
		return err
	case doMessage:
		env, err := s.environment(ctx, r.a.key.home, owner, st.text.devices(), r.state.About)
		if err != nil {
			return err
		}
		said := st.text.say(env)
		l := Line{From: owner, Home: r.a.key.home, Kind: "text", MID: mid,
			Body: bodyOf(said, map[string]any{"automation": r.a.key.id})}
		if st.To != "" {
			l.Home, l.To = "", st.To
		}
		note.Result = cut(said)
		_, err = s.write(ctx, r.state.Depth, l)
		return err
	}
	return fmt.Errorf("action %q: %w", st.Do, ErrMalformed)
}

// bodyOf is the body of a text, with something for programs beside it.
func bodyOf(said string, beside map[string]any) json.RawMessage {
	body := maps.Clone(beside)
	body["text"] = said
	out, err := json.Marshal(body)
	if err != nil {
		panic(err) // texts, numbers and what came out of JSON
	}
	return out
}

// caused remembers that what a device says next may be what a run makes it say.
func (s *Service) caused(did accounts.Name, depth int) {
	s.causes.Add(did, origin{depth, s.now()})
}

// Told says that a device was told something by a line, by its mid: if a run has written that, it has told the device.
func (s *Service) Told(did accounts.Name, mid string) {
	if depth, ok := s.written.Get(mid); ok {
		s.caused(did, depth)
	}
}

// call gives a device a command. The same mid is the same command.
func (s *Service) call(
	ctx context.Context, who, did accounts.Name, c devices.Call, mid string, depth int,
) (devices.Command, error) {
	c.MID = mid
	if depth > 0 {
		s.caused(did, depth)
	}
	done, _, err := s.devices.Call(ctx, who, did, c)
	return done, err
}

func (s *Service) desire(
	ctx context.Context, who, did accounts.Name, name string, u devices.ShadowUpdate, depth int,
) (devices.Shadow, error) {
	if depth > 0 {
		s.caused(did, depth)
	}
	return s.devices.UpdateShadow(ctx, who, did, name, u)
}

// write writes a line, which a run of some depth does.
func (s *Service) write(ctx context.Context, depth int, l Line) (uint64, error) {
	if depth > 0 {
		s.written.Add(l.MID, depth)
	}
	return s.messenger.Write(ctx, l)
}

// lookTime bounds how long it takes to look at what a condition is about.
const lookTime = 5 * time.Second

// decide says whether a condition holds for the owner of an automation, and if not, why. What he may not see does not hold.
func (s *Service) decide(ctx context.Context, a *automation, c *condition, about map[string]any) (bool, string) {
	env, err := s.environment(ctx, a.key.home, a.owner(s), c.devices, about)
	if err != nil {
		return false, word(err)
	}
	return c.holds(env)
}

// environment is what a condition of somebody's sees now.
func (s *Service) environment(
	ctx context.Context, home string, who accounts.Name, looked []accounts.Name, about map[string]any,
) (*environment, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	now, place := s.now(), s.placeOf(home)
	env := &environment{
		State: map[string]any{}, Desired: map[string]any{}, Tele: map[string]any{}, Presence: map[string]string{},
		Now: momentOf(now.In(place.zone())), Sun: place.daylight(now), Trigger: about,
	}
	if env.Trigger == nil {
		env.Trigger = map[string]any{}
	}
	for _, did := range looked {
		shadow, err := s.devices.Shadow(ctx, who, did, "")
		if err != nil {
			return nil, err
		}
		presence, err := s.devices.Presence(ctx, who, did)
		if err != nil {
			return nil, err
		}
		env.State[string(did)], env.Desired[string(did)] = plain(shadow.Reported.State), plain(shadow.Desired.State)
		env.Presence[string(did)] = string(presence.State)
		last, err := s.devices.LastMeasured(ctx, who, did)
		if err != nil {
			return nil, err
		}
		values := make(map[string]any, len(last))
		for _, p := range last {
			values[p.Key] = plainPoint(p)
		}
		env.Tele[string(did)] = values
	}
	return env, nil
}

func momentOf(l time.Time) moment {
	return moment{
		Hour: l.Hour(), Minute: l.Minute(), Time: l.Format("15:04"), Date: l.Format("2006-01-02"), Day: l.Day(),
		Month: int(l.Month()), Weekday: strings.ToLower(l.Weekday().String()[:3]), TS: l.UnixMilli(),
	}
}

func (p Place) daylight(now time.Time) daylight {
	d := daylight{Known: p.Known, Up: p.sunUp(now)}
	for what, to := range map[string]*string{sunRise: &d.Rise, sunSet: &d.Set} {
		if at, ok := p.sunOn(what, now); ok {
			*to = at.In(p.zone()).Format("15:04")
		}
	}
	return d
}
