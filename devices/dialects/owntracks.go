package dialects

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/magpie-im/magpie/locations"
)

// OwnTracks (https://owntracks.org/booklet/tech/json/): phones publish JSON objects whose _type says what they are.

// Types of OwnTracks.
const (
	OwnTracksLocation   = "location"
	OwnTracksTransition = "transition"
	OwnTracksCard       = "card"
)

// ErrOwnTracks means that something is not what OwnTracks says.
var ErrOwnTracks = errors.New("not an object of OwnTracks")

// Bounds of what OwnTracks says.
const (
	MaxOwnTracks  = 64 << 10
	maxOwnPlaces  = 1000 // positions in an array
	maxOwnText    = 64   // bytes of a label
	maxOwnRegions = 8    // names of regions
)

// OwnTracksType gives the _type of an object. ErrOwnTracks: there is none.
func OwnTracksType(payload []byte) (string, error) {
	if len(payload) > MaxOwnTracks {
		return "", fmt.Errorf("%w: %d bytes", ErrOwnTracks, len(payload))
	}
	var o struct {
		Type string `json:"_type"`
	}
	if err := json.Unmarshal(payload, &o); err != nil || o.Type == "" || len(o.Type) > maxOwnText {
		return "", fmt.Errorf("%w: no _type", ErrOwnTracks)
	}
	return o.Type, nil
}

// owntracksLocation is an object with the _type location, as far as it is kept. What networks a phone sees is not.
type owntracksLocation struct {
	Type string   `json:"_type"`
	Lat  *float64 `json:"lat"`
	Lon  *float64 `json:"lon"`
	TST  float64  `json:"tst"` // Unix seconds
	Acc  float64  `json:"acc"`
	Vel  float64  `json:"vel"`
	owntracksNote
}

// owntracksNote is what is passed on with a position to who may see it exactly.
type owntracksNote struct {
	TID     string   `json:"tid,omitempty"`
	Alt     *float64 `json:"alt,omitempty"`
	Vac     *float64 `json:"vac,omitempty"`
	Cog     *float64 `json:"cog,omitempty"`
	Batt    *float64 `json:"batt,omitempty"`
	BS      *float64 `json:"bs,omitempty"`
	T       string   `json:"t,omitempty"`
	M       *float64 `json:"m,omitempty"`
	Conn    string   `json:"conn,omitempty"`
	Created *float64 `json:"created_at,omitempty"`
	POI     string   `json:"poi,omitempty"`
	Tag     string   `json:"tag,omitempty"`
	Regions []string `json:"inregions,omitempty"`
}

