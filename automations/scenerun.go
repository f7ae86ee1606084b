package automations

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

const (
	maxFollows   = 1000 // scenes that run at once
	rewordEvery  = 2 * time.Second
	maxRewords   = 40 // of a message: chat lets one edit it fifty times
	kindSceneRun = "scene"
)

// follows are the scenes that run, by the commands of which they wait to hear.
type follows struct {
	mu    sync.Mutex // guards what follows
	byCID map[string]chan<- devices.Command
	n     int
}

func (f *follows) enter() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n >= maxFollows {
		return false
	}
	f.n++
	return true
}

func (f *follows) leave(cids map[string]int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n--
	for cid := range cids {
		delete(f.byCID, cid)
	}
}

func (f *follows) hear(cid string, to chan<- devices.Command) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byCID == nil {
		f.byCID = map[string]chan<- devices.Command{}
	}
	f.byCID[cid] = to
}

// Stepped is that of devices.Watcher.
func (s *Service) Stepped(c devices.Command) {
	s.follows.mu.Lock()
	to := s.follows.byCID[c.ID]
	s.follows.mu.Unlock()
	if to == nil {
		return
	}
	select {
	case to <- c:
	default: // who follows asks again when he has looked at what there is
	}
}

// RunScene runs a scene with the rights of who, and says what becomes of it in a message in the home, which is changed as results
// come. It returns when the first steps are done; a scene without an order is done then, but for what devices say. Under the same
// run, which may be empty, it is done once.
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
	case !s.follows.enter():
		return SceneRun{}, fmt.Errorf("scenes that run: %w", ErrTooMany)
	}
	p := &performance{
		s: s, scene: x, depth: depth, cids: map[string]int{}, news: make(chan devices.Command, 2*maxSceneSteps),
		run: SceneRun{Run: run, Home: home, Scene: id, Title: x.Title, By: who, Steps: make([]SceneResult, len(x.Steps))},
	}
	for i, st := range x.Steps {
		p.run.Steps[i] = SceneResult{Device: st.Device, State: stateWaiting}
	}
	p.advance(ctx)
	seq, err := s.write(ctx, depth, p.line())
	if err != nil { // it may not be written, and was done all the same
		s.log.Debug("scene not told", "conversation", home, "user", who, "err", err)
	}
	p.run.Seq = seq
	out := p.run
	out.Steps = append([]SceneResult{}, p.run.Steps...)
	if p.done() {
		s.follows.leave(p.cids)
		return out, nil
	}
	s.running.Go(func() { p.follow(running) })
	return out, nil
}

// performance is a scene that runs.
type performance struct {
	s     *Service
	scene *Scene
	depth int
	run   SceneRun
	cids  map[string]int // the step of each command
	news  chan devices.Command
}

func (p *performance) done() bool {
	for _, r := range p.run.Steps {
		if !r.Final() {
			return false
		}
	}
	return true
}

// advance does the steps that can be done now: all, or the first one that is not over.
func (p *performance) advance(ctx context.Context) {
	for i := range p.scene.Steps {
		r := &p.run.Steps[i]
		if r.State == stateWaiting && r.Err == "" {
			p.do(ctx, i)
		}
		if p.scene.Order && !r.Final() {
			return
		}
	}
}

// do does a step with the rights that who runs the scene has now.
func (p *performance) do(ctx context.Context, i int) {
	st, r := &p.scene.Steps[i], &p.run.Steps[i]
	if st.Desired != nil {
		if _, err := p.s.desire(ctx, p.run.By, st.Device, "", st.desire, p.depth); err != nil {
			r.Err = word(err)
			return
		}
		r.State = stateSet
		return
	}
	c, err := p.s.call(ctx, p.run.By, st.Device, st.call, midOf(p.run.Run, i), p.depth)
	if err != nil {
		r.Err = word(err)
		return
	}
	p.cids[c.ID] = i
	r.CID, r.State = c.ID, string(c.State)
	p.s.follows.hear(c.ID, p.news)
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
	defer p.s.follows.leave(p.cids)
	tick := time.NewTicker(rewordEvery)
	defer tick.Stop()
	rewords, told := 0, p.text()
	p.ask(ctx) // of what came before it was followed
	for {
		p.advance(ctx)
		if p.done() {
			break
		}
		select {
		case <-ctx.Done(): // the message says how far it had come
			return
		case c := <-p.news:
			p.take(c)
		case <-tick.C:
			p.ask(ctx)
			if text := p.text(); text != told && rewords < maxRewords {
				told = text
				rewords++
				p.reword(ctx)
			}
		}
	}
	if p.text() != told {
		p.reword(ctx)
	}
}

func (p *performance) take(c devices.Command) {
	if i, ours := p.cids[c.ID]; ours {
		p.run.Steps[i].State = string(c.State)
	}
}

// ask looks at the commands that are not over.
func (p *performance) ask(ctx context.Context) {
	for cid, i := range p.cids {
		if p.run.Steps[i].Final() {
			continue
		}
		if c, err := p.s.devices.Command(ctx, p.run.By, p.run.Steps[i].Device, cid); err == nil {
			p.take(c)
		}
	}
}

func (p *performance) reword(ctx context.Context) {
	if p.run.Seq == 0 {
		return
	}
	if err := p.s.messenger.Reword(ctx, p.line(), p.run.Seq); err != nil && ctx.Err() == nil {
		p.s.log.Debug("scene not told", "conversation", p.run.Home, "user", p.run.By, "err", err)
	}
}

// line is the message of the scene.
func (p *performance) line() Line {
	return Line{
		From: p.run.By, Home: p.run.Home, Kind: kindSceneRun, MID: midOf(p.run.Run, -1),
		Body: bodyOf(p.text(), map[string]any{"scene": p.run.Scene, "run": p.run.Run, "title": p.title(), "steps": p.shown()}),
	}
}

func (p *performance) title() string {
	if p.run.Title != "" {
		return p.run.Title
	}
	return p.run.Scene
}

// shown are the results as everybody in the home may read them: what who runs it may not see has no name.
func (p *performance) shown() []SceneResult {
	out := append([]SceneResult{}, p.run.Steps...)
	for i := range out {
		if out[i].Err == "no_device" {
			out[i].Device = ""
		}
	}
	return out
}

// text is what becomes of the scene, in words: "Good night: lamp set, door succeeded".
func (p *performance) text() string {
	var parts []string
	for _, r := range p.shown() {
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
