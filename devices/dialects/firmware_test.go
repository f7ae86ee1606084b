package dialects

import "testing"

func TestPiecesAreAskedForAsByThingsBoard(t *testing.T) {
	for topic, want := range map[string]string{
		"v2/fw/request/1/chunk/0":           "v2/fw/response/1/chunk/0",
		"v2/fw/request/77/chunk/4294967295": "v2/fw/response/77/chunk/4294967295",
		"v2/fw/request/1/chunk/":            "",
		"v2/fw/request/1/chunk/-1":          "",
		"v2/fw/request/1/chunk/4294967296":  "",
		"v2/fw/request/x/chunk/1":           "",
		"v2/fw/request/1":                   "",
		"v2/fw/request/1/chunk/1/2":         "",
		"v2/fw/response/1/chunk/1":          "",
	} {
		p, ok := ParsePiece(topic)
		if ok != (want != "") || ok && p.Topic() != want {
			t.Errorf("%s: %v %v, want %s", topic, p, ok, want)
		}
	}
}
