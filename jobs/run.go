package jobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
)

// retry is when something is tried again that the store could not do.
const retry = time.Second

// least is how long Run waits between two rounds that nobody asks for.
const least = 10 * time.Millisecond

// Run gives jobs to devices, ends what takes too long, and removes what is too old. It returns nil when ctx ends. It is called
// once, after Load.
func (s *Service) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-timer.C:
		}
		next, err := s.round(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.Warn("jobs not attended to, and will be", "err", err)
			next = s.now().Add(retry)
		}
		timer.Reset(max(next.Sub(s.now()), least))
	}
	return nil
}

// round does all that is to be done now, and says when there is something again, if nobody rouses Run before. What fails for one
// is left out for the others; an error means that the store could not answer.
func (s *Service) round(ctx context.Context) (next time.Time, err error) {
	s.revive()
	var failed []error
	for _, do := range []func() error{
		func() error { return s.undo(ctx) },
		func() error {
			return attend(ctx, s, s.changed, func(did accounts.Name) item { return item{what: "device", id: string(did)} },
				func(did accounts.Name) error { return s.review(ctx, did) })
		},
		func() error { return s.each(ctx, kindExecution, s.expire) },
		func() error {
			return attend(ctx, s, s.stale, func(id string) item { return item{what: "step", id: id} },
				func(id string) error { return s.step(ctx, id) })
		},
		func() error { return s.each(ctx, kindJob, s.due) },
	} {
		if err := do(); err != nil {
			failed = append(failed, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if err := errors.Join(failed...); err != nil {
		return time.Time{}, err
	}
	return s.next(ctx)
}

// due does what there is to do for a job whose time has come.
func (s *Service) due(ctx context.Context, r records.Record) error {
	job, err := jobOf(r)
	if err != nil {
		return err
	}
	if job.Ended > 0 {
		return s.forget(ctx, job)
	}
	s.mu.Lock()
	o := s.jobs[job.ID]
	s.mu.Unlock()
	if o == nil { // it has just ended, or could not be taken up at the start
		if job, err = s.job(ctx, job.ID); err == nil && job.Ended == 0 {
			err = fmt.Errorf("job %s, which was not taken up: %w", job.ID, errUnreadable)
		}
		if errors.Is(err, ErrUnknown) {
			err = nil
		}
		return err
	}
	return s.step(ctx, job.ID)
}

// attend does something for all in a set that s.mu guards, and takes them out. Those for which it was not done stay there.
func attend[K comparable](ctx context.Context, s *Service, set map[K]bool, as func(K) item, do func(K) error) error {
	s.mu.Lock()
	all := slices.Collect(maps.Keys(set))
	clear(set)
	s.mu.Unlock()
	var failed []error
	for _, k := range all {
		done := false
		if len(failed) < bear && ctx.Err() == nil {
			var err error
			if done, err = s.attempt(ctx, as(k), func() error { return do(k) }); err != nil {
				failed = append(failed, err)
			}
		}
		if !done {
			s.mu.Lock()
			set[k] = true
			s.mu.Unlock()
		}
	}
	return errors.Join(failed...)
}

// each does for all records of a kind that are due what sees to it that they are not.
func (s *Service) each(ctx context.Context, kind string, do func(context.Context, records.Record) error) error {
	now := s.now().UnixMilli()
	var failed []error
	for {
		most := page + s.failures() // those that are put off are among them
		due, err := s.store.DueBy(ctx, kind, now, most)
		if err != nil {
			return fmt.Errorf("what is due of %s: %w", kind, err)
		}
		worked := false
		for _, r := range due {
			done, err := s.attempt(ctx, item{kind, r.Scope, r.ID}, func() error { return do(ctx, r) })
			if err != nil {
				failed = append(failed, err)
			}
			if len(failed) >= bear || ctx.Err() != nil {
				return errors.Join(failed...)
			}
			worked = worked || done
		}
		if len(due) < most || !worked {
			return errors.Join(failed...)
		}
	}
}

// next says when something is due.
func (s *Service) next(ctx context.Context) (time.Time, error) {
	next := earliest(s.now().Add(time.Hour), s.again())
	for _, kind := range []string{kindExecution, kindJob} {
		due, err := s.store.DueBy(ctx, kind, math.MaxInt64, 1+s.failures())
		if err != nil {
			return time.Time{}, fmt.Errorf("what is due next of %s: %w", kind, err)
		}
		for _, r := range due {
			if !s.putOff(item{kind, r.Scope, r.ID}) {
				next = earliest(next, time.UnixMilli(r.Due))
				break
			}
		}
	}
	return next, nil
}

// errNothing is for a change that has nothing to change.
var errNothing = errors.New("nothing to change")

func nothing(err error) error {
	if errors.Is(err, errNothing) {
		return nil
	}
	return err
}

// expire ends an execution of which nothing was heard in time.
func (s *Service) expire(ctx context.Context, r records.Record) error {
	_, err := s.become(ctx, r.Scope, accounts.Name(r.ID), TimedOut, func(e Execution) bool {
		return e.due() > 0 && e.due() <= s.now().UnixMilli()
	})
	return err
}

// become gives an execution another status, if it is one for which ok holds, and tells the device. It says whether it did.
func (s *Service) become(
	ctx context.Context, job string, did accounts.Name, to Status, ok func(Execution) bool,
) (done bool, err error) {
	leave, err := s.turns.take(ctx, did)
	if err != nil {
		return false, err
	}
	defer leave()
	_, err = s.change(ctx, job, did, func(e *Execution) error {
		if e.Status.Over() || !ok(*e) {
			return errNothing
		}
		e.become(to, s.now().UnixMilli())
		return nil
	})
	if errors.Is(err, errNothing) || errors.Is(err, ErrUnknown) {
		return false, nil
	}
	if err == nil {
		err = s.announce(ctx, did)
	}
	return err == nil, err
}

// review ends what a device has to do that is not for it any more, and tells it the rest, if it was not told.
func (s *Service) review(ctx context.Context, did accounts.Name) error {
	s.mu.Lock()
	var all []Job
	for id := range s.of[did] {
		all = append(all, s.jobs[id].job)
	}
	s.mu.Unlock()
	for _, job := range all {
		if _, err := s.remain(ctx, job, did); err != nil {
			return err
		}
	}
	return s.announceAlone(ctx, did)
}

// remain ends an execution that is not for its device any more, and says whether it is.
func (s *Service) remain(ctx context.Context, job Job, did accounts.Name) (bool, error) {
	fits, err := s.fits(ctx, job, did)
	if err != nil {
		return false, err
	}
	removed, err := s.become(ctx, job.ID, did, Removed, func(e Execution) bool { return !fits(e) })
	return !removed, err
}

// fits says how to tell whether an execution is for its device still.
func (s *Service) fits(ctx context.Context, job Job, did accounts.Name) (func(Execution) bool, error) {
	thing, err := s.managed(ctx, job.By, did)
	gone := errors.Is(err, devices.ErrUnknown) || errors.Is(err, devices.ErrNoRight)
	if err != nil && !gone {
		return nil, err
	}
	return func(e Execution) bool { return !gone && (job.By == "" || e.Epoch == thing.Epoch) }, nil
}

// managed gives a device that somebody manages; an operator, all that there are.
func (s *Service) managed(ctx context.Context, who, did accounts.Name) (devices.Thing, error) {
	if who == "" {
		return s.things.Known(ctx, did)
	}
	return s.things.May(ctx, who, did, devices.VerbManage)
}

// step does what there is to do for a job: it gives it to more devices, or ends it. Run alone calls it.
func (s *Service) step(ctx context.Context, id string) error {
	s.mu.Lock()
	o := s.jobs[id]
	if o == nil {
		s.mu.Unlock()
		return nil
	}
	job, counts := o.job, o.counts()
	s.mu.Unlock()
	now := s.now()
	if reason := job.stops(counts, now); reason != "" {
		var err error
		job, err = s.changeJob(ctx, id, func(j *Job) error {
			if j.State == JobRunning {
				j.State, j.Reason = JobCanceled, reason
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	var due time.Time
	var err error
	if job.State == JobRunning {
		due, err = s.roll(ctx, job, now)
	} else {
		err = s.withdraw(ctx, job)
	}
	if err != nil {
		return err
	}
	return s.settle(ctx, id, due)
}

// stops says why a job is to be canceled now; empty: it is not.
func (j Job) stops(c Counts, now time.Time) string {
	switch {
	case j.State != JobRunning:
		return ""
	case j.Rollout.aborts(c):
		return ReasonFailures
	case j.End > 0 && j.End <= now.UnixMilli():
		return ReasonEnd
	}
	return ""
}

// settle notes when a job goes on, or that it is over.
func (s *Service) settle(ctx context.Context, id string, due time.Time) error {
	s.mu.Lock()
	o := s.jobs[id]
	if o == nil { // it had ended, and that was found out just now
		s.mu.Unlock()
		return nil
	}
	counts := o.counts()
	s.mu.Unlock()
	_, err := s.changeJob(ctx, id, func(j *Job) error {
		j.due = 0
		if !due.IsZero() {
			j.due = due.UnixMilli()
		}
		if counts.over() == counts.Total() {
			if j.State == JobRunning {
				j.State = JobCompleted
			}
			j.Ended, j.Counts = s.now().UnixMilli(), counts
			j.due = s.now().Add(s.cfg.Keep).UnixMilli()
		}
		return nil
	})
	return err
}

// withdraw takes a job that is canceled back where it was not begun.
func (s *Service) withdraw(ctx context.Context, job Job) error {
	return together(s.those(job.ID, func(Status) bool { return true }), func(did accounts.Name) error {
		_, err := s.attempt(ctx, item{kindExecution, job.ID, string(did)}, func() error {
			_, err := s.become(ctx, job.ID, did, Canceled, func(e Execution) bool { return e.Status != InProgress || job.Force })
			return err
		})
		return err
	})
}

// workers is for how many devices something is done at once: they share what a change costs on the disk.
const workers = 16

// together does something for each of some devices. After an error it is not begun for more; the errors are given.
func together(all []accounts.Name, do func(accounts.Name) error) error {
	var group sync.WaitGroup
	var failed atomic.Bool
	next, errs := make(chan accounts.Name), make([]error, min(workers, len(all)))
	for i := range errs {
		group.Go(func() {
			for did := range next {
				if errs[i] = do(did); errs[i] != nil {
					failed.Store(true)
					break
				}
			}
			for range next { // so that nobody waits for who takes no more
			}
		})
	}
	for _, did := range all {
		if failed.Load() {
			break
		}
		next <- did
	}
	close(next)
	group.Wait()
	return errors.Join(errs...)
}

// those gives the devices for which a job is not over, and is as it is asked for, in the order of the rollout.
func (s *Service) those(id string, ok func(Status) bool) (all []accounts.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.jobs[id]
	if o == nil { // as in settle
		return nil
	}
	for _, did := range o.order {
		if status := o.all[did].Status; !status.Over() && ok(status) {
			all = append(all, did)
		}
	}
	return all
}

// roll gives a job to more devices, if that may be now, and says when it is to go on by itself.
func (s *Service) roll(ctx context.Context, job Job, now time.Time) (due time.Time, err error) {
	open, since, edge := job.Window.edges(now)
	if job.Window != nil { // it may have opened, or closed
		queued := s.those(job.ID, func(status Status) bool { return status == Queued })
		err := together(queued, func(did accounts.Name) error {
			i := item{what: "window", of: job.ID, id: string(did)}
			_, err := s.attempt(ctx, i, func() error { return s.announceAlone(ctx, did) })
			return err
		})
		if err != nil {
			return due, err
		}
	}
	due = earliest(edge, millis(job.End))
	if !open {
		return due, nil
	}
	n, next := s.more(job, now, since)
	if n > 0 {
		if err := s.give(ctx, job, n, now); err != nil {
			return due, err
		}
	}
	if n > 0 && job.Rollout.Wait > 0 { // those that were given it just now may be away
		next = earliest(next, now.Add(time.Duration(job.Rollout.Wait)*time.Minute))
	}
	return earliest(due, next), nil
}

// more says how many more devices are to be given a job whose window is open since a time, and when it is to be asked again.
func (s *Service) more(job Job, now, since time.Time) (n int, next time.Time) {
	longest := time.Duration(job.Rollout.Wait) * time.Minute
	away := int64(-1)
	if longest > 0 && now.Sub(since) >= longest { // in a window that has just opened nobody is away
		away = now.Add(-longest).UnixMilli()
	}
	s.mu.Lock()
	o := s.jobs[job.ID]
	if o == nil { // as in settle
		s.mu.Unlock()
		return 0, next
	}
	at, first := o.reach(away)
	s.mu.Unlock()
	n, wait := job.Rollout.more(at, now.Sub(time.UnixMilli(job.Step)))
	if wait > 0 {
		next = now.Add(wait)
	}
	if longest > 0 && first > 0 && at.given < at.all {
		begun := millis(first)
		if since.After(begun) {
			begun = since
		}
		next = earliest(next, begun.Add(longest))
	}
	return n, next
}

// millis is a moment of Unix milliseconds; 0: none.
func millis(ms int64) (t time.Time) {
	if ms > 0 {
		t = time.UnixMilli(ms)
	}
	return t
}

// earliest gives the first of two moments, of which each may be none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// give gives a job to n more devices. The time of the step comes first: after a crash they are given too few rather than too
// many.
func (s *Service) give(ctx context.Context, job Job, n int, now time.Time) error {
	_, err := s.changeJob(ctx, job.ID, func(j *Job) error {
		if j.State != JobRunning { // meanwhile
			return errNothing
		}
		j.Step = now.UnixMilli()
		return nil
	})
	if err != nil {
		return nothing(err)
	}
	next := s.those(job.ID, func(status Status) bool { return status == Waiting })
	next = slices.DeleteFunc(next, func(did accounts.Name) bool { return s.putOff(item{kindExecution, job.ID, string(did)}) })
	return together(next[:min(n, len(next))], func(did accounts.Name) error {
		done, err := s.attempt(ctx, item{kindExecution, job.ID, string(did)}, func() error {
			still, err := s.remain(ctx, job, did)
			if err == nil && still {
				_, err = s.become(ctx, job.ID, did, Queued, func(e Execution) bool { return e.Status == Waiting })
			}
			return err
		})
		if !done && err == nil { // it is another one's turn
			s.mu.Lock()
			defer s.mu.Unlock()
			s.stale[job.ID] = true
			s.rouse()
		}
		return err
	})
}

// undo clears away jobs that could not be made.
func (s *Service) undo(ctx context.Context) error {
	s.mu.Lock()
	all := maps.Clone(s.undone)
	s.mu.Unlock()
	var failed []error
	for id, job := range all {
		done, err := s.attempt(ctx, item{what: "undo", id: id}, func() error { return s.forget(ctx, job) })
		if err != nil {
			failed = append(failed, err)
		}
		if len(failed) >= bear || ctx.Err() != nil {
			break
		}
		if done {
			s.mu.Lock()
			delete(s.undone, id)
			s.mu.Unlock()
		}
	}
	return errors.Join(failed...)
}

// forget removes a job that was over for long enough. It can be repeated.
func (s *Service) forget(ctx context.Context, job Job) error {
	if err := s.store.RemoveScope(ctx, kindExecution, job.ID); err != nil {
		return fmt.Errorf("forget job %s: %w", job.ID, err)
	}
	if err := s.store.Remove(ctx, records.Key{Kind: kindJob, ID: job.ID}, job.Rev); err != nil {
		return fmt.Errorf("forget job %s: %w", job.ID, err)
	}
	entry := job.entry()
	if err := s.store.Remove(ctx, entry.Key, entry.Rev); err != nil {
		return fmt.Errorf("forget job %s: %w", job.ID, err)
	}
	s.forgetFailures(job.ID)
	return nil
}
