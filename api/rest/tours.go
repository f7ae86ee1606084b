package rest

import (
	"context"
	"crypto/rand"
	_ "embed" // the page
	"encoding/json"
	"html/template"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices/dialects"
	"github.com/magpie-im/magpie/locations"
)

// Tours of phones are seen by anybody who has the link, as OwnTracks' recorder shows them: GET /view/{uuid} is a page, with
// lastpos=1 it says where the phone is, with geodata=1 which way it has come. Who has no right link, or has it too late, is told
// that there is nothing.

//go:embed tour.html
var tourPage string

var tourTemplate = template.Must(template.New("tour").Parse(tourPage))

// Tours serves GET /view/{uuid}.
func Tours(acc *accounts.Service, places *locations.Service, opts ...Option) http.Handler {
	t := tours{newHandler(nil, opts), acc, places}
	r := chi.NewRouter()
	r.Use(t.recoverPanic)
	r.Get("/view/{uuid}", t.get)
	r.Head("/view/{uuid}", t.get)
	r.NotFound(func(w http.ResponseWriter, _ *http.Request) { fail(w, locations.ErrNone) })
	r.MethodNotAllowed(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
	})
	return r
}

type tours struct {
	*handler
	accounts *accounts.Service
	places   *locations.Service
}

func (t tours) get(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), t.cfg.Timeout)
	defer cancel()
	id, query := chi.URLParam(r, "uuid"), r.URL.Query()
	tour, err := t.places.Tour(id)
	if err == nil { // who is kept out shows nothing
		var status accounts.Status
		if status, _, err = t.accounts.Standing(ctx, tour.Who); err == nil && status != accounts.Active {
			err = locations.ErrNone
		}
	}
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	switch {
	case err != nil:
	case query.Get("lastpos") != "":
		err = t.last(w, id)
	case query.Get("geodata") != "":
		err = t.way(ctx, w, id, query.Get("from"))
	default:
		t.page(w, tour)
	}
	if err != nil {
		t.log.Debug("tour not shown", "err", err)
		fail(w, err)
	}
}

func (t tours) last(w http.ResponseWriter, id string) error {
	tour, p, known, err := t.places.OnTour(id)
	if err != nil {
		return err
	}
	out := struct {
		Label string            `json:"label,omitempty"`
		Data  []json.RawMessage `json:"data"`
	}{tour.Title, []json.RawMessage{}}
	if known {
		out.Data = append(out.Data, dialects.OwnTracksLocationOf(tour.Subject, p, ""))
	}
	return writeJSON(w, http.StatusOK, "application/json", out)
}

// line is a feature of GeoJSON.
type line struct {
	Type       string         `json:"type"`
	Properties lineProperties `json:"properties"`
	Geometry   lineGeometry   `json:"geometry"`
}

type lineProperties struct {
	Label string `json:"label,omitempty"`
	Next  int64  `json:"next,omitempty"` // the from that goes on
}

type lineGeometry struct {
	Type        string       `json:"type"`
	Coordinates [][2]float64 `json:"coordinates"`
}

func (t tours) way(ctx context.Context, w http.ResponseWriter, id, since string) error {
	from, err := strconv.ParseInt(since, 10, 64)
	if err != nil {
		from = 0
	}
	tour, way, err := t.places.WayOf(ctx, id, max(from, 0))
	if err != nil {
		return err
	}
	points := make([][2]float64, 0, len(way.Points))
	out := line{"Feature", lineProperties{tour.Title, way.Next}, lineGeometry{"LineString", points}}
	for _, p := range way.Points {
		out.Geometry.Coordinates = append(out.Geometry.Coordinates, [2]float64{p.Lon, p.Lat})
	}
	return writeJSON(w, http.StatusOK, "application/json", out)
}

func (t tours) page(w http.ResponseWriter, tour locations.Tour) {
	nonce := rand.Text()
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", "default-src 'none'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; "+
		"style-src 'nonce-"+nonce+"'; script-src 'nonce-"+nonce+"'")
	written := func(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04 MST") }
	title := tour.Title
	if title == "" {
		title = "Tour"
	}
	shown := struct{ Title, From, To, Nonce string }{title, written(tour.From), written(tour.To), nonce}
	_ = tourTemplate.Execute(w, shown) // the peer may be gone
}
