package jobs

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
)

func (b *bench) create(n New) Job {
	b.t.Helper()
	if n.Document == nil {
		n.Document = json.RawMessage(`{"operation":"update"}`)
	}
	job, err := b.Create(b.t.Context(), "alice", n)
	b.check(err)
	b.work()
	return job
}

// asks has a device ask for something, and gives the last path below jobs/ that it was answered on, and the answer.
func (b *bench) asks(did accounts.Name, path string, request any) (where string, answer map[string]any) {
	b.t.Helper()
	payload, _ := request.(string)
	if request != nil && payload == "" {
		payload = string(encoded(request))
	}
	before := len(b.told)
	b.check(b.Serve(b.t.Context(), did, path, []byte(payload)))
	_, rest, _ := strings.Cut(b.told[before], " ")
	where, text, _ := strings.Cut(rest, " ")
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		b.t.Fatal(err)
	}
	return strings.TrimPrefix(where, "jobs/"+path+"/"), answer
}

// says has a device say that a job is in a status.
func (b *bench) says(did accounts.Name, job Job, status Status) {
	b.t.Helper()
	if where, answer := b.asks(did, job.ID+"/update", map[string]any{"status": status}); where != "accepted" {
		b.t.Fatalf("%s of %s: %v", status, did, answer)
	}
	b.work()
}

// stands checks how a job stands: "COMPLETED SUCCEEDED:2 FAILED:1".
func (b *bench) stands(job Job, want string) {
	b.t.Helper()
	got, err := b.Job(b.t.Context(), "alice", job.ID)
	b.check(err)
	text := string(got.State)
	for _, status := range []Status{Waiting, Queued, InProgress, Succeeded, Failed, Rejected, TimedOut, Removed, Canceled} {
		if n := got.Counts[status]; n > 0 {
			text += fmt.Sprintf(" %s:%d", status, n)
		}
	}
	if text != want {
		b.t.Errorf("the job is %s, want %s", text, want)
	}
}

func TestOneIsFirstAndTheRestFollows(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	job := b.create(New{Rollout: Rollout{First: 1}, Targets: Targets{Devices: []accounts.Name{"b", "a", "c"}}})
	b.stands(job, "IN_PROGRESS WAITING:2 QUEUED:1")
	if _, answer := b.asks("a", "start-next", nil); answer["execution"] != nil {
		t.Errorf("a has its turn: %v", answer)
	}
	if where, answer := b.asks("a", job.ID+"/get", nil); where != "rejected" || answer["code"] != "ResourceNotFound" {
		t.Errorf("a knows of it: %v", answer)
	}
	b.says("b", job, InProgress)
	b.pass(time.Hour)
	b.stands(job, "IN_PROGRESS WAITING:2 IN_PROGRESS:1")
	b.says("b", job, Succeeded)
	b.stands(job, "IN_PROGRESS QUEUED:2 SUCCEEDED:1")
	b.says("a", job, Succeeded)
	b.says("c", job, Rejected)
	b.stands(job, "COMPLETED SUCCEEDED:2 REJECTED:1")
}

func TestWhoIsRemovedBeforeItsTurnIsNoneOfTheFirst(t *testing.T) {
	b := newBench(t, "a", "b", "c", "d")
	job := b.create(New{Rollout: Rollout{First: 1}})
	b.park.set(devices.Thing{ID: "d", Owner: "carol", Rev: 2})
	b.work()
	b.stands(job, "IN_PROGRESS WAITING:2 QUEUED:1 REMOVED:1")
	b.says("a", job, Succeeded)
	b.stands(job, "IN_PROGRESS QUEUED:2 SUCCEEDED:1 REMOVED:1")
}

func TestAJobThatFailsTooOftenIsAborted(t *testing.T) {
	b := newBench(t, "a", "b", "c", "d")
	job := b.create(New{Rollout: Rollout{First: 3, AbortPercent: 50, AbortAfter: 2}})
	b.says("a", job, InProgress)
	b.says("b", job, Failed)
	b.stands(job, "IN_PROGRESS WAITING:1 QUEUED:1 IN_PROGRESS:1 FAILED:1")
	b.says("c", job, Failed)
	b.stands(job, "CANCELED IN_PROGRESS:1 FAILED:2 CANCELED:1")
	if where, answer := b.asks("d", job.ID+"/get", nil); where != "rejected" || answer["code"] != "ResourceNotFound" {
		t.Errorf("d, which was spared, knows of it: %v", answer)
	}
	b.says("a", job, Succeeded) // it was at it
	b.stands(job, "CANCELED SUCCEEDED:1 FAILED:2 CANCELED:1")
	if got, _ := b.Job(t.Context(), "alice", job.ID); got.Reason != ReasonFailures || got.Ended == 0 {
		t.Errorf("%+v", got)
	}
}

