package mongo

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestTextIsReadAsItWasWritten(t *testing.T) {
	for text, want := range map[string]bson.Type{
		"":          bson.TypeString,
		"ä\x00":     bson.TypeString,
		"a\xff":     bson.TypeBinary,
		"m\x00\xff": bson.TypeBinary,
	} {
		type doc struct {
			Text string   `bson:"s"`
			List []string `bson:"l"`
			Any  any      `bson:"a"`
		}
		written := bson.Raw(marshal(doc{text, []string{text}, text}))
		var read doc
		if err := bson.Unmarshal(written, &read); err != nil || read.Text != text || read.List[0] != text {
			t.Errorf("%q: got %q, %v", text, read.Text, err)
		}
		for _, key := range [][]string{{"s"}, {"l", "0"}, {"a"}} {
			if got := written.Lookup(key...).Type; got != want {
				t.Errorf("%q: %v is a %s, want a %s", text, key, got, want)
			}
		}
	}
}
