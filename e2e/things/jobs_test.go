package things

import (
	"fmt"
	"testing"

	"github.com/magpie-im/magpie/e2e/clients"
	"github.com/magpie-im/magpie/e2e/server"
)

// job has alice make one, and gives its name.
func (h *home) job(in m) string {
	h.t.Helper()
	var out struct {
		Job string `json:"job"`
	}
	h.Call("alice", "job.create", in, &out)
	return out.Job
}

// becomes waits until a job is in a state with these counts.
func (h *home) becomes(job, state string, counts m) {
	h.t.Helper()
	var out m
	ok := server.Becomes(func() bool {
		out = nil
		h.Call("alice", "job.get", m{"job": job}, &out)
		return out["state"] == state && text(out["counts"]) == text(counts)
	})
	if !ok {
		h.t.Fatalf("the job is %v %v, want %s %v", out["state"], out["counts"], state, counts)
	}
}

// AWS's SDK carries jobs out as it does there: it is told what is next, begins, says how it goes, and is refused what it
// takes for another version. One device is first, the rest follows; and nothing more is given out once half of them failed.
func TestJobsWithTheSDKOfAWS(t *testing.T) {
	clients.AWSIoT.Need(t)
	h := begin(t)
	var all []string
	var fleet []*sdk
	for i := range 3 {
		did := fmt.Sprintf("valve-%d", i)
		h.addDevice(did, m{"type": "valve"})
		x := h.sdk(did, did)
		x.does("next", nil)
		all, fleet = append(all, did), append(fleet, x)
	}
	update := m{"type": "valve", "document": m{"version": 2}, "rollout": m{"first": 1}}
	first, job := fleet[0], h.job(update)
	told := first.hears("next")["next"]
	first.want("next", at(told, "execution", "jobId"), job)
	first.want("document", at(told, "execution", "jobDocument"), m{"version": 2})
	fleet[1].want("next of who waits", at(fleet[1].does("start", nil)["start"], "execution"), nil)
	started := first.does("start", m{"statusDetails": m{"step": "download"}, "stepTimeoutInMinutes": 5})["start"]
	first.want("status", at(started, "execution", "status"), "IN_PROGRESS")
	first.want("version", at(started, "execution", "versionNumber"), 2)
	refused := first.does("job", m{"jobId": job, "status": "IN_PROGRESS", "expectedVersion": 9})["error"]
	first.want("code", at(refused, "code"), "VersionMismatch")
	first.want("state", at(refused, "executionState", "versionNumber"), 2)
	got := first.does("job", m{"jobId": job, "status": "IN_PROGRESS", "expectedVersion": 2, "statusDetails": m{"step": "install"},
		"includeJobExecutionState": true, "includeJobDocument": true})["job"]
	first.want("state", at(got, "executionState"), m{"status": "IN_PROGRESS", "statusDetails": m{"step": "install"}, "versionNumber": 3})
	first.want("document", at(got, "jobDocument"), m{"version": 2})
	described := first.does("describe", m{"jobId": "$next"})["describe"]
	first.want("details", at(described, "execution", "statusDetails", "step"), "install")
	h.becomes(job, "IN_PROGRESS", m{"IN_PROGRESS": 1, "WAITING": 2})
	first.does("job", m{"jobId": job, "status": "SUCCEEDED"})
	for _, x := range fleet[1:] {
		x.want("next", at(x.hears("next")["next"], "execution", "jobId"), job)
		x.want("pending", len(at(x.does("pending", nil)["pending"], "queuedJobs").([]any)), 1)
		x.does("start", nil)
		x.does("job", m{"jobId": job, "status": "SUCCEEDED"})
	}
	h.becomes(job, "COMPLETED", m{"SUCCEEDED": 3})
	late := first.does("job", m{"jobId": job, "status": "FAILED"})["error"]
	first.want("too late", at(late, "code"), "InvalidStateTransition")

	update["rollout"] = m{"first": 2, "abort_percent": 50, "abort_after": 2}
	bad := h.job(update)
	for i, status := range []string{"SUCCEEDED", "FAILED"} {
		server.Eventually(t, "that it begins", func() bool { return at(fleet[i].does("start", nil)["start"], "execution") != nil })
		fleet[i].does("job", m{"jobId": bad, "status": status})
	}
	h.becomes(bad, "CANCELED", m{"SUCCEEDED": 1, "FAILED": 1, "CANCELED": 1})
	missing := fleet[2].does("describe", m{"jobId": bad})["error"]
	fleet[2].want("what it never had", at(missing, "code"), "ResourceNotFound")

	// What was made while it was away, and through a crash of the server, comes with the SUBSCRIBE.
	fleet[2].Kill()
	again := h.job(m{"devices": all[2:], "document": m{"version": 3}})
	h.becomes(again, "IN_PROGRESS", m{"QUEUED": 1})
	h.Kill()
	h.Server.Start()
	x := h.sdk(all[2], all[2])
	x.does("next", nil)
	x.want("next of who comes back", at(x.hears("next")["next"], "execution", "jobId"), again)
	x.does("job", m{"jobId": again, "status": "SUCCEEDED"})
	h.becomes(again, "COMPLETED", m{"SUCCEEDED": 1})
}
