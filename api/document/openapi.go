package document

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/magpie-im/magpie/api"
)

const about = `Everything here is a call: POST with a JSON object, or with an empty body for {}. Fields that a call does not know
are ignored, and clients ignore what they do not know in answers; times are Unix milliseconds. What is refused is answered
with problem details (RFC 9457) that carry a word for programs in err, and retry_ms where a retry may succeed.

The same calls are made over MQTT by publishing to im/rpc/{method}, and whatever happens comes that way: see asyncapi.json
beside this document.`

// OpenAPI describes what is served over HTTP below /api/v1. gaps says what could not be described.
func OpenAPI(src Source) (doc []byte, gaps []string) {
	s := newSchemas()
	s.undescribed(slices.Concat(src.Table, src.Admin))
	o := openAPI{src: src, schemas: s, paths: map[string]object{}}
	for _, op := range src.Table {
		o.add("/"+op.Name, op.Name, areaOf(op), op)
	}
	for _, op := range src.Admin {
		o.add("/admin/"+op.Name, "admin."+op.Name, adminArea, op)
	}
	return encode(object{
		"openapi":    "3.1.0",
		"info":       object{"title": "Magpie", "version": "1", "description": about},
		"servers":    []any{object{"url": "/api/v1"}},
		"tags":       o.tags(),
		"paths":      o.paths,
		"components": o.components(),
		"security":   []any{object{"token": []string{}}},
	}), s.gaps
}

// Statuses of HTTP that mean more than their number here. What HTTP is, package rest knows.
const (
	statusUnauthorized = 401
	statusConflict     = 409
	statusTooMany      = 429
	statusUnavailable  = 503
)

type openAPI struct {
	src     Source
	schemas *schemas
	paths   map[string]object
	areas   []string // in the order of the table
}

// httpOperation is an Operation Object.
type httpOperation struct {
	ID          string            `json:"operationId"`
	Tags        []string          `json:"tags"`
	Summary     string            `json:"summary"`
	Description string            `json:"description,omitempty"`
	Security    *[]any            `json:"security,omitempty"` // empty: for everybody
	Parameters  []any             `json:"parameters,omitempty"`
	Body        object            `json:"requestBody,omitempty"`
	Responses   map[string]object `json:"responses"`
}

func (o *openAPI) add(path, id, area string, op *api.Operation) {
	if !slices.Contains(o.areas, area) {
		o.areas = append(o.areas, area)
	}
	input := newSchemas().object(op.Input, true)
	call := httpOperation{
		ID: id, Tags: []string{area}, Summary: op.Doc, Description: o.notes(op), Responses: o.responses(op),
		Body: object{"content": object{"application/json": object{
			"schema": o.schemas.of(op.Input, true), "example": input.whole(),
		}}},
	}
	if len(input.Required) > 0 {
		call.Body["required"] = true
	}
	if op.Access == api.Public {
		call.Security = new([]any)
		*call.Security = []any{}
	} else if op.Changes {
		call.Parameters = []any{ref("#/components/parameters/IdempotencyKey")}
	}
	o.paths[path] = object{"post": call}
	if op.Streams() {
		call.ID, call.Body = id+".get", nil
		o.paths[path]["get"] = call
	}
}

func (o *openAPI) notes(op *api.Operation) string {
	var notes []string
	switch op.Access {
	case api.Public:
		notes = append(notes, "For everybody.")
	case api.Admin:
		notes = append(notes, "For accounts with the role of an administrator.")
	}
	if !op.Changes {
		notes = append(notes, "Changes nothing.")
	}
	return strings.Join(append(notes, fmt.Sprintf("The body has %d bytes at most.", op.MaxBody)), " ")
}

func (o *openAPI) responses(op *api.Operation) map[string]object {
	kind, good := "application/json", o.schemas.of(op.Output, false)
	text := "It was done."
	if op.Streams() {
		kind = "application/x-ndjson"
		text = "One JSON object in each line, each as this says. If the last one is neither end nor error, it was cut off."
		good = schema{OneOf: o.lines(op)}
	}
	all := map[string]object{"200": {"description": text, "content": object{kind: object{"schema": good}}}}
	for _, r := range o.src.Refusals {
		if r.Status == statusConflict && !op.Changes { // nothing can be in the way
			continue
		}
		all[strconv.Itoa(r.Status)] = ref("#/components/responses/" + strconv.Itoa(r.Status))
	}
	return all
}

func (o *openAPI) lines(op *api.Operation) []*schema {
	out := make([]*schema, 0, len(op.Lines))
	for _, t := range op.Lines {
		line := o.schemas.of(t, false)
		out = append(out, &line)
	}
	return out
}

func (o *openAPI) components() object {
	statuses := map[int][]Refusal{}
	for _, r := range o.src.Refusals {
		statuses[r.Status] = append(statuses[r.Status], r)
	}
	responses := object{}
	for status, list := range statuses {
		responses[strconv.Itoa(status)] = o.refusal(status, list)
	}
	return object{
		"schemas":   o.schemas.all(),
		"responses": responses,
		"parameters": object{"IdempotencyKey": object{
			"name": "Idempotency-Key", "in": "header",
			"description": "Chosen by the client. For ten minutes the same key with the same call gives the same answer, and " +
				"nothing is done again.",
			"schema": object{"type": "string", "maxLength": 128},
		}},
		"securitySchemes": object{"token": object{
			"type": "http", "scheme": "bearer", "description": "The token that login or register has given.",
		}},
	}
}

// problem is the body of a refusal (RFC 9457).
type problem struct {
	Type    string `json:"type" doc:"always about:blank" enum:"about:blank"`
	Title   string `json:"title" doc:"what the status means"`
	Status  int    `json:"status" doc:"the status again"`
	Detail  string `json:"detail,omitempty" doc:"why it was refused: a sentence for people"`
	Err     string `json:"err"`
	RetryMS int64  `json:"retry_ms,omitempty"`
}

// refusal describes the answers with one status.
func (o *openAPI) refusal(status int, list []Refusal) object {
	var words, texts []string
	for _, r := range list {
		if !slices.Contains(words, r.Err) {
			words = append(words, r.Err)
		}
		texts = append(texts, fmt.Sprintf("%s: %s", r.Err, r.Text))
	}
	body := o.schemas.object(typeOf[problem](), false)
	for i := range body.Properties {
		switch p := &body.Properties[i]; p.name {
		case "err":
			p.Enum = words
		case "status":
			p.Const = status
		}
	}
	out := object{
		"description": strings.Join(texts, "\n\n"),
		"content":     object{"application/problem+json": object{"schema": body}},
	}
	headers := object{}
	switch status {
	case statusTooMany, statusUnavailable:
		headers["Retry-After"] = object{
			"description": "After so many seconds the same may succeed; absent: it is final.", "schema": schema{Type: "integer"},
		}
	case statusUnauthorized:
		headers["WWW-Authenticate"] = object{"description": "RFC 6750", "schema": schema{Type: "string"}}
	}
	if len(headers) > 0 {
		out["headers"] = headers
	}
	return out
}
