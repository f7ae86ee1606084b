package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// Paths of what a device is told without asking.
const (
	pathNotify = "jobs/notify"
	pathNext   = "jobs/notify-next"
)

// nextJob stands for the job that a device is to do next.
const nextJob = "$next"

// Serve does what AWS's jobs service does with a request of a device to $aws/things/{did}/jobs/{path}, and says on the topics
// below what has become of it. A nil error means that it has answered, be it by refusing.
func (s *Service) Serve(ctx context.Context, did accounts.Name, path string, payload []byte) error {
	r, refused := parseRequest(path, payload)
	if refused == nil {
		err := s.serve(ctx, did, path, r)
		if !errors.As(err, &refused) {
			return err
		}
	}
	refused.token = r.ClientToken
	s.tell(did, "jobs/"+path+"/rejected", refused.document(s.now()))
	return nil
}

func (s *Service) tell(did accounts.Name, path string, payload []byte) {
	s.teller.Tell([]accounts.Name{did}, devices.Topic{Device: did, Path: path, AWS: true}, payload)
}

func (s *Service) serve(ctx context.Context, did accounts.Name, path string, r request) error {
	leave, err := s.turns.take(ctx, did)
	if err != nil {
		return fmt.Errorf("job of %s: %w", did, err)
	}
	defer leave()
	var a answer
	switch r.api {
	case apiPending:
		a = s.list(did)
	case apiStart:
		a, err = s.start(ctx, did, r)
	case apiDescribe:
		a, err = s.describe(ctx, did, r)
	default:
		a, err = s.update(ctx, did, r)
	}
	if err != nil {
		return err
	}
	a.Timestamp, a.ClientToken = s.now().Unix(), r.ClientToken
	s.tell(did, "jobs/"+path+"/accepted", encoded(a))
	err = s.announce(ctx, did)
	if err != nil {
		s.rouse()
	}
	return err
}

func (s *Service) list(did accounts.Name) answer {
	running, queued := []summary{}, []summary{}
	for _, e := range s.pending(did) {
		if e.Status == InProgress {
			running = append(running, e.summary())
		} else {
			queued = append(queued, e.summary())
		}
	}
	return answer{InProgress: &running, Queued: &queued}
}

// first gives what a device is to do next, and the job; ok is false if that is nothing.
func (s *Service) first(ctx context.Context, did accounts.Name) (e Execution, job Job, ok bool, err error) {
	for _, p := range s.pending(did) {
		e, err = s.execution(ctx, p.Job, did)
		if err == nil {
			job, err = s.job(ctx, p.Job)
		}
		if err != nil {
			return e, job, false, err
		}
		if ok, err = s.still(ctx, e, job); ok || err != nil {
			return e, job, ok, err
		}
	}
	return Execution{}, Job{}, false, nil
}

// still says whether a device may be told of an execution: who has made the job may not manage it any more, and nobody has said
// so. Then Run ends it.
func (s *Service) still(ctx context.Context, e Execution, job Job) (bool, error) {
	fits, err := s.fits(ctx, job, e.Device)
	if err != nil || fits(e) {
		return err == nil, err
	}
	s.doubtful(e.Device)
	s.rouse()
	return false, nil
}

// doubtful has Run look at what a device has to do, and tell it, in its next round.
func (s *Service) doubtful(did accounts.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed[did] = true
}

func (s *Service) start(ctx context.Context, did accounts.Name, r request) (answer, error) {
	e, job, ok, err := s.first(ctx, did)
	if err != nil || !ok {
		return answer{}, err
	}
	if e.Status == Queued {
		e, err = s.change(ctx, job.ID, did, func(e *Execution) error {
			if e.Status != Queued {
				return refuse(codeState, "The job is not queued any more").in(*e)
			}
			e.say(InProgress, r.Details, r.Step, job, s.now().UnixMilli())
			return nil
		})
		if err != nil {
			return answer{}, err
		}
	}
	return answer{Execution: s.data(e, job, true)}, nil
}

func (s *Service) describe(ctx context.Context, did accounts.Name, r request) (answer, error) {
	if r.job == nextJob {
		e, job, ok, err := s.first(ctx, did)
		if err != nil || !ok {
			return answer{}, err
		}
		return answer{Execution: s.data(e, job, r.withDocument(true))}, nil
	}
	e, job, err := s.given(ctx, did, r)
	if err != nil {
		return answer{}, err
	}
	if e.Status.Over() {
		return answer{}, refuse(codeTerminal, "The job execution is in a terminal state")
	}
	return answer{Execution: s.data(e, job, r.withDocument(true))}, nil
}

// given reads an execution that the device may know of.
func (s *Service) given(ctx context.Context, did accounts.Name, r request) (e Execution, job Job, err error) {
	missing := refuse(codeNone, "Job execution not found")
	e, err = s.execution(ctx, r.job, did)
	switch {
	case errors.Is(err, ErrUnknown), err == nil && e.Version == 0, r.Number != 0 && r.Number != executionNumber:
		return e, job, missing
	case err != nil:
		return e, job, err
	}
	job, err = s.job(ctx, r.job)
	switch {
	case errors.Is(err, ErrUnknown):
		return e, job, missing
	case err != nil || e.Status.Over():
		return e, job, err
	}
	if ok, err := s.still(ctx, e, job); err != nil || !ok {
		return e, job, cmp.Or[error](err, missing)
	}
	return e, job, nil
}

