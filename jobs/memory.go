package jobs

import (
	"cmp"
	"slices"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// What is in memory of jobs that are not over. A newer revision takes the place of an older one, in whatever order they come.

// open takes up a job, and has Run look at it.
func (s *Service) open(job Job, all []Execution) {
	o := &open{job: job, all: map[accounts.Name]brief{}}
	slices.SortFunc(all, func(a, b Execution) int { return cmp.Compare(a.Place, b.Place) })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range all {
		o.order = append(o.order, e.Device)
		o.all[e.Device] = briefOf(e)
		s.indexLocked(e)
		if e.Status.given() { // its device may have become somebody else's just before a crash
			s.changed[e.Device] = true
		}
	}
	s.jobs[job.ID] = o
	s.stale[job.ID] = true
	s.rouse()
}

func briefOf(e Execution) brief {
	e.Details = nil
	return brief{e}
}

// indexLocked notes whether a job is over for a device.
func (s *Service) indexLocked(e Execution) {
	if e.Status.Over() {
		delete(s.of[e.Device], e.Job)
		if len(s.of[e.Device]) == 0 {
			delete(s.of, e.Device)
		}
		return
	}
	if s.of[e.Device] == nil {
		s.of[e.Device] = map[string]bool{}
	}
	s.of[e.Device][e.Job] = true
}

// note is that an execution is like this now.
func (s *Service) note(e Execution) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.jobs[e.Job]
	if o == nil || o.all[e.Device].Rev >= e.Rev {
		return
	}
	o.all[e.Device] = briefOf(e)
	s.indexLocked(e)
	if e.Status.Over() {
		s.stale[e.Job] = true
	}
	if e.Status.Over() || e.due() > 0 {
		s.rouse()
	}
}

// keep is that a job is like this now.
func (s *Service) keep(job Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.jobs[job.ID]; o != nil && o.job.Rev < job.Rev {
		o.job = job
	}
	if job.Ended > 0 {
		delete(s.jobs, job.ID)
		delete(s.stale, job.ID)
	}
}

// rouse has Run look what there is to do.
func (s *Service) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// thingChanged is told of every change of a device.
func (s *Service) thingChanged(_, after devices.Thing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.of[after.ID]) > 0 {
		s.changed[after.ID] = true
		s.rouse()
	}
}

// pending gives what a device has to do now: what is IN_PROGRESS first, and in the order in which it was given.
func (s *Service) pending(did accounts.Name) (all []Execution) {
	windows := map[string]*Window{}
	s.mu.Lock()
	for id := range s.of[did] {
		o := s.jobs[id]
		if b := o.all[did]; b.Status.given() {
			all, windows[id] = append(all, b.Execution), o.job.Window
		}
	}
	s.mu.Unlock()
	all = slices.DeleteFunc(all, func(e Execution) bool {
		open, _ := windows[e.Job].at(s.now()) // reads a time zone from the disk
		return e.Status == Queued && !open
	})
	slices.SortFunc(all, func(a, b Execution) int {
		if a.Status != b.Status {
			return cmp.Compare(a.Status, b.Status) // IN_PROGRESS, QUEUED
		}
		return cmp.Or(cmp.Compare(a.Queued, b.Queued), cmp.Compare(a.Job, b.Job))
	})
	return all
}
