package devices

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/magpie-im/magpie/accounts"
)

// Call is what somebody wants a device to do.
type Call struct {
	Name    string          // letters, digits and "_.:-", at most 64
	Args    json.RawMessage // a JSON value without white space; nil: none
	TTL     time.Duration   // for how long it may wait for the device; 0: Config.TTL
	Timeout time.Duration   // for how long the device may take; 0: Config.Timeout
	Key     string          // Command.Key
	MID     string          // Command.MID
}

// Limits of what a Call holds, in bytes.
const (
	maxCallName = 64
	maxKey      = 64
	maxMID      = 64
)

// ParseCall reads {"name":"on","args":{},"ttl":30,"timeout":60,"key":"power","mid":"..."}. Times are in seconds.
func ParseCall(payload []byte) (c Call, err error) {
	var p struct {
		Name    string          `json:"name"`
		Args    json.RawMessage `json:"args"`
		TTL     *float64        `json:"ttl"`
		Timeout *float64        `json:"timeout"`
		Key     string          `json:"key"`
		MID     string          `json:"mid"`
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		return c, fmt.Errorf("call: %w: %w", ErrMalformed, err)
	}
	c = Call{Name: p.Name, Key: p.Key, MID: p.MID}
	if c.TTL, err = seconds(p.TTL); err != nil {
		return c, fmt.Errorf("call: ttl: %w", err)
	}
	if c.Timeout, err = seconds(p.Timeout); err != nil {
		return c, fmt.Errorf("call: timeout: %w", err)
	}
	c.Args, err = compact(p.Args)
	return c, err
}

// seconds reads a time; one that is nothing or too long to be any is malformed.
func seconds(n *float64) (time.Duration, error) {
	const most = 1e9
	switch {
	case n == nil:
		return 0, nil
	case *n < 0.001 || *n > most:
		return 0, fmt.Errorf("%v seconds: %w", *n, ErrMalformed)
	}
	return time.Duration(*n * float64(time.Second)).Truncate(time.Millisecond), nil
}

// compact is a JSON value without white space; null is none.
func compact(v json.RawMessage) (json.RawMessage, error) {
	if len(v) == 0 || string(v) == "null" {
		return nil, nil
	}
	var out bytes.Buffer
	if err := json.Compact(&out, v); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return out.Bytes(), nil
}

// validWord says whether something may name a command or a type of events.
func validWord(word string, longest int) bool {
	ok := func(c rune) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("_.:-", c)
	}
	return word != "" && len(word) <= longest && strings.IndexFunc(word, func(c rune) bool { return !ok(c) }) < 0
}

// validText says whether a text of strangers may be kept.
func validText(text string, longest int) bool {
	return len(text) <= longest && utf8.ValidString(text) && !strings.ContainsRune(text, 0)
}

// Check says what is wrong with a call, whatever the configuration is: ErrMalformed.
func (c Call) Check() error {
	switch {
	case !validWord(c.Name, maxCallName):
		return fmt.Errorf("name %.80q: %w", c.Name, ErrMalformed)
	case !validText(c.Key, maxKey) || !validText(c.MID, maxMID):
		return fmt.Errorf("key or mid: %w", ErrMalformed)
	}
	return nil
}

func (s *Service) checkCall(c Call) error {
	if err := c.Check(); err != nil {
		return err
	}
	switch {
	case len(c.Args) > s.cfg.Args:
		return fmt.Errorf("args of %d bytes: %w", len(c.Args), ErrTooLarge)
	case c.TTL < 0 || c.TTL > s.cfg.LongestTTL || c.Timeout < 0 || c.Timeout > s.cfg.LongestTTL:
		return fmt.Errorf("ttl %s, timeout %s: more than %s: %w", c.TTL, c.Timeout, s.cfg.LongestTTL, ErrMalformed)
	}
	return nil
}