// ParseOwnTracksLocations reads a location, or an array of them. In an array the _type may be left out, and so it may for a
// thing, which alone says positions there. ErrOwnTracks.
func ParseOwnTracksLocations(payload []byte) ([]locations.Position, error) {
	var all []owntracksLocation
	payload = bytes.TrimLeft(payload, " \t\r\n")
	var into any = &all
	if len(payload) == 0 || payload[0] != '[' {
		all = make([]owntracksLocation, 1)
		into = &all[0]
	}
	if err := json.Unmarshal(payload, into); err != nil || len(all) > maxOwnPlaces {
		return nil, fmt.Errorf("%w: no location, nor up to %d in an array", ErrOwnTracks, maxOwnPlaces)
	}
	out := make([]locations.Position, 0, len(all))
	for _, o := range all {
		p, err := o.position()
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func (o owntracksLocation) position() (locations.Position, error) {
	switch {
	case o.Type != "" && o.Type != OwnTracksLocation:
		return locations.Position{}, fmt.Errorf("%w: a %.80q is no location", ErrOwnTracks, o.Type)
	case o.Lat == nil || o.Lon == nil:
		return locations.Position{}, fmt.Errorf("%w: without lat or lon", ErrOwnTracks)
	case o.TST < 0 || o.TST > math.MaxUint32:
		return locations.Position{}, fmt.Errorf("%w: tst %v", ErrOwnTracks, o.TST)
	}
	p := locations.Position{
		At: int64(math.Round(o.TST * 1000)), Lat: *o.Lat, Lon: *o.Lon,
		Acc: max(0, o.Acc), Vel: max(0, o.Vel), // iOS says -1 where it does not know
	}
	o.owntracksNote.trim()
	note, err := json.Marshal(o.owntracksNote)
	if err == nil && len(note) > locations.MaxNote {
		note, err = json.Marshal(owntracksNote{TID: o.TID})
	}
	if err == nil && len(note) > len("{}") {
		p.Note = note
	}
	return p, err
}

// trim takes away what is longer than it may be.
func (n *owntracksNote) trim() {
	for _, text := range []*string{&n.TID, &n.T, &n.Conn, &n.POI, &n.Tag} {
		if len(*text) > maxOwnText {
			*text = ""
		}
	}
	n.Regions = n.Regions[:min(len(n.Regions), maxOwnRegions)]
	if n.Cog != nil && *n.Cog < 0 {
		n.Cog = nil
	}
}

// OwnTracksLocationOf writes a position as a location; topic is for HTTP, where it says whose it is; empty: it is left out.
func OwnTracksLocationOf(s locations.Subject, p locations.Position, topic string) []byte {
	b := append(make([]byte, 0, 256), `{"_type":"location"`...)
	if topic != "" {
		b = appendText(append(b, `,"topic":`...), topic)
	}
	b = appendPlace(b, p)
	b = strconv.AppendInt(append(b, `,"tst":`...), p.At/1000, 10)
	if p.Vel > 0 {
		b = appendNumber(append(b, `,"vel":`...), p.Vel)
	}
	switch {
	case len(p.Note) > len("{}"):
		if !bytes.Contains(p.Note, []byte(`"tid":`)) {
			b = appendText(append(b, `,"tid":`...), tidOf(s))
		}
		b = append(append(b, ','), p.Note[1:len(p.Note)-1]...)
	default:
		b = appendText(append(b, `,"tid":`...), tidOf(s))
	}
	return append(b, '}')
}

func appendPlace(b []byte, p locations.Position) []byte {
	b = appendNumber(append(b, `,"lat":`...), p.Lat)
	b = appendNumber(append(b, `,"lon":`...), p.Lon)
	if p.Acc > 0 {
		b = appendNumber(append(b, `,"acc":`...), math.Round(p.Acc))
	}
	return b
}

func appendNumber(b []byte, v float64) []byte { return strconv.AppendFloat(b, v, 'f', -1, 64) }

func appendText(b []byte, text string) []byte {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string can always be written
	}
	return append(b, quoted...)
}

// tidOf gives the two letters that a map shows of who does not say which: the last ones of his device, as OwnTracks has it, or of
// the thing.
func tidOf(s locations.Subject) string {
	name := s.Label
	if name == "" {
		name = string(s.Who)
	}
	return name[max(0, len(name)-2):]
}

// OwnTracksTransitionOf writes a crossing as a transition. That something has stayed is an event of its own, dwell, which apps of
// OwnTracks leave out.
func OwnTracksTransitionOf(c locations.Crossing) []byte {
	b := append(make([]byte, 0, 256), `{"_type":"transition","event":`...)
	b = appendText(b, string(c.What))
	b = appendText(append(b, `,"desc":`...), c.Fence.Name)
	b = appendText(append(b, `,"rid":`...), c.Fence.ID)
	b = appendPlace(b, c.Where)
	b = strconv.AppendInt(append(b, `,"tst":`...), c.At/1000, 10)
	b = strconv.AppendInt(append(b, `,"wtst":`...), c.Since/1000, 10)
	b = appendText(append(b, `,"tid":`...), tidOf(c.Subject))
	return append(b, `,"t":"c"}`...)
}

// OwnTracksCardOf writes a card for HTTP, where it says by its tid whose it is, as the location does that is before it.
func OwnTracksCardOf(s locations.Subject, card []byte) []byte {
	var fields map[string]json.RawMessage
	if json.Unmarshal(card, &fields) != nil {
		return card
	}
	if fields["tid"] == nil {
		fields["tid"] = appendText(nil, tidOf(s))
	}
	out, err := json.Marshal(fields)
	if err != nil {
		return card
	}
	return out
}
