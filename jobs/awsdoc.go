package jobs

import (
	"encoding/json"
	"time"
	"unicode/utf8"

	"github.com/magpie-im/magpie/accounts"
)

// Documents of AWS's. Times are Unix seconds.

type answer struct {
	Execution   *data           `json:"execution,omitempty"`
	InProgress  *[]summary      `json:"inProgressJobs,omitempty"`
	Queued      *[]summary      `json:"queuedJobs,omitempty"`
	State       *state          `json:"executionState,omitempty"`
	Document    json.RawMessage `json:"jobDocument,omitempty"`
	Timestamp   int64           `json:"timestamp"`
	ClientToken string          `json:"clientToken,omitempty"`
}

type data struct {
	Job      string            `json:"jobId"`
	Thing    accounts.Name     `json:"thingName"`
	Document json.RawMessage   `json:"jobDocument,omitempty"`
	Status   Status            `json:"status"`
	Details  map[string]string `json:"statusDetails,omitempty"`
	Queued   int64             `json:"queuedAt"`
	Started  int64             `json:"startedAt,omitempty"`
	Updated  int64             `json:"lastUpdatedAt"`
	Version  uint64            `json:"versionNumber"`
	Number   int               `json:"executionNumber"`
}

type summary struct {
	Job     string `json:"jobId"`
	Queued  int64  `json:"queuedAt"`
	Started int64  `json:"startedAt,omitempty"`
	Updated int64  `json:"lastUpdatedAt"`
	Version uint64 `json:"versionNumber"`
	Number  int    `json:"executionNumber"`
}

type state struct {
	Status  Status            `json:"status"`
	Details map[string]string `json:"statusDetails,omitempty"`
	Version uint64            `json:"versionNumber"`
}

type notification struct {
	Jobs      map[Status][]summary `json:"jobs"`
	Timestamp int64                `json:"timestamp"`
}

// second is one, in milliseconds.
const second = 1000

func (s *Service) data(e Execution, job Job, document bool) *data {
	d := &data{
		Job: e.Job, Thing: e.Device, Status: e.Status, Details: e.Details, Queued: e.Queued / second, Started: e.Started / second,
		Updated: e.Updated / second, Version: e.Version, Number: executionNumber,
	}
	if document {
		d.Document = s.document(job, e.Device)
	}
	return d
}

func (e Execution) summary() summary {
	return summary{e.Job, e.Queued / second, e.Started / second, e.Updated / second, e.Version, executionNumber}
}

func (e Execution) state() state { return state{e.Status, e.Details, e.Version} }

// Codes of refusals. Nothing is throttled here, and what goes wrong on our side is not answered: the device sends it again.
const (
	codeTopic    = "InvalidTopic"
	codeJSON     = "InvalidJson"
	codeRequest  = "InvalidRequest"
	codeState    = "InvalidStateTransition"
	codeNone     = "ResourceNotFound"
	codeVersion  = "VersionMismatch"
	codeTerminal = "TerminalStateReached"
)

// refusal is an answer that says no. It is an error, for who makes it deep down.
type refusal struct {
	code, text, token string
	state             *state
}

func refuse(code, text string) *refusal { return &refusal{code: code, text: text} }

// in adds how the execution stands.
func (r *refusal) in(e Execution) *refusal {
	s := e.state()
	r.state = &s
	return r
}

func (r *refusal) Error() string { return r.code + ": " + r.text }

func (r *refusal) document(now time.Time) []byte {
	return encoded(struct {
		Code      string `json:"code"`
		Text      string `json:"message"`
		Token     string `json:"clientToken,omitempty"`
		Timestamp int64  `json:"timestamp"`
		State     *state `json:"executionState,omitempty"`
	}{r.code, r.text, r.token, now.Unix(), r.state})
}

// Limits of what a device says, as AWS has them but for the token.
const (
	maxToken       = 64
	maxDetails     = 10
	maxDetailName  = 128
	maxDetailValue = 1024
	maxRequest     = 64 << 10
)

// parseRequest reads what a device asks. The token is there also if it is refused, as far as it could be read.
func parseRequest(path string, payload []byte) (request, *refusal) {
	api, job, ok := parsePath(path)
	if !ok {
		return request{}, refuse(codeTopic, "The topic is none of the jobs service")
	}
	r := request{}
	if len(payload) > maxRequest {
		return r, refuse(codeRequest, "The request is too large")
	}
	if len(payload) > 0 {
		var object map[string]json.RawMessage
		if !utf8.Valid(payload) || json.Unmarshal(payload, &object) != nil || object == nil {
			return r, refuse(codeJSON, "The request is no JSON object")
		}
		_ = json.Unmarshal(object["clientToken"], &r.ClientToken)
		if len(r.ClientToken) > maxToken {
			r.ClientToken = ""
			return r, refuse(codeRequest, "The client token is longer than 64 bytes")
		}
		if err := json.Unmarshal(payload, &r); err != nil {
			return r, refuse(codeRequest, "A field is not of its type")
		}
	}
	r.api, r.job = api, job
	return r, r.check()
}

func (r request) check() *refusal {
	if r.api == apiUpdate && !r.Status.said() {
		return refuse(codeRequest, "The status has to be IN_PROGRESS, SUCCEEDED, FAILED or REJECTED")
	}
	if r.Step != nil && *r.Step != -1 && (*r.Step < 1 || *r.Step > MaxTimeout) {
		return refuse(codeRequest, "stepTimeoutInMinutes has to be between 1 and 10080, or -1")
	}
	if len(r.Details) > maxDetails {
		return refuse(codeRequest, "statusDetails may have 10 entries")
	}
	for name, value := range r.Details {
		if !validDetail(name) || len(value) > maxDetailValue {
			return refuse(codeRequest, "An entry of statusDetails is not as it may be")
		}
	}
	return nil
}

func validDetail(name string) bool {
	for _, c := range []byte(name) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
		if !letter && c != ':' && c != '_' && c != '-' {
			return false
		}
	}
	return name != "" && len(name) <= maxDetailName
}