// mayCall gives a device if who may tell it to do something.
func (s *Things) mayCall(ctx context.Context, who, did accounts.Name, name string) (Thing, error) {
	thing, err := s.May(ctx, who, did, VerbFor(name))
	if errors.Is(err, ErrNoRight) {
		thing, err = s.May(ctx, who, did, VerbControl)
	}
	if err != nil {
		return thing, err
	}
	return thing, s.Stands(ctx, who) // and what he has given before is not carried out any more
}

// Stands checks that somebody is not suspended: nothing is told to devices in his name. ErrNoRight.
func (s *Things) Stands(ctx context.Context, who accounts.Name) error {
	awake, err := s.awake(ctx, who)
	switch {
	case err != nil:
		return fmt.Errorf("whether %s is suspended: %w", who, err)
	case !awake:
		return fmt.Errorf("%s is suspended: %w", who, ErrNoRight)
	}
	return nil
}

// Call gives a device a command. One with the mid of an earlier command of the same caller is that command: again says so, or
// ErrMIDConflict that it was another one. ErrTooMany: the device has enough to do.
func (s *Service) Call(ctx context.Context, who, did accounts.Name, call Call) (c Command, again bool, err error) {
	if err := s.checkCall(call); err != nil {
		return c, false, fmt.Errorf("call %s: %w", did, err)
	}
	leave, err := s.turns.take(ctx, did)
	if err != nil {
		return c, false, fmt.Errorf("call %s: %w", did, err)
	}
	defer leave()
	thing, err := s.things.mayCall(ctx, who, did, call.Name)
	if err == nil {
		err = s.renew(ctx, &thing)
	}
	if err != nil {
		return c, false, fmt.Errorf("call %s: %w", did, err)
	}
	c = s.command(who, did, call)
	for range changes {
		before, err := s.earlier(ctx, c)
		if err != nil || before.ID != "" {
			return before, true, err
		}
		if c.Order, err = s.nextOrder(ctx, c); err != nil {
			return c, false, err
		}
		switch err := s.store.PutCommand(ctx, c); {
		case errors.Is(err, ErrChanged):
			continue
		case err != nil:
			return c, false, fmt.Errorf("put command of %s: %w", did, err)
		}
		s.tellStep(ctx, c, s.viewers(ctx, thing))
		s.commands.set(did, s.now())
		return c, false, nil
	}
	return c, false, fmt.Errorf("call %s, which others call: %w", did, ErrUnavailable)
}

// command is a new one.
func (s *Service) command(who, did accounts.Name, call Call) Command {
	ttl, timeout := call.TTL, call.Timeout
	if ttl == 0 {
		ttl = s.cfg.TTL
	}
	if timeout == 0 {
		timeout = s.cfg.Timeout
	}
	now := s.now()
	return Command{
		ID: CommandID(who, did, call.MID), Device: did, Name: call.Name, Args: call.Args, By: who, MID: call.MID, Key: call.Key,
		Created: now.UnixMilli(), Expires: now.Add(ttl).UnixMilli(), Timeout: timeout.Milliseconds(),
		State: CommandQueued, Rev: 1,
	}
}

// CommandID is the id of a command that somebody gives a device under a mid; without one it is a new one each time.
func CommandID(who, did accounts.Name, mid string) string {
	var id [sha256.Size]byte
	if mid == "" {
		_, _ = rand.Read(id[:]) // it never fails
	} else {
		id = sha256.Sum256([]byte(string(who) + "\x00" + string(did) + "\x00" + mid))
	}
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(id[:15]))
}

