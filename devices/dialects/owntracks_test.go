package dialects

import (
	"encoding/json"
	"testing"

	"github.com/magpie-im/magpie/locations"
)

var jane = locations.Subject{Who: "jane", Label: "nexus4"}

// The first ones are from the booklet of OwnTracks.
func TestOwnTracksLocationsAreReadAndWritten(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{
			"an iPhone",
			`{"cog":270,"batt":99,"lon":-122.02610,"acc":65,"p":102.3,"vel":61,"vac":21,"lat":37.33280,"t":"u","conn":"w",
			  "tst":1376715317,"alt":65,"_type":"location","tid":"JJ","SSID":"home","BSSID":"aa:bb","_http":true,"topic":"x"}`,
			`{"_type":"location","lat":37.3328,"lon":-122.0261,"acc":65,"tst":1376715317,"vel":61,` +
				`"tid":"JJ","alt":65,"vac":21,"cog":270,"batt":99,"t":"u","conn":"w"}`,
		},
		{"the least", `{"_type":"location","lat":1,"lon":-2,"tst":5}`, `{"_type":"location","lat":1,"lon":-2,"tst":5,"tid":"s4"}`},
		{
			"what is not known", `{"_type":"location","lat":1,"lon":-2,"tst":5,"acc":-1,"vel":-1,"cog":-1,"batt":3}`,
			`{"_type":"location","lat":1,"lon":-2,"tst":5,"tid":"s4","batt":3}`,
		},
		{
			"too much", `{"_type":"location","lat":1,"lon":-2,"tst":5,"inregions":["1","2","3","4","5","6","7","8","9"],"poi":"` +
				string(make65()) + `"}`,
			`{"_type":"location","lat":1,"lon":-2,"tst":5,"tid":"s4","inregions":["1","2","3","4","5","6","7","8"]}`,
		},
	}
	for _, tt := range tests {
		points, err := ParseOwnTracksLocations([]byte(tt.in))
		if err != nil || len(points) != 1 {
			t.Errorf("%s: %v, %v", tt.name, points, err)
			continue
		}
		if got := OwnTracksLocationOf(jane, points[0], ""); string(got) != tt.want || !json.Valid(got) {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	for _, in := range []string{
		``, `x`, `1`, `null`, `{}`, `[]x`, `[{"_type":"location"}]`, `{"_type":"card","lat":1,"lon":2}`, `{"lat":1}`,
		`{"_type":"location","lat":1,"lon":2,"tst":-1}`, `{"_type":"location","lat":1,"lon":2,"tst":1e300}`,
	} {
		if points, err := ParseOwnTracksLocations([]byte(in)); err == nil {
			t.Errorf("%s: %v", in, points)
		}
	}
	many, err := ParseOwnTracksLocations([]byte(`[{"lat":1,"lon":2},{"lat":3,"lon":4,"tst":1.5}]`))
	if err != nil || len(many) != 2 || many[0].At != 0 || many[1].At != 1500 {
		t.Errorf("%+v, %v", many, err)
	}
}

func make65() []byte {
	b := make([]byte, 65)
	for i := range b {
		b[i] = 'x'
	}
	return b
}

func TestOwnTracksTransitionsAndCards(t *testing.T) {
	c := locations.Crossing{
		Subject: jane, Fence: locations.Fence{ID: "f1", Name: `"Home"`}, What: locations.Enter, At: 1795417100_500, Since: 1795410000_000,
		Where: locations.Position{Lat: 48.85, Lon: 2.29, Acc: 10.4},
	}
	const want = `{"_type":"transition","event":"enter","desc":"\"Home\"","rid":"f1","lat":48.85,"lon":2.29,"acc":10,"tst":1795417100,` +
		`"wtst":1795410000,"tid":"s4","t":"c"}`
	if got := string(OwnTracksTransitionOf(c)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := string(OwnTracksCardOf(jane, []byte(`{"name":"J","_type":"card"}`))); got != `{"_type":"card","name":"J","tid":"s4"}` {
		t.Errorf("card %s", got)
	}
	if kind, err := OwnTracksType([]byte(`{"_type":"lwt","tst":1}`)); err != nil || kind != "lwt" {
		t.Errorf("%q, %v", kind, err)
	}
}

func FuzzOwnTracks(f *testing.F) {
	f.Add([]byte(`{"_type":"location","lat":1,"lon":-2,"tst":5,"acc":-1,"tid":"JJ","inregions":["a"]}`))
	f.Add([]byte(`[{"lat":1e-9,"lon":2},{"lat":3,"lon":4,"tst":1.5,"poi":"\u0000"}]`))
	f.Fuzz(func(t *testing.T, in []byte) {
		points, err := ParseOwnTracksLocations(in)
		if err != nil {
			return
		}
		for _, p := range points {
			out := OwnTracksLocationOf(jane, p, "owntracks/jane/nexus4")
			back, err := ParseOwnTracksLocations(out)
			if err != nil || len(back) != 1 || back[0].Lat != p.Lat || back[0].Lon != p.Lon || back[0].Vel != p.Vel {
				t.Errorf("%s: %+v became %s, and that %+v, %v", in, p, out, back, err)
			}
		}
	})
}
