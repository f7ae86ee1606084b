package dialects

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/magpie-im/magpie/locations"
)

// Tours are how OwnTracks shows somebody without an app where one is (https://owntracks.org/booklet/features/tours/): a phone
// asks for a link with a request, and gets a cmd with the response.

// OwnTracksRequest is the _type of what phones ask for.
const OwnTracksRequest = "request"

// What is asked for.
const (
	askTour   = "tour"   // a new one
	askTours  = "tours"  // those that there are
	askUntour = "untour" // an end of one
)

// Tours are the tours of phones.
type Tours interface {
	// AddTour begins one; locations.ErrMalformed, locations.ErrTooMany.
	AddTour(ctx context.Context, t locations.Tour) (locations.Tour, error)
	// Tours gives those of a phone.
	Tours(s locations.Subject) []locations.Tour
	// RemoveTour ends one; locations.ErrNone.
	RemoveTour(ctx context.Context, s locations.Subject, id string) error
}

// ownTour is a tour in a request or a response.
type ownTour struct {
	Label string `json:"label,omitempty"`
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
	UUID  string `json:"uuid,omitempty"`
	URL   string `json:"url,omitempty"`
}

type ownRequest struct {
	Request string  `json:"request"`
	Tour    ownTour `json:"tour"`
	UUID    string  `json:"uuid"`
}

type ownResponse struct {
	Type    string     `json:"_type"`
	Action  string     `json:"action"`
	Request string     `json:"request"`
	Status  int        `json:"status"`
	Tour    *ownTour   `json:"tour,omitempty"`
	Tours   *[]ownTour `json:"tours,omitempty"`
	N       *int       `json:"ntours,omitempty"`
	UUID    string     `json:"uuid,omitempty"`
}

// Statuses of responses, which are those of HTTP.
const (
	statusDone    = 200
	statusBad     = 400
	statusNone    = 404
	statusTooMany = 429
)

// AnswerOwnTracks does what a phone asks for, and gives the answer, a cmd; nil if it asks for something else. base is the address
// below which tours are seen. What is refused is an answer too; an error means that it is to be asked again.
func AnswerOwnTracks(ctx context.Context, tours Tours, s locations.Subject, payload []byte, base string) ([]byte, error) {
	var q ownRequest
	if err := json.Unmarshal(payload, &q); err != nil {
		return nil, fmt.Errorf("%w: request", ErrOwnTracks)
	}
	answer := ownResponse{Type: "cmd", Action: "response", Request: q.Request, Status: statusDone}
	var err error
	switch q.Request {
	case askTour:
		var t locations.Tour
		if t, err = q.Tour.tour(s); err == nil {
			t, err = tours.AddTour(ctx, t)
		}
		if err == nil {
			answer.Tour = new(ownTour)
			*answer.Tour = ownTourOf(t, base)
		}
	case askTours:
		all := []ownTour{}
		for _, t := range tours.Tours(s) {
			all = append(all, ownTourOf(t, base))
		}
		n := len(all)
		answer.Tours, answer.N = &all, &n
	case askUntour:
		answer.UUID = q.UUID[:min(len(q.UUID), maxOwnText)]
		err = tours.RemoveTour(ctx, s, q.UUID)
	default:
		return nil, nil
	}
	switch {
	case errors.Is(err, locations.ErrMalformed), errors.Is(err, ErrOwnTracks):
		answer.Status = statusBad
	case errors.Is(err, locations.ErrNone):
		answer.Status = statusNone
	case errors.Is(err, locations.ErrTooMany):
		answer.Status = statusTooMany
	case err != nil:
		return nil, err
	}
	return json.Marshal(answer)
}

func (t ownTour) tour(s locations.Subject) (locations.Tour, error) {
	from, err := ownTime(t.From)
	if err != nil {
		return locations.Tour{}, err
	}
	to, err := ownTime(t.To)
	return locations.Tour{Subject: s, Title: t.Label, From: from, To: to}, err
}

func ownTourOf(t locations.Tour, base string) ownTour {
	written := func(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }
	return ownTour{t.Title, written(t.From), written(t.To), t.ID, base + "/view/" + t.ID}
}

// ownTime reads a time as OwnTracks writes it; without a zone it is UTC.
func ownTime(text string) (int64, error) {
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05"} {
		if at, err := time.Parse(form, text); err == nil && at.Unix() >= 0 {
			return at.UnixMilli(), nil
		}
	}
	return 0, fmt.Errorf("%w: %.80q is no time", ErrOwnTracks, text)
}
