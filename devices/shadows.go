package devices

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// Native paths of what is said of a device's classic shadow.
const (
	pathShadow = "shadow" // to those who may see it
	pathWant   = "want"   // to the device
)

// maxShadowName is how long the name of a shadow may be, as AWS has it.
const maxShadowName = 64

func validShadowName(name string) bool {
	ok := func(c byte) bool {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		return letter || c == '$' || c == ':' || c == '_' || c == '-'
	}
	for i := range len(name) {
		if !ok(name[i]) {
			return false
		}
	}
	return len(name) <= maxShadowName
}

// Shadow gives a shadow of a device, the classic one under the name "", to who may see the device.
func (s *Service) Shadow(ctx context.Context, who, did accounts.Name, name string) (Shadow, error) {
	if _, err := s.May(ctx, who, did, VerbSee); err != nil {
		return Shadow{}, fmt.Errorf("shadow of %s: %w", did, err)
	}
	if !validShadowName(name) {
		return Shadow{}, rejected(400, "Invalid shadow name")
	}
	return s.shadow(ctx, did, name)
}

func (s *Service) shadow(ctx context.Context, did accounts.Name, name string) (Shadow, error) {
	shadow, err := s.store.Shadow(ctx, did, name)
	if err != nil {
		return Shadow{}, fmt.Errorf("shadow %q of %s: %w", name, did, err)
	}
	return shadow, nil
}

// Shadows gives up to limit names of a device's named shadows, in order, those after after.
func (s *Service) Shadows(ctx context.Context, who, did accounts.Name, after string, limit int) ([]string, error) {
	if _, err := s.May(ctx, who, did, VerbSee); err != nil {
		return nil, fmt.Errorf("shadows of %s: %w", did, err)
	}
	names, err := s.store.ShadowNames(ctx, did, after, limit)
	if err != nil {
		return nil, fmt.Errorf("shadows of %s: %w", did, err)
	}
	return names, nil
}

// UpdateShadow changes a shadow and says so to all whom it concerns. A device may change all of its own, who controls it what it
// should be. What the update says of the version decides if there was another change meanwhile.
func (s *Service) UpdateShadow(ctx context.Context, who, did accounts.Name, name string, u ShadowUpdate) (Shadow, error) {
	may := func() (Thing, error) { return s.mayUpdate(ctx, who, did, u) }
	change := func(before Shadow, now int64) (Shadow, error) {
		return before.Update(u, now, ShadowLimits{Size: s.cfg.ShadowSize, Depth: s.cfg.ShadowDepth})
	}
	tell := func(thing Thing, before, after Shadow, to []accounts.Name, now int64) {
		s.tellUpdate(thing, name, before, after, u, to, now)
	}
	after, err := s.changeShadow(ctx, did, name, may, change, tell)
	if err != nil {
		err = fmt.Errorf("update shadow of %s: %w", did, err)
	}
	return after, err
}

// mayUpdate is for who has the device to himself.
func (s *Service) mayUpdate(ctx context.Context, who, did accounts.Name, u ShadowUpdate) (Thing, error) {
	if who == did {
		return s.mayInTurn(ctx, who, did, VerbSee)
	}
	thing, err := s.mayInTurn(ctx, who, did, VerbControl)
	if err == nil && u.Reported.Set {
		return thing, fmt.Errorf("the reported state is the device's: %w", ErrNoRight)
	}
	if err == nil {
		err = s.things.Stands(ctx, who)
	}
	return thing, err
}

