package api

import (
	"context"
	"errors"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/locations"
)

type shareInput struct {
	To      string          `json:"to" doc:"a contact; or a home, whose fences are for the caller, too, then" required:"true"`
	Level   locations.Level `json:"level" doc:"absent: exact" enum:"exact|city"`
	History bool            `json:"history" doc:"also where the caller's devices were, since he has shared it"`
	Until   int64           `json:"until" doc:"Unix milliseconds; absent: until it is taken back"`
}

// placeShare is that somebody lets somebody know where his devices are.
type placeShare struct {
	To      accounts.Name   `json:"to,omitempty" doc:"who is told, if the caller shares; or a home"`
	From    accounts.Name   `json:"from,omitempty" doc:"of whom the caller is told"`
	Level   locations.Level `json:"level" doc:"how exactly" enum:"exact|city"`
	History bool            `json:"history,omitempty" doc:"also where they were, since then"`
	Since   int64           `json:"since" doc:"Unix milliseconds"`
	Until   int64           `json:"until,omitempty" doc:"Unix milliseconds; absent: until it is taken back"`
}

type sharesOutput struct {
	Given []placeShare `json:"given" doc:"what the caller shares"`
	Got   []placeShare `json:"got" doc:"what is shared with him"`
	Paces []pace       `json:"paces" doc:"how often he wants to be told"`
}

// pace is how often somebody wants to be told where somebody is.
type pace struct {
	Who   string  `json:"who,omitempty" doc:"a user or a thing; absent: all of whom nothing else is said"`
	Every float64 `json:"every,omitempty" doc:"seconds at least between two positions, 3,600 at most; absent: all" example:"5"`
	Dist  float64 `json:"dist,omitempty" doc:"metres at least, 100,000 at most; what is nearer: once a minute" example:"10"`
}

// subjectInput names a device of a user, or a thing.
type subjectInput struct {
	Who    string `json:"who" doc:"whose device; absent: the caller's, if there is no did"`
	Device string `json:"device" doc:"what its user calls it, as in owntracks/{user}/{device}" example:"phone"`
	DID    string `json:"did" doc:"or a thing"`
}

type trackInput struct {
	subjectInput
	From  int64  `json:"from" doc:"Unix milliseconds"`
	To    int64  `json:"to" doc:"before this; absent: now"`
	Limit uint64 `json:"limit" doc:"absent: 1,000; at most 10,000; those of the last minute are all there"`
}

// place is where something was.
type place struct {
	Who      accounts.Name `json:"who,omitempty" doc:"whose device it is"`
	Device   string        `json:"device,omitempty" doc:"what its user calls it"`
	DID      accounts.Name `json:"did,omitempty" doc:"the thing that it is"`
	Kind     string        `json:"kind,omitempty" doc:"person, or what the thing is to people"`
	Lat      float64       `json:"lat"`
	Lon      float64       `json:"lon"`
	TS       int64         `json:"ts" doc:"Unix milliseconds"`
	Acc      float64       `json:"acc,omitempty" doc:"how exact it is, in metres"`
	Vel      float64       `json:"vel,omitempty" doc:"km/h"`
	Rough    bool          `json:"rough,omitempty" doc:"the middle of a cell some 9 km wide, and the time to ten minutes"`
	Distance float64       `json:"dist,omitempty" doc:"from where it was asked, in metres"`
}

type lastPlacesOutput struct {
	Places []place `json:"places" doc:"in the order of users and devices"`
}

type trackOutput struct {
	Points []place `json:"points" doc:"in the order of time"`
	Next   int64   `json:"next,omitempty" doc:"the from that goes on; absent: that is all"`
}

type nearInput struct {
	Lat   *float64 `json:"lat" required:"true"`
	Lon   *float64 `json:"lon" required:"true"`
	R     float64  `json:"r" doc:"metres; absent: 3,000; at most 20,100,000, which is everywhere"`
	N     uint64   `json:"n" doc:"the nearest so many; absent: 10; at most 200"`
	Kind  string   `json:"kind" doc:"person, or what things are to people; absent: anything"`
	Since int64    `json:"since" doc:"only positions of this time or later; Unix milliseconds"`
}

type nearOutput struct {
	Places []place `json:"places" doc:"the nearest first"`
}

type watchInput struct {
	ID    string   `json:"id" doc:"what it is called; one of the caller's of this name is replaced. Absent: the server chooses"`
	Lat   *float64 `json:"lat" required:"true"`
	Lon   *float64 `json:"lon" required:"true"`
	R     float64  `json:"r" doc:"metres; absent: 3,000; at most 100,000"`
	Kind  string   `json:"kind" doc:"person, or what things are to people; absent: anything"`
	Until int64    `json:"until" doc:"Unix milliseconds; absent: in an hour, which is the most"`
	Every float64  `json:"every" doc:"seconds at least between two moves of one, 3,600 at most; absent: all"`
	Dist  float64  `json:"dist" doc:"metres at least between two moves of one, 100,000 at most; what is nearer: once a minute"`
}

