package jobs

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
)

// Create makes a job for devices that somebody manages now, and begins to give it to them. who is empty for an operator, who
// manages all. ErrMalformed, ErrTooLarge, ErrNoTargets, ErrTooMany, ErrSignature, ErrNoFile; devices.ErrUnknown or ErrNoRight for
// a device that is named.
func (s *Service) Create(ctx context.Context, who accounts.Name, n New) (Job, error) {
	leave, err := s.making.take(ctx, accounts.Name(n.scope(who))) // so that two at once do not both find room for one
	if err != nil {
		return Job{}, fmt.Errorf("make a job: %w", err)
	}
	defer leave()
	job, all, err := s.make(ctx, who, n)
	if err != nil {
		return Job{}, fmt.Errorf("make a job: %w", err)
	}
	if err := s.write(ctx, job, all); err != nil {
		s.mu.Lock()
		s.undone[job.ID] = job
		s.mu.Unlock()
		s.rouse()
		return Job{}, fmt.Errorf("make job %s: %w", job.ID, err)
	}
	s.open(job, all)
	job.Counts = Counts{Waiting: len(all)}
	return job, nil
}

// write stores a job that is new.
func (s *Service) write(ctx context.Context, job Job, all []Execution) error {
	// The entry says that there may be something to clear away, the job that there is not.
	if err := s.store.Put(ctx, job.entry()); err != nil {
		return err
	}
	for some := range slices.Chunk(all, page) {
		batch := make([]records.Record, 0, len(some))
		for _, e := range some {
			batch = append(batch, e.record())
		}
		if err := s.store.PutAll(ctx, batch); err != nil {
			return err
		}
	}
	return s.store.Put(ctx, job.record())
}

// make is a job as it begins, and its executions; nothing of it is stored.
func (s *Service) make(ctx context.Context, who accounts.Name, n New) (Job, []Execution, error) {
	if err := n.check(); err != nil {
		return Job{}, nil, err
	}
	now := s.now()
	job := Job{
		ID: newID(), Title: n.Title, By: who, Home: n.Targets.Home, Document: n.Document, Files: slices.Clone(n.Files),
		Rollout: n.Rollout, Timeout: n.Timeout, Window: n.Window, End: n.End, State: JobRunning, Created: now.UnixMilli(), Rev: 1,
	}
	if n.End > 0 && n.End <= job.Created {
		return Job{}, nil, fmt.Errorf("it ends at %d: %w", n.End, ErrMalformed)
	}
	key, err := s.keyOf(ctx, who)
	if err != nil {
		return Job{}, nil, err
	}
	if key != nil && n.namesFiles() { // which nobody has signed
		return Job{}, nil, fmt.Errorf("files in the document: %w", ErrSignature)
	}
	for i := range job.Files {
		if err := s.takeFile(ctx, who, key, &job.Files[i], now); err != nil {
			return Job{}, nil, fmt.Errorf("file %d: %w", i, err)
		}
	}
	some, err := s.store.Records(ctx, kindJobOf, job.scope(), "", s.cfg.PerOwner)
	if err == nil && len(some) >= s.cfg.PerOwner {
		err = fmt.Errorf("%d jobs: %w", len(some), ErrTooMany)
	}
	if err != nil {
		return Job{}, nil, err
	}
	things, err := s.choose(ctx, who, n.Targets)
	if err != nil {
		return Job{}, nil, err
	}
	all := make([]Execution, 0, len(things))
	for i, t := range things {
		all = append(all, Execution{Job: job.ID, Device: t.ID, Place: i, Epoch: t.Epoch, Status: Waiting, Rev: 1})
	}
	return job, all, nil
}

// newID names a job: 96 random bits.
func newID() string { return strings.ToLower(rand.Text()[:20]) }

// scope is under what a job is listed.
func (j Job) scope() string { return cmp.Or(j.Home, string(j.By)) }

// scope is that of the job that somebody makes.
func (n New) scope(who accounts.Name) string { return cmp.Or(n.Targets.Home, string(who)) }

// entry is where a job is listed, the newest first.
func (j Job) entry() records.Record {
	id := fmt.Sprintf("%016x.%s", math.MaxInt64-j.Created, j.ID)
	return records.Record{Key: records.Key{Kind: kindJobOf, Scope: j.scope(), ID: id}, Rev: 1, Body: []byte("{}")}
}

