package spaces

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
)

// What a thing was told by a line it answers by one message, which is changed until there is nothing more to say. What it was
// told is kept before it is told, and forgotten after the last change: whatever happens in between, it goes on from there.

// answerRow is something that a thing was told.
type answerRow struct {
	Home  string          `json:"home"`
	Line  uint64          `json:"line"` // seq of the message
	ID    string          `json:"id"`   // of the message
	By    accounts.Name   `json:"by"`
	TS    int64           `json:"ts"` // of the message
	Epoch uint64          `json:"epoch,omitempty"`
	Order Order           `json:"order"`
	Which []accounts.Name `json:"which,omitempty"` // it could have been said to any of these
	Want  json.RawMessage `json:"want,omitempty"`  // what the thing is to be, of an order that is no call
	Given bool            `json:"given,omitempty"` // that was said to be wanted

	// Before it is, it is kept which version of the shadow is to be changed, and what it changes was there, since when: so it
	// is known after a crash whether it was changed.
	Base uint64          `json:"base,omitempty"`
	Was  json.RawMessage `json:"was,omitempty"` // nil: it was not tried
}

// answer is that in memory. Whoever looks at the thing has it to himself.
type answer struct {
	answerRow
	device accounts.Name
	rev    uint64
	seq    uint64 // of the message; 0: it is not known
	said   []byte // its body, as far as it is known
	at     time.Time
}

const (
	// tooOld is how old a line may be when it is heard: what somebody wanted an hour ago, before the server was away, he may not
	// want any more.
	tooOld = 30 * time.Second
	// answerLife is for how long it is waited that a thing says that it is what it should be.
	answerLife = 24 * time.Hour
	// progressEvery is how often an answer is changed, at most, that says how far a thing has come.
	progressEvery = time.Second
)

func (a *answer) key() records.Key {
	return records.Key{Kind: keptAnswer, Scope: string(a.device), ID: a.Home + "/" + strconv.FormatUint(a.Line, 10)}
}

// take keeps what a thing is to be told.
func (v *Voice) take(ctx context.Context, t devices.Thing, row answerRow) (*answer, error) {
	a := &answer{answerRow: row, device: t.ID}
	kept, rev, err := read[answerRow](ctx, v.kept, a.key())
	if err != nil {
		return nil, err
	}
	if a.rev = rev; rev > 0 {
		a.answerRow = kept // before the process ended
		return a, nil
	}
	a.Want = row.Order.want()
	return a, v.keep(ctx, a)
}

// give has a thing be told it.
func (v *Voice) give(a *answer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	same := func(b *answer) bool { return b.key() == a.key() }
	if !slices.ContainsFunc(v.answers[a.device], same) {
		v.answers[a.device] = append(v.answers[a.device], a)
	}
	v.moved.add(a.device)
}

func (v *Voice) keep(ctx context.Context, a *answer) error {
	return rewrite(ctx, v.kept, a.key(), &a.rev, a.TS+answerLife.Milliseconds(), a.answerRow)
}

// power is the key of what can be on and off.
const power = "power"

// want is what a thing is to be by an order; nil: that depends on what it is when it is told, or it is to do something.
func (o Order) want() json.RawMessage {
	switch o.Do {
	case OrderOn, OrderOff:
		return body(map[string]string{power: o.Do})
	case OrderSet:
		return body(map[string]json.RawMessage{o.Key: o.Value})
	}
	return nil
}

// toggled is what a thing is to be that is to be the other way round.
func toggled(s devices.Shadow) json.RawMessage {
	is, known := s.Desired.State[power]
	if !known {
		is = s.Reported.State[power]
	}
	next := OrderOn
	if is == OrderOn || is == true {
		next = OrderOff
	}
	return body(map[string]string{power: next})
}

// ShadowChanged is that of devices.Watcher.
func (v *Voice) ShadowChanged(t devices.Thing, _, _ devices.Shadow) { v.changed(t.ID) }

// Stepped is that of devices.Watcher.
func (v *Voice) Stepped(c devices.Command) { v.changed(c.Device) }

func (v *Voice) changed(did accounts.Name) {
	v.mu.Lock()
	open := len(v.answers[did]) > 0
	v.mu.Unlock()
	if open {
		v.moved.add(did)
	}
}

// overdue has an answer be looked at for the last time.
func (v *Voice) overdue(_ context.Context, r records.Record) error {
	v.moved.add(accounts.Name(r.Scope))
	return nil
}

// look looks what has become of what a thing was told.
func (v *Voice) look(ctx context.Context, did accounts.Name) error {
	v.mu.Lock()
	open := slices.Clone(v.answers[did])
	v.mu.Unlock()
	for _, a := range open {
		said, err := v.state(ctx, a)
		if err == nil {
			err = v.answer(ctx, a, said)
		}
		if err != nil {
			return fmt.Errorf("answer to message %d of %s: %w", a.Line, a.Home, err)
		}
	}
	return nil
}