type watchOutput struct {
	ID    string `json:"id"`
	Until int64  `json:"until" doc:"Unix milliseconds"`
}

type unwatchInput struct {
	ID string `json:"id" required:"true"`
}

// fence is a place that somebody wants to know of when something comes there or leaves it.
type fence struct {
	ID     string            `json:"id"`
	Home   chat.Conversation `json:"home,omitempty" doc:"whose it is; absent: its owner's"`
	Owner  accounts.Name     `json:"owner" doc:"who has made it"`
	Name   string            `json:"name"`
	Who    accounts.Name     `json:"who,omitempty" doc:"the only user or thing that it is for"`
	Dwell  int64             `json:"dwell,omitempty" doc:"seconds after which something has stayed"`
	Points []placePoint      `json:"points" doc:"one: the middle of a circle"`
	Radius float64           `json:"radius,omitempty" doc:"metres; with one point"`
	Width  float64           `json:"width,omitempty" doc:"metres; of a corridor along the points. Without it they are a polygon"`
}

type placePoint struct {
	Lat float64 `json:"lat"`
	Lon float64 `json:"lon"`
}

type putFenceInput struct {
	ID     string            `json:"id" doc:"which one it replaces; absent: it is new"`
	Home   chat.Conversation `json:"home" doc:"whose it is: the caller manages it; absent: the caller's own"`
	Name   string            `json:"name" doc:"128 bytes at most" required:"true"`
	Who    string            `json:"who" doc:"the only user or thing that it is for; absent: all that may be"`
	Dwell  int64             `json:"dwell" doc:"seconds after which something has stayed, a week at most; absent: nobody is told"`
	Points []placePoint      `json:"points" doc:"what it is made of" required:"true" max:"500" example:"[{\"lat\":1,\"lon\":2}]"`
	Radius float64           `json:"radius" doc:"of a circle: 10 to 1,000,000 m" example:"200"`
	Width  float64           `json:"width" doc:"of a corridor: 20 to 2,000,000 m"`
}

type homeFenceInput struct {
	Home chat.Conversation `json:"home" doc:"absent: the caller's own"`
}

type fenceIDInput struct {
	ID   string            `json:"id" required:"true"`
	Home chat.Conversation `json:"home" doc:"whose it is; absent: the caller's own"`
}

type listFencesOutput struct {
	Fences []fence `json:"fences" doc:"in the order of their ids"`
}

// placeDesk answers where people and things are to those who may know it.
type placeDesk struct {
	places *locations.Service
	chat   *chat.Service
}

func placeRows(r Rooms) []*Operation {
	d := placeDesk{r.Places, r.Chat}
	return []*Operation{
		change("loc.share", User, "Lets a contact know where the caller's devices are, from now on.", d.share),
		change("loc.unshare", User, "Ends that; at once, also where he listens.", d.unshare),
		read("loc.shares", User, "Gives who knows where the caller is, and of whom he is told.", d.shares),
		change("loc.follow", User, "Says how often the caller wants to be told of somebody, or of all.", d.follow),
		read("loc.last", User, "Gives where devices of users and a thing are, as far as the caller may know.", d.last),
		read("loc.history", User, "Gives where a device of a user, or a thing, was.", d.history),
		read("geo.near", User, "Gives the nearest people and things of which the caller may know.", d.near),
		change("geo.watch", User, "Tells the caller who comes near, moves there and leaves, on im/u/{uid}/near/{id}.", d.watch),
		change("geo.unwatch", User, "Ends that.", d.unwatch),
		change("fence.put", User, "Adds a fence, or replaces one.", d.putFence),
		read("fence.list", User, "Lists the fences of the caller, or of a home.", d.listFences),
		change("fence.remove", User, "Removes a fence.", d.removeFence),
	}
}

func (d placeDesk) share(ctx context.Context, c Caller, in shareInput) (placeShare, chat.Commit, error) {
	to, err := shareField(in.To)
	if err != nil {
		return placeShare{}, nil, err
	}
	if in.Level == "" {
		in.Level = locations.LevelExact
	}
	share, err := d.places.Share(ctx, c.Account, locations.Share{To: to, Level: in.Level, History: in.History, Until: in.Until})
	if errors.Is(err, locations.ErrNotContact) {
		if _, user := userField("to", in.To); user != nil {
			err = chat.ErrNotMember
		} else if why := d.stranger(ctx, c.Account, to); why != nil {
			err = why
		}
	}
	return placeShare{To: share.To, Level: share.Level, History: share.History, Since: share.Since, Until: share.Until}, nil, err
}

