package things

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
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

// request makes one over HTTP, and gives the answer.
func request(t *testing.T, method, url, body string, header m) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		r.Header.Set(name, fmt.Sprint(value))
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// Firmware is stored, signed, and loaded by a device: over HTTP, also on from where it broke off, and over MQTT in pieces. What is not
// signed with the key of who makes the job never comes to a device.
func TestFirmwareComesToADevice(t *testing.T) {
	t.Parallel()
	c := clients.Mosquitto5
	c.Need(t)
	h := begin(t)
	content := strings.Repeat("firmware ", 1000)
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	store := func(who, sum, body string) int {
		status, _ := request(t, http.MethodPut, "http://"+h.HTTP()+"/files/"+sum, body, m{"Authorization": "Bearer " + h.Token(who)})
		return status
	}
	for who, want := range map[string]int{"alice": http.StatusOK, "carol": http.StatusForbidden} {
		if status := store(who, sum, content); status != want {
			t.Errorf("%s stores it: %d, want %d", who, status, want)
		}
	}
	if status := store("alice", sum, "something else"); status != http.StatusBadRequest {
		t.Errorf("another file of this sum: %d", status)
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	h.Call("alice", "job.key", m{"key": base64.StdEncoding.EncodeToString(public)}, nil)
	manifest := fmt.Sprintf("magpie-file-1\nlamp.bin\n1.2.0\n1.0.0\n%d\n%s\n", len(content), sum)
	file := m{"name": "lamp.bin", "version": "1.2.0", "min_version": "1.0.0", "sha256": sum,
		"sig": base64.StdEncoding.EncodeToString(ed25519.Sign(private, []byte(manifest+"!")))}
	update := m{"devices": []string{h.lamp}, "document": m{"operation": "update"}, "files": []m{file}}
	var refused *server.RefusalError
	if err := h.TryCall("alice", "job.create", update, nil); !errors.As(err, &refused) || refused.Status != http.StatusForbidden {
		t.Errorf("with a bad signature: %v", err)
	}
	sig := base64.StdEncoding.EncodeToString(ed25519.Sign(private, []byte(manifest)))
	file["sig"] = sig
	job := h.job(update)

	lamp := h.listen(c, h.lamp, "lamp", "$aws/things/lamp/jobs/notify-next")
	told := lamp.hears("$aws/things/lamp/jobs/notify-next", nil)
	files, _ := at(told, "execution", "jobDocument", "files").([]any)
	if len(files) != 1 || at(files[0], "sig") != sig || at(files[0], "sha256") != sum || at(files[0], "min_version") != "1.0.0" {
		t.Fatalf("told %v", told)
	}
	url := at(files[0], "url").(string)
	if status, got := request(t, http.MethodGet, url, "", nil); status != http.StatusOK || got != content {
		t.Errorf("the whole: %d, %d bytes", status, len(got))
	}
	resumed := m{"Range": "bytes=5000-", "If-Range": `"` + sum + `"`}
	if status, got := request(t, http.MethodGet, url, "", resumed); status != http.StatusPartialContent || got != content[5000:] {
		t.Errorf("the rest: %d, %d bytes", status, len(got))
	}
	// What broke off half-way, through a crash of the server, goes on at the address that the job has then.
	var half [5000]byte
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadFull(response.Body, half[:])
	if err := errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	lamp.Kill()
	h.Kill()
	h.Server.Start()
	lamp = h.listen(c, h.lamp, "lamp", "$aws/things/lamp/jobs/notify-next")
	told = lamp.hears("$aws/things/lamp/jobs/notify-next", nil)
	files, _ = at(told, "execution", "jobDocument", "files").([]any)
	if len(files) != 1 {
		t.Fatalf("told after the crash %v", told)
	}
	url = at(files[0], "url").(string)
	if status, got := request(t, http.MethodGet, url, "", resumed); status != http.StatusPartialContent || string(half[:])+got != content {
		t.Errorf("the rest, at the new address: %d, %d bytes", status, len(got))
	}
	if status, _ := request(t, http.MethodGet, strings.Replace(url, "did=lamp", "did=lump", 1), "", nil); status != http.StatusNotFound {
		t.Errorf("at an address that is not signed: %d", status)
	}

	pieces, err := c.Listen(t.Context(), h.as(h.lamp, "pieces"), 1, "v2/fw/response/+/chunk/+")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pieces.Kill)
	var got strings.Builder
	for i := 0; ; i++ {
		topic := fmt.Sprintf("1/chunk/%d", i)
		ask := clients.Message{Topic: "v2/fw/request/" + topic, Payload: []byte("4000"), QoS: 1}
		if err := c.Send(t.Context(), h.as(h.lamp, "asks"), ask); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), server.Deadline)
		piece, err := pieces.Next(ctx)
		cancel()
		if err != nil || piece.Topic != "v2/fw/response/"+topic {
			t.Fatalf("piece %d: %s, %v", i, piece.Topic, err)
		}
		if len(piece.Payload) == 0 {
			break
		}
		got.Write(piece.Payload)
	}
	if got.String() != content {
		t.Errorf("in pieces: %d bytes", got.Len())
	}
	h.send(c, h.lamp, "done", "$aws/things/lamp/jobs/"+job+"/update", m{"status": "SUCCEEDED"})
	h.becomes(job, "COMPLETED", m{"SUCCEEDED": 1})
}
