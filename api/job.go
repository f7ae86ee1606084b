package api

import (
	"context"
	"encoding/base64"
	"encoding/json"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/jobs"
)

// How many jobs or executions an answer has, unless it is said, and at most.
const usualJobs, maxJobs = 50, 200

// jobBody is as large as a document may be with each character escaped, and the names of as many devices as a job may have.
const jobBody = 1 << 20

type jobFile struct {
	Name       string `json:"name" doc:"what it is called; 128 bytes at most" example:"lamp.bin"`
	Version    string `json:"version" doc:"of what is in it; 128 bytes at most" example:"1.2.0"`
	MinVersion string `json:"min_version,omitempty" doc:"what a device has to have to take it"`
	URL        string `json:"url,omitempty" doc:"where it is; absent: it was stored here" example:""`
	Size       int64  `json:"size" doc:"in bytes; may be absent if it was stored here" example:"7"`
	SHA256     string `json:"sha256" doc:"of what is in it, in hexadecimal" required:"true"`
	Signature  string `json:"sig,omitempty" doc:"Ed25519, of its manifest (docs/jobs.md), in base64" example:""`
}

type jobRollout struct {
	First        int `json:"first,omitempty" doc:"so many devices before all others, who wait until it is over for these"`
	PerMinute    int `json:"per_minute,omitempty" doc:"then so many each minute; 0: all others" example:"0"`
	Percent      int `json:"percent,omitempty" doc:"or this share of all, when it is over for those before" example:"0"`
	AbortPercent int `json:"abort_percent,omitempty" doc:"cancels the job if it failed for that share of those it is over for"`
	AbortAfter   int `json:"abort_after,omitempty" doc:"not before it is over for so many"`
	Wait         int `json:"wait,omitempty" doc:"after so many minutes nobody waits for a device that has not begun; 0: for ever"`
}

type jobWindow struct {
	From  string `json:"from" doc:"when it opens; it may be later than until" example:"02:00" required:"true"`
	Until string `json:"until" doc:"when it closes" example:"05:00" required:"true"`
	Zone  string `json:"zone,omitempty" doc:"of these times; absent: UTC" example:"Europe/Berlin"`
}

type createJobInput struct {
	Devices  []string          `json:"devices" doc:"by name, in the order of the rollout; 10,000 at most" max:"10000"`
	Home     chat.Conversation `json:"home" doc:"instead: all that he manages in a home, whose admins manage the job too"`
	Tag      string            `json:"tag" doc:"instead: all that he manages with it"`
	Type     string            `json:"type" doc:"instead: all that he manages of it"`
	Model    string            `json:"model" doc:"instead: all that he manages of it"`
	Title    string            `json:"title" doc:"what people call it; 128 bytes at most"`
	Document json.RawMessage   `json:"document" doc:"what devices are told, 32 KiB" required:"true" example:"{\"n\":1}"`
	Files    []jobFile         `json:"files" doc:"what comes with it, told as files in the document" max:"8"`
	Rollout  jobRollout        `json:"rollout" doc:"how many are given it at a time; absent: all at once"`
	Timeout  int               `json:"timeout" doc:"minutes from its beginning on a device to its end; 0: any number"`
	Window   *jobWindow        `json:"window" doc:"the part of the day in which devices are given it; absent: always"`
	End      int64             `json:"end" doc:"when it is canceled where it has not begun, in Unix ms; 0: never" example:"0"`
}

func (i createJobInput) target() string { return i.Title }

type jobInput struct {
	Job string `json:"job" required:"true"`
}

func (i jobInput) target() string { return i.Job }

type cancelJobInput struct {
	jobInput
	Force bool `json:"force" doc:"also where it has begun"`
}

type listJobsInput struct {
	Home   chat.Conversation `json:"home" doc:"of a home that the caller manages; absent: his own, of no home"`
	Cursor string            `json:"cursor"`
	Limit  uint64            `json:"limit"`
}

type listJobsOutput struct {
	Jobs   []job  `json:"jobs" doc:"the newest first"`
	Cursor string `json:"cursor,omitempty" doc:"gives the next page; absent: there is no more"`
}