func TestDeadlinesAreKeptThroughARestart(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	job := b.create(New{Timeout: 30})
	b.asks("a", "start-next", map[string]any{"stepTimeoutInMinutes": 5})
	b.asks("b", "start-next", nil)
	b.asks("c", "start-next", map[string]any{"stepTimeoutInMinutes": 5})
	b.asks("c", job.ID+"/update", map[string]any{"status": InProgress, "stepTimeoutInMinutes": -1})
	b.pass(4 * time.Minute)
	b.stands(job, "IN_PROGRESS IN_PROGRESS:3")
	b.begin(b.store)
	b.pass(2 * time.Minute)
	b.stands(job, "IN_PROGRESS IN_PROGRESS:2 TIMED_OUT:1")
	if where, answer := b.asks("a", job.ID+"/update", `{"status":"SUCCEEDED"}`); where != "rejected" ||
		answer["code"] != "InvalidStateTransition" || answer["executionState"].(map[string]any)["status"] != "TIMED_OUT" {
		t.Errorf("too late: %v", answer)
	}
	b.pass(25 * time.Minute)
	b.stands(job, "COMPLETED TIMED_OUT:3")
}

func TestADeviceThatIsAwayHoldsNobodyUpForEver(t *testing.T) {
	b := newBench(t, "a", "b", "c", "d")
	job := b.create(New{Rollout: Rollout{First: 1, Wait: 60, AbortPercent: 50}})
	b.stands(job, "IN_PROGRESS WAITING:3 QUEUED:1")
	b.pass(59 * time.Minute)
	b.begin(b.store)
	b.stands(job, "IN_PROGRESS WAITING:3 QUEUED:1")
	if next, err := b.next(t.Context()); err != nil || !next.Equal(b.clock.Add(time.Minute)) {
		t.Errorf("it goes on at %v, %v; it is %v", next, err, b.clock)
	}
	b.begin(b.store)
	b.pass(time.Minute)
	b.stands(job, "IN_PROGRESS WAITING:2 QUEUED:2") // b in place of a
	b.says("b", job, InProgress)
	b.pass(3 * time.Hour)
	b.begin(b.store)
	b.stands(job, "IN_PROGRESS WAITING:2 QUEUED:1 IN_PROGRESS:1") // it is not away
	b.says("b", job, Succeeded)
	b.stands(job, "IN_PROGRESS QUEUED:3 SUCCEEDED:1")
	b.says("a", job, Succeeded) // it has come back
	b.says("c", job, Succeeded)
	b.says("d", job, Succeeded)
	b.stands(job, "COMPLETED SUCCEEDED:4")
}

func TestWhoIsAwayIsCountedFromWhenItsWindowOpens(t *testing.T) {
	b := newBench(t, "a", "b")
	b.clock = time.Date(2026, 11, 26, 4, 50, 0, 0, time.UTC)
	job := b.create(New{Window: &Window{From: "02:00", Until: "05:00"}, Rollout: Rollout{First: 1, Wait: 60}})
	b.pass(21*time.Hour + 10*time.Minute) // it has just opened
	b.pass(59 * time.Minute)
	b.stands(job, "IN_PROGRESS WAITING:1 QUEUED:1")
	b.pass(time.Minute)
	b.stands(job, "IN_PROGRESS QUEUED:2")
}

func TestAJobHasAnEnd(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	job := b.create(New{Rollout: Rollout{First: 2}, End: b.clock.Add(time.Hour).UnixMilli()})
	b.says("a", job, InProgress)
	b.pass(59 * time.Minute)
	b.stands(job, "IN_PROGRESS WAITING:1 QUEUED:1 IN_PROGRESS:1")
	b.begin(b.store)
	b.pass(time.Minute)
	b.stands(job, "CANCELED IN_PROGRESS:1 CANCELED:2")
	b.says("a", job, Succeeded)
	if got, err := b.Job(t.Context(), "alice", job.ID); err != nil || got.Reason != ReasonEnd || got.Ended == 0 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, end := range []int64{-1, 1, b.clock.UnixMilli()} {
		if _, err := b.Create(t.Context(), "alice", New{Document: []byte(`{}`), End: end}); !errors.Is(err, ErrMalformed) {
			t.Errorf("a job that ends at %d: %v", end, err)
		}
	}
}