// DeleteShadow deletes a shadow: the device may, and who manages it. Token comes back with what is said about it.
func (s *Service) DeleteShadow(ctx context.Context, who, did accounts.Name, name, token string) (Shadow, error) {
	verb := VerbManage
	if who == did {
		verb = VerbSee
	}
	may := func() (Thing, error) { return s.mayInTurn(ctx, who, did, verb) }
	change := func(before Shadow, _ int64) (Shadow, error) { return before.Delete() }
	tell := func(thing Thing, before, after Shadow, to []accounts.Name, now int64) {
		s.router.Tell(to, awsTopic(did, name, "delete/accepted"), after.DeletedDocument(token, now))
		s.tellNative(thing, name, before, after, false, to)
	}
	after, err := s.changeShadow(ctx, did, name, may, change, tell)
	if err != nil {
		err = fmt.Errorf("delete shadow of %s: %w", did, err)
	}
	return after, err
}

// changes is how often a change is tried that another process was faster than.
const changes = 10

// changeShadow reads, changes and stores a shadow, and tells it before anybody changes it again. Who may is asked when nobody
// else changes it, so that what has waited over a reset, or a grant's end, is refused.
func (s *Service) changeShadow(
	ctx context.Context, did accounts.Name, name string, may func() (Thing, error),
	change func(before Shadow, now int64) (Shadow, error),
	tell func(thing Thing, before, after Shadow, to []accounts.Name, now int64),
) (Shadow, error) {
	if !validShadowName(name) {
		return Shadow{}, rejected(400, "Invalid shadow name")
	}
	leave, err := s.turns.take(ctx, did)
	if err != nil {
		return Shadow{}, err
	}
	defer leave()
	thing, err := may()
	if err != nil {
		return Shadow{}, err
	}
	for range changes {
		now := s.now().Unix()
		before, err := s.shadow(ctx, thing.ID, name)
		if err != nil {
			return Shadow{}, err
		}
		after, err := change(before, now)
		if err == nil && name != "" && !before.There() {
			err = s.roomForShadow(ctx, thing.ID)
		}
		if err != nil {
			s.metrics.shadows.WithLabelValues("rejected").Inc()
			return before, err
		}
		switch err := s.store.PutShadow(ctx, thing.ID, name, after); {
		case errors.Is(err, ErrChanged):
			continue
		case err != nil:
			return Shadow{}, fmt.Errorf("put shadow %q of %s: %w", name, thing.ID, err)
		}
		s.metrics.shadows.WithLabelValues("accepted").Inc()
		tell(thing, before, after, append(s.viewers(ctx, thing), thing.ID), now)
		s.shadowChanged(thing, name, before, after)
		return after, nil
	}
	return Shadow{}, fmt.Errorf("change shadow %q of %s, which others change: %w", name, thing.ID, ErrUnavailable)
}

func (s *Service) roomForShadow(ctx context.Context, did accounts.Name) error {
	names, err := s.store.ShadowNames(ctx, did, "", s.cfg.Shadows)
	if err == nil && len(names) >= s.cfg.Shadows {
		err = fmt.Errorf("%d named shadows: %w", len(names), ErrTooMany)
	}
	return err
}

// viewers are those who may see a device now. If that is not known nobody is told, rather than who may not.
func (s *Service) viewers(ctx context.Context, thing Thing) []accounts.Name {
	viewers, err := s.things.Viewers(ctx, thing)
	if err != nil {
		s.metrics.unsaid.Inc()
		s.log.Warn("not known who sees a device", "device", thing.ID, "err", err)
		return nil
	}
	return slices.Clone(viewers)
}

// tellUpdate says what has become of a shadow, in the order in which AWS does: accepted, delta, documents.
func (s *Service) tellUpdate(thing Thing, name string, before, after Shadow, u ShadowUpdate, to []accounts.Name, now int64) {
	tell := func(path string, document []byte) { s.router.Tell(to, awsTopic(thing.ID, name, path), document) }
	tell("update/accepted", after.AcceptedDocument(u, now))
	if delta := after.DeltaDocument(u.Token, now); delta != nil {
		tell("update/delta", delta)
	}
	tell("update/documents", ChangeDocument(before, after, u.Token, now))
	s.tellNative(thing, name, before, after, u.Desired.Set, to)
}

