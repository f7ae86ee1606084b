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

const (
	rewordEvery  = 2 * time.Second
	askEvery     = 5  // of those: then devices are asked, though they have said nothing
	maxRewords   = 40 // of a message: chat lets one edit it fifty times
	kindSceneRun = "scene"
)

// performance is a scene that runs. One goroutine has it to itself.
type performance struct {
	s     *Service
	home  string
	run   string
	scene Scene
	state sceneState
	rev   uint64
	ears  *ears
	cids  map[string]int // the step of each command
	begun bool           // a step was, which is not stored
	said  string         // by the message, as far as is known
}

// sceneState is what is stored of it, so that it goes on after a crash: before its first step is begun, when steps were, and
// before its message says what became of them.
type sceneState struct {
	holder
	Scene   string        `json:"scene"`
	Title   string        `json:"title,omitempty"`
	Order   bool          `json:"order,omitempty"`
	Steps   []SceneStep   `json:"steps"`
	By      accounts.Name `json:"by"`
	Depth   int           `json:"depth,omitempty"`
	Started int64         `json:"started"` // Unix milliseconds
	Results []SceneResult `json:"results"`
	Waits   []sceneWait   `json:"waits"`
	First   []SceneResult `json:"first,omitempty"`   // what its message says first, though it may be written again
	Told    bool          `json:"told,omitempty"`    // that is written, or may not be
	Seq     uint64        `json:"seq,omitempty"`     // of that; 0: there is none
	Rewords int           `json:"rewords,omitempty"` // of that
}

// sceneWait is what a step with a desired state waits for.
type sceneWait struct {
	Version uint64 `json:"version,omitempty"` // of the shadow in which it is desired
	Until   int64  `json:"until,omitempty"`   // when it is waited for no longer, in Unix milliseconds
}

// RunScene runs a scene with the rights of who, and says what becomes of it in a message in the home, which is changed as
// results come. It returns when the first steps are begun. Under the same run, which may be empty, it is done once.
func (s *Service) RunScene(ctx context.Context, who accounts.Name, home, id, run string) (SceneRun, error) {
	if len(run) > 32 || run != "" && !validID(run) {
		return SceneRun{}, fault("run", "it has at most 32 of a-z, 0-9, - and _")
	}
	if run == "" {
		run = newID()
	}
	return s.runScene(ctx, who, home, id, "s."+string(who)+"."+run, 0)
}

func (s *Service) runScene(ctx context.Context, who accounts.Name, home, id, run string, depth int) (SceneRun, error) {
	if _, err := s.role(ctx, who, home); err != nil {
		return SceneRun{}, err
	}
	s.mu.Lock()
	x, running := s.scenes[key{home, id}], s.ctx
	s.mu.Unlock()
	switch {
	case x == nil:
		return SceneRun{}, fmt.Errorf("scene %.80q of %s: %w", id, home, ErrUnknown)
	case running == nil:
		return SceneRun{}, fmt.Errorf("scene %s of %s: %w", id, home, ErrUnavailable)
	}
	p := s.performanceOf(home, run, *x)
	p.state = sceneState{
		Scene: id, Title: x.Title, Order: x.Order, Steps: x.Steps, By: who, Depth: depth, Started: s.now().UnixMilli(),
		Results: make([]SceneResult, len(x.Steps)), Waits: make([]sceneWait, len(x.Steps)),
	}
	for i, st := range x.Steps {
		p.state.Results[i] = SceneResult{Device: st.Device, State: stateWaiting}
		switch _, err := s.things.May(ctx, who, st.Device, devices.VerbSee); {
		case err != nil && isRefusal(err): // now, as what waits is named to everybody
			p.state.Results[i].Err = noDevice
		case err != nil:
			return SceneRun{}, fmt.Errorf("scene %s of %s: %w", id, home, err)
		}
	}
	switch runs, err := s.follows.enter(p.key(), false); {
	case err != nil:
		return SceneRun{}, fmt.Errorf("scenes that run: %w", err)
	case runs:
		return s.storedScene(ctx, p.key())
	}
	if err := p.save(ctx); err != nil {
		s.follows.leave(p.key(), p.ears, nil)
		if errors.Is(err, records.ErrChanged) {
			return s.storedScene(ctx, p.key())
		}
		return SceneRun{}, err
	}
	p.advance(ctx)
	p.state.First = slices.Clone(p.state.Results)
	if err := p.save(ctx); err == nil {
		_ = p.tell(ctx) // or it is told when it is followed
	}
	out := p.shownTo()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil { // the process ends, and the next one goes on
		s.follows.leave(p.key(), p.ears, p.state.Results)
		return out, nil
	}
	s.running.Go(func() {
		defer func() { s.follows.leave(p.key(), p.ears, p.state.Results) }()
		p.follow(running)
	})
	return out, nil
}

