package jobs

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// What cannot be done for one job or device (its record cannot be read, or the store refuses it) is left out, so that nobody else
// waits for it: it is said once in the log, counted, and tried again later, and later again. That the store cannot answer
// now is another matter: all wait for that.

// Bounds of what is tried again.
const (
	soon     = time.Minute // when something is tried again that has failed by itself, at first
	late     = time.Hour   // and at last
	patience = 3           // so often that the store cannot answer, for one and the same, is trouble of the store
	bear     = 8           // failures of the store after which a round is broken off
)

// item is something that Run sees to. Its zero value is none.
type item struct {
	what string // kind of its record, or what is to be done
	of   string // its scope
	id   string
}

func (i item) String() string {
	return strings.Join(slices.DeleteFunc([]string{i.what, i.of, i.id}, func(s string) bool { return s == "" }), " ")
}

// failure is what is known of something that could not be done.
type failure struct {
	times int
	again time.Time // when it is tried again
	said  bool      // in the log
}

// put off says whether something has failed, and is not to be tried yet.
func (s *Service) putOff(i item) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.failing[i]
	return ok && f.again.After(s.now())
}

// attempt does something, unless it was put off, and notes how that went. It gives an error if the store cannot answer now, or
// ctx has ended; done is false as well if it was put off, or is now, because it failed by itself or too often.
func (s *Service) attempt(ctx context.Context, i item, do func() error) (done bool, err error) {
	if s.putOff(i) {
		return false, nil
	}
	err = do()
	switch {
	case err != nil && ctx.Err() != nil:
		return false, err
	case err == nil:
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.failing, i)
		return true, nil
	}
	now := s.now()
	s.mu.Lock()
	f := s.failing[i]
	f.times++
	away := errors.Is(err, ErrUnavailable)
	switch {
	case away && f.times <= patience: // it is for all
		f.again = now
	case away:
		f.again = now.Add(soon)
	default:
		f.again = now.Add(min(soon<<min(f.times-1, 6), late))
	}
	away = away && f.times <= patience
	say := !f.said && !away
	f.said = f.said || say
	s.failing[i] = f
	s.mu.Unlock()
	if say {
		s.log.Error("what cannot be done for a job is left out, and tried again later", "job", i.String(), "err", err)
	}
	if !away {
		return false, nil
	}
	return false, err
}

// forgetFailures has what was put off tried no more that has no sense any more: of a job that is forgotten.
func (s *Service) forgetFailures(job string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.failing {
		if cmp.Or(i.of, i.id) == job {
			delete(s.failing, i)
		}
	}
}

// again gives when something is tried again that was put off; none: nothing was.
func (s *Service) again() (next time.Time) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.failing {
		if f.again.After(now) {
			next = earliest(next, f.again)
		}
	}
	return next
}

// revive has jobs looked at of whose devices something is to be tried again.
func (s *Service) revive() {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.failing {
		if i.what != kindExecution || f.again.After(now) {
			continue
		}
		o := s.jobs[i.of]
		if o == nil {
			delete(s.failing, i)
			continue
		}
		switch b, ok := o.all[accounts.Name(i.id)]; {
		case !ok: // it could not be read at the start
		case b.Status == Waiting, b.Status.given() && (o.job.State == JobCanceled || b.due() > 0):
			s.stale[i.of] = true
		default: // it has come about otherwise
			delete(s.failing, i)
		}
	}
}

// failures is how much is put off.
func (s *Service) failures() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.failing)
}