// tellNative says what the classic shadow is now, and to the device what it should be, if that has changed and is not
// just what it has said itself.
func (s *Service) tellNative(thing Thing, name string, before, after Shadow, desired bool, to []accounts.Name) {
	if name != "" {
		return
	}
	s.router.Tell(to, Topic{Device: thing.ID, Path: pathShadow}, after.document())
	was, is := before.Delta().State, after.Delta().State
	if !same(was, is) && (desired || len(is) > 0) {
		to := []accounts.Name{thing.ID}
		if thing.Bridge != "" {
			to = append(to, thing.Bridge)
		}
		s.router.Tell(to, Topic{Device: thing.ID, Path: pathWant}, after.want())
	}
}

func awsTopic(did accounts.Name, name, path string) Topic {
	if name != "" {
		path = "name/" + name + "/" + path
	}
	return Topic{Device: did, Path: "shadow/" + path, AWS: true}
}

// document is what those who may see a device are told of its classic shadow.
func (s Shadow) document() []byte {
	return encoded(struct {
		Version  uint64 `json:"version"`
		Desired  Object `json:"desired,omitempty"`
		Reported Object `json:"reported,omitempty"`
		Delta    Object `json:"delta,omitempty"`
		Meta     both   `json:"meta"`
	}{s.Version, s.Desired.State, s.Reported.State, s.Delta().State, s.metadata()})
}

// want is what the device is told.
func (s Shadow) want() []byte {
	delta := s.Delta().State
	if delta == nil {
		delta = Object{}
	}
	return encoded(struct {
		State   Object `json:"state"`
		Version uint64 `json:"version"`
	}{delta, s.Version})
}

// ServeShadow does what AWS's device shadow service does with a request to $aws/things/{did}/shadow[/name/{name}]/{verb},
// and says what has become of it on the topics below. A nil error means that it has answered, be it by refusing.
func (s *Service) ServeShadow(ctx context.Context, who, did accounts.Name, name, verb string, payload []byte) error {
	var refused *ShadowError
	err := s.serveShadow(ctx, who, did, name, verb, payload)
	switch {
	case errors.As(err, &refused):
		err = nil
	case errors.Is(err, ErrNoRight):
		refused = rejected(403, "Forbidden")
	case errors.Is(err, ErrTooMany):
		refused, err = rejected(400, "Too many named shadows"), nil
	default:
		return err
	}
	if !validShadowName(name) {
		return err
	}
	if refused.Token == "" {
		refused.Token, _ = ParseToken(payload)
	}
	s.router.Tell([]accounts.Name{who}, awsTopic(did, name, verb+"/rejected"), refused.Document(s.now().Unix()))
	return err
}

func (s *Service) serveShadow(ctx context.Context, who, did accounts.Name, name, verb string, payload []byte) error {
	switch verb {
	case "update":
		if len(payload) > 2*s.cfg.ShadowSize { // what does not fit is not even read
			return cmp.Or(s.sees(ctx, who, did), error(rejected(413, "The payload exceeds the maximum size allowed")))
		}
		u, err := ParseShadowUpdate(payload)
		if err != nil {
			return cmp.Or(s.sees(ctx, who, did), err)
		}
		_, err = s.UpdateShadow(ctx, who, did, name, u)
		return err
	case "get", "delete":
		token, err := ParseToken(payload)
		if err != nil {
			return cmp.Or(s.sees(ctx, who, did), err)
		}
		if verb == "get" {
			return s.getShadow(ctx, who, did, name, token)
		}
		_, err = s.DeleteShadow(ctx, who, did, name, token)
		return err
	}
	return fmt.Errorf("shadow of %s: %.20q: %w", did, verb, ErrUnknown)
}

// sees gives an error for who may not see a device.
func (s *Service) sees(ctx context.Context, who, did accounts.Name) error {
	_, err := s.May(ctx, who, did, VerbSee)
	return err
}