// performanceOf makes a run of a scene of which nothing was done.
func (s *Service) performanceOf(home, run string, x Scene) *performance {
	return &performance{s: s, home: home, run: run, scene: x, ears: newEars(), cids: map[string]int{}}
}

func (p *performance) key() records.Key {
	return records.Key{Kind: kindPerformance, Scope: p.home, ID: p.run}
}

// storedScene gives how far a scene has come, as far as that is stored.
func (s *Service) storedScene(ctx context.Context, k records.Key) (SceneRun, error) {
	r, err := s.store.Record(ctx, k)
	switch {
	case errors.Is(err, records.ErrNone): // it is over by now
		err = ErrUnavailable
	case err == nil:
		p := s.performanceOf(r.Scope, r.ID, Scene{})
		if err = json.Unmarshal(r.Body, &p.state); err == nil {
			return p.shownTo(), nil
		}
	}
	return SceneRun{}, fmt.Errorf("scene that runs as %s: %w", k.ID, err)
}

// loadScene takes up a scene that was running when the process ended.
func (s *Service) loadSceneRun(r records.Record) error {
	p := s.performanceOf(r.Scope, r.ID, Scene{})
	if err := json.Unmarshal(r.Body, &p.state); err != nil {
		return err
	}
	st := &p.state
	if len(st.Results) != len(st.Steps) || len(st.Waits) != len(st.Steps) {
		return fmt.Errorf("%d steps, %d results: %w", len(st.Steps), len(st.Results), ErrMalformed)
	}
	p.scene, p.rev = Scene{Home: r.Scope, ID: st.Scene, Title: st.Title, Order: st.Order, Steps: st.Steps}, r.Rev
	if err := p.scene.prepare(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.interrupted = append(s.interrupted, p)
	return nil
}

// resumeScenes goes on with those.
func (s *Service) resumeScenes(ctx context.Context) {
	s.mu.Lock()
	all := s.interrupted
	s.interrupted = nil
	s.mu.Unlock()
	for _, p := range all {
		if runs, err := s.follows.enter(p.key(), true); err != nil || runs {
			continue // somebody has run it again
		}
		s.running.Go(func() { p.resume(ctx) })
	}
}

// resume goes on with a scene of which nothing is known but what is stored.
func (p *performance) resume(ctx context.Context) {
	for i, r := range p.state.Results {
		switch {
		case r.CID != "":
			p.cids[r.CID] = i
			p.s.follows.hear(r.CID, p.ears)
		case r.State == stateSet:
			p.s.follows.watch(r.Device, p.ears)
		}
	}
	defer func() { p.s.follows.leave(p.key(), p.ears, p.state.Results) }()
	if !p.unlessGone(ctx, p.save) {
		return
	}
	if p.untouched() && !p.s.inTime(p.state.Started) { // nobody expects it any more
		p.finish(ctx)
		return
	}
	if p.state.First == nil || p.unlessGone(ctx, p.tell) { // it may be there: it is the same message
		p.follow(ctx)
	}
}

// untouched says whether no step was begun, as far as is known. What who runs it may not see never is.
func (p *performance) untouched() bool {
	return !slices.ContainsFunc(p.state.Results, func(r SceneResult) bool {
		return r.State != stateWaiting || r.Err != "" && r.Err != noDevice
	})
}

// unlessGone does what the store has to be able to do, and says whether it did: not if the process ends, or another one goes on
// with the scene, or there is nothing to go on with.
func (p *performance) unlessGone(ctx context.Context, do func(context.Context) error) bool {
	for {
		err := do(ctx)
		switch {
		case err == nil:
			return true
		case ctx.Err() != nil || errors.Is(err, records.ErrChanged):
			return false
		}
		p.s.log.Warn("not stored how far a scene is, and will be", "conversation", p.home, "user", p.state.By, "err", err)
		pause(ctx, rewordEvery)
	}
}

// save stores how far it has come.
func (p *performance) save(ctx context.Context) error {
	p.state.Holder = p.s.self
	body, err := json.Marshal(p.state)
	if err != nil {
		return fmt.Errorf("scene %s: %w", p.run, err)
	}
	err = p.s.hold(ctx, p.key(), &p.rev, 0, body)
	if err == nil {
		p.begun = false
	}
	return err
}

func (p *performance) done() bool {
	for _, r := range p.state.Results {
		if !r.Final() {
			return false
		}
	}
	return true
}

// advance does the steps that can be done now: all, or the first one that is not over.
func (p *performance) advance(ctx context.Context) {
	for i := range p.scene.Steps {
		r := &p.state.Results[i]
		if r.State == stateWaiting && r.Err == "" && ctx.Err() == nil {
			p.do(ctx, i)
		}
		if p.scene.Order && !r.Final() {
			return
		}
	}
}

// do does a step with the rights that who runs the scene has now: none, if he is not in the home any more.
func (p *performance) do(ctx context.Context, i int) {
	st, r := &p.scene.Steps[i], &p.state.Results[i]
	_, err := p.s.role(ctx, p.state.By, p.home)
	switch {
	case errors.Is(err, ErrNoHome):
		err = ErrNoRight
	case err != nil:
	case st.Desired != nil:
		err = p.desire(ctx, i)
	default:
		var c devices.Command
		if c, err = p.s.call(ctx, p.state.By, st.Device, st.call, midOf(p.run, i), p.state.Depth); err == nil {
			p.cids[c.ID] = i
			r.CID, r.State = c.ID, string(c.State)
			p.s.follows.hear(c.ID, p.ears)
		}
	}
	if err != nil && ctx.Err() != nil { // it is done when it is gone on with
		return
	}
	r.Err, p.begun = word(err), true
}

// desire says what a device should be, and waits until it is.
func (p *performance) desire(ctx context.Context, i int) error {
	st := &p.scene.Steps[i]
	p.s.follows.watch(st.Device, p.ears) // before it can answer
	shadow, err := p.s.desire(ctx, p.state.By, st.Device, "", st.desire, p.state.Depth)
	if err != nil {
		return err
	}
	p.state.Results[i].State = stateSet
	p.state.Waits[i] = sceneWait{Version: shadow.Version, Until: p.s.now().Add(st.patience()).UnixMilli()}
	p.see(i, shadow)
	return nil
}

// see looks whether a device is what a step wants it to be.
func (p *performance) see(i int, shadow devices.Shadow) {
	r := &p.state.Results[i]
	if r.State == stateSet && shadow.Version >= p.state.Waits[i].Version && p.scene.Steps[i].desire.Reached(shadow) {
		r.State = stateReached
	}
}

// midOf names the command of a step: of the same run it is the same.
func midOf(run string, step int) string {
	name := fmt.Sprintf("%s.%d", run, step)
	if len(name) <= 64 {
		return name
	}
	return runID(key{home: name}, firing{})
}

// follow has the message say what becomes of the scene, until nothing more does.
func (p *performance) follow(ctx context.Context) {
	tick := time.NewTicker(rewordEvery)
	defer tick.Stop()
	p.ask(ctx) // of what came before it was followed
	for ticks := 1; ; {
		p.advance(ctx)
		if p.done() || ctx.Err() != nil {
			break
		}
		if p.begun && !p.unlessGone(ctx, p.save) {
			return
		}
		select {
		case <-ctx.Done(): // the next process goes on
		case n := <-p.ears.news:
			p.take(n)
		case <-tick.C:
			if ticks++; ticks%askEvery == 0 || p.ears.missed.Swap(false) {
				p.ask(ctx)
			}
			p.expire(ctx)
			if p.text(p.state.Results) != p.said && p.state.Rewords < maxRewords && !p.done() && !p.say(ctx) {
				return
			}
		}
	}
	if ctx.Err() != nil || p.text(p.state.Results) != p.said && !p.say(ctx) {
		return
	}
	p.finish(ctx)
}

// finish forgets that it runs.
func (p *performance) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	if err := p.s.letGo(ctx, p.key(), p.rev); err != nil { // the next process finds that it is over
		p.s.log.Warn("end of a scene not stored", "conversation", p.home, "user", p.state.By, "err", err)
	}
}

