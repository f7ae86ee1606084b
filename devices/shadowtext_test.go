package devices

import (
	"bytes"
	"testing"
)

func TestAShadowComesBackOutOfItsText(t *testing.T) {
	for _, request := range []string{
		`{"state":{"desired":{"n":1.0,"big":123456789012345678901234567890,"e":1e400,"o":{},"a":[1,{"b":[]}]}}}`,
		`{"state":{"reported":{"<&>":"\u0000\ud800ä","":false}}}`,
		`{"state":null}`,
	} {
		u, err := ParseShadowUpdate([]byte(request))
		if err != nil {
			t.Fatal(err)
		}
		s, err := Shadow{Version: 6}.Update(u, 1893553445, DefaultShadowLimits())
		if err != nil {
			t.Fatal(err)
		}
		back, err := s.Text().Shadow()
		if err != nil {
			t.Fatalf("%s: %v", request, err)
		}
		was, is := s.Text(), back.Text()
		if !same(s.Desired.State, back.Desired.State) || !same(s.Reported.Meta, back.Reported.Meta) || back.Version != 7 ||
			!bytes.Equal(was.Desired, is.Desired) || !bytes.Equal(was.ReportedMeta, is.ReportedMeta) {
			t.Errorf("%s: got %+v, want %+v", request, back, s)
		}
	}
	for _, text := range []string{"", "[]", "1", `{"a":1} ` + "x"} {
		if _, err := (ShadowText{Version: 1, Desired: []byte(text)}).Shadow(); err == nil {
			t.Errorf("%q is taken for an object", text)
		}
	}
}
