// Package documenttest holds a server to its documents: whatever it says has to be in them. Where the documents are open,
// because clients have to ignore what they do not know, this is strict: a field that is not described is an error.
package documenttest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

type object = map[string]any

// Document is one of the two documents. Its methods may be called concurrently.
type Document struct {
	root object

	mu       sync.Mutex // guards what is below
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema // by JSON pointer
}

// Read takes a document as a server gives it. All its schemas have to be schemas.
func Read(text []byte) (*Document, error) {
	d := &Document{compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	d.root, _ = root.(object)
	if d.root["openapi"] == nil && d.root["asyncapi"] == nil {
		return nil, errors.New("it is neither OpenAPI nor AsyncAPI")
	}
	for name, s := range d.at("components", "schemas") {
		if !strings.HasSuffix(name, "Input") { // clients may send more than is known
			closeObjects(s)
		}
	}
	for _, part := range []string{"paths", "components"} {
		closeAnswers(d.root[part])
	}
	if err := d.compiler.AddResource(base, root); err != nil {
		return nil, err
	}
	for name := range d.at("components", "schemas") {
		if _, err := d.compile("components", "schemas", name); err != nil {
			return nil, err
		}
	}
	return d, nil
}

const base = "https://magpie.invalid/document.json"

// at gives an object within the document; none if there is none.
func (d *Document) at(path ...string) object {
	node := d.root
	for _, name := range path {
		node, _ = node[name].(object)
	}
	return node
}

// closeAnswers closes the schemas of what the server sends.
func closeAnswers(node any) {
	switch node := node.(type) {
	case object:
		for name, inner := range node {
			switch {
			case name == "requestBody":
			case name == "schema", name == "payload" && !strings.HasPrefix(fmt.Sprint(node["name"]), "rpc."):
				closeObjects(inner)
			default:
				closeAnswers(inner)
			}
		}
	case []any:
		for _, inner := range node {
			closeAnswers(inner)
		}
	}
}

// closeObjects lets objects have no other fields than those that are described.
func closeObjects(node any) {
	switch node := node.(type) {
	case object:
		if _, named := node["properties"].(object); named && node["additionalProperties"] == nil {
			node["additionalProperties"] = false
		} else if node["type"] == "object" && node["additionalProperties"] == nil {
			node["additionalProperties"] = false
		}
		for name, inner := range node {
			if name != "examples" {
				closeObjects(inner)
			}
		}
	case []any:
		for _, inner := range node {
			closeObjects(inner)
		}
	}
}

func pointer(path ...string) string {
	var b strings.Builder
	for _, name := range path {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1", "%", "%25", "{", "%7B", "}", "%7D").Replace(name))
	}
	return b.String()
}

func (d *Document) compile(path ...string) (*jsonschema.Schema, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := pointer(path...)
	if s, ok := d.schemas[at]; ok {
		return s, nil
	}
	s, err := d.compiler.Compile(base + "#" + at)
	if err != nil {
		return nil, fmt.Errorf("%s is no schema: %w", at, err)
	}
	d.schemas[at] = s
	return s, nil
}

func (d *Document) validate(body []byte, path ...string) error {
	s, err := d.compile(path...)
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return s.Validate(value)
}

// resolve gives the path of what a reference at a path leads to, or the path itself.
func (d *Document) resolve(path ...string) []string {
	text, _ := d.at(path...)["$ref"].(string)
	if text == "" {
		return path
	}
	return d.resolve(strings.Split(strings.TrimPrefix(text, "#/"), "/")...)
}

// Answer checks an answer of HTTP to a request for a path below /api/v1, such as /send.
func (d *Document) Answer(method, path string, status int, contentType string, body []byte) error {
	fail := func(err error) error {
		return fmt.Errorf("%s %s is answered with %d %.500s, which is not described: %w", method, path, status, body, err)
	}
	call := []string{"paths", path, strings.ToLower(method)}
	if d.at(call...) == nil {
		return fail(errors.New("there is no such path, or not with this method"))
	}
	answer := d.resolve(append(call, "responses", strconv.Itoa(status))...)
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return fail(err)
	}
	if d.at(append(answer, "content", kind)...) == nil {
		return fail(fmt.Errorf("no such status, or not with %s", kind))
	}
	where := append(slices.Clone(answer), "content", kind, "schema")
	if kind != "application/x-ndjson" {
		if err := d.validate(body, where...); err != nil {
			return fail(err)
		}
		return nil
	}
	for line := range bytes.Lines(body) {
		if err := d.validate(line, where...); err != nil {
			return fail(fmt.Errorf("line %s: %w", line, err))
		}
	}
	return nil
}

