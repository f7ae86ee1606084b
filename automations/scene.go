package automations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
)

// Scene is what some devices are to be, and to do, at once or one after the other.
type Scene struct {
	Home  string        `json:"-"`
	ID    string        `json:"-"`
	Title string        `json:"title,omitempty"`
	Order bool          `json:"order,omitempty"` // a step begins when the one before is over
	Steps []SceneStep   `json:"steps"`
	Owner accounts.Name `json:"owner"` // who has saved it last
	Saved int64         `json:"saved"`
	Rev   uint64        `json:"-"`

	Hidden bool `json:"-"` // it is about a device that who is shown it may not see: nothing is said of what it does
}

// SceneStep is what one device is to do (Name), or to be (Desired).
type SceneStep struct {
	Device  accounts.Name   `json:"did"`
	Name    string          `json:"name,omitempty"`
	Args    json.RawMessage `json:"args,omitempty"`
	TTL     float64         `json:"ttl,omitempty"`     // seconds
	Timeout float64         `json:"timeout,omitempty"` // seconds; of a desired state: until it is reached
	Key     string          `json:"key,omitempty"`
	Desired json.RawMessage `json:"desired,omitempty"`

	call   devices.Call
	desire devices.ShadowUpdate
}

const maxSceneSteps = 50

// SceneRun is what becomes of a scene that somebody has run.
type SceneRun struct {
	Run   string
	Home  string
	Scene string
	Title string
	By    accounts.Name
	Seq   uint64 // of the message in the home that says so
	Steps []SceneResult
}

// SceneResult is what becomes of a step: State is "waiting", that of a command, or of a desired state "set", "reached" or
// "timed_out"; or else there is an Err.
type SceneResult struct {
	Device accounts.Name `json:"did"`
	State  string        `json:"s"`
	Err    string        `json:"err,omitempty"`
	CID    string        `json:"cid,omitempty"`
}

// Final says whether nothing follows.
func (r SceneResult) Final() bool {
	switch r.State {
	case stateReached:
		return true
	case stateWaiting, stateSet:
		return r.Err != ""
	}
	return r.Err != "" || devices.CommandState(r.State).Final()
}

const (
	stateWaiting  = "waiting"
	stateSet      = "set"     // it was told what it should be
	stateReached  = "reached" // and says that it is
	stateTimedOut = string(devices.CommandTimedOut)

	noDevice = "no_device" // the Err of a step about what there is not, for who runs the scene
)

const (
	// patience is for how long it is waited that a device is what it should be, if a step says nothing.
	patience = time.Minute
	// maxPatience is the longest that a step may say, in seconds.
	maxPatience = 24 * 3600
)

// patience is for how long it is waited that a device is what the step wants it to be.
func (st *SceneStep) patience() time.Duration {
	if st.Timeout == 0 {
		return patience
	}
	return duration(st.Timeout)
}

// prepare checks the steps, and makes what is done out of them.
func (x *Scene) prepare() error {
	if !validLabel(x.Title) {
		return fault("title", "it has more than %d bytes, or characters that cannot be seen", maxTitle)
	}
	if n := len(x.Steps); n == 0 || n > maxSceneSteps {
		return fault("steps", "there have to be 1 to %d", maxSceneSteps)
	}
	size := 0
	for i := range x.Steps {
		st := &x.Steps[i]
		at := fmt.Sprintf("steps.%d", i)
		a := Action{
			Do: doCommand, Device: st.Device, Name: st.Name, Args: st.Args, TTL: st.TTL, Timeout: st.Timeout, Key: st.Key,
			Desired: st.Desired,
		}
		if st.Desired != nil {
			a.Do, a.Timeout = doDesired, 0
		}
		if st.Desired != nil && (st.Timeout < 0 || st.Timeout > maxPatience) {
			return fault(at, "\"timeout\" is at most %d seconds", maxPatience)
		}
		if extra := a.extra(); extra != "" || st.Desired != nil && st.Name != "" {
			return fault(at, "either \"desired\" or \"name\", with what belongs to a command, has to be there")
		}
		var err error
		if st.Desired != nil {
			st.desire, err = desiredOf(at, a)
		} else {
			st.call, err = callOf(at, a)
		}
		if err != nil {
			return err
		}
		size += len(st.Args) + len(st.Desired)
	}
	if size > maxDefinition {
		return fault("steps", "they have more than %d bytes", maxDefinition)
	}
	return nil
}

// ParseSteps reads the steps of a scene. An error is a *DefinitionError.
func ParseSteps(text []byte) (steps []SceneStep, err error) {
	err = decodeStrictly(text, &steps)
	return steps, err
}

