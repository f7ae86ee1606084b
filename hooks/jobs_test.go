package hooks_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/e2e/wire"
	"github.com/magpie-im/magpie/jobs"
)

// job has alice make one for the lamp.
func (h *home) job(t *testing.T, document string) jobs.Job {
	t.Helper()
	job, err := h.Jobs().Create(t.Context(), "alice", jobs.New{
		Document: json.RawMessage(document), Targets: jobs.Targets{Devices: []accounts.Name{"lamp"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return job
}

func TestAWSJobsTopicsAreServedLiterally(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			n := startDevices(t)
			lamp := n.lamp(t, version, "l")
			owner := connect(t, n.Node, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
			const base = "$aws/things/lamp/jobs/"
			if codes := lamp.subscribe(
				wire.Filter{Topic: base + "notify-next", Options: 1}, wire.Filter{Topic: base + "start-next/+", Options: 1},
				wire.Filter{Topic: base + "+/update/+"},
			); !slices.Equal(codes, []byte{1, 1, 0}) {
				t.Errorf("SUBACK %v", codes)
			}
			owner.subscribe(wire.Filter{Topic: "$aws/things/+/jobs/#"}, wire.Filter{Topic: "dev/lamp/event/out", Options: 1})
			job := n.job(t, `{"n":1}`)
			lamp.toldOf(base + `notify-next "jobDocument":{"n":1}`)
			say := func(topic, payload string) {
				lamp.send(wire.Packet{Type: wire.PUBLISH, ID: 9, QoS: 1, Topic: base + topic, Payload: []byte(payload)})
			}
			say("start-next", `{"clientToken":"t1"}`)
			lamp.toldOf(base + `start-next/accepted "status":"IN_PROGRESS"`)
			say(job.ID+"/update", `{"status":"IN_PROGRESS","expectedVersion":7}`)
			lamp.toldOf(base + job.ID + `/update/rejected "VersionMismatch"`)
			second := n.lamp(t, version, "l2")
			second.subscribe(wire.Filter{Topic: base + "#"})
			second.toldOf(base + `notify-next "status":"IN_PROGRESS"`)
			second.send(wire.Packet{Type: wire.PUBLISH, Topic: "dev/me/event", Payload: []byte(`{"type":"x"}`)})
			owner.toldOf(`dev/lamp/event/out "type":"x"`) // and nothing before it
			say(job.ID+"/update", `{"status":"SUCCEEDED"}`)
			lamp.toldOf(base+job.ID+`/update/accepted "timestamp"`, base+`notify-next {"timestamp"`)
		})
	}
}

func TestNobodyElseSaysAnythingOfTheJobsOfADevice(t *testing.T) {
	n := startDevices(t)
	secret := n.AddDevice("other", "alice")
	job := n.job(t, `{}`)
	const base = "$aws/things/lamp/jobs/"
	lamp := n.lamp(t, wire.V5, "l")
	for name, c := range map[string]*client{
		"the owner":  connect(t, n.Node, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true}),
		"a friend":   connect(t, n.Node, wire.V5, wire.Connect{User: "bob", ClientID: "b", Clean: true}),
		"a stranger": connect(t, n.Node, wire.V5, wire.Connect{User: "carol", ClientID: "c", Clean: true}),
		"a device":   connect(t, n.Node, wire.V5, wire.Connect{User: "dev:other", Password: secret, ClientID: "o", Clean: true}),
	} {
		for _, topic := range []string{
			"get", "start-next", "$next/get", job.ID + "/get", job.ID + "/update", job.ID + "/update/accepted", "notify-next",
		} {
			if _, user := c.acked(base+topic, `{"status":"SUCCEEDED"}`); !slices.Contains(user, "{err no_right}") {
				t.Errorf("%s, %s: %v", name, topic, user)
			}
		}
	}
	for _, topic := range []string{job.ID + "/update/accepted", job.ID + "/get/rejected", "notify", "notify-next", "get/accepted"} {
		if _, user := lamp.acked(base+topic, `{}`); !slices.Contains(user, "{err no_right}") {
			t.Errorf("the device, %s: %v", topic, user)
		}
	}
	if _, user := lamp.acked(base+job.ID+"/update", `{"status":"SUCCEEDED"}`); slices.Contains(user, "{err no_right}") {
		t.Errorf("the device itself: %v", user)
	}
}

// One of three devices is first, and the rest follows; of the next job nobody else hears once half of those that were first have
// failed.
func TestARolloutOverSockets(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			n := startDevices(t)
			var all []accounts.Name
			var fleet []*client
			for _, did := range []string{"valve-0", "valve-1", "valve-2"} {
				c := wire.Connect{User: "dev:" + did, Password: n.AddDevice(did, "alice"), ClientID: did, Clean: true}
				valve := connect(t, n.Node, version, c)
				valve.subscribe(wire.Filter{Topic: "$aws/things/" + did + "/jobs/notify-next", Options: 1})
				all, fleet = append(all, accounts.Name(did)), append(fleet, valve)
			}
			create := func(document string, r jobs.Rollout) jobs.Job {
				t.Helper()
				job, err := n.Jobs().Create(t.Context(), "alice", jobs.New{
					Document: json.RawMessage(document), Targets: jobs.Targets{Devices: all}, Rollout: r})
				if err != nil {
					t.Fatal(err)
				}
				return job
			}
			// hears waits for what a device is to do next: "n":1, or nothing.
			hears := func(i int, want string) {
				t.Helper()
				topic := "$aws/things/" + string(all[i]) + "/jobs/notify-next"
				if want == "" {
					want = `{"timestamp"`
				}
				fleet[i].toldOf(topic + " " + want)
			}
			says := func(i int, job jobs.Job, status jobs.Status) {
				t.Helper()
				fleet[i].send(wire.Packet{Type: wire.PUBLISH, Topic: "$aws/things/" + string(all[i]) + "/jobs/" + job.ID + "/update",
					Payload: []byte(`{"status":"` + string(status) + `"}`)})
			}
			good := create(`{"n":1}`, jobs.Rollout{First: 1})
			hears(0, `"n":1`)
			says(0, good, jobs.Succeeded)
			hears(0, "")
			for _, i := range []int{1, 2} { // and not before: it is the first that they hear
				hears(i, `"n":1`)
				says(i, good, jobs.Succeeded)
				hears(i, "")
			}
			bad := create(`{"n":2}`, jobs.Rollout{First: 2, AbortPercent: 50, AbortAfter: 2})
			for i, status := range []jobs.Status{jobs.Succeeded, jobs.Failed} {
				hears(i, `"n":2`)
				says(i, bad, status)
				hears(i, "")
			}
			create(`{"n":3}`, jobs.Rollout{})
			for i := range fleet { // the third one hears of this, and has not heard of the one before
				hears(i, `"n":3`)
			}
			if job, err := n.Jobs().Job(t.Context(), "alice", bad.ID); err != nil || job.State != jobs.JobCanceled ||
				job.Reason != jobs.ReasonFailures || job.Counts[jobs.Canceled] != 1 {
				t.Errorf("the job is %+v, %v", job, err)
			}
		})
	}
}