// jobIn gives the job of an entry.
func jobIn(entry string) string {
	_, id, _ := strings.Cut(entry, ".")
	return id
}

// choose gives the devices that a job is for.
func (s *Service) choose(ctx context.Context, who accounts.Name, t Targets) (all []devices.Thing, err error) {
	if len(t.Devices) > MaxTargets {
		return nil, fmt.Errorf("%d devices: %w", len(t.Devices), ErrTooMany)
	}
	for _, did := range t.Devices {
		thing, err := s.managed(ctx, who, did)
		if err != nil {
			return nil, err
		}
		all = append(all, thing)
	}
	if len(t.Devices) > 0 {
		return all, nil
	}
	for after := accounts.Name(""); ; {
		some, last, err := s.manages(ctx, who, after)
		if err != nil {
			return nil, err
		}
		for _, thing := range some {
			if t.match(thing) {
				all = append(all, thing)
			}
		}
		switch {
		case len(all) > MaxTargets:
			return nil, fmt.Errorf("more than %d devices: %w", MaxTargets, ErrTooMany)
		case last == "" && len(all) == 0:
			return nil, ErrNoTargets
		case last == "":
			return all, nil
		}
		after = last
	}
}

func (t Targets) match(thing devices.Thing) bool {
	like := func(want, is string) bool { return want == "" || want == is }
	return !thing.Gone && like(t.Home, thing.Home) && like(t.Type, thing.Type) && like(t.Model, thing.Model) &&
		(t.Tag == "" || slices.Contains(thing.Tags, t.Tag))
}

// manages gives some devices that somebody manages, those after a name, and after which to go on; that is empty if there are no
// more.
func (s *Service) manages(
	ctx context.Context, who, after accounts.Name,
) (all []devices.Thing, last accounts.Name, err error) {
	const some = 200
	if who == "" {
		all, err = s.things.All(ctx, after, some)
		if len(all) == some {
			last = all[some-1].ID
		}
		return all, last, err
	}
	views, err := s.things.Views(ctx, who, after, some)
	if err != nil {
		return nil, "", err
	}
	for _, v := range views {
		if slices.Contains(v.May, devices.VerbManage) {
			all = append(all, v.Thing)
		}
	}
	if len(views) == some {
		last = views[some-1].ID
	}
	return all, last, nil
}

// allow gives ErrUnknown for who does not manage a job: who has made it does, the admins of its home, and operators.
func (s *Service) allow(ctx context.Context, who accounts.Name, job Job) error {
	if who == "" || who == job.By {
		return nil
	}
	return s.admin(ctx, who, job.Home)
}

// admin gives ErrUnknown for who does not manage the devices of a home.
func (s *Service) admin(ctx context.Context, who accounts.Name, home string) error {
	if home == "" || s.homes == nil {
		return ErrUnknown
	}
	role, err := s.homes.Role(ctx, home, who)
	if err == nil && role != devices.HomeAdmin && role != devices.HomeOwner {
		err = ErrUnknown
	}
	return err
}

// Job gives a job, and how far it has come. ErrUnknown.
func (s *Service) Job(ctx context.Context, who accounts.Name, id string) (Job, error) {
	job, err := s.job(ctx, id)
	if err == nil {
		err = s.allow(ctx, who, job)
	}
	if err != nil {
		return Job{}, fmt.Errorf("job %.80q: %w", id, err)
	}
	return s.counted(job), nil
}

// counted adds how many executions of an open job there are of each status.
func (s *Service) counted(job Job) Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.jobs[job.ID]; o != nil {
		job.Counts = o.counts()
	}
	return job
}

// Jobs gives up to limit jobs that somebody has made for devices in no certain home, or, if home is said, those of a home that he
// manages; the newest first, those after after. next is where to go on; empty: there are no more. ErrUnknown.
func (s *Service) Jobs(
	ctx context.Context, who accounts.Name, home, after string, limit int,
) (all []Job, next string, err error) {
	scope := string(who)
	if home != "" {
		scope = home
		if who != "" {
			if err := s.admin(ctx, who, home); err != nil {
				return nil, "", fmt.Errorf("jobs of %s: %w", home, err)
			}
		}
	}
	entries, err := s.store.Records(ctx, kindJobOf, scope, after, limit)
	if err != nil {
		return nil, "", fmt.Errorf("jobs of %s: %w", scope, err)
	}
	for _, entry := range entries {
		job, err := s.job(ctx, jobIn(entry.ID))
		switch {
		case errors.Is(err, ErrUnknown), errors.Is(err, errUnreadable): // it is being made, or removed
			continue
		case err != nil:
			return nil, "", err
		}
		all = append(all, s.counted(job))
	}
	if len(entries) == limit {
		next = entries[limit-1].ID
	}
	return all, next, nil
}