func (s *Service) loadScene(r records.Record) error {
	x := &Scene{}
	if err := json.Unmarshal(r.Body, x); err != nil {
		return err
	}
	x.Home, x.ID, x.Rev = r.Scope, r.ID, r.Rev
	if err := x.prepare(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scenes[key{r.Scope, r.ID}] = x
	return nil
}

// PutScene makes or replaces a scene: members do, their own, and admins all. A *DefinitionError says what is wrong with it.
// ErrTooMany.
func (s *Service) PutScene(ctx context.Context, who accounts.Name, x Scene) (Scene, error) {
	if x.ID == "" {
		x.ID = newID()
	}
	leave, err := s.alone(ctx)
	if err != nil {
		return Scene{}, fmt.Errorf("put scene of %s: %w", x.Home, err)
	}
	defer leave()
	before, err := s.mayChangeScene(ctx, who, x.Home, x.ID)
	if err != nil && !errors.Is(err, ErrUnknown) {
		return Scene{}, err
	}
	if !validID(x.ID) {
		return Scene{}, fault("id", "it has 1 to %d of a-z, 0-9, - and _", maxID)
	}
	if err := x.prepare(); err != nil {
		return Scene{}, err
	}
	for i, st := range x.Steps {
		switch _, err := s.things.May(ctx, who, st.Device, devices.VerbSee); {
		case err != nil && isRefusal(err):
			return Scene{}, fault(fmt.Sprintf("steps.%d", i), "there is no device %s, or you may not see it", st.Device)
		case err != nil:
			return Scene{}, err
		}
	}
	if before == nil && s.countScenes(x.Home) >= s.cfg.PerHome {
		return Scene{}, fmt.Errorf("scenes of %s: %w", x.Home, ErrTooMany)
	}
	x.Owner, x.Saved, x.Rev = who, s.now().UnixMilli(), 0
	owners := []accounts.Name{who}
	if before != nil {
		x.Rev, owners = before.Rev, append(owners, before.Owner)
	}
	body, err := json.Marshal(x)
	if err != nil {
		return Scene{}, fmt.Errorf("scene %s of %s: %w", x.ID, x.Home, err)
	}
	k := records.Key{Kind: kindScene, Scope: x.Home, ID: x.ID}
	x.Rev, err = s.redefine(ctx, k, x.Rev, owners, func(rev uint64) error {
		return s.store.Put(ctx, records.Record{Key: k, Rev: rev + 1, Body: body})
	})
	if err != nil {
		return Scene{}, fmt.Errorf("put scene %s of %s: %w", x.ID, x.Home, err)
	}
	x.Rev++
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scenes[key{x.Home, x.ID}] = &x
	return x, nil
}

func (s *Service) countScenes(home string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.scenes {
		if k.home == home {
			n++
		}
	}
	return n
}

// mayChangeScene gives a scene that somebody may change. ErrUnknown: there is none, and he may make one.
func (s *Service) mayChangeScene(ctx context.Context, who accounts.Name, home, id string) (*Scene, error) {
	role, err := s.member(ctx, who, home)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	x := s.scenes[key{home, id}]
	s.mu.Unlock()
	switch {
	case x == nil:
		return nil, fmt.Errorf("scene %.80q of %s: %w", id, home, ErrUnknown)
	case x.Owner != who && !manages(role):
		return nil, fmt.Errorf("scene %s of %s: %w", id, x.Owner, ErrNoRight)
	}
	return x, nil
}

// Scenes gives the scenes of a home, in the order of their ids: to each what he may know.
func (s *Service) Scenes(ctx context.Context, who accounts.Name, home string) ([]Scene, error) {
	role, err := s.role(ctx, who, home)
	if err != nil {
		return nil, err
	}
	all := []Scene{}
	s.mu.Lock()
	for k, x := range s.scenes {
		if k.home == home {
			all = append(all, *x)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b Scene) int { return strings.Compare(a.ID, b.ID) })
	r := s.reader(who)
	for i := range all {
		if all[i], err = r.scene(ctx, all[i], role); err != nil {
			return nil, fmt.Errorf("scenes of %s for %s: %w", home, who, err)
		}
	}
	return all, nil
}

// Scene gives a scene: what who asks may know of it.
func (s *Service) Scene(ctx context.Context, who accounts.Name, home, id string) (Scene, error) {
	role, err := s.role(ctx, who, home)
	if err != nil {
		return Scene{}, err
	}
	s.mu.Lock()
	x := s.scenes[key{home, id}]
	s.mu.Unlock()
	if x == nil {
		return Scene{}, fmt.Errorf("scene %.80q of %s: %w", id, home, ErrUnknown)
	}
	return s.reader(who).scene(ctx, *x, role)
}

// RemoveScene forgets a scene. One that runs goes on.
func (s *Service) RemoveScene(ctx context.Context, who accounts.Name, home, id string) error {
	leave, err := s.alone(ctx)
	if err != nil {
		return fmt.Errorf("remove scene of %s: %w", home, err)
	}
	defer leave()
	x, err := s.mayChangeScene(ctx, who, home, id)
	if err != nil {
		return err
	}
	k := records.Key{Kind: kindScene, Scope: home, ID: id}
	_, err = s.redefine(ctx, k, x.Rev, []accounts.Name{x.Owner, who}, func(rev uint64) error {
		return s.store.Remove(ctx, k, rev)
	})
	if err != nil {
		return fmt.Errorf("remove scene %s of %s: %w", id, home, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.scenes, key{home, id})
	return nil
}
