package hooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/api"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/trips"
)

// Trips tells people of their trips, on im/u/{uid}/trip/{id}, and writes what is left of them into conversations: it is a
// trips.Router.
type Trips struct {
	registry *sessions.Registry
	chat     *chat.Service
}

// NewTrips puts the two together.
func NewTrips(registry *sessions.Registry, messenger *chat.Service) *Trips {
	return &Trips{registry, messenger}
}

// tripEvent is what somebody is told of a trip.
type tripEvent struct {
	Type string `json:"t"`
	ID   string `json:"id"`
	trips.Trip
}

// Tell implements trips.Router.
func (r *Trips) Tell(to []accounts.Name, t trips.Trip) {
	for _, who := range to {
		payload, err := json.Marshal(tripEvent{"trip", t.ID, t.For(who)})
		if err != nil {
			return // cannot be: its numbers are finite
		}
		r.registry.Route(sessions.Publish{
			Topic: "im/u/" + string(who) + "/trip/" + t.ID, Payload: payload, ContentType: "application/json", Ambient: true})
	}
}

// tripSummary is the body of the message that a trip leaves.
type tripSummary struct {
	Trip     string        `json:"trip"`
	Rider    accounts.Name `json:"rider"`
	Driver   accounts.Name `json:"driver"`
	From     trips.Place   `json:"from"`
	To       trips.Place   `json:"to"`
	Seconds  int64         `json:"seconds"`
	Metres   float64       `json:"metres,omitempty"`
	Waypoint []trips.Place `json:"waypoint,omitempty"`
}

// Summarize implements trips.Router. Where the two may not write to each other any more, nothing is written.
func (r *Trips) Summarize(ctx context.Context, t trips.Trip) error {
	took := time.Duration(t.Over-t.Begun) * time.Millisecond
	body, err := json.Marshal(tripSummary{
		t.ID, t.Rider, t.Driver, t.From, t.To, int64(took.Seconds()), t.Metres, t.Waypoint})
	if err != nil {
		return fmt.Errorf("summary: %w", err)
	}
	text := fmt.Sprintf("Trip of %.1f km, %s", t.Metres/1000, took.Round(time.Second))
	_, commit, err := r.chat.Send(ctx, t.Driver, chat.Target{User: t.Rider}, chat.Content{
		Kind: "x.trip", Body: body, MID: "trip." + t.ID, Fallback: text}, nil)
	if err == nil && commit != nil {
		err = commit.Wait(ctx)
	}
	if _, refused := api.FaultOf(err); refused && !errors.Is(err, chat.ErrUnavailable) {
		return nil
	}
	return err
}

var _ trips.Router = (*Trips)(nil)