func TestARestartGoesOnWhereARolloutWas(t *testing.T) {
	b := newBench(t, "a", "b", "c", "d", "e")
	job := b.create(New{Rollout: Rollout{PerMinute: 2}})
	b.stands(job, "IN_PROGRESS WAITING:3 QUEUED:2")
	b.begin(b.store)
	b.stands(job, "IN_PROGRESS WAITING:3 QUEUED:2")
	b.pass(time.Minute)
	b.stands(job, "IN_PROGRESS WAITING:1 QUEUED:4")
	b.pass(time.Minute)
	b.stands(job, "IN_PROGRESS QUEUED:5")
}

func TestWhatWasNeverFinishedBeingMadeIsCleared(t *testing.T) {
	b := newBench(t, "a")
	job, all, err := b.make(t.Context(), "alice", New{Document: json.RawMessage(`{}`)})
	b.check(err)
	b.check(b.store.Put(t.Context(), job.entry()))
	b.check(b.store.Put(t.Context(), all[0].record()))
	b.begin(b.store)
	if _, err := b.execution(t.Context(), job.ID, "a"); !errors.Is(err, ErrUnknown) {
		t.Errorf("an execution of no job: %v", err)
	}
	if some, err := b.store.All(t.Context(), kindJobOf, records.Key{}, 1); err != nil || len(some) > 0 {
		t.Errorf("an entry of no job: %v, %v", some, err)
	}
}

func TestAJobIsCanceled(t *testing.T) {
	b := newBench(t, "a", "b")
	job := b.create(New{})
	b.says("a", job, InProgress)
	b.told = nil
	_, err := b.Cancel(t.Context(), "alice", job.ID, false)
	b.check(err)
	b.work()
	b.stands(job, "CANCELED IN_PROGRESS:1 CANCELED:1")
	if want := []string{"b jobs/notify ", "b jobs/notify-next "}; len(b.told) != 2 || !strings.HasPrefix(b.told[0], want[0]) ||
		!strings.HasPrefix(b.told[1], want[1]) || strings.Contains(b.told[1], "execution") {
		t.Errorf("told %q", b.told)
	}
	if err := b.Remove(t.Context(), "alice", job.ID); !errors.Is(err, ErrRunning) {
		t.Errorf("removed while a device is at it: %v", err)
	}
	_, err = b.Cancel(t.Context(), "alice", job.ID, true)
	b.check(err)
	b.work()
	b.stands(job, "CANCELED CANCELED:2")
	if _, err = b.Cancel(t.Context(), "alice", job.ID, true); !errors.Is(err, ErrEnded) {
		t.Errorf("canceled again: %v", err)
	}
	b.check(b.Remove(t.Context(), "alice", job.ID))
	if _, err = b.Job(t.Context(), "alice", job.ID); !errors.Is(err, ErrUnknown) {
		t.Errorf("removed: %v", err)
	}
}

func TestAJobIsForgottenAfterAWhile(t *testing.T) {
	b := newBench(t, "a")
	job := b.create(New{})
	b.says("a", job, Succeeded)
	b.pass(29 * day)
	b.stands(job, "COMPLETED SUCCEEDED:1")
	b.pass(2 * day)
	for _, kind := range []string{kindJob, kindJobOf, kindExecution} {
		if left, err := b.store.All(t.Context(), kind, records.Key{}, 10); err != nil || len(left) > 0 {
			t.Errorf("%v are left, %v", left, err)
		}
	}
}

