package wirefault

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestParts(t *testing.T) {
	tests := map[string]struct{ uri, before, host, after string }{
		"short":   {"mongodb://a:1", "mongodb://", "a:1", "/?directConnection=true"},
		"no port": {"mongodb://a/", "mongodb://", "a:27017", "/?directConnection=true"},
		"all": {
			"mongodb://u:p@a:1,b:2/name?directConnection=false&w=1", "mongodb://u:p@", "a:1", "/name?w=1&directConnection=true",
		},
		"options only": {"mongodb://a:1?w=1", "mongodb://", "a:1", "/?w=1&directConnection=true"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before, host, after, err := parts(tt.uri)
			if err != nil || before != tt.before || host != tt.host || after != tt.after {
				t.Errorf("parts(%q) = %q, %q, %q, %v", tt.uri, before, host, after, err)
			}
		})
	}
}

func FuzzMessage(f *testing.F) {
	m, err := reply(make(message, headerSize), bson.D{{Key: "insert", Value: "log"}})
	if err != nil {
		f.Fatal(err)
	}
	if got := m.command(); got != (command{"insert", "log"}) {
		f.Errorf("the command is %+v", got)
	}
	f.Add([]byte(m))
	f.Fuzz(func(_ *testing.T, data []byte) {
		if m := message(data); len(m) >= headerSize {
			m.command()
			m.more()
			torn(m, 0.999)
		}
	})
}
