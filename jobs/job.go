// Package jobs is what many devices are to do, one after the other, with a result of each: new firmware, above all.
//
// A [Job] is for devices that its maker manages when he makes it, in an order. Each has an [Execution], which first waits; the
// [Rollout] says how many are given it at a time, and when it went wrong for so many that the others are spared. An execution
// that is given is QUEUED: the device may ask for it, says that it is IN_PROGRESS, and how it has ended. States, requests
// and answers of devices are those of AWS IoT Jobs, so that its SDKs work as they are.
//
// Everything is a record: an execution has the moment at which it is over if nothing is heard of it, a job the moment at which
// it goes on. What is not over is in memory as well. A change is one record with a revision, so that a crash leaves nothing
// half done: what follows from it is found again at the start.
package jobs

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
	_ "time/tzdata" // a machine may have none
	"unicode/utf8"

	"github.com/magpie-im/magpie/accounts"
)

// JobState is how a job stands; the words are AWS's.
type JobState string

// States of jobs.
const (
	JobRunning   JobState = "IN_PROGRESS"
	JobCanceled  JobState = "CANCELED"
	JobCompleted JobState = "COMPLETED"
)

// Why a job was canceled.
const (
	ReasonFailures = "failures" // as many as its rollout bears
	ReasonAsked    = "asked"
	ReasonEnd      = "end" // its time was over
)

// Job is something that devices are to do. Times are Unix milliseconds.
type Job struct {
	ID       string          `json:"-"`
	Title    string          `json:"title,omitempty"`
	By       accounts.Name   `json:"by,omitempty"`   // who has made it; empty: the operator
	Home     string          `json:"home,omitempty"` // whose admins manage it too; empty: none
	Document json.RawMessage `json:"document"`       // a JSON object
	Files    []File          `json:"files,omitempty"`
	Rollout  Rollout         `json:"rollout"`
	Timeout  int             `json:"timeout,omitempty"` // minutes from the beginning on a device to the end; 0: any number
	Window   *Window         `json:"window,omitempty"`  // when devices are given it; nil: always
	End      int64           `json:"end,omitempty"`     // when it is canceled where it has not begun; 0: never

	State   JobState `json:"state"`
	Reason  string   `json:"reason,omitempty"`
	Force   bool     `json:"force,omitempty"` // it is canceled also where it is IN_PROGRESS
	Created int64    `json:"created"`
	Step    int64    `json:"step,omitempty"`  // when devices were given it last
	Ended   int64    `json:"ended,omitempty"` // when the last execution was over
	Counts  Counts   `json:"counts"`          // when it had ended; see Service.Job

	Rev uint64 `json:"-"`
	due int64
}

// Counts is how many executions there are of a status.
type Counts map[Status]int

// Total is how many there are.
func (c Counts) Total() (n int) {
	for _, some := range c {
		n += some
	}
	return n
}

func (c Counts) over() (n int) {
	for status, some := range c {
		if status.Over() {
			n += some
		}
	}
	return n
}

// failed is how many count against the threshold of a rollout.
func (c Counts) failed() int { return c[Failed] + c[TimedOut] + c[Rejected] }

// Rollout says how many devices are given a job at a time. Its zero value is: all at once.
type Rollout struct {
	First     int `json:"first,omitempty"`      // so many before all others, who wait until it is over for all of them
	PerMinute int `json:"per_minute,omitempty"` // then so many each minute
	Percent   int `json:"percent,omitempty"`    // or that share of all, when it is over for those before
	// AbortPercent cancels the job when that share of the executions that are over has failed, was rejected or timed out, and
	// AbortAfter are over. 0: never.
	AbortPercent int `json:"abort_percent,omitempty"`
	AbortAfter   int `json:"abort_after,omitempty"`
	// Wait is for how many minutes others wait for a device that was given the job and has not begun: then it is away, and
	// another one takes its place. When it comes back, the job is there. 0: for ever.
	Wait int `json:"wait,omitempty"`
}

func (r Rollout) check() error {
	switch {
	case r.First < 0 || r.PerMinute < 0 || r.PerMinute > 0 && r.Percent != 0:
		return fmt.Errorf("rollout: %w", ErrMalformed)
	case r.Percent < 0 || r.Percent > 100 || r.AbortPercent < 0 || r.AbortPercent > 100 || r.AbortAfter < 0:
		return fmt.Errorf("rollout: %w", ErrMalformed)
	case r.AbortAfter > 0 && r.AbortPercent == 0, r.Wait < 0, r.Wait > MaxTimeout:
		return fmt.Errorf("rollout: %w", ErrMalformed)
	}
	return nil
}

// aborts says whether it went wrong too often.
func (r Rollout) aborts(c Counts) bool {
	ended := c[Succeeded] + c.failed()
	return r.AbortPercent > 0 && ended > 0 && ended >= r.AbortAfter && c.failed()*100 >= r.AbortPercent*ended
}

// reach is how far a job has come.
type reach struct {
	all   int // devices, but for those that were removed before their turn came
	given int // have been given it
	away  int // of these, so many are not waited for any more
	over  int // of these, it is over for so many
}