func TestAJobEndsWhereItsMakerManagesNothingAnyMore(t *testing.T) {
	b := newBench(t, "a", "b", "c", "d")
	job := b.create(New{Rollout: Rollout{First: 3}})
	b.says("a", job, InProgress)
	a := b.park.all["a"]
	a.Owner, a.Epoch = "carol", a.Epoch+1
	b.park.set(a)
	reset := b.park.all["b"]
	reset.Epoch++
	b.park.set(reset)
	gone := b.park.all["d"]
	gone.Gone = true
	b.park.set(gone)
	renamed := b.park.all["c"]
	renamed.Title = "Desk"
	b.park.set(renamed)
	b.work()
	b.stands(job, "IN_PROGRESS QUEUED:1 REMOVED:3")
	b.says("c", job, Succeeded)
	b.stands(job, "COMPLETED SUCCEEDED:1 REMOVED:3")
}

func TestADeviceIsNotGivenWhatItsMakerMayNotGiveAnyMore(t *testing.T) {
	b := newBench(t, "a", "b")
	job := b.create(New{})
	for _, did := range []accounts.Name{"a", "b"} { // a role in a home has changed: no device has
		b.park.all[did] = devices.Thing{ID: did, Owner: "carol", Rev: 2}
	}
	if _, answer := b.asks("a", "start-next", nil); answer["execution"] != nil {
		t.Errorf("a is given %v", answer)
	}
	where, answer := b.asks("b", job.ID+"/update", map[string]any{"status": InProgress, "includeJobDocument": true})
	if where != "rejected" || answer["code"] != "ResourceNotFound" {
		t.Errorf("b is given %v", answer)
	}
	b.work()
	b.stands(job, "COMPLETED REMOVED:2")
}

func TestADeviceThatWasHandedOverJustBeforeTheEndIsFoundAgain(t *testing.T) {
	b := newBench(t, "a", "b")
	job := b.create(New{})
	b.park.all["a"] = devices.Thing{ID: "a", Owner: "carol", Rev: 2} // and nobody has heard of it
	b.begin(b.store)
	b.stands(job, "IN_PROGRESS QUEUED:1 REMOVED:1")
}

func TestWhatAnAccountLeavesIsEnded(t *testing.T) {
	b, shelf := newShelfBench(t)
	b.check(put(t.Context(), shelf, "alice", sumOfHello, "hello"))
	b.check(b.SetKey(t.Context(), "alice", make([]byte, ed25519.PublicKeySize)))
	b.check(b.SetKey(t.Context(), "alice", nil))
	job := b.create(New{Files: []File{{SHA256: sumOfHello}}})
	b.says("a", job, Succeeded)
	given := b.park.all["b"]
	given.Owner, given.Epoch = "", given.Epoch+1
	b.park.all["b"] = given // and nobody says so: the process ends
	b.begin(b.store)
	b.stands(job, "COMPLETED SUCCEEDED:1 REMOVED:1")
	b.Service.shelf = shelf
	for range 2 {
		b.check(b.Leave(t.Context(), "alice"))
	}
	if _, err := shelf.open(sumOfHello); !errors.Is(err, ErrNoFile) {
		t.Errorf("a file of who is gone: %v", err)
	}
}

func TestAJobOfTheOperatorOutlivesOwners(t *testing.T) {
	b := newBench(t, "a")
	job, err := b.Create(t.Context(), "", New{Document: json.RawMessage(`{}`), Targets: Targets{Type: "lamp"}})
	b.check(err)
	a := b.park.all["a"]
	a.Owner, a.Epoch = "carol", a.Epoch+1
	b.park.set(a)
	b.work()
	b.says("a", job, Succeeded)
	if _, err := b.Job(t.Context(), "alice", job.ID); !errors.Is(err, ErrUnknown) {
		t.Errorf("alice knows of it: %v", err)
	}
}

func TestAWindowIsWhenDevicesAreGivenAJob(t *testing.T) {
	b := newBench(t, "a", "b")
	b.clock = time.Date(2026, 11, 26, 1, 0, 0, 0, time.UTC)
	job := b.create(New{Window: &Window{From: "02:00", Until: "05:00"}})
	b.stands(job, "IN_PROGRESS WAITING:2")
	b.pass(time.Hour)
	b.stands(job, "IN_PROGRESS QUEUED:2")
	b.asks("a", "start-next", nil)
	b.told = nil
	b.pass(3 * time.Hour)
	if _, answer := b.asks("b", "start-next", nil); answer["execution"] != nil {
		t.Errorf("b begins when it should not: %v", answer)
	}
	if len(b.told) < 2 || !strings.HasPrefix(b.told[0], "b jobs/notify ") || !strings.HasPrefix(b.told[1], "b jobs/notify-next ") {
		t.Errorf("told %q when it closed", b.told)
	}
	b.says("a", job, Succeeded)
	b.told = nil
	b.pass(21 * time.Hour)
	if len(b.told) != 2 || !strings.Contains(b.told[1], job.ID) {
		t.Errorf("told %q when it opened", b.told)
	}
	b.says("b", job, Succeeded)
	b.stands(job, "COMPLETED SUCCEEDED:2")
}