// earlier is the command that was given under the mid of c before; a zero value: there is none.
func (s *Service) earlier(ctx context.Context, c Command) (Command, error) {
	if c.MID == "" {
		return Command{}, nil
	}
	before, err := s.store.Command(ctx, c.Device, c.ID)
	switch {
	case errors.Is(err, ErrUnknown):
		return Command{}, nil
	case err != nil:
		return Command{}, fmt.Errorf("command %s of %s: %w", c.ID, c.Device, err)
	}
	same := before.Name == c.Name && bytes.Equal(before.Args, c.Args) && before.Key == c.Key && before.Timeout == c.Timeout &&
		before.Expires-before.Created == c.Expires-c.Created
	if !same {
		return before, fmt.Errorf("call %s: mid %q: %w", c.Device, c.MID, ErrMIDConflict)
	}
	return before, nil
}

// nextOrder is that of a new command, if there is room for it. Those that it supersedes make room.
func (s *Service) nextOrder(ctx context.Context, c Command) (uint64, error) {
	open, err := s.store.OpenCommands(ctx, c.Device)
	if err != nil {
		return 0, fmt.Errorf("open commands of %s: %w", c.Device, err)
	}
	waiting := 0
	for _, o := range open {
		if o = o.Tick(c.Created); !o.State.Final() && (o.State != CommandQueued || c.Key == "" || o.Key != c.Key) {
			waiting++
		}
	}
	if waiting >= s.cfg.OpenCommands || len(open) > 2*s.cfg.OpenCommands {
		return 0, fmt.Errorf("%d open commands of %s: %w", len(open), c.Device, ErrTooMany)
	}
	last, err := s.store.CommandsOf(ctx, c.Device, 0, 1)
	if err != nil {
		return 0, fmt.Errorf("last command of %s: %w", c.Device, err)
	}
	if len(last) == 0 {
		return 1, nil
	}
	return last[0].Order + 1, nil
}

// Command gives a command to who may see its device, to the device and to who has given it.
func (s *Service) Command(ctx context.Context, who, did accounts.Name, cid string) (Command, error) {
	c, err := s.store.Command(ctx, did, cid)
	if err != nil {
		return Command{}, fmt.Errorf("command %.80q of %s: %w", cid, did, err)
	}
	if c.By != who {
		if err := s.sees(ctx, who, did); err != nil {
			return Command{}, fmt.Errorf("command %s of %s: %w", cid, did, err)
		}
	}
	return c.Tick(s.now().UnixMilli()), nil
}

// Commands gives up to limit commands of a device, the newest first, those whose Order is before before (0: from the newest).
func (s *Service) Commands(ctx context.Context, who, did accounts.Name, before uint64, limit int) ([]Command, error) {
	since, err := s.since(ctx, who, did)
	if err != nil {
		return nil, fmt.Errorf("commands of %s: %w", did, err)
	}
	all, err := s.store.CommandsOf(ctx, did, before, limit)
	if err != nil {
		return nil, fmt.Errorf("commands of %s: %w", did, err)
	}
	if i := slices.IndexFunc(all, func(c Command) bool { return c.Created < since }); i >= 0 {
		all = all[:i]
	}
	now := s.now().UnixMilli()
	for i, c := range all {
		all[i] = c.Tick(now)
	}
	return all, nil
}

// Cancel takes a command back: who has given it may, and who manages the device. ErrTooLate: the device has it.
func (s *Service) Cancel(ctx context.Context, who, did accounts.Name, cid string) (Command, error) {
	if _, err := s.Command(ctx, who, did, cid); err != nil {
		return Command{}, err
	}
	return s.step(ctx, did, cid, func(c Command) (Command, []CommandState, error) {
		if c.By != who {
			if _, err := s.things.May(ctx, who, did, VerbManage); err != nil {
				return c, nil, err
			}
		}
		next, err := c.Cancel(s.now().UnixMilli())
		return next, []CommandState{next.State}, err
	})
}

// AckCommand is what a device says about a command.
func (s *Service) AckCommand(ctx context.Context, did accounts.Name, cid string, a CommandAck) (Command, error) {
	return s.step(ctx, did, cid, func(c Command) (Command, []CommandState, error) {
		return c.Ack(a, s.now().UnixMilli())
	})
}