// say has the message say what has become of the scene, and says whether it is still this process's. What it is to say is
// stored first: nothing takes it back.
func (p *performance) say(ctx context.Context) bool {
	if p.state.First == nil {
		p.state.First = slices.Clone(p.state.Results)
	}
	p.state.Rewords++
	return p.unlessGone(ctx, p.save) && p.unlessGone(ctx, p.tell) && p.unlessGone(ctx, p.reword)
}

func (p *performance) take(n news) {
	if i, ours := p.cids[n.command.ID]; ours {
		p.state.Results[i].State = string(n.command.State)
	}
	for i, r := range p.state.Results {
		if n.device != "" && r.Device == n.device {
			p.see(i, n.shadow)
		}
	}
}

// ask looks at what is not over.
func (p *performance) ask(ctx context.Context) {
	for i, r := range p.state.Results {
		if !r.Final() {
			p.askFor(ctx, i)
		}
	}
}

func (p *performance) askFor(ctx context.Context, i int) {
	r := p.state.Results[i]
	switch {
	case r.CID != "":
		switch c, err := p.s.devices.Command(ctx, p.state.By, r.Device, r.CID); {
		case err == nil:
			p.take(news{command: c})
		case errors.Is(err, devices.ErrUnknown): // it was forgotten, and nothing more is heard of it
			p.state.Results[i].Err = "gone"
		}
	case r.State == stateSet:
		if shadow, err := p.s.devices.Shadow(ctx, p.state.By, r.Device, ""); err == nil {
			p.see(i, shadow)
		}
	}
}

