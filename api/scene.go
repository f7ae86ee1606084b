package api

import (
	"context"
	"encoding/json"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/automations"
	"github.com/magpie-im/magpie/chat"
)

type atHome struct {
	Home string `json:"c" doc:"the home" required:"true"`
}

// homeIDInput names a scene or an automation.
type homeIDInput struct {
	Home string `json:"c" doc:"the home" required:"true"`
	ID   string `json:"id" required:"true"`
}

type putSceneInput struct {
	Home  string `json:"c" doc:"the home" required:"true"`
	ID    string `json:"id" doc:"a-z, 0-9, - and _; absent: the server makes one" example:"night"`
	Title string `json:"title" doc:"what people call it" example:"Good night"`
	Order bool   `json:"order" doc:"a step begins when the one before is over; else all begin at once"`
	// Steps are a list of sceneStep, read by automations.
	Steps json.RawMessage `json:"steps" doc:"what is done" required:"true" example:"[{\"did\":\"lamp\",\"desired\":{\"a\":1}}]"`
}

type runSceneInput struct {
	Home string `json:"c" doc:"the home" required:"true"`
	ID   string `json:"id" required:"true"`
	Run  string `json:"run" doc:"the caller's name for it, at most 32 of a-z, 0-9, - and _: under the same it is done once"`
}

type scene struct {
	Home    chat.Conversation `json:"c"`
	ID      string            `json:"id"`
	Title   string            `json:"title,omitempty"`
	Order   bool              `json:"order,omitempty" doc:"a step begins when the one before is over"`
	Steps   []sceneStep       `json:"steps,omitempty" doc:"guests are not given them"`
	Owner   accounts.Name     `json:"owner" doc:"who has saved it last"`
	Saved   int64             `json:"saved" doc:"when, in Unix milliseconds"`
	Hidden  bool              `json:"hidden,omitempty" doc:"about a device that the caller may not see: its steps are left out"`
	Version uint64            `json:"ver"`
}

type sceneStep struct {
	DID     accounts.Name   `json:"did"`
	Desired json.RawMessage `json:"desired,omitempty" doc:"what it is to be: a merge patch"`
	Name    string          `json:"name,omitempty" doc:"the command"`
	Args    json.RawMessage `json:"args,omitempty" doc:"any JSON value"`
	TTL     float64         `json:"ttl,omitempty" doc:"seconds for which the command may wait for the device"`
	Timeout float64         `json:"timeout,omitempty" doc:"seconds that the device may take for it, or to be what it is to be"`
	Key     string          `json:"key,omitempty" doc:"what it is about: the newest of a key counts"`
}

type scenesOutput struct {
	Scenes []scene `json:"scenes" doc:"in the order of their ids"`
}

type sceneRunOutput struct {
	Home  chat.Conversation `json:"c"`
	ID    string            `json:"id"`
	Run   string            `json:"run" doc:"its name"`
	Seq   uint64            `json:"seq,omitempty" doc:"of the message that says what becomes of it, and changes as results come"`
	Steps []sceneResult     `json:"steps" doc:"how far each device has come"`
}

type sceneResult struct {
	DID   accounts.Name `json:"did"`
	State string        `json:"s" doc:"waiting, set, reached or timed_out, or the state of a command"`
	Err   string        `json:"err,omitempty" doc:"why it could not be done"`
	CID   string        `json:"cid,omitempty" doc:"of the command"`
}

type placeFields struct {
	Lat *float64 `json:"lat,omitempty" doc:"absent: not known"`
	Lon *float64 `json:"lon,omitempty"`
}

type putPlaceInput struct {
	Home string  `json:"c" doc:"the home" required:"true"`
	Zone *string `json:"zone" doc:"the time zone, as IANA calls it; empty: UTC; absent: as it was" example:"Europe/Berlin"`
	placeFields
}

type placeOutput struct {
	Home chat.Conversation `json:"c"`
	Zone string            `json:"zone,omitempty" doc:"the time zone, as IANA calls it; absent: UTC"`
	placeFields
}

// sceneDesk is what the rows about scenes, and where homes are, are carried out by.
type sceneDesk struct{ automations *automations.Service }

