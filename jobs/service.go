package jobs

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
)

// Kinds of records.
const (
	kindJob       = "job"       // ID: of the job
	kindJobOf     = "jobof"     // Scope: who manages it, ID: the newest first
	kindExecution = "execution" // Scope: the job, ID: the device
	kindKey       = "jobkey"    // ID: an account
)

// Config bounds jobs. [DefaultConfig] has the defaults.
type Config struct {
	// Keep is for how long a job is kept that is over. Default 30 days.
	Keep time.Duration
	// PerOwner is how many jobs somebody, or a home, may have. Default 100.
	PerOwner int
	// Key is whose signature every file has to have; nil: that of who makes a job, if he has said one.
	Key ed25519.PublicKey
}

// DefaultConfig is what is in force when nothing is said.
func DefaultConfig() Config { return Config{Keep: 30 * day, PerOwner: 100} }

// Things knows devices, and who manages them: [devices.Things].
type Things interface {
	May(ctx context.Context, who, did accounts.Name, v devices.Verb) (devices.Thing, error)
	Views(ctx context.Context, who, after accounts.Name, limit int) ([]devices.View, error)
	Known(ctx context.Context, did accounts.Name) (devices.Thing, error)
	All(ctx context.Context, after accounts.Name, limit int) ([]devices.Thing, error)
	OnChange(f func(before, after devices.Thing))
}

// Teller takes to a device what the service has to say to it, if it is connected: a topic below $aws/things/{did}/. It waits for
// nothing.
type Teller interface {
	Tell(to []accounts.Name, t devices.Topic, payload []byte)
}

// Service is jobs. Make one with [NewService], and keep [Service.Run] running. Safe for concurrent use. What a method has changed
// is durable when it returns. Errors wrap those of errors.go, devices.ErrUnknown or devices.ErrNoRight.
type Service struct {
	cfg    Config
	store  records.Store
	things Things
	homes  devices.Homes
	shelf  *Shelf // nil: no files are stored
	teller Teller
	log    *slog.Logger
	now    func() time.Time
	turns  turns
	making turns // of who makes jobs
	ended  *prometheus.CounterVec

	wake chan struct{} // has room for one
	mu   sync.Mutex    // guards what follows; nothing is waited for under it
	jobs map[string]*open
	of   map[accounts.Name]map[string]bool // the jobs of a device that are not over there
	told map[accounts.Name]said
	// What Run is to look at.
	stale   map[string]bool        // jobs
	changed map[accounts.Name]bool // devices
	undone  map[string]Job         // of which it is not known whether they were stored; nobody was told that they were
	failing map[item]failure       // what could not be done, and is to be tried again
}

// open is a job of which some execution is not over.
type open struct {
	job   Job
	order []accounts.Name
	all   map[accounts.Name]brief
}

// brief is what is in memory of an execution.
type brief struct {
	Execution // without its details
}

// reach says how far the job has come. Who was given it at a time or before, and has not begun, is away; first is when the first
// of the others was given it that have not begun. One that was removed before its turn came is no device of it.
func (o *open) reach(away int64) (at reach, first int64) {
	for _, b := range o.all {
		if b.Status == Waiting {
			at.all++
		}
		if b.Version == 0 {
			continue
		}
		at.all++
		at.given++
		switch {
		case b.Status.Over():
			at.over++
		case b.Status == Queued && b.Queued <= away:
			at.away++
		case b.Status == Queued && (first == 0 || b.Queued < first):
			first = b.Queued
		}
	}
	return at, first
}

func (o *open) counts() Counts {
	c := Counts{}
	for _, b := range o.all {
		c[b.Status]++
	}
	return c
}

// said is what a device was told last of what it has to do.
type said struct{ list, next string }

// NewService makes the service; shelf may be nil. cfg has been validated.
func NewService(
	cfg Config, store records.Store, things Things, homes devices.Homes, shelf *Shelf, log *slog.Logger,
) *Service {
	s := &Service{
		cfg: cfg, store: store, things: things, homes: homes, shelf: shelf, log: log, now: time.Now, teller: mute{},
		wake: make(chan struct{}, 1), jobs: map[string]*open{}, of: map[accounts.Name]map[string]bool{},
		told: map[accounts.Name]said{}, stale: map[string]bool{}, changed: map[accounts.Name]bool{},
		undone: map[string]Job{}, failing: map[item]failure{},
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "magpie_job_executions_total", Help: "Jobs on devices, by the status that they have come to.",
		}, []string{"status"}),
	}
	things.OnChange(s.thingChanged)
	if shelf != nil {
		shelf.used = s.Uses
	}
	return s
}

