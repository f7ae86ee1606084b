package rest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/api"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices/dialects"
	"github.com/magpie-im/magpie/locations"
)

// Phones publish what OwnTracks says over HTTP as well: POST /pub, with the user's name and a token of his, or his password. The
// device is what X-Limit-D or d says. The answer is an array of where his friends are, and of their cards.

// Bounds of an answer: friends, and the bytes of their cards together.
const (
	maxFriends   = 500
	maxCardBytes = 1 << 20
)

// usualDevice is what a phone is called that does not say so.
const usualDevice = "phone"

// NewOwnTracks serves POST /pub for phones. url gives the address below which tours are seen.
func NewOwnTracks(acc *accounts.Service, places *locations.Service, url func() string, opts ...Option) http.Handler {
	h := newHandler(nil, opts)
	o := &owntracks{h, acc, places, url}
	return h.recoverPanic(http.HandlerFunc(o.serve))
}

type owntracks struct {
	*handler
	accounts *accounts.Service
	places   *locations.Service
	url      func() string
}

func (o *owntracks) serve(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), o.cfg.Timeout)
	defer cancel()
	if r.Method != http.MethodPost {
		notAllowed(w)
		return
	}
	answer, err := o.publish(ctx, w, r)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		err = api.ErrTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = context.DeadlineExceeded
	}
	if errors.Is(err, accounts.ErrCredentials) || errors.Is(err, api.ErrNoAccount) {
		w.Header().Set("WWW-Authenticate", `Basic realm="magpie"`)
	}
	if err == nil {
		err = writeJSON(w, http.StatusOK, "application/json", answer)
	}
	if err != nil {
		if _, ok := api.FaultOf(err); !ok && !unavailable(err) {
			o.log.Error("request failed", "method", "pub", "err", err)
		}
		fail(w, err)
	}
}

func (o *owntracks) publish(ctx context.Context, w http.ResponseWriter, r *http.Request) ([]json.RawMessage, error) {
	name, secret, ok := r.BasicAuth()
	if !ok {
		return nil, api.ErrNoAccount
	}
	revision := o.accounts.Revision(accounts.Name(name))
	proof, err := o.accounts.Authenticate(ctx, name, secret, o.cfg.clientAddr(r))
	if err != nil {
		return nil, err
	}
	s := locations.Subject{Who: proof.Account, Label: said(r, "X-Limit-D", "d")}
	if s.Label == "" {
		s.Label = usualDevice
	}
	if user := said(r, "X-Limit-U", "u"); user != "" && user != string(proof.Account) { // he speaks for nobody else
		return nil, chat.ErrNoRight
	}
	if deadline, ok := ctx.Deadline(); ok {
		err := http.NewResponseController(w).SetReadDeadline(deadline)
		if err != nil && !errors.Is(err, http.ErrNotSupported) { // a recorder in a test cannot
			return nil, err
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, dialects.MaxOwnTracks))
	if err != nil {
		return nil, err
	}
	if o.accounts.Revision(accounts.Name(name)) != revision { // the body took its time, and he may have lost what he showed
		if _, err := o.accounts.Authenticate(ctx, name, secret, o.cfg.clientAddr(r)); err != nil {
			return nil, err
		}
	}
	answer, err := o.take(ctx, s, body)
	if err != nil {
		return nil, err
	}
	all, err := o.friends(ctx, s.Who)
	if err == nil && answer != nil {
		all = append(all, answer)
	}
	return all, err
}

// said gives a header, or what the query says in its place.
func said(r *http.Request, header, query string) string {
	if v := r.Header.Get(header); v != "" {
		return v
	}
	return r.URL.Query().Get(query)
}

// take takes what a phone says. An empty body, and what is none of ours to know, is passed over: an app would say it again for
// ever. What it asks for has an answer.
func (o *owntracks) take(ctx context.Context, s locations.Subject, body []byte) (answer json.RawMessage, err error) {
	if len(body) == 0 {
		return nil, nil
	}
	kind, err := dialects.OwnTracksType(body)
	if err != nil {
		return nil, errors.Join(err, locations.ErrMalformed)
	}
	switch kind {
	case dialects.OwnTracksLocation:
		var points []locations.Position
		if points, err = dialects.ParseOwnTracksLocations(body); err == nil {
			_, err = o.places.Report(ctx, s, points...)
		}
	case dialects.OwnTracksCard:
		err = o.places.SetCard(ctx, s, body)
	case dialects.OwnTracksRequest:
		if err = locations.CheckLabel(s.Label); err == nil {
			answer, err = dialects.AnswerOwnTracks(ctx, o.places, s, body, o.url())
		}
	}
	if errors.Is(err, dialects.ErrOwnTracks) {
		err = errors.Join(err, locations.ErrMalformed)
	}
	return answer, err
}

// friends gives where others are of whom somebody may know, and their cards.
func (o *owntracks) friends(ctx context.Context, who accounts.Name) ([]json.RawMessage, error) {
	all, room := []json.RawMessage{}, maxCardBytes
	for _, s := range o.places.Visible(who) {
		if s.Who == who {
			continue
		}
		if len(all) >= maxFriends {
			break
		}
		p, err := o.places.Last(ctx, who, s)
		if errors.Is(err, locations.ErrNone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		topic := "owntracks/" + string(s.Who) + "/" + s.Label
		all = append(all, dialects.OwnTracksLocationOf(s, p, topic))
		card, err := o.places.Card(ctx, s)
		if err != nil {
			return nil, err
		}
		if len(card) > 0 && len(card) <= room {
			room -= len(card)
			all = append(all, dialects.OwnTracksCardOf(s, card))
		}
	}
	return all, nil
}