func TestWhoMayDoWhatWithJobs(t *testing.T) {
	b := newBench(t, "a")
	a := b.park.all["a"]
	a.Home = "h.1"
	b.park.set(a)
	own := b.create(New{Targets: Targets{Devices: []accounts.Name{"a"}}})
	home := b.create(New{Targets: Targets{Home: "h.1"}})
	for who, want := range map[accounts.Name][2]bool{"alice": {true, true}, "bob": {false, true}, "carol": {}, "": {true, true}} {
		for i, job := range []Job{own, home} {
			_, err := b.Job(t.Context(), who, job.ID)
			if got := err == nil; got != want[i] || err != nil && !errors.Is(err, ErrUnknown) {
				t.Errorf("%q, job %d: %v", who, i, err)
			}
			if _, err := b.Executions(t.Context(), who, job.ID, "", 10); (err == nil) != want[i] {
				t.Errorf("%q, executions %d: %v", who, i, err)
			}
			if !want[i] {
				if _, err := b.Cancel(t.Context(), who, job.ID, true); !errors.Is(err, ErrUnknown) {
					t.Errorf("%q, cancel %d: %v", who, i, err)
				}
				if err := b.Remove(t.Context(), who, job.ID); !errors.Is(err, ErrUnknown) {
					t.Errorf("%q, remove %d: %v", who, i, err)
				}
			}
		}
	}
	for who, want := range map[accounts.Name]int{"alice": 1, "bob": 0} {
		if all, _, err := b.Jobs(t.Context(), who, "", "", 10); err != nil || len(all) != want {
			t.Errorf("%s has %d jobs, %v", who, len(all), err)
		}
	}
	if all, _, err := b.Jobs(t.Context(), "bob", "h.1", "", 10); err != nil || len(all) != 1 || all[0].ID != home.ID {
		t.Errorf("jobs of the home: %v, %v", all, err)
	}
	if _, _, err := b.Jobs(t.Context(), "carol", "h.1", "", 10); !errors.Is(err, ErrUnknown) {
		t.Errorf("jobs of a home of others: %v", err)
	}
	for what, n := range map[string]New{
		"somebody else's": {Targets: Targets{Devices: []accounts.Name{"a"}}},
		"none like that":  {Targets: Targets{Type: "boat"}},
	} {
		n.Document = json.RawMessage(`{}`)
		_, err := b.Create(t.Context(), "carol", n)
		if !errors.Is(err, devices.ErrUnknown) && !errors.Is(err, ErrNoTargets) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestWhatAJobCannotBe(t *testing.T) {
	b := newBench(t, "a")
	document := json.RawMessage(`{}`)
	sum := strings.Repeat("ab", 32)
	for what, tt := range map[string]struct {
		n    New
		want error
	}{
		"no document":       {New{}, ErrMalformed},
		"a list":            {New{Document: json.RawMessage(`[]`)}, ErrMalformed},
		"null":              {New{Document: json.RawMessage(`null`)}, ErrMalformed},
		"too large":         {New{Document: json.RawMessage(`{"a":"` + strings.Repeat("x", maxDocument) + `"}`)}, ErrTooLarge},
		"two paces":         {New{Document: document, Rollout: Rollout{PerMinute: 1, Percent: 1}}, ErrMalformed},
		"more than all":     {New{Document: document, Rollout: Rollout{Percent: 101}}, ErrMalformed},
		"a threshold of 0":  {New{Document: document, Rollout: Rollout{AbortAfter: 1}}, ErrMalformed},
		"twice":             {New{Document: document, Targets: Targets{Devices: []accounts.Name{"a", "a"}}}, ErrMalformed},
		"named and like":    {New{Document: document, Targets: Targets{Devices: []accounts.Name{"a"}, Tag: "x"}}, ErrMalformed},
		"for ever":          {New{Document: document, Timeout: MaxTimeout + 1}, ErrMalformed},
		"no such window":    {New{Document: document, Window: &Window{}}, ErrMalformed},
		"files twice":       {New{Document: json.RawMessage(`{"files":1}`), Files: []File{{SHA256: sum}}}, ErrMalformed},
		"a file of no sum":  {New{Document: document, Files: []File{{URL: "https://x/y", Size: 1}}}, ErrMalformed},
		"a file from disk":  {New{Document: document, Files: []File{{URL: "file:///etc/passwd", Size: 1, SHA256: sum}}}, ErrMalformed},
		"a file not stored": {New{Document: document, Files: []File{{SHA256: sum}}}, ErrNoFile},
	} {
		if _, err := b.Create(t.Context(), "alice", tt.n); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", what, err, tt.want)
		}
	}
}

func TestFilesHaveToBeSignedIfThereIsAKey(t *testing.T) {
	b := newBench(t, "a")
	public, private, err := ed25519.GenerateKey(nil)
	b.check(err)
	_, other, err := ed25519.GenerateKey(nil)
	b.check(err)
	f := File{Name: "lamp.bin", Version: "1.2", MinVersion: "1.0", URL: "https://x/y?a=1&b=2", Size: 7, SHA256: strings.Repeat("ab", 32)}
	n := New{Document: json.RawMessage(`{"a":1}`), Files: []File{f}}
	signed := func(sig []byte, change func(*File)) error {
		n.Files = []File{f}
		n.Files[0].Signature = sig
		change(&n.Files[0])
		_, err := b.Create(t.Context(), "alice", n)
		return err
	}
	same := func(*File) {}
	if err := signed(nil, same); err != nil {
		t.Errorf("without a key: %v", err)
	}
	for i := range 2 { // alice's key, and the operator's
		if i == 0 {
			b.check(b.SetKey(t.Context(), "alice", public))
		} else {
			b.check(b.SetKey(t.Context(), "alice", nil))
			b.cfg.Key = public
		}
		unsigned := New{Document: json.RawMessage(`{"files":[{"url":"https://x/y"}]}`)}
		if _, err := b.Create(t.Context(), "alice", unsigned); !errors.Is(err, ErrSignature) {
			t.Errorf("a file that only the document names: %v", err)
		}
		if err := signed(ed25519.Sign(private, f.Manifest()), same); err != nil {
			t.Errorf("signed: %v", err)
		}
		for what, err := range map[string]error{
			"not signed":      signed(nil, same),
			"by another":      signed(ed25519.Sign(other, f.Manifest()), same),
			"another version": signed(ed25519.Sign(private, f.Manifest()), func(f *File) { f.Version = "1.1" }),
			"another file":    signed(ed25519.Sign(private, f.Manifest()), func(f *File) { f.SHA256 = strings.Repeat("cd", 32) }),
			"for older ones":  signed(ed25519.Sign(private, f.Manifest()), func(f *File) { f.MinVersion = "" }),
		} {
			if !errors.Is(err, ErrSignature) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	b.work()
	_, answer := b.asks("a", "start-next", nil)
	document := answer["execution"].(map[string]any)["jobDocument"].(map[string]any)
	file := document["files"].([]any)[0].(map[string]any)
	if document["a"] != 1.0 || file["version"] != "1.2" || file["min_version"] != "1.0" || file["url"] != "https://x/y?a=1&b=2" || !strings.Contains(b.told[len(b.told)-1], "a=1&b=2") {
		t.Errorf("document %v", document)
	}
}

// Requests and answers are those of AWS IoT Jobs.
func TestRequestsAreAnsweredAsByAWS(t *testing.T) {
	b := newBench(t, "a", "b")
	one := b.create(New{Targets: Targets{Devices: []accounts.Name{"a"}}, Document: json.RawMessage(`{"n":1}`)})
	b.pass(time.Second)
	two := b.create(New{Targets: Targets{Devices: []accounts.Name{"a"}}, Document: json.RawMessage(`{"n":2}`)})
	b.pass(time.Second)
	replace := strings.NewReplacer("ONE", one.ID, "TWO", two.ID)
	long := strings.Repeat("x", 65)
	for i, tt := range []struct{ path, request, where, want string }{
		{"get", `{"clientToken":"t"}`, "accepted", `{"inProgressJobs":[],"queuedJobs":[` +
			`{"jobId":"ONE","queuedAt":1800000000,"lastUpdatedAt":1800000000,"versionNumber":1,"executionNumber":1},` +
			`{"jobId":"TWO","queuedAt":1800000001,"lastUpdatedAt":1800000001,"versionNumber":1,"executionNumber":1}],` +
			`"timestamp":1800000002,"clientToken":"t"}`},
		{"$next/get", ``, "accepted", `{"execution":{"jobId":"ONE","thingName":"a","jobDocument":{"n":1},"status":"QUEUED",` +
			`"queuedAt":1800000000,"lastUpdatedAt":1800000000,"versionNumber":1,"executionNumber":1},"timestamp":1800000002}`},
		{"TWO/get", `{"includeJobDocument":false}`, "accepted", `{"execution":{"jobId":"TWO","thingName":"a","status":"QUEUED",` +
			`"queuedAt":1800000001,"lastUpdatedAt":1800000001,"versionNumber":1,"executionNumber":1},"timestamp":1800000002}`},
		{"start-next", `{"statusDetails":{"step":"download"},"clientToken":"t"}`, "accepted", `{"execution":{"jobId":"ONE",` +
			`"thingName":"a","jobDocument":{"n":1},"status":"IN_PROGRESS","statusDetails":{"step":"download"},` +
			`"queuedAt":1800000000,"startedAt":1800000002,"lastUpdatedAt":1800000002,"versionNumber":2,"executionNumber":1},` +
			`"timestamp":1800000002,"clientToken":"t"}`},
		{"start-next", `{"statusDetails":{"step":"other"}}`, "accepted", `{"execution":{"jobId":"ONE",` +
			`"thingName":"a","jobDocument":{"n":1},"status":"IN_PROGRESS","statusDetails":{"step":"download"},` +
			`"queuedAt":1800000000,"startedAt":1800000002,"lastUpdatedAt":1800000002,"versionNumber":2,"executionNumber":1},` +
			`"timestamp":1800000002}`},
		{"ONE/update", `{"status":"IN_PROGRESS","expectedVersion":1,"clientToken":"t"}`, "rejected", `{"code":"VersionMismatch",` +
			`"message":"The expected version is not that of the job execution","clientToken":"t","timestamp":1800000002,` +
			`"executionState":{"status":"IN_PROGRESS","statusDetails":{"step":"download"},"versionNumber":2}}`},
		{"ONE/update", `{"status":"IN_PROGRESS","expectedVersion":"2","statusDetails":{"step":"install"},"executionNumber":1,` +
			`"includeJobExecutionState":true,"includeJobDocument":true}`, "accepted", `{"executionState":{"status":"IN_PROGRESS",` +
			`"statusDetails":{"step":"install"},"versionNumber":3},"jobDocument":{"n":1},"timestamp":1800000002}`},
		{"TWO/update", `{"status":"IN_PROGRESS","clientToken":"t"}`, "accepted", `{"timestamp":1800000002,"clientToken":"t"}`},
		{"ONE/update", `{"status":"SUCCEEDED"}`, "accepted", `{"timestamp":1800000002}`},
		{"ONE/update", `{"status":"IN_PROGRESS"}`, "rejected", `{"code":"InvalidStateTransition",` +
			`"message":"A job execution that is SUCCEEDED cannot be IN_PROGRESS","timestamp":1800000002,` +
			`"executionState":{"status":"SUCCEEDED","statusDetails":{"step":"install"},"versionNumber":4}}`},
		{"ONE/get", ``, "rejected", `{"code":"TerminalStateReached","message":"The job execution is in a terminal state",` +
			`"timestamp":1800000002}`},
		{"nojob/get", ``, "rejected", "ResourceNotFound"},
		{"TWO/get", `{"executionNumber":2}`, "rejected", "ResourceNotFound"},
		{"nojob/update", `{"status":"FAILED"}`, "rejected", "ResourceNotFound"},
		{"TWO/update", `{"status":"QUEUED"}`, "rejected", "InvalidRequest"},
		{"TWO/update", `{"status":"REMOVED"}`, "rejected", "InvalidRequest"},
		{"TWO/update", `{}`, "rejected", "InvalidRequest"},
		{"TWO/update", `{"status":"FAILED","statusDetails":{"a b":"c"}}`, "rejected", "InvalidRequest"},
		{"TWO/update", `{"status":"FAILED","statusDetails":{"a":1}}`, "rejected", "InvalidRequest"},
		{"TWO/update", `{"status":"FAILED","stepTimeoutInMinutes":0}`, "rejected", "InvalidRequest"},
		{"TWO/update", `{"status":"FAILED","stepTimeoutInMinutes":10081}`, "rejected", "InvalidRequest"},
		{"get", `{"clientToken":"` + long + `"}`, "rejected", "InvalidRequest"},
		{"get", `{"clientToken":7}`, "rejected", "InvalidRequest"},
		{"get", `[]`, "rejected", "InvalidJson"},
		{"get", `{`, "rejected", "InvalidJson"},
		{"get", "{\"clientToken\":\"\xff\"}", "rejected", "InvalidJson"},
		{"$next/update", `{"status":"FAILED"}`, "rejected", "InvalidTopic"},
		{"fetch", `{}`, "rejected", "InvalidTopic"},
		{"a/b/get", `{}`, "rejected", "InvalidTopic"},
		{long + "/get", `{}`, "rejected", "InvalidTopic"},
	} {
		before := len(b.told)
		path := replace.Replace(tt.path)
		b.check(b.Serve(t.Context(), "a", path, []byte(tt.request)))
		want := "a jobs/" + path + "/" + tt.where + " " + replace.Replace(tt.want)
		got := b.told[before]
		if !strings.HasPrefix(tt.want, "{") {
			want = "a jobs/" + path + "/" + tt.where + ` {"code":"` + tt.want + `"`
			got = got[:min(len(got), len(want))]
		}
		if got != want {
			t.Errorf("%d, %s %s:\n%s, want\n%s", i, tt.path, tt.request, got, want)
		}
	}
}

func TestADeviceIsToldWhenWhatIsNextChanges(t *testing.T) {
	b := newBench(t, "a")
	one := b.create(New{})
	b.pass(time.Second)
	two := b.create(New{})
	told := func() (all []string) {
		for _, line := range b.told {
			_, line, _ = strings.Cut(line, " ")
			path, text, _ := strings.Cut(line, " ")
			name := strings.NewReplacer(one.ID, "one", two.ID, "two").Replace(text)
			next := ""
			if i := strings.Index(name, `"jobId":"`); i >= 0 {
				next = " " + name[i+9:i+12]
			}
			all = append(all, strings.TrimPrefix(strings.Replace(path, one.ID, "one", 1), "jobs/")+next)
		}
		b.told = nil
		return all
	}
	for _, step := range []struct {
		do   func()
		want []string
	}{
		{func() {}, []string{"notify one", "notify-next one", "notify one"}},
		{func() { b.says("a", two, InProgress) }, []string{two.ID + "/update/accepted", "notify-next two"}},
		{func() { b.says("a", two, InProgress) }, []string{two.ID + "/update/accepted"}},
		{func() { b.says("a", two, Succeeded) }, []string{two.ID + "/update/accepted", "notify one", "notify-next one"}},
		{func() { b.says("a", one, Failed) }, []string{"one/update/accepted", "notify", "notify-next"}},
	} {
		step.do()
		if got := told(); !slices.Equal(got, step.want) {
			t.Errorf("told %q, want %q", got, step.want)
		}
	}
	b.create(New{})
	b.told = nil
	var given []string
	all := func(devices.Topic) bool { return true }
	give := func(topic devices.Topic, _ []byte) bool { given = append(given, topic.Path); return true }
	b.check(b.Now(t.Context(), "a", all, give))
	if !slices.Equal(given, []string{"jobs/notify-next"}) {
		t.Errorf("given %q", given)
	}
}

func FuzzRequest(f *testing.F) {
	for _, path := range []string{"get", "start-next", "$next/get", "j1/update", "x"} {
		f.Add(path, []byte(`{"clientToken":"t","status":"FAILED","statusDetails":{"a":"b"},"expectedVersion":"3"}`))
	}
	f.Add("get", []byte(nil))
	f.Fuzz(func(t *testing.T, path string, payload []byte) {
		r, refused := parseRequest(path, payload)
		if refused == nil && (len(r.ClientToken) > maxToken || len(r.Details) > maxDetails || r.api == "") {
			t.Errorf("taken: %+v", r)
		}
	})
}