// mute is a Teller before there is one.
type mute struct{}

func (mute) Tell([]accounts.Name, devices.Topic, []byte) {}

// SetTeller says who takes to devices what the service says. It is called before Load; the last one counts.
func (s *Service) SetTeller(t Teller) { s.teller = t }

// Collectors gives the metrics of s, to be registered once.
func (s *Service) Collectors() []prometheus.Collector {
	return []prometheus.Collector{s.ended, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "magpie_jobs_open", Help: "Jobs that are not over.",
	}, func() float64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return float64(len(s.jobs))
	}), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "magpie_job_failing", Help: "What cannot be done for jobs, is left out, and is tried again; the log says why.",
	}, func() float64 { return float64(s.failures()) })}
}

// page is how many records are read at once.
const page = 500

// Load takes up what was open when the process ended, and clears away jobs that were never finished being made. It is called
// once, before anybody arrives.
func (s *Service) Load(ctx context.Context) error {
	var after records.Key
	for {
		some, err := s.store.All(ctx, kindJobOf, after, page)
		if err != nil {
			return fmt.Errorf("take up jobs: %w", err)
		}
		for _, r := range some {
			_, err := s.attempt(ctx, item{what: kindJob, id: jobIn(r.ID)}, func() error { return s.load(ctx, r) })
			if err != nil {
				return fmt.Errorf("take up jobs: %w", err)
			}
			after = r.Key
		}
		if len(some) < page {
			return nil
		}
	}
}

func (s *Service) load(ctx context.Context, entry records.Record) error {
	id := jobIn(entry.ID)
	job, err := s.job(ctx, id)
	if errors.Is(err, ErrUnknown) {
		err := s.store.RemoveScope(ctx, kindExecution, id)
		if err == nil {
			err = s.store.Remove(ctx, entry.Key, entry.Rev)
		}
		if errors.Is(err, ErrUnavailable) { // at the next start, then
			return nil
		}
		return err
	}
	if err != nil || job.Ended > 0 {
		return err
	}
	all, err := s.executions(ctx, id)
	if err != nil {
		return err
	}
	s.open(job, all)
	s.doubt(func(j Job) bool { return j.ID == id }) // what has changed just before the end, nobody has looked at
	return nil
}

// job reads a job. ErrUnknown.
func (s *Service) job(ctx context.Context, id string) (Job, error) {
	r, err := s.store.Record(ctx, records.Key{Kind: kindJob, ID: id})
	if errors.Is(err, records.ErrNone) {
		err = ErrUnknown
	}
	if err != nil {
		return Job{}, fmt.Errorf("job %.80q: %w", id, err)
	}
	return jobOf(r)
}

func jobOf(r records.Record) (j Job, err error) {
	if err := json.Unmarshal(r.Body, &j); err != nil {
		return Job{}, fmt.Errorf("job %.80q: %w: %w", r.ID, errUnreadable, err)
	}
	j.ID, j.Rev, j.due = r.ID, r.Rev, r.Due
	if j.Window != nil {
		_ = j.Window.check() // it was good when it was stored; if its zone is known here no more, it is UTC's
	}
	return j, nil
}

func (j Job) record() records.Record {
	return records.Record{Key: records.Key{Kind: kindJob, ID: j.ID}, Rev: j.Rev, Due: j.due, Body: encoded(j)}
}

// execution reads one. ErrUnknown.
func (s *Service) execution(ctx context.Context, job string, did accounts.Name) (Execution, error) {
	r, err := s.store.Record(ctx, records.Key{Kind: kindExecution, Scope: job, ID: string(did)})
	if errors.Is(err, records.ErrNone) {
		err = ErrUnknown
	}
	if err != nil {
		return Execution{}, fmt.Errorf("job %.80q of %s: %w", job, did, err)
	}
	return executionOf(r)
}