type listExecutionsInput struct {
	jobInput
	Cursor string `json:"cursor"`
	Limit  uint64 `json:"limit"`
}

type listExecutionsOutput struct {
	Executions []jobExecution `json:"executions" doc:"in the order of the names of devices"`
	Cursor     string         `json:"cursor,omitempty" doc:"gives the next page; absent: there is no more"`
}

type jobKeyInput struct {
	Key string `json:"key" doc:"Ed25519, 32 bytes in base64; empty: none, and nobody has to sign"`
}

// job is one, and how far it has come.
type job struct {
	Job      string              `json:"job"`
	Title    string              `json:"title,omitempty" doc:"what people call it"`
	By       accounts.Name       `json:"by,omitempty" doc:"who has made it; absent: the operator"`
	Home     chat.Conversation   `json:"home,omitempty" doc:"whose admins manage it too"`
	Document json.RawMessage     `json:"document" doc:"what devices are told"`
	Files    []jobFile           `json:"files,omitempty" doc:"what comes with it"`
	Rollout  jobRollout          `json:"rollout" doc:"how many are given it at a time"`
	Timeout  int                 `json:"timeout,omitempty" doc:"minutes from its beginning on a device to its end"`
	Window   *jobWindow          `json:"window,omitempty" doc:"the part of the day in which devices are given it"`
	End      int64               `json:"end,omitempty" doc:"when it is canceled where it has not begun, in Unix milliseconds"`
	State    jobs.JobState       `json:"state" doc:"how it stands" enum:"IN_PROGRESS|COMPLETED|CANCELED"`
	Reason   string              `json:"reason,omitempty" doc:"why it was canceled: asked, failures, or end"`
	Created  int64               `json:"created"`
	Ended    int64               `json:"ended,omitempty" doc:"when it was over for the last device, in Unix milliseconds"`
	Counts   map[jobs.Status]int `json:"counts" doc:"how many devices have come how far, by status"`
}

type jobExecution struct {
	DID     accounts.Name     `json:"did"`
	Status  jobs.Status       `json:"status" doc:"how far it has come; WAITING: its turn has not come"`
	Details map[string]string `json:"details,omitempty" doc:"what the device says of it"`
	Version uint64            `json:"version" doc:"grows with each change"`
	Queued  int64             `json:"queued,omitempty" doc:"when the device was given it, in Unix milliseconds"`
	Started int64             `json:"started,omitempty" doc:"when the device has begun, in Unix milliseconds"`
	Updated int64             `json:"updated,omitempty" doc:"when something was heard of it last, in Unix milliseconds"`
}

// jobDesk is what the rows about jobs are carried out by. An operator is no account.
type jobDesk struct {
	work *jobs.Service
	who  func(Caller) accounts.Name
}

// jobRows are those for who manages devices.
func jobRows(r Rooms) []*Operation {
	d := jobDesk{r.Jobs, func(c Caller) accounts.Name { return c.Account }}
	return append(d.rows(User), change("job.key", User,
		"Says with which key the files of the caller's jobs have to be signed from now on.", d.key))
}

// jobAdminRows are the same for all devices of the installation.
func jobAdminRows(r Rooms) []*Operation {
	return jobDesk{r.Jobs, func(Caller) accounts.Name { return "" }}.rows(Admin)
}

func (d jobDesk) rows(access Access) []*Operation {
	return []*Operation{
		change("job.create", access, "Makes a job for devices, and begins to give it to them.", d.create).upTo(jobBody),
		read("job.get", access, "Gives a job, and how far it has come.", d.get),
		read("job.list", access, "Lists jobs.", d.list),
		read("job.executions", access, "Says how far a job has come on each device.", d.executions),
		change("job.cancel", access, "Takes a job back where it has not begun.", d.cancel),
		change("job.remove", access, "Forgets a job that is over for all devices.", d.remove),
	}
}

