package devices

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/magpie-im/magpie/accounts"
)

// paths takes what was told, as topics.
func (e *ear) paths() (all []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range e.told {
		all = append(all, x.Topic.Path)
	}
	e.told = nil
	return all
}

func TestAShadowIsToldInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		steps := []struct {
			who, payload, want string
			err                error
		}{
			{"mia", `{"state":{"desired":{"on":true}}}`, "update/accepted update/delta update/documents shadow want", nil},
			{"lamp", `{"state":{"reported":{"on":false}}}`, "update/accepted update/delta update/documents shadow", nil},
			{"lamp", `{"state":{"reported":{"on":true}}}`, "update/accepted update/documents shadow", nil},
			{"olga", `{"state":{"desired":{"on":false}},"version":9}`, "update/rejected", nil},
			{"olga", `{"state":{"desired":{"on":false}},"version":3}`, "update/accepted update/delta update/documents shadow want", nil},
			{"olga", `{"state":{"desired":null}}`, "update/accepted update/documents shadow want", nil},
			{"olga", `{`, "update/rejected", nil},
			{"gus", `{"state":{"desired":{"on":true}}}`, "update/rejected", ErrNoRight},
			{"olga", `{"state":{"reported":{"on":true}}}`, "update/rejected", ErrNoRight},
			{"eve", `{"state":{"desired":{"on":true}}}`, "", ErrUnknown},
			{"eve", `{`, "", ErrUnknown},
		}
		for _, step := range steps {
			err := b.ServeShadow(t.Context(), accounts.Name(step.who), "lamp", "", "update", []byte(step.payload))
			if err != nil && step.err == nil || !errors.Is(err, step.err) {
				t.Errorf("%s %s: %v, want %v", step.who, step.payload, err, step.err)
			}
			if got := strings.ReplaceAll(strings.Join(b.ear.paths(), " "), "shadow/", ""); got != step.want {
				t.Errorf("%s %s: told %q, want %q", step.who, step.payload, got, step.want)
			}
		}
	})
}

func TestNamedShadows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		serve := func(name, verb, payload, want string) {
			t.Helper()
			if err := b.ServeShadow(t.Context(), "lamp", "lamp", name, verb, []byte(payload)); err != nil {
				t.Error(err)
			}
			b.ear.mu.Lock()
			first := b.ear.told[0]
			b.ear.mu.Unlock()
			b.ear.paths()
			if got := first.Topic.Path + " " + first.Payload; !strings.HasPrefix(got, want) {
				t.Errorf("%s %s: told %s, want %s", name, verb, got, want)
			}
		}
		serve("a", "get", `{"clientToken":"t"}`, `shadow/name/a/get/rejected {"code":404,"message":"No shadow exists","timestamp":946684800,"clientToken":"t"}`)
		for _, name := range strings.Split("abcdefghij", "") {
			serve(name, "update", `{"state":{"desired":{"x":1}}}`, "shadow/name/"+name+"/update/accepted")
		}
		serve("k", "update", `{"state":{"desired":{"x":1}}}`, `shadow/name/k/update/rejected {"code":400`)
		serve("a", "delete", ``, `shadow/name/a/delete/accepted {"version":2`)
		serve("k", "update", `{"state":{"desired":{"x":1}}}`, `shadow/name/k/update/accepted`)
		var now []string
		all := func(Topic) bool { return true }
		if err := b.Now(t.Context(), "lamp", "lamp", all, func(to Topic, payload []byte) bool {
			now = append(now, to.Path+" "+string(payload))
			return true
		}); err != nil {
			t.Fatal(err)
		}
		if len(now) != 10 || !slices.ContainsFunc(now, func(s string) bool { return strings.HasPrefix(s, `shadow/name/k/update/delta {"state":{"x":1}`) }) {
			t.Errorf("now: %q", now)
		}
	})
}
