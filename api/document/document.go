// Package document writes down what the table of operations is, for programs and for those who write clients: OpenAPI 3.1 of
// what is served over HTTP, and AsyncAPI 3 of what is said over MQTT.
//
// Both are made of the rows themselves. The schemas are those of a row's Go types: a field without omitempty is always in an
// answer, and `required:"true"` says that an input cannot do without it. What a field means stands in its tag `doc`, or, if
// the same name means the same everywhere, in the vocabulary of this package. Further tags are `enum:"a|b"`, `max` (characters
// of a text, items of a list) and `example`. What is not in the table is described here: topics (topics.go) and events
// (events.go).
//
// Schemas are open, as docs/protocol.md demands of clients: what they do not name is to be ignored. What cannot be described
// is left open too and reported as a gap: the tests let no gap pass.
package document

import (
	"encoding/json"
	"fmt"

	"github.com/magpie-im/magpie/api"
)

// Source is what the documents are made of.
type Source struct {
	Table    []*api.Operation // for users and strangers
	Admin    []*api.Operation // for administrators; over HTTP only
	Refusals []Refusal        // over HTTP
}

// Refusal is one way in which HTTP says no.
type Refusal struct {
	Status int
	Err    string // for programs
	Text   string // for people
}

// object is JSON that is put together by hand. It is encoded in the order of its keys.
type object = map[string]any

func ref(path string) object { return object{"$ref": path} }

// encode gives the bytes of a document.
func encode(doc any) []byte {
	text, err := json.MarshalIndent(doc, "", " ")
	if err != nil { // cannot be: it is made of strings and numbers
		panic(fmt.Sprintf("document: %v", err))
	}
	return append(text, '\n')
}

// undescribed reports rows that say nothing of themselves.
func (s *schemas) undescribed(rows []*api.Operation) {
	for _, op := range rows {
		if op.Doc == "" {
			s.gap("operation %s has no Doc: one sentence for people who write clients", op.Name)
		}
		if op.Streams() && len(op.Lines) == 0 {
			s.gap("operation %s streams, and does not say what its lines are: call lines on its row", op.Name)
		}
	}
}