// expire gives up waiting for devices that had their time.
func (p *performance) expire(ctx context.Context) {
	now := p.s.now().UnixMilli()
	for i := range p.state.Results {
		r, w := &p.state.Results[i], &p.state.Waits[i]
		w.Until = min(w.Until, now+p.scene.Steps[i].patience().Milliseconds()) // the clock may have been set back
		if r.State != stateSet || w.Until > now {
			continue
		}
		if p.askFor(ctx, i); r.State == stateSet && ctx.Err() == nil {
			r.State = stateTimedOut
		}
	}
}

// tell writes the message, once. An error says that it may be tried again.
func (p *performance) tell(ctx context.Context) error {
	if p.state.Told {
		return nil
	}
	seq, err := p.s.write(ctx, p.state.Depth, p.line(p.state.First))
	if err = p.silent(ctx, err); err == nil {
		p.state.Told, p.state.Seq, p.said = true, seq, p.text(p.state.First)
	}
	return err
}

// reword has it say what has become of the scene by now.
func (p *performance) reword(ctx context.Context) (err error) {
	if text := p.text(p.state.Results); text == p.said {
		return nil
	}
	if p.state.Seq != 0 {
		err = p.silent(ctx, p.s.messenger.Reword(ctx, p.line(p.state.Results), p.state.Seq))
	}
	if err == nil {
		p.said = p.text(p.state.Results)
	}
	return err
}

// silent gives an error only if it may be tried again. Who may not write in the home runs scenes all the same.
func (p *performance) silent(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil || errors.Is(err, ErrUnavailable) {
		return err
	}
	p.s.log.Debug("scene not told", "conversation", p.home, "user", p.state.By, "err", err)
	return nil
}

// line is the message of the scene with some results.
func (p *performance) line(results []SceneResult) Line {
	return Line{
		From: p.state.By, Home: p.home, Kind: kindSceneRun, MID: midOf(p.run, -1),
		Body: bodyOf(p.text(results), map[string]any{
			"scene": p.state.Scene, "run": p.run, "title": p.title(), "steps": shownResults(results),
		}),
	}
}

func (p *performance) title() string {
	if p.state.Title != "" {
		return p.state.Title
	}
	return p.state.Scene
}

// shownTo is how far it has come, for who runs it, who may be a guest, and not know what the scene is about.
func (p *performance) shownTo() SceneRun {
	return SceneRun{
		Run: p.run, Home: p.home, Scene: p.state.Scene, Title: p.state.Title, By: p.state.By, Seq: p.state.Seq,
		Steps: shownResults(p.state.Results),
	}
}

// shownResults are the results as everybody in the home may read them: what who runs it may not see has no name.
func shownResults(results []SceneResult) []SceneResult {
	out := slices.Clone(results)
	for i := range out {
		if out[i].Err == noDevice {
			out[i].Device = ""
		}
	}
	return out
}

// text is what becomes of the scene, in words: "Good night: lamp reached, door succeeded".
func (p *performance) text(results []SceneResult) string {
	var parts []string
	for _, r := range shownResults(results) {
		state := r.State
		if r.Err != "" {
			state = r.Err
		}
		parts = append(parts, strings.TrimSpace(string(r.Device)+" "+state))
	}
	return p.title() + ": " + strings.Join(parts, ", ")
}

// would says what a step would do, with the rights of who an automation belongs to.
func (s *Service) would(ctx context.Context, a *automation, st *step, about map[string]any) TraceStep {
	note := TraceStep{Step: st.name, Do: st.Do, Device: st.Device}
	owner := a.owner(s)
	var err error
	switch st.Do {
	case doCommand:
		if _, err = s.things.May(ctx, owner, st.Device, devices.Verb("cmd:"+st.Name)); err != nil {
			_, err = s.things.May(ctx, owner, st.Device, devices.VerbControl)
		}
		note.Result = st.Name
	case doDesired:
		_, err = s.things.May(ctx, owner, st.Device, devices.VerbControl)
		note.Result = cut(string(st.Desired))
	case doScene:
		_, err = s.Scene(ctx, owner, a.key.home, st.Scene)
		note.Result = st.Scene
	case doMessage:
		var env *environment
		if env, err = s.environment(ctx, a.key.home, owner, st.text.devices(), about); err == nil {
			note.Result = cut(st.text.say(env))
		}
	case doDelay:
		note.Result = duration(st.For).String()
	}
	if err != nil {
		note.Result, note.Err = "", word(err)
	}
	return note
}