func executionOf(r records.Record) (e Execution, err error) {
	if err := json.Unmarshal(r.Body, &e); err != nil {
		return Execution{}, fmt.Errorf("job %.80q of %s: %w: %w", r.Scope, r.ID, errUnreadable, err)
	}
	e.Job, e.Device, e.Rev = r.Scope, accounts.Name(r.ID), r.Rev
	return e, nil
}

func (e Execution) record() records.Record {
	return records.Record{
		Key: records.Key{Kind: kindExecution, Scope: e.Job, ID: string(e.Device)}, Rev: e.Rev, Due: e.due(), Body: encoded(e),
	}
}

// executions reads all of a job, but for those that cannot be read.
func (s *Service) executions(ctx context.Context, job string) (all []Execution, err error) {
	after := ""
	for {
		some, err := s.store.Records(ctx, kindExecution, job, after, page)
		if err != nil {
			return nil, fmt.Errorf("executions of job %s: %w", job, err)
		}
		for _, r := range some {
			after = r.ID
			e, err := executionOf(r)
			if done, err := s.attempt(ctx, item{kindExecution, job, r.ID}, func() error { return err }); !done {
				if err != nil {
					return nil, err
				}
				continue
			}
			all = append(all, e)
		}
		if len(some) < page {
			return all, nil
		}
	}
}

// encoded is a value of ours as JSON, as plain as can be: a device need not know that \u0026 is an ampersand.
func encoded(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // what can be stored was parsed before
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// changes is how often a change is tried that another one was faster than.
const changes = 16

// changeJob reads, changes and stores a job; f may leave it as it is. ErrUnknown, and what f gives.
func (s *Service) changeJob(ctx context.Context, id string, f func(*Job) error) (Job, error) {
	for range changes {
		job, err := s.job(ctx, id)
		if err != nil {
			return Job{}, err
		}
		s.keep(job) // it may be that of a change of which the store could not say that it was done
		before := job
		if err := f(&job); err != nil {
			return before, err
		}
		if string(encoded(before)) == string(encoded(job)) && before.due == job.due {
			return job, nil
		}
		job.Rev++
		switch err := s.store.Put(ctx, job.record()); {
		case errors.Is(err, records.ErrChanged):
			continue
		case err != nil:
			return before, fmt.Errorf("change job %s: %w", id, err)
		}
		s.keep(job)
		return job, nil
	}
	return Job{}, fmt.Errorf("change job %s, which others change: %w", id, ErrUnavailable)
}

// change is the same for an execution, for who has the device to himself. Waiting for it to be told is his.
func (s *Service) change(ctx context.Context, job string, did accounts.Name, f func(*Execution) error) (Execution, error) {
	for range changes {
		e, err := s.execution(ctx, job, did)
		if err != nil {
			return Execution{}, err
		}
		s.note(e) // as in changeJob
		before := e
		if err := f(&e); err != nil {
			return before, err
		}
		e.Rev++
		switch err := s.store.Put(ctx, e.record()); {
		case errors.Is(err, records.ErrChanged):
			continue
		case err != nil:
			return before, fmt.Errorf("change job %s of %s: %w", job, did, err)
		}
		if e.Status != before.Status {
			s.ended.WithLabelValues(string(e.Status)).Inc()
		}
		s.note(e)
		return e, nil
	}
	return Execution{}, fmt.Errorf("change job %s of %s, which others change: %w", job, did, ErrUnavailable)
}

// turns let one at a time change what a device has to do, and tell it, so that it is told in order. Devices that share a turn
// wait for each other; nobody takes two.
type turns [64]struct {
	once sync.Once
	held chan struct{}
}

// take gives a device to the caller until he calls the returned function.
func (t *turns) take(ctx context.Context, did accounts.Name) (leave func(), err error) {
	sum := uint32(2166136261) // FNV-1a
	for _, c := range []byte(did) {
		sum = (sum ^ uint32(c)) * 16777619
	}
	mine := &t[sum%uint32(len(t))]
	mine.once.Do(func() { mine.held = make(chan struct{}, 1) })
	select {
	case mine.held <- struct{}{}:
		return func() { <-mine.held }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
