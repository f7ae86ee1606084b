package api

import (
	"context"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/locations"
	"github.com/magpie-im/magpie/trips"
)

type tripPlace struct {
	Lat  float64 `json:"lat"`
	Lon  float64 `json:"lon"`
	Name string  `json:"name,omitempty" doc:"128 bytes at most"`
}

type requestTripInput struct {
	Drivers []string   `json:"drivers" doc:"contacts; who accepts first has it. Absent: who is near" max:"20" example:"[\"bob\"]"`
	Near    *tripNear  `json:"near" doc:"how drivers are found, if none is named; absent: the nearest who share where they are"`
	From    *tripPlace `json:"from" required:"true" example:"{\"lat\":48.137,\"lon\":11.575}"`
	To      *tripPlace `json:"to" required:"true" example:"{\"lat\":48.2,\"lon\":11.6}"`
	TTL     uint64     `json:"ttl" doc:"seconds for which they may accept, 1 to 600; absent: 15"`
}

// tripNear is how drivers are found.
type tripNear struct {
	R     float64           `json:"r,omitempty" doc:"metres from where it begins; absent: 5,000; at most 100,000"`
	Wave  uint64            `json:"wave,omitempty" doc:"how many are asked at a time; absent: 3; at most 20, which are all"`
	Group chat.Conversation `json:"group,omitempty" doc:"of which they are members, as the caller is; absent: any"`
}

type tripInput struct {
	ID string `json:"id" required:"true"`
}

// trip is one, as the caller may know it.
type trip struct {
	ID       string          `json:"id"`
	State    trips.State     `json:"st" enum:"requested|accepted|ended|canceled|expired|declined"`
	Rider    accounts.Name   `json:"rider" doc:"who has asked for it"`
	Drivers  []accounts.Name `json:"drivers,omitempty" doc:"who are asked, or were last; to the rider"`
	Declined []accounts.Name `json:"declined,omitempty" doc:"who has declined it; to the rider"`
	Passed   []accounts.Name `json:"passed,omitempty" doc:"who were asked before drivers; to the rider"`
	Driver   accounts.Name   `json:"driver,omitempty" doc:"who has accepted it; to the two"`
	From     tripPlace       `json:"from"`
	To       tripPlace       `json:"to"`
	Asked    int64           `json:"asked" doc:"Unix milliseconds"`
	Deadline int64           `json:"deadline" doc:"until when it may be accepted"`
	Begun    int64           `json:"begun,omitempty" doc:"when it was accepted"`
	Over     int64           `json:"over,omitempty" doc:"when it has ended, was canceled, or has expired"`
	Metres   float64         `json:"metres,omitempty" doc:"that were driven, as far as is known"`
	Waypoint []tripPlace     `json:"waypoint,omitempty" doc:"points of the way, 100 at most"`
}

type listTripsOutput struct {
	Trips []trip `json:"trips" doc:"the oldest first"`
}

func tripRows(s *trips.Service) []*Operation {
	return []*Operation{
		change("trip.request", User, "Asks contacts, or those who are near, for a trip: the first who accepts has it.",
			func(ctx context.Context, c Caller, in requestTripInput) (trip, chat.Commit, error) {
				if in.From == nil || in.To == nil {
					return trip{}, nil, locations.ErrMalformed
				}
				q := trips.Request{
					From: trips.Place(*in.From), To: trips.Place(*in.To), TTL: time.Duration(min(in.TTL, 3600)) * time.Second}
				if in.Near != nil || len(in.Drivers) == 0 {
					q.Near = &trips.Near{}
				}
				if in.Near != nil {
					q.Near = &trips.Near{Radius: in.Near.R, Wave: int(min(in.Near.Wave, 1000)), Group: string(in.Near.Group)}
				}
				for _, name := range in.Drivers {
					driver, err := userField("drivers", name)
					if err != nil {
						return trip{}, nil, err
					}
					q.Drivers = append(q.Drivers, driver)
				}
				t, err := s.Request(ctx, c.Account, q)
				return tripOf(c, t), nil, err
			}),
		change("trip.accept", User, "Takes a trip that the caller was asked for.", tripChange((*trips.Service).Accept, s)),
		change("trip.decline", User, "Says that the caller does not take a trip that he is asked for.",
			tripChange((*trips.Service).Decline, s)),
		change("trip.cancel", User, "Takes a trip back, as its rider or its driver.", tripChange((*trips.Service).Cancel, s)),
		change("trip.end", User, "Ends a trip; what was driven is written into the conversation of the two.",
			tripChange((*trips.Service).End, s)),
		read("trip.get", User, "Gives a trip.", func(ctx context.Context, c Caller, in tripInput) (trip, error) {
			t, err := s.Get(ctx, c.Account, in.ID)
			return tripOf(c, t), err
		}),
		read("trip.list", User, "Lists trips that are not over, those that the caller is asked for too.",
			func(_ context.Context, c Caller, _ nothing) (listTripsOutput, error) {
				out := listTripsOutput{Trips: []trip{}}
				for _, t := range s.Open(c.Account) {
					out.Trips = append(out.Trips, tripOf(c, t))
				}
				return out, nil
			}),
	}
}

func tripChange(
	f func(*trips.Service, context.Context, accounts.Name, string) (trips.Trip, error), s *trips.Service,
) func(context.Context, Caller, tripInput) (trip, chat.Commit, error) {
	return func(ctx context.Context, c Caller, in tripInput) (trip, chat.Commit, error) {
		t, err := f(s, ctx, c.Account, in.ID)
		return tripOf(c, t), nil, err
	}
}

func tripOf(c Caller, t trips.Trip) trip {
	t = t.For(c.Account)
	out := trip{
		ID: t.ID, State: t.State, Rider: t.Rider, Drivers: t.Drivers, Declined: t.Declined, Passed: t.Passed,
		Driver: t.Driver, From: tripPlace(t.From), To: tripPlace(t.To),
		Asked: t.Asked, Deadline: t.Deadline, Begun: t.Begun, Over: t.Over, Metres: t.Metres,
	}
	for _, p := range t.Waypoint {
		out.Waypoint = append(out.Waypoint, tripPlace(p))
	}
	return out
}
