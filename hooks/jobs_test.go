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