// shareField reads with whom something is shared.
func shareField(value string) (accounts.Name, error) {
	if chat.Conversation(value).Kind() == chat.KindHome {
		return accounts.Name(value), nil
	}
	return userField("to", value)
}

// stranger says why nothing can be shared with somebody, as for messages; nil: he is a stranger.
func (d placeDesk) stranger(ctx context.Context, who, to accounts.Name) error {
	switch standing, err := d.chat.Standing(ctx, who, to); {
	case err != nil:
		return err
	case standing == chat.Nobody:
		return chat.ErrNoConversation
	case standing == chat.Gone:
		return chat.ErrGone
	case standing == chat.Blocked, standing == chat.Blocking:
		return chat.ErrBlocked
	}
	return nil
}

func (d placeDesk) unshare(ctx context.Context, c Caller, in toInput) (nothing, chat.Commit, error) {
	to, err := shareField(in.To)
	if err == nil {
		err = d.places.Unshare(ctx, c.Account, to)
	}
	return nothing{}, nil, err
}

func (d placeDesk) shares(_ context.Context, c Caller, _ nothing) (sharesOutput, error) {
	out := sharesOutput{Given: []placeShare{}, Got: []placeShare{}, Paces: []pace{}}
	for _, s := range d.places.Given(c.Account) {
		out.Given = append(out.Given, placeShare{To: s.To, Level: s.Level, History: s.History, Since: s.Since, Until: s.Until})
	}
	for _, s := range d.places.Got(c.Account) {
		out.Got = append(out.Got, placeShare{From: s.From, Level: s.Level, History: s.History, Since: s.Since, Until: s.Until})
	}
	for _, f := range d.places.Follows(c.Account) {
		out.Paces = append(out.Paces, pace{string(f.Who), f.Every.Seconds(), f.Dist})
	}
	return out, nil
}

// paceOf reads how often somebody wants to be told.
func paceOf(every, dist float64) (locations.Pace, error) {
	if !(every >= 0 && every <= time.Hour.Seconds()) {
		return locations.Pace{}, malformed("field %q is not between 0 and 3600", "every")
	}
	return locations.Pace{Every: time.Duration(every * float64(time.Second)).Round(time.Millisecond), Dist: dist}, nil
}

func (d placeDesk) follow(ctx context.Context, c Caller, in pace) (pace, chat.Commit, error) {
	p, err := paceOf(in.Every, in.Dist)
	if err == nil && in.Who != "" {
		_, err = accounts.ParseDevice(in.Who) // which users are as well, by their form
	}
	if err == nil {
		err = d.places.Follow(ctx, c.Account, locations.Follow{Who: accounts.Name(in.Who), Pace: p})
	}
	return pace{in.Who, p.Every.Seconds(), p.Dist}, nil, err
}

// subject reads which one is meant; a label may be absent if any will do.
func (in subjectInput) subject(c Caller, whole bool) (locations.Subject, error) {
	if in.DID != "" {
		name, err := did(in.DID)
		if in.Who != "" || in.Device != "" {
			err = malformed("field %q goes with neither %q nor %q", "did", "who", "device")
		}
		return locations.Subject{Who: name}, err
	}
	s := locations.Subject{Who: c.Account, Label: in.Device}
	if in.Who != "" {
		who, err := userField("who", in.Who)
		if err != nil {
			return s, err
		}
		s.Who = who
	}
	if whole && s.Label == "" {
		return s, nil
	}
	return s, locations.CheckLabel(s.Label)
}

func (d placeDesk) last(ctx context.Context, c Caller, in subjectInput) (lastPlacesOutput, error) {
	s, err := in.subject(c, true)
	if err != nil {
		return lastPlacesOutput{}, err
	}
	out := lastPlacesOutput{Places: []place{}}
	if in.DID != "" || s.Label != "" {
		p, err := d.places.Last(ctx, c.Account, s)
		if err == nil {
			out.Places = append(out.Places, placeOf(s, p))
		}
		return out, err
	}
	for _, other := range d.places.Visible(c.Account) {
		if in.Who != "" && other.Who != s.Who {
			continue
		}
		switch p, err := d.places.Last(ctx, c.Account, other); {
		case err == nil:
			out.Places = append(out.Places, placeOf(other, p))
		case !errors.Is(err, locations.ErrNone):
			return lastPlacesOutput{}, err
		}
	}
	return out, nil
}

