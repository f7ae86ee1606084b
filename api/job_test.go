package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/jobs"
)

// Who manages the devices of a home manages its jobs; to all others there is none.
func TestWhoMayDoWhatWithAJob(t *testing.T) {
	n, home := street(t)
	ctx, end := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- n.jobs.Run(ctx) }()
	defer func() {
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	create := fmt.Sprintf(`{"home":%q,"title":"1.2","document":{"operation":"update"},"rollout":{"first":1},"window":{"from":"01:00",`+
		`"until":"01:00"},"files":[{"name":"a","version":"2","url":"https://x.example/a","size":7,"sha256":%q}]}`,
		home, strings.Repeat("ab", 32))
	made := n.ok("adam", "job.create", create)
	want(t, made, `{"title":"1.2","by":"adam","state":"IN_PROGRESS","document":{"operation":"update"},"rollout":{"first":1}}`)
	id := made["job"].(string)
	asked := fmt.Sprintf(`{"job":%q}`, id)
	for who, word := range map[accounts.Name]string{
		"olga": "ok", "adam": "ok", "mary": "no_job", "gus": "no_job", "sue": "no_job", "uma": "no_job", "bob": "no_job",
	} {
		for _, method := range []string{"job.get", "job.executions"} {
			if got := n.ends(who, method, asked); got != word {
				t.Errorf("%s, %s: %s, want %s", who, method, got, word)
			}
		}
		if got := n.ends(who, "job.list", fmt.Sprintf(`{"home":%q}`, home)); got != word {
			t.Errorf("%s, job.list: %s, want %s", who, got, word)
		}
		if word != "ok" {
			for _, method := range []string{"job.cancel", "job.remove"} {
				if got := n.ends(who, method, asked); got != word {
					t.Errorf("%s, %s: %s, want %s", who, method, got, word)
				}
			}
		}
	}
	for who, word := range map[accounts.Name]string{"olga": "ok", "mary": "no_right", "sue": "no_right", "bob": "no_device"} {
		if got := n.ends(who, "job.create", `{"devices":["lamp"],"document":{}}`); got != word {
			t.Errorf("%s, job.create: %s, want %s", who, got, word)
		}
	}
	list := n.ok("olga", "job.list", fmt.Sprintf(`{"home":%q}`, home))["jobs"].([]any)
	if len(list) != 1 || list[0].(map[string]any)["job"] != id {
		t.Errorf("job.list: %v", list)
	}
	if got := n.ends("olga", "job.remove", asked); got != "running" {
		t.Errorf("removed while it runs: %s", got)
	}
	n.ok("olga", "job.cancel", `{"force":true,`+asked[1:])
	if got := n.ends("olga", "job.cancel", `{"force":true,`+asked[1:]); got != "late" {
		t.Errorf("canceled again: %s", got)
	}
	for n.ends("olga", "job.remove", asked) == "running" {
		if t.Context().Err() != nil {
			t.Fatal("it does not end")
		}
	}
	if got := n.ends("olga", "job.get", asked); got != "no_job" {
		t.Errorf("removed: %s", got)
	}
}

func TestAJobIsRefused(t *testing.T) {
	n, _ := street(t)
	for body, word := range map[string]string{
		`{"devices":["lamp"]}`:                                                      "bad",
		`{"devices":["lamp"],"document":[]}`:                                        "bad",
		`{"devices":["La mp"],"document":{}}`:                                       "bad",
		`{"devices":["none"],"document":{}}`:                                        "no_device",
		`{"tag":"none","document":{}}`:                                              "no_device",
		`{"devices":["lamp"],"document":{},"rollout":{"percent":3,"per_minute":1}}`: "bad",
		`{"devices":["lamp"],"document":{},"files":[{"sha256":"` + strings.Repeat("ab", 32) + `"}]}`: "no_file",
		`{"devices":["lamp"],"document":{},"files":[{"sha256":"ab","sig":"!"}]}`:                     "bad",
	} {
		if got := n.ends("olga", "job.create", body); got != word {
			t.Errorf("%s: %s, want %s", body, got, word)
		}
	}
	n.ok("olga", "job.key", `{"key":"`+strings.Repeat("A", 43)+`="}`)
	signed := `{"devices":["lamp"],"document":{},"files":[{"url":"https://x/y","size":1,"sha256":"` + strings.Repeat("ab", 32) + `"}]}`
	if got := n.ends("olga", "job.create", signed); got != "signature" {
		t.Errorf("not signed: %s", got)
	}
	if got := n.ends("olga", "job.key", `{"key":"AAAA"}`); got != "bad" {
		t.Errorf("a short key: %s", got)
	}
	n.ok("olga", "job.key", `{}`)
	want(t, n.ok("olga", "job.create", signed), fmt.Sprintf(`{"state":%q}`, jobs.JobRunning))
}