func (d jobDesk) create(ctx context.Context, c Caller, in createJobInput) (job, chat.Commit, error) {
	n := jobs.New{
		Title: in.Title, Document: in.Document, Rollout: jobs.Rollout(in.Rollout), Timeout: in.Timeout, End: in.End,
		Targets: jobs.Targets{Home: string(in.Home), Tag: in.Tag, Type: in.Type, Model: in.Model},
	}
	if in.Window != nil {
		n.Window = &jobs.Window{From: in.Window.From, Until: in.Window.Until, Zone: in.Window.Zone}
	}
	for _, name := range in.Devices {
		name, err := did(name)
		if err != nil {
			return job{}, nil, malformed("field \"devices\" has something that is not the name of a device")
		}
		n.Targets.Devices = append(n.Targets.Devices, name)
	}
	for _, f := range in.Files {
		sig, err := base64.StdEncoding.DecodeString(f.Signature)
		if err != nil {
			return job{}, nil, malformed("field \"sig\" is not base64")
		}
		n.Files = append(n.Files, jobs.File{
			Name: f.Name, Version: f.Version, MinVersion: f.MinVersion, URL: f.URL, Size: f.Size, SHA256: f.SHA256,
			Signature: sig,
		})
	}
	j, err := d.work.Create(ctx, d.who(c), n)
	return jobOf(j), nil, err
}

func (d jobDesk) get(ctx context.Context, c Caller, in jobInput) (job, error) {
	j, err := d.work.Job(ctx, d.who(c), in.Job)
	return jobOf(j), err
}

func (d jobDesk) list(ctx context.Context, c Caller, in listJobsInput) (listJobsOutput, error) {
	all, next, err := d.work.Jobs(ctx, d.who(c), string(in.Home), in.Cursor, clamp(in.Limit, usualJobs, maxJobs))
	out := listJobsOutput{Jobs: make([]job, 0, len(all)), Cursor: next}
	for _, j := range all {
		out.Jobs = append(out.Jobs, jobOf(j))
	}
	return out, err
}

func (d jobDesk) executions(ctx context.Context, c Caller, in listExecutionsInput) (listExecutionsOutput, error) {
	limit := clamp(in.Limit, usualJobs, maxJobs)
	all, err := d.work.Executions(ctx, d.who(c), in.Job, accounts.Name(in.Cursor), limit)
	out := listExecutionsOutput{Executions: make([]jobExecution, 0, len(all))}
	for _, e := range all {
		out.Executions = append(out.Executions, jobExecution{
			e.Device, e.Status, e.Details, e.Version, e.Queued, e.Started, e.Updated})
	}
	if len(all) == limit {
		out.Cursor = string(all[limit-1].Device)
	}
	return out, err
}

func (d jobDesk) cancel(ctx context.Context, c Caller, in cancelJobInput) (job, chat.Commit, error) {
	j, err := d.work.Cancel(ctx, d.who(c), in.Job, in.Force)
	return jobOf(j), nil, err
}

func (d jobDesk) remove(ctx context.Context, c Caller, in jobInput) (nothing, chat.Commit, error) {
	return nothing{}, nil, d.work.Remove(ctx, d.who(c), in.Job)
}

func (d jobDesk) key(ctx context.Context, c Caller, in jobKeyInput) (nothing, chat.Commit, error) {
	key, err := base64.StdEncoding.DecodeString(in.Key)
	if err != nil {
		return nothing{}, nil, malformed("field \"key\" is not base64")
	}
	if len(key) == 0 {
		key = nil
	}
	return nothing{}, nil, d.work.SetKey(ctx, c.Account, key)
}

func jobOf(j jobs.Job) job {
	out := job{
		Job: j.ID, Title: j.Title, By: j.By, Home: chat.Conversation(j.Home), Document: j.Document,
		Rollout: jobRollout(j.Rollout), Timeout: j.Timeout, End: j.End, State: j.State, Reason: j.Reason,
		Created: j.Created, Ended: j.Ended, Counts: map[jobs.Status]int{},
	}
	for status, n := range j.Counts {
		out.Counts[status] = n
	}
	if j.Window != nil {
		out.Window = &jobWindow{j.Window.From, j.Window.Until, j.Window.Zone}
	}
	for _, f := range j.Files {
		out.Files = append(out.Files, jobFile{
			Name: f.Name, Version: f.Version, MinVersion: f.MinVersion, URL: f.URL, Size: f.Size, SHA256: f.SHA256,
			Signature: base64.StdEncoding.EncodeToString(f.Signature),
		})
	}
	return out
}