func (s *Service) update(ctx context.Context, did accounts.Name, r request) (answer, error) {
	_, job, err := s.given(ctx, did, r)
	if err != nil {
		return answer{}, err
	}
	e, err := s.change(ctx, r.job, did, func(e *Execution) error {
		switch {
		case r.Expected != 0 && uint64(r.Expected) != e.Version:
			return refuse(codeVersion, "The expected version is not that of the job execution").in(*e)
		case !e.Status.given():
			return refuse(codeState, fmt.Sprintf("A job execution that is %s cannot be %s", e.Status, r.Status)).in(*e)
		}
		e.say(r.Status, r.Details, r.Step, job, s.now().UnixMilli())
		return nil
	})
	if err != nil {
		return answer{}, err
	}
	var a answer
	if r.IncludeState {
		state := e.state()
		a.State = &state
	}
	if r.withDocument(false) {
		a.Document = s.document(job, did)
	}
	return a, nil
}

// announceAlone is announce for who has not the device to himself.
func (s *Service) announceAlone(ctx context.Context, did accounts.Name) error {
	leave, err := s.turns.take(ctx, did)
	if err != nil {
		return err
	}
	defer leave()
	return s.announce(ctx, did)
}

// announce tells a device what it has to do, if that has changed. What goes wrong is tried again in the next round.
func (s *Service) announce(ctx context.Context, did accounts.Name) (err error) {
	defer func() {
		if err != nil {
			s.doubtful(did)
		}
	}()
	all := s.pending(did)
	var now said
	if len(all) > 0 {
		now.next = all[0].Job
	}
	ids := make([]string, 0, len(all))
	for _, e := range all {
		ids = append(ids, e.Job)
	}
	slices.Sort(ids)
	now.list = strings.Join(ids, " ")
	s.mu.Lock()
	before := s.told[did]
	s.mu.Unlock()
	if before.list != now.list {
		s.tell(did, pathNotify, s.notification(all))
	}
	if before.next != now.next {
		text, err := s.nextDocument(ctx, did)
		if err != nil {
			return err
		}
		s.tell(did, pathNext, text)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.list == "" {
		delete(s.told, did)
	} else {
		s.told[did] = now
	}
	return nil
}

// notification is what is told of all that a device has to do.
func (s *Service) notification(all []Execution) []byte {
	n := notification{Jobs: map[Status][]summary{}, Timestamp: s.now().Unix()}
	for _, e := range all {
		n.Jobs[e.Status] = append(n.Jobs[e.Status], e.summary())
	}
	return encoded(n)
}

// nextDocument is what is told of what it is to do next.
func (s *Service) nextDocument(ctx context.Context, did accounts.Name) ([]byte, error) {
	a := answer{Timestamp: s.now().Unix()}
	e, job, ok, err := s.first(ctx, did)
	if ok {
		a.Execution = s.data(e, job, true)
	}
	return encoded(a), err
}

// Now gives a device what it has to do next, if there is something, when it asks by subscribing: nothing that is told of it comes
// between.
func (s *Service) Now(
	ctx context.Context, did accounts.Name, wanted func(devices.Topic) bool, give func(devices.Topic, []byte) (more bool),
) error {
	topic := devices.Topic{Device: did, Path: pathNext, AWS: true}
	if !wanted(topic) {
		return nil
	}
	leave, err := s.turns.take(ctx, did)
	if err != nil {
		return fmt.Errorf("what %s has to do: %w", did, err)
	}
	defer leave()
	if len(s.pending(did)) == 0 {
		return nil
	}
	text, err := s.nextDocument(ctx, did)
	if err == nil {
		give(topic, text)
	}
	return err
}

// request is what a device asks, as AWS has it.
type request struct {
	api string
	job string

	ClientToken  string            `json:"clientToken"`
	Status       Status            `json:"status"`
	Details      map[string]string `json:"statusDetails"`
	Expected     number            `json:"expectedVersion"`
	Number       number            `json:"executionNumber"`
	Document     *bool             `json:"includeJobDocument"`
	IncludeState bool              `json:"includeJobExecutionState"`
	Step         *int              `json:"stepTimeoutInMinutes"`
}

func (r request) withDocument(usual bool) bool {
	if r.Document == nil {
		return usual
	}
	return *r.Document
}

// What a device may ask.
const (
	apiPending  = "get"
	apiStart    = "start-next"
	apiDescribe = "describe"
	apiUpdate   = "update"
)

// maxJobID bounds the name of a job in a topic.
const maxJobID = 64

// parsePath says what a topic asks for.
func parsePath(path string) (api, job string, ok bool) {
	levels := strings.Split(path, "/")
	switch {
	case len(levels) == 1 && (path == apiPending || path == apiStart):
		return path, "", true
	case len(levels) == 2 && validID(levels[0]) && levels[1] == "get":
		return apiDescribe, levels[0], true
	case len(levels) == 2 && validID(levels[0]) && levels[0] != nextJob && levels[1] == "update":
		return apiUpdate, levels[0], true
	}
	return "", "", false
}

func validID(id string) bool {
	for _, c := range []byte(id) {
		if ok := 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-'; !ok {
			return id == nextJob
		}
	}
	return id != "" && len(id) <= maxJobID
}

// number is one, which AWS's documents write as text too.
type number uint64

// UnmarshalJSON takes both.
func (n *number) UnmarshalJSON(text []byte) error {
	var value uint64
	if len(text) > 2 && text[0] == '"' && text[len(text)-1] == '"' {
		text = text[1 : len(text)-1]
	}
	err := json.Unmarshal(text, &value)
	*n = number(value)
	return err
}