// Example gives the body that the document has as an example for a path below /api/v1, and whether it is a known path.
func (d *Document) Example(path string) ([]byte, bool) {
	media := d.at("paths", path, "post", "requestBody", "content", "application/json")
	if media == nil {
		return nil, false
	}
	text, err := json.Marshal(media["example"])
	return text, err == nil
}

// Required gives the fields that a call cannot do without.
func (d *Document) Required(path string) []string {
	var all []string
	schema := d.resolve("paths", path, "post", "requestBody", "content", "application/json", "schema")
	list, _ := d.at(schema...)["required"].([]any)
	for _, name := range list {
		all = append(all, fmt.Sprint(name))
	}
	return all
}

// Paths gives all paths.
func (d *Document) Paths() []string {
	var all []string
	for path := range d.at("paths") {
		all = append(all, path)
	}
	slices.Sort(all)
	return all
}

// Channel finds the channel of a topic in one direction: up if clients publish there.
func (d *Document) channel(topic string, up bool) (id string) {
	action := "send"
	if up {
		action = "receive"
	}
	for name := range d.at("operations") {
		if d.at("operations", name)["action"] != action {
			continue
		}
		channel := d.resolve("operations", name, "channel")
		address, _ := d.at(channel...)["address"].(string)
		form := regexp.MustCompile(`\\\{\w+\\\}`).ReplaceAllString(regexp.QuoteMeta(address), `[^/]+`)
		if regexp.MustCompile("^" + form + "$").MatchString(topic) {
			return channel[len(channel)-1]
		}
	}
	return ""
}

// Message checks what is published to a topic: up by a client, otherwise by the server.
func (d *Document) Message(topic string, up bool, payload []byte) error {
	id := d.channel(topic, up)
	if id == "" {
		return fmt.Errorf("topic %s is not in the document", topic)
	}
	var head struct {
		T string `json:"t"`
	}
	_ = json.Unmarshal(payload, &head) // it may be anything
	errs := []error{fmt.Errorf("%.500s on %s is not what the document says", payload, topic)}
	for name := range d.at("channels", id, "messages") {
		message := d.resolve("channels", id, "messages", name)
		schema := d.resolve(append(slices.Clone(message), "payload")...)
		if t, ok := d.at(append(schema, "properties", "t")...)["const"]; ok && t != head.T {
			continue // it is about something else
		}
		if !up && bytes.HasPrefix(payload, []byte("{")) && d.at(message...)["contentType"] == "text/plain" {
			continue // a JSON object is no line of text
		}
		err := d.payload(payload, message)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", name, err))
	}
	if len(errs) == 1 {
		errs = append(errs, fmt.Errorf("nothing there has the t %q", head.T))
	}
	return errors.Join(errs...)
}

// Reply checks the answer to a request of MQTT.
func (d *Document) Reply(method string, payload []byte) error {
	errs := []error{fmt.Errorf("%s is answered with %.500s, which is not what the document says", method, payload)}
	for _, name := range []string{"reply." + method, "refused"} {
		err := d.payload(payload, []string{"components", "messages", name})
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", name, err))
	}
	return errors.Join(errs...)
}

func (d *Document) payload(text []byte, message []string) error {
	m := d.at(message...)
	if m == nil {
		return errors.New("there is no such message")
	}
	if m["contentType"] == "text/plain" {
		quoted, err := json.Marshal(string(text))
		if err != nil {
			return err
		}
		text = quoted
	}
	return d.validate(text, append(message, "payload")...)
}

// Topics gives the addresses of channels that clients publish to, if up, or the server, each with an example of a payload if
// the document has one.
func (d *Document) Topics(up bool) map[string]string {
	all := map[string]string{}
	for id := range d.at("channels") {
		address, _ := d.at("channels", id)["address"].(string)
		if d.channel(address, up) != id {
			continue
		}
		all[address] = ""
		for name := range d.at("channels", id, "messages") {
			examples, _ := d.at(d.resolve("channels", id, "messages", name)...)["examples"].([]any)
			if len(examples) == 0 {
				continue
			}
			example := examples[0].(object)["payload"]
			if plain, ok := example.(string); ok {
				all[address] = plain
			} else if text, err := json.Marshal(example); err == nil {
				all[address] = string(text)
			}
		}
	}
	return all
}

// Fields gives the names of the fields that a kind of event has.
func (d *Document) Fields(kind string) []string {
	for _, name := range []string{"event." + kind, kind} {
		payload := d.resolve("components", "messages", name, "payload")
		var all []string
		for field := range d.at(append(payload, "properties")...) {
			all = append(all, field)
		}
		if len(all) > 0 {
			slices.Sort(all)
			return all
		}
	}
	return nil
}