// more says how many devices are to be given the job now; and after which time it is to be asked again, if that is not when
// something has happened (0).
func (r Rollout) more(at reach, sinceStep time.Duration) (n int, wait time.Duration) {
	left, there := at.all-at.given, at.given-at.away
	switch {
	case left <= 0:
		return 0, 0
	case at.over < r.First:
		return min(max(r.First-there, 0), left), 0
	case r.Percent > 0 && at.over < there:
		return 0, 0
	case r.Percent > 0:
		return min((at.all*r.Percent+99)/100, left), 0
	case r.PerMinute > 0 && sinceStep < time.Minute:
		return 0, time.Minute - sinceStep
	case r.PerMinute > 0 && left > r.PerMinute:
		return r.PerMinute, time.Minute
	}
	return left, 0
}

// Window is a part of the day, in which devices are given a job. It may go over midnight.
type Window struct {
	From  string `json:"from"`  // 02:00
	Until string `json:"until"` // 05:30; equal to From: the whole day
	Zone  string `json:"zone"`  // Europe/Berlin; empty: UTC

	place *time.Location // what Zone is; nil: not looked up yet
}

// check looks its zone up, too.
func (w *Window) check() error {
	for _, at := range []string{w.From, w.Until} {
		if _, err := time.Parse("15:04", at); err != nil {
			return fmt.Errorf("window: %.20q: %w", at, ErrMalformed)
		}
	}
	place, err := time.LoadLocation(w.Zone)
	if err != nil || w.Zone == "Local" || len(w.Zone) > 64 {
		return fmt.Errorf("window: time zone %.80q: %w", w.Zone, ErrMalformed)
	}
	w.place = place
	return nil
}

// at says whether the window, which check has seen, is open, and when that changes next.
func (w *Window) at(now time.Time) (open bool, next time.Time) {
	open, _, next = w.edges(now)
	return open, next
}

// edges is at, and says since when that is so.
func (w *Window) edges(now time.Time) (open bool, since, next time.Time) {
	if w == nil || w.From == w.Until {
		return true, time.Time{}, time.Time{}
	}
	zone := w.place
	if zone == nil { // it is known here no more
		zone = time.UTC
	}
	now = now.In(zone)
	edge := func(text string, day int) time.Time {
		clock, _ := time.Parse("15:04", text) // check has seen it
		return time.Date(now.Year(), now.Month(), now.Day()+day, clock.Hour(), clock.Minute(), 0, 0, zone)
	}
	for day := -1; day <= 2; day++ {
		for _, opens := range []bool{true, false} {
			at := edge(w.Until, day)
			if opens {
				at = edge(w.From, day)
			}
			switch {
			case !at.After(now) && !at.Before(since):
				since, open = at, opens
			case at.After(now) && (next.IsZero() || at.Before(next)):
				next = at
			}
		}
	}
	return open, since, next
}

// Targets say which devices a job is for: those that are named, in this order, or all that its maker manages and that are like
// this, in the order of their names.
type Targets struct {
	Devices                []accounts.Name
	Home, Tag, Type, Model string
}

// Limits of what a job has.
const (
	MaxTargets  = 10_000
	MaxFiles    = 8
	MaxTitle    = 128
	MaxTimeout  = 7 * 24 * 60 // minutes, as AWS has it
	maxDocument = 32 << 10    // bytes, as AWS has it
	filesField  = "files"     // of a document, made by the service
	day         = 24 * time.Hour
)

// New is what somebody says of a job that he makes.
type New struct {
	Targets  Targets
	Title    string
	Document json.RawMessage
	Files    []File
	Rollout  Rollout
	Timeout  int
	Window   *Window
	End      int64
}

// namesFiles says whether the document, which check has seen, has itself what the service says of files.
func (n New) namesFiles() bool {
	var document map[string]json.RawMessage
	return json.Unmarshal(n.Document, &document) != nil || document[filesField] != nil
}

func (n New) check() error {
	if n.End < 0 {
		return fmt.Errorf("end: %w", ErrMalformed)
	}
	badTitle := len(n.Title) > MaxTitle || !utf8.ValidString(n.Title)
	if badTitle || n.Timeout < 0 || n.Timeout > MaxTimeout || len(n.Files) > MaxFiles {
		return fmt.Errorf("title, timeout or files: %w", ErrMalformed)
	}
	if len(n.Document) > maxDocument {
		return fmt.Errorf("document of %d bytes: %w", len(n.Document), ErrTooLarge)
	}
	var document map[string]json.RawMessage
	if err := json.Unmarshal(n.Document, &document); err != nil || document == nil || !utf8.Valid(n.Document) {
		return fmt.Errorf("the document is no JSON object: %w", ErrMalformed)
	}
	if document[filesField] != nil && len(n.Files) > 0 {
		return fmt.Errorf("the document has files already: %w", ErrMalformed)
	}
	if n.Window != nil {
		if err := n.Window.check(); err != nil {
			return err
		}
	}
	if t := n.Targets; len(t.Devices) > 0 && (t.Home != "" || t.Tag != "" || t.Type != "" || t.Model != "") {
		return fmt.Errorf("devices and what they are like: %w", ErrMalformed)
	}
	names := slices.Clone(n.Targets.Devices)
	slices.Sort(names)
	if len(slices.Compact(names)) != len(n.Targets.Devices) {
		return fmt.Errorf("a device is named twice: %w", ErrMalformed)
	}
	return n.Rollout.check()
}
