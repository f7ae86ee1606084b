package e2e

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/e2e/clients"
	"github.com/magpie-im/magpie/e2e/server"
)

// judgement is what the judges say of one thing.
type judgement struct {
	Name       string   `json:"name"`
	Version    string   `json:"version"`
	Wrong      []string `json:"wrong"`
	Operations []string `json:"operations"`
}

// The documents of the real binary are OpenAPI 3.1 and AsyncAPI 3 to those who know, by the schemas that those standards
// publish, and the page shows all of it, calls what is tried, and makes no HTML of what it reads.
func TestOthersUnderstandTheDocuments(t *testing.T) {
	long(t)
	clients.Judges.Need(t)
	s := server.Start(t)
	s.AddUsers("alice")
	ctx, cancel := context.WithTimeout(t.Context(), 2*server.Deadline)
	defer cancel()
	told := map[string]string{"api": "http://" + s.HTTP() + "/api/v1", "user": "alice", "password": server.Password}
	judges, err := clients.Judges.Start(ctx, told)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(judges.Kill)
	methods := map[string][]string{}
	for _, want := range []struct{ name, version string }{
		{"openapi", "3.1"}, {"asyncapi", "3.0.0"}, {"page", ""}, {"attack", ""},
	} {
		line, err := judges.Line(ctx)
		if err != nil {
			t.Fatalf("%s: %v", want.name, err)
		}
		var got judgement
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if got.Name != want.name || got.Version != want.version || len(got.Wrong) > 0 {
			t.Errorf("got %s %q, wrong: %s; want %s %q", got.Name, got.Version, strings.Join(got.Wrong, "\n"), want.name, want.version)
		}
		slices.Sort(got.Operations)
		methods[got.Name] = got.Operations
	}
	for _, name := range []string{"page", "attack"} {
		shown := make([]string, len(methods[name]))
		for i, method := range methods[name] {
			shown[i] = "/" + method
		}
		if !slices.Equal(shown, methods["openapi"]) || len(shown) == 0 {
			t.Errorf("%s shows %q, want %q", name, shown, methods["openapi"])
		}
	}
	if !slices.Contains(methods["asyncapi"], "rpc.send") {
		t.Errorf("asyncapi.json has the operations %q", methods["asyncapi"])
	}
}