func placeOf(s locations.Subject, p locations.Position) place {
	out := place{Lat: p.Lat, Lon: p.Lon, TS: p.At, Acc: p.Acc, Vel: p.Vel, Rough: p.Rough}
	if s.IsThing() {
		out.DID = s.Who
	} else {
		out.Who, out.Device = s.Who, s.Label
	}
	return out
}

func (d placeDesk) history(ctx context.Context, c Caller, in trackInput) (trackOutput, error) {
	s, err := in.subject(c, false)
	if err != nil {
		return trackOutput{}, err
	}
	track, err := d.places.History(ctx, c.Account, s, in.From, in.To, clamp(in.Limit, 1000, 10_000))
	out := trackOutput{Points: make([]place, 0, len(track.Points)), Next: track.Next}
	for _, p := range track.Points {
		out.Points = append(out.Points, placeOf(locations.Subject{}, p))
	}
	return out, err
}

func (d placeDesk) near(ctx context.Context, c Caller, in nearInput) (nearOutput, error) {
	if in.Lat == nil || in.Lon == nil {
		return nearOutput{}, malformed("fields %q and %q have to be there", "lat", "lon")
	}
	q := locations.Around{
		Lat: *in.Lat, Lon: *in.Lon, Radius: in.R, Most: clamp(in.N, 10, locations.MaxNear), Kind: in.Kind, Since: in.Since}
	if q.Radius == 0 {
		q.Radius = 3000
	}
	all, err := d.places.Near(ctx, c.Account, q)
	out := nearOutput{Places: make([]place, 0, len(all))}
	for _, n := range all {
		p := placeOf(n.Subject, n.Where)
		p.Kind, p.Distance = n.Kind, n.Distance
		out.Places = append(out.Places, p)
	}
	return out, err
}

func (d placeDesk) watch(ctx context.Context, c Caller, in watchInput) (watchOutput, chat.Commit, error) {
	if in.Lat == nil || in.Lon == nil {
		return watchOutput{}, nil, malformed("fields %q and %q have to be there", "lat", "lon")
	}
	q := locations.Watch{ID: in.ID, Lat: *in.Lat, Lon: *in.Lon, Radius: in.R, Kind: in.Kind, Until: in.Until}
	if q.Radius == 0 {
		q.Radius = 3000
	}
	var err error
	if q.Pace, err = paceOf(in.Every, in.Dist); err != nil {
		return watchOutput{}, nil, err
	}
	w, err := d.places.Watch(ctx, c.Account, q)
	return watchOutput{w.ID, w.Until}, nil, err
}

func (d placeDesk) unwatch(_ context.Context, c Caller, in unwatchInput) (nothing, chat.Commit, error) {
	if in.ID == "" {
		return nothing{}, nil, locations.ErrMalformed
	}
	d.places.Unwatch(c.Account, in.ID)
	return nothing{}, nil, nil
}

func (d placeDesk) putFence(ctx context.Context, c Caller, in putFenceInput) (fence, chat.Commit, error) {
	f := locations.Fence{
		ID: in.ID, Home: string(in.Home), Name: in.Name, Who: accounts.Name(in.Who), Dwell: in.Dwell,
		Shape: locations.Shape{Radius: in.Radius, Width: in.Width},
	}
	if in.Who != "" {
		if _, err := accounts.ParseDevice(in.Who); err != nil { // which users are as well, by their form
			return fence{}, nil, err
		}
	}
	for _, p := range in.Points {
		f.Points = append(f.Points, locations.Point(p))
	}
	f, err := d.places.PutFence(ctx, c.Account, f)
	return fenceOf(f), nil, err
}

func fenceOf(f locations.Fence) fence {
	out := fence{
		ID: f.ID, Home: chat.Conversation(f.Home), Owner: f.Owner, Name: f.Name, Who: f.Who, Dwell: f.Dwell,
		Points: make([]placePoint, 0, len(f.Points)), Radius: f.Radius, Width: f.Width,
	}
	for _, p := range f.Points {
		out.Points = append(out.Points, placePoint(p))
	}
	return out
}

func (d placeDesk) listFences(ctx context.Context, c Caller, in homeFenceInput) (listFencesOutput, error) {
	all, err := d.places.Fences(ctx, c.Account, string(in.Home))
	out := listFencesOutput{Fences: make([]fence, 0, len(all))}
	for _, f := range all {
		out.Fences = append(out.Fences, fenceOf(f))
	}
	return out, err
}

func (d placeDesk) removeFence(ctx context.Context, c Caller, in fenceIDInput) (nothing, chat.Commit, error) {
	return nothing{}, nil, d.places.RemoveFence(ctx, c.Account, string(in.Home), in.ID)
}