// answerJSON is what an answer says.
type answerJSON struct {
	T       string          `json:"t"` // "reply"
	Device  accounts.Name   `json:"did"`
	By      accounts.Name   `json:"by"`
	State   string          `json:"s"`
	CID     string          `json:"cid,omitempty"`
	Name    string          `json:"name,omitempty"`
	Want    json.RawMessage `json:"want,omitempty"`
	Percent int             `json:"pct,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Code    string          `json:"code,omitempty"`
	Text    string          `json:"msg,omitempty"`
}

// What becomes of what a thing was told, besides the states of commands.
const (
	saidHelp     = "help"
	saidRefused  = "refused"
	saidExpired  = "expired"
	saidGone     = "gone"
	saidWanted   = "wanted"   // it was told what it should be
	saidReported = "reported" // and says that it is
	saidReplaced = "replaced" // it should be something else now
	saidSilent   = "unanswered"
)

// final says whether nothing follows.
func (s answerJSON) final() bool {
	return s.State != saidWanted && (s.CID == "" || devices.CommandState(s.State).Final())
}

// refusal is how somebody is told that what he wants is not done, if an error says so.
func refusal(err error) (code string, is bool) {
	for _, r := range []struct {
		err  error
		code string
	}{
		{devices.ErrNoRight, "no_right"}, {devices.ErrUnknown, "no_device"}, {devices.ErrMalformed, "bad"},
		{devices.ErrTooLarge, "too_big"}, {devices.ErrTooMany, "too_many"},
	} {
		if errors.Is(err, r.err) {
			return r.code, true
		}
	}
	var shadow *devices.ShadowError
	return "bad", errors.As(err, &shadow) && !errors.Is(err, devices.ErrUnavailable)
}

// state does what is still to be done, and gives what is to be said of it.
func (v *Voice) state(ctx context.Context, a *answer) (said answerJSON, err error) {
	said = answerJSON{T: "reply", Device: a.device, By: a.By}
	t, err := v.things.Known(ctx, a.device)
	switch {
	case errors.Is(err, devices.ErrUnknown), err == nil && (t.Home != a.Home || t.Epoch != a.Epoch):
		said.State = saidGone
		return said, nil
	case err != nil:
		return said, err
	}
	switch a.Order.Do {
	case "":
		said.State, said.Text = saidHelp, help(a.Which)
	case OrderCall:
		err = v.called(ctx, a, &said)
	default:
		err = v.wanted(ctx, a, &said)
	}
	if code, is := refusal(err); is {
		said.State, said.Code = saidRefused, code
		return said, nil
	}
	return said, err
}

// late says whether it is too late to tell a thing what a line tells it.
func (v *Voice) late(a *answer) bool { return v.now().Sub(time.UnixMilli(a.TS)) > tooOld }

// called gives a command, and says how far it is.
func (v *Voice) called(ctx context.Context, a *answer, said *answerJSON) error {
	mid := midOf("line", a.ID)
	said.Name = a.Order.Call
	c, err := v.fleet.Command(ctx, a.By, a.device, devices.CommandID(a.By, a.device, mid))
	if errors.Is(err, devices.ErrUnknown) {
		switch {
		case a.seq != 0: // it was there
			said.State = saidGone
			return nil
		case v.late(a):
			said.State = saidExpired
			return nil
		}
		c, _, err = v.fleet.Call(ctx, a.By, a.device, devices.Call{Name: a.Order.Call, Args: a.Order.Args, MID: mid})
	}
	if err != nil {
		return err
	}
	said.CID, said.State, said.Percent = c.ID, string(c.State), c.Percent
	said.Result, said.Code, said.Text = c.Outcome.Result, c.Outcome.Code, c.Outcome.Text
	return nil
}

// wanted says what a thing is to be, and whether it is.
func (v *Voice) wanted(ctx context.Context, a *answer, said *answerJSON) error {
	if !a.Given {
		err := v.desire(ctx, a)
		said.Want = a.Want
		switch {
		case errors.Is(err, errTooLate):
			said.State = saidExpired
			return nil
		case err != nil:
			return err
		}
		a.Given = true
		if err := v.keep(ctx, a); err != nil {
			return err
		}
	}
	said.Want = a.Want
	var want devices.Object
	if err := json.Unmarshal(a.Want, &want); err != nil {
		return fmt.Errorf("%w: %w", devices.ErrMalformed, err)
	}
	s, err := v.fleet.Shadow(ctx, a.device, a.device, "")
	if err != nil {
		return err
	}
	switch {
	case has(s.Reported.State, want):
		said.State = saidReported
	case !has(s.Desired.State, want):
		said.State = saidReplaced
	case v.now().Sub(time.UnixMilli(a.TS)) >= answerLife:
		said.State = saidSilent
	default:
		said.State = saidWanted
	}
	return nil
}

// errTooLate means that it is too late to do what a line says.
var errTooLate = errors.New("too late")

// desires is how often it is tried to say what a thing is to be, while others change its shadow.
const desires = 10

// desire says what a thing is to be, unless that was said before a crash.
func (v *Voice) desire(ctx context.Context, a *answer) error {
	tried := a.Was != nil
	for range desires {
		s, err := v.fleet.Shadow(ctx, a.device, a.device, "")
		if err != nil {
			return err
		}
		if a.Order.Do == OrderToggle && (!tried || a.Want == nil) {
			a.Want = toggled(s)
		}
		u, err := devices.ParseDesired(body(map[string]json.RawMessage{"desired": a.Want}))
		if err != nil {
			return err
		}
		want := u.Desired.State
		was := body(before(s.Desired, want))
		switch {
		case tried && s.Version > a.Base && (has(s.Desired.State, want) || !bytes.Equal(was, a.Was)):
			return nil // it was, and may be something else by now
		case v.late(a):
			return errTooLate
		}
		a.Base, a.Was = s.Version, was
		if err := v.keep(ctx, a); err != nil {
			return err
		}
		u.Version = &a.Base
		if _, err = v.fleet.UpdateShadow(ctx, a.By, a.device, "", u); !errors.Is(err, devices.ErrVersion) {
			return err
		}
		tried = false
	}
	return fmt.Errorf("shadow of %s, which others change: %w", a.device, devices.ErrUnavailable)
}

// before is what there is of what a patch changes, and when that was set, which is known by the second.
func before(s devices.Section, patch devices.Object) devices.Object {
	out := devices.Object{}
	for key := range patch {
		if value, there := s.State[key]; there {
			out[key] = []any{value, s.Meta[key]}
		}
	}
	return out
}

// has says whether a state has all that a patch says.
func has(state, patch devices.Object) bool {
	for key, value := range patch {
		is, there := state[key]
		switch nested, deep := value.(devices.Object); {
		case value == nil && there:
			return false
		case value == nil:
		case deep:
			inner, _ := is.(devices.Object)
			if !has(inner, nested) {
				return false
			}
		case !reflect.DeepEqual(is, value):
			return false
		}
	}
	return true
}

// inWords is what is said of something that a thing was told, as a line.
func (s answerJSON) inWords() string {
	text := ""
	switch {
	case s.Name != "":
		text = s.Name + ": "
	case s.Want != nil:
		text = string(s.Want) + ": "
	}
	if s.State != saidHelp {
		text += s.State
	}
	if s.State == string(devices.CommandProgress) {
		text += " " + strconv.Itoa(s.Percent) + "%"
	}
	if s.Code != "" {
		text += " (" + s.Code + ")"
	}
	if s.Text != "" {
		if s.State != saidHelp {
			text += ": "
		}
		text += s.Text
	}
	return text
}

// answer says it, if it is not what was said, and is done if nothing follows.
func (v *Voice) answer(ctx context.Context, a *answer, said answerJSON) error {
	if said.State == string(devices.CommandProgress) {
		if wait := progressEvery - v.now().Sub(a.at); wait > 0 {
			v.moved.addAfter(a.device, wait)
			return nil
		}
	}
	r := chat.Report{
		Device: a.device, Kind: chat.KindDeviceReply, Body: body(said), MID: midOf("reply", a.ID), Re: a.Line,
		Fallback: said.inWords(), Silent: true,
	}
	if err := v.speak(ctx, a, r); err != nil {
		if !errors.Is(err, chat.ErrNoConversation) && !errors.Is(err, chat.ErrEnded) && !errors.Is(err, chat.ErrNoMessage) {
			return err
		}
		said = answerJSON{} // nobody hears it
	}
	if !said.final() {
		return nil
	}
	if err := remove(ctx, v.kept, a.key(), &a.rev); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.answers[a.device] = slices.DeleteFunc(v.answers[a.device], func(b *answer) bool { return b == a })
	if len(v.answers[a.device]) == 0 {
		delete(v.answers, a.device)
	}
	return nil
}

// speak has the message of an answer be this.
func (v *Voice) speak(ctx context.Context, a *answer, r chat.Report) error {
	if a.seq == 0 {
		sent, err := v.chat.Report(ctx, chat.Conversation(a.Home), r)
		if err != nil {
			return err
		}
		a.seq, a.at = sent.Seq, v.now()
		if !sent.Dup {
			a.said = r.Body
		}
	}
	if bytes.Equal(a.said, r.Body) {
		return nil
	}
	if err := v.chat.Amend(ctx, chat.Conversation(a.Home), a.seq, r); err != nil {
		return err
	}
	a.said, a.at = r.Body, v.now()
	return nil
}