func (s *Service) getShadow(ctx context.Context, who, did accounts.Name, name, token string) error {
	leave, err := s.turns.take(ctx, did)
	if err != nil {
		return fmt.Errorf("get shadow of %s: %w", did, err)
	}
	defer leave()
	thing, err := s.mayInTurn(ctx, who, did, VerbSee)
	if err != nil {
		return fmt.Errorf("get shadow of %s: %w", did, err)
	}
	if !validShadowName(name) {
		return rejected(400, "Invalid shadow name")
	}
	shadow, err := s.shadow(ctx, thing.ID, name)
	if err != nil {
		return err
	}
	document, err := shadow.GetDocument(token, s.now().Unix())
	if err != nil {
		return err
	}
	s.router.Tell([]accounts.Name{who}, awsTopic(did, name, "get/accepted"), document)
	return nil
}

// Now gives what the topics of a device say now to who may see it, those that wanted says it of. Nothing that is told of the
// device comes between the question what it says and give. Nothing is given to who may not see it.
func (s *Service) Now(
	ctx context.Context, who, did accounts.Name, wanted func(Topic) bool, give func(Topic, []byte) (more bool),
) error {
	leave, err := s.turns.take(ctx, did)
	if err != nil {
		return fmt.Errorf("what %s is: %w", did, err)
	}
	defer leave()
	return s.nowInTurn(ctx, who, did, wanted, give)
}

// nowInTurn is Now for who has the device to himself.
func (s *Service) nowInTurn(
	ctx context.Context, who, did accounts.Name, wanted func(Topic) bool, give func(Topic, []byte) (more bool),
) error {
	thing, err := s.mayInTurn(ctx, who, did, VerbSee)
	switch {
	case errors.Is(err, ErrUnknown), errors.Is(err, ErrNoRight):
		return nil
	case err != nil:
		return fmt.Errorf("what %s is: %w", did, err)
	}
	if t := (Topic{Device: did, Path: pathPresence}); wanted(t) {
		presence, err := s.presenceOf(ctx, thing)
		if err != nil || presence.State != "" && !give(t, presence.document()) {
			return err
		}
	}
	if wanted(Topic{Device: did, Path: pathTele}) {
		if more, err := s.measuredNow(ctx, did, give); err != nil || !more {
			return err
		}
	}
	return s.shadowsNow(ctx, who == did || who == thing.Bridge, did, wanted, give)
}

func (s *Service) shadowsNow(
	ctx context.Context, itself bool, did accounts.Name, wanted func(Topic) bool, give func(Topic, []byte) bool,
) error {
	topics := func(name string) []Topic {
		if name != "" {
			return []Topic{awsTopic(did, name, "update/delta")}
		}
		all := []Topic{{Device: did, Path: pathShadow}, awsTopic(did, name, "update/delta")}
		if itself {
			all = append(all, Topic{Device: did, Path: pathWant})
		}
		return all
	}
	names, err := s.store.ShadowNames(ctx, did, "", s.cfg.Shadows)
	if err != nil {
		return fmt.Errorf("shadows of %s: %w", did, err)
	}
	for _, name := range append([]string{""}, names...) {
		all := slices.DeleteFunc(topics(name), func(t Topic) bool { return !wanted(t) })
		if len(all) == 0 {
			continue
		}
		shadow, err := s.shadow(ctx, did, name)
		if err != nil {
			return err
		}
		for _, t := range all {
			if text := shadow.says(t, s.now()); text != nil && !give(t, text) {
				return nil
			}
		}
	}
	return nil
}

// says is what a topic about a shadow says now; nil: nothing.
func (s Shadow) says(t Topic, now time.Time) []byte {
	switch {
	case !s.There():
		return nil
	case t.AWS:
		return s.DeltaDocument("", now.Unix())
	case t.Path == pathShadow:
		return s.document()
	case len(s.Delta().State) > 0:
		return s.want()
	}
	return nil
}