func sceneRows(a *automations.Service) []*Operation {
	if a == nil {
		return nil
	}
	d := sceneDesk{a}
	return []*Operation{
		change("scene.put", User,
			"Makes or replaces a scene of a home: what its devices are to be and to do.", d.put).upTo(deviceBody),
		read("scene.list", User, "Lists the scenes of a home.", d.list),
		read("scene.get", User, "Gives a scene.", d.get),
		change("scene.remove", User, "Forgets a scene: who has saved it may, and admins.", d.remove),
		change("scene.run", User, "Runs a scene, with the rights of the caller, and says in the home what becomes of it.", d.run),
		change("home.place.put", User,
			"Says where a home is, which is what its clock and its sun go by: admins may.", d.putPlace),
		read("home.place.get", User, "Gives where a home is.", d.getPlace),
	}
}

func (d sceneDesk) put(ctx context.Context, c Caller, in putSceneInput) (scene, chat.Commit, error) {
	steps, err := automations.ParseSteps(in.Steps)
	if err != nil {
		return scene{}, nil, err
	}
	x, err := d.automations.PutScene(ctx, c.Account, automations.Scene{
		Home: in.Home, ID: in.ID, Title: in.Title, Order: in.Order, Steps: steps,
	})
	return sceneOf(x), nil, err
}

func (d sceneDesk) list(ctx context.Context, c Caller, in atHome) (scenesOutput, error) {
	all, err := d.automations.Scenes(ctx, c.Account, in.Home)
	out := scenesOutput{Scenes: make([]scene, 0, len(all))}
	for _, x := range all {
		out.Scenes = append(out.Scenes, sceneOf(x))
	}
	return out, err
}

func (d sceneDesk) get(ctx context.Context, c Caller, in homeIDInput) (scene, error) {
	x, err := d.automations.Scene(ctx, c.Account, in.Home, in.ID)
	return sceneOf(x), err
}

func (d sceneDesk) remove(ctx context.Context, c Caller, in homeIDInput) (nothing, chat.Commit, error) {
	return nothing{}, nil, d.automations.RemoveScene(ctx, c.Account, in.Home, in.ID)
}

func (d sceneDesk) run(ctx context.Context, c Caller, in runSceneInput) (sceneRunOutput, chat.Commit, error) {
	x, err := d.automations.RunScene(ctx, c.Account, in.Home, in.ID, in.Run)
	out := sceneRunOutput{Home: chat.Conversation(x.Home), ID: x.Scene, Run: x.Run, Seq: x.Seq}
	for _, r := range x.Steps {
		out.Steps = append(out.Steps, sceneResult{r.Device, r.State, r.Err, r.CID})
	}
	return out, nil, err
}

func (d sceneDesk) putPlace(ctx context.Context, c Caller, in putPlaceInput) (placeOutput, chat.Commit, error) {
	p := automations.PlacePatch{Zone: in.Zone}
	switch {
	case (in.Lat == nil) != (in.Lon == nil):
		return placeOutput{}, nil, malformed("\"lat\" and \"lon\" belong together")
	case in.Lat != nil:
		p.Known, p.Lat, p.Lon = true, *in.Lat, *in.Lon
	}
	set, err := d.automations.SetPlace(ctx, c.Account, in.Home, p)
	return homePlaceOf(in.Home, set), nil, err
}

func (d sceneDesk) getPlace(ctx context.Context, c Caller, in atHome) (placeOutput, error) {
	p, err := d.automations.Place(ctx, c.Account, in.Home)
	return homePlaceOf(in.Home, p), err
}

func homePlaceOf(home string, p automations.Place) placeOutput {
	out := placeOutput{Home: chat.Conversation(home), Zone: p.Zone}
	if p.Known {
		out.Lat, out.Lon = &p.Lat, &p.Lon
	}
	return out
}

func sceneOf(x automations.Scene) scene {
	out := scene{
		Home: chat.Conversation(x.Home), ID: x.ID, Title: x.Title, Order: x.Order, Owner: x.Owner, Saved: x.Saved, Version: x.Rev,
		Hidden: x.Hidden,
	}
	for _, st := range x.Steps {
		out.Steps = append(out.Steps, sceneStep{st.Device, st.Desired, st.Name, st.Args, st.TTL, st.Timeout, st.Key})
	}
	return out
}
