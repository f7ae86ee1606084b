package jobs

import (
	"maps"

	"github.com/magpie-im/magpie/accounts"
)

// Status is how far a job has come on a device; but for Waiting the words are AWS's.
type Status string

// Statuses. A device says InProgress, Succeeded, Failed and Rejected.
const (
	Waiting    Status = "WAITING" // its turn has not come; the device knows nothing of it
	Queued     Status = "QUEUED"
	InProgress Status = "IN_PROGRESS"
	Succeeded  Status = "SUCCEEDED"
	Failed     Status = "FAILED"
	Rejected   Status = "REJECTED"
	TimedOut   Status = "TIMED_OUT"
	Removed    Status = "REMOVED" // the device is gone, or somebody else's, or who has made the job does not manage it any more
	Canceled   Status = "CANCELED"
)

// Over says whether a status is final.
func (s Status) Over() bool { return s != Waiting && !s.given() }

// given says whether the device has something to do.
func (s Status) given() bool { return s == Queued || s == InProgress }

// said says whether a device may say so.
func (s Status) said() bool { return s == InProgress || s == Succeeded || s == Failed || s == Rejected }

// executionNumber is that of every execution: a device is given a job once.
const executionNumber = 1

// Execution is a job on a device. Times are Unix milliseconds.
type Execution struct {
	Job     string            `json:"-"`
	Device  accounts.Name     `json:"-"`
	Place   int               `json:"place"`           // in the order of the rollout
	Epoch   uint64            `json:"epoch,omitempty"` // of the device, when the job was made
	Status  Status            `json:"status"`
	Details map[string]string `json:"details,omitempty"` // what the device says of it
	Version uint64            `json:"version"`           // grows with each change that the device can see; 0: none
	Queued  int64             `json:"queued,omitempty"`
	Started int64             `json:"started,omitempty"`
	Updated int64             `json:"updated,omitempty"`

	Step     int64 `json:"step,omitempty"`     // it is TIMED_OUT then, unless the device says something; 0: never
	Deadline int64 `json:"deadline,omitempty"` // the same, whatever it says

	Rev uint64 `json:"-"`
}

// due is when it is over by itself; 0: never.
func (e Execution) due() int64 {
	switch {
	case !e.Status.given():
		return 0
	case e.Step == 0 || e.Deadline != 0 && e.Deadline < e.Step:
		return e.Deadline
	}
	return e.Step
}

// become is that an execution has another status, and that it is now.
func (e *Execution) become(to Status, now int64) {
	if to == Queued {
		e.Queued = now
	}
	if e.Status != Waiting || to == Queued { // of what it was never given the device knows nothing
		e.Version++
	}
	if to == InProgress && e.Started == 0 {
		e.Started = now
	}
	if to.Over() {
		e.Step, e.Deadline = 0, 0
	}
	e.Status, e.Updated = to, now
}

// minute is one, in milliseconds.
const minute = 60_000

// say is what a device says of an execution that is given.
func (e *Execution) say(to Status, details map[string]string, step *int, job Job, now int64) {
	if to == InProgress && e.Started == 0 && job.Timeout > 0 {
		e.Deadline = now + int64(job.Timeout)*minute
	}
	if details != nil {
		e.Details = maps.Clone(details)
	}
	if step != nil {
		e.Step = 0
		if *step > 0 {
			e.Step = now + int64(*step)*minute
		}
	}
	e.become(to, now)
}