// Executions gives up to limit executions of a job in the order of the names of devices, those after after. ErrUnknown.
func (s *Service) Executions(
	ctx context.Context, who accounts.Name, id string, after accounts.Name, limit int,
) (all []Execution, err error) {
	if _, err := s.Job(ctx, who, id); err != nil {
		return nil, err
	}
	some, err := s.store.Records(ctx, kindExecution, id, string(after), limit)
	if err != nil {
		return nil, fmt.Errorf("executions of job %s: %w", id, err)
	}
	for _, r := range some {
		e, err := executionOf(r)
		if err != nil { // it is left out everywhere
			e = Execution{Job: id, Device: accounts.Name(r.ID), Rev: r.Rev}
		}
		all = append(all, e)
	}
	return all, nil
}

// Cancel takes a job back where it was not begun, and with force also where it is IN_PROGRESS: what a device does then is its
// business. ErrUnknown, ErrEnded.
func (s *Service) Cancel(ctx context.Context, who accounts.Name, id string, force bool) (Job, error) {
	if _, err := s.Job(ctx, who, id); err != nil {
		return Job{}, err
	}
	job, err := s.changeJob(ctx, id, func(j *Job) error {
		if j.Ended > 0 || j.State == JobCanceled && (j.Force || !force) {
			return ErrEnded
		}
		if j.State == JobRunning {
			j.State, j.Reason = JobCanceled, ReasonAsked
		}
		j.Force = force
		return nil
	})
	s.mu.Lock()
	if s.jobs[id] != nil { // also if it was canceled before, which the store may have failed to say
		s.stale[id] = true
	}
	s.mu.Unlock()
	s.rouse()
	if err != nil {
		return Job{}, fmt.Errorf("cancel job %s: %w", id, err)
	}
	return s.counted(job), nil
}

// Remove forgets a job that is over for all devices. ErrUnknown, ErrRunning.
func (s *Service) Remove(ctx context.Context, who accounts.Name, id string) error {
	job, err := s.Job(ctx, who, id)
	if err == nil && job.Ended == 0 {
		err = fmt.Errorf("remove job %s: %w", id, ErrRunning)
	}
	if err != nil {
		return err
	}
	return s.forget(ctx, job)
}

// SetKey says whose signature the files of somebody's jobs have to have from now on; nil: nobody's.
func (s *Service) SetKey(ctx context.Context, who accounts.Name, key ed25519.PublicKey) error {
	if key != nil && len(key) != ed25519.PublicKeySize {
		return fmt.Errorf("key of %d bytes: %w", len(key), ErrMalformed)
	}
	k := records.Key{Kind: kindKey, ID: string(who)}
	for range changes {
		r, err := s.store.Record(ctx, k)
		if err != nil && !errors.Is(err, records.ErrNone) {
			return fmt.Errorf("key of %s: %w", who, err)
		}
		if key == nil {
			err = s.store.Remove(ctx, k, r.Rev)
		} else {
			err = s.store.Put(ctx, records.Record{Key: k, Rev: r.Rev + 1, Body: encoded([]byte(key))})
		}
		if !errors.Is(err, records.ErrChanged) {
			return err
		}
	}
	return fmt.Errorf("key of %s, which others change: %w", who, ErrUnavailable)
}

// keyOf gives whose signature files have to have; nil: nobody's.
func (s *Service) keyOf(ctx context.Context, who accounts.Name) (ed25519.PublicKey, error) {
	if s.cfg.Key != nil || who == "" {
		return s.cfg.Key, nil
	}
	r, err := s.store.Record(ctx, records.Key{Kind: kindKey, ID: string(who)})
	if errors.Is(err, records.ErrNone) {
		return nil, nil
	}
	var key []byte
	if err == nil {
		err = json.Unmarshal(r.Body, &key)
	}
	if err != nil {
		return nil, fmt.Errorf("key of %s: %w", who, err)
	}
	return key, nil
}