// AckNumbered is AckCommand of a command that its device knows by its Order. ErrUnknown.
func (s *Service) AckNumbered(ctx context.Context, did accounts.Name, order uint64, a CommandAck) (Command, error) {
	if order == 0 || order == math.MaxUint64 {
		return Command{}, fmt.Errorf("command %d of %s: %w", order, did, ErrUnknown)
	}
	list, err := s.store.CommandsOf(ctx, did, order+1, 1)
	if err == nil && (len(list) == 0 || list[0].Order != order) {
		err = ErrUnknown
	}
	if err != nil {
		return Command{}, fmt.Errorf("command %d of %s: %w", order, did, err)
	}
	return s.AckCommand(ctx, did, list[0].ID, a)
}

// step does something with one command: what take says, and which states it goes through by it.
func (s *Service) step(
	ctx context.Context, did accounts.Name, cid string, take func(Command) (Command, []CommandState, error),
) (Command, error) {
	leave, err := s.turns.take(ctx, did)
	if err != nil {
		return Command{}, fmt.Errorf("command %.80q of %s: %w", cid, did, err)
	}
	defer leave()
	for range changes {
		c, err := s.store.Command(ctx, did, cid)
		if err != nil {
			return Command{}, fmt.Errorf("command %.80q of %s: %w", cid, did, err)
		}
		before := c
		if at := s.flights.ackedAt(did, cid); at != 0 { // the PUBACK came first
			c = c.Deliver(at)
		}
		delivered := c
		next, through, failed := take(c)
		if delivered.State != before.State {
			through = append([]CommandState{delivered.State}, through...)
		}
		if len(through) == 0 && next.State != before.State { // its time was over
			through = []CommandState{next.State}
		}
		switch err := s.advance(ctx, before, next, through); {
		case errors.Is(err, ErrChanged):
			continue
		case err != nil:
			return Command{}, err
		}
		return next, failed
	}
	return Command{}, fmt.Errorf("command %s of %s, which others change: %w", cid, did, ErrUnavailable)
}

// advance stores what has become of a command, if anything has, and tells it. Others may go now.
func (s *Service) advance(ctx context.Context, before, next Command, through []CommandState) error {
	if next.Rev == before.Rev {
		return nil
	}
	next.Rev = before.Rev + 1 // several steps at once are one for the store
	if err := s.store.PutCommand(ctx, next); err != nil {
		return fmt.Errorf("put command %s of %s: %w", next.ID, next.Device, err)
	}
	s.tellThrough(ctx, next, through, s.viewersOf(ctx, next.Device))
	s.commands.set(next.Device, s.now())
	return nil
}

// tellThrough tells the states that a command has gone through. What the device has said belongs to the last of them.
func (s *Service) tellThrough(ctx context.Context, c Command, through []CommandState, viewers []accounts.Name) {
	for i, state := range through {
		said := c
		if said.State = state; i < len(through)-1 {
			said.Outcome, said.Percent, said.Late = Outcome{}, 0, nil
		}
		s.tellStep(ctx, said, viewers)
	}
	if len(through) == 0 { // what came too late
		s.tellStep(ctx, c, viewers)
	}
}

func (s *Service) viewersOf(ctx context.Context, did accounts.Name) []accounts.Name {
	thing, err := s.thing(ctx, did)
	if err != nil {
		s.metrics.unsaid.Inc()
		s.log.Warn("not known who sees a device", "device", did, "err", err)
		return nil
	}
	return s.viewers(ctx, thing)
}

// thing gives a thing, or what is left of it.
func (s *Service) thing(ctx context.Context, did accounts.Name) (Thing, error) {
	thing, err := s.store.Thing(ctx, did)
	switch {
	case errors.Is(err, ErrUnknown):
		return Thing{ID: did, Gone: true}, nil
	case err != nil:
		return Thing{}, fmt.Errorf("thing %s: %w", did, err)
	}
	return thing, nil
}
