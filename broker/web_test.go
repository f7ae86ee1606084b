package broker_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
)

// get asks a node for a path and gives the status and the body.
func get(t *testing.T, n *brokertest.Node, path, token string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.HTTP()+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestHealthAndMetrics(t *testing.T) {
	n := brokertest.Start(t)
	for path, want := range map[string]string{
		"/healthz": "ok\n",
		"/readyz":  "ready\n",
		"/metrics": "\nmagpie_mochi_residue 0\n",
	} {
		if status, body := get(t, n, path, ""); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("GET %s: %d %.200q, want 200 with %q", path, status, body, want)
		}
	}
	if status, _ := get(t, n, "/elsewhere", ""); status != http.StatusNotFound {
		t.Errorf("GET /elsewhere: %d, want 404", status)
	}
}

func TestMetricsMayNeedAToken(t *testing.T) {
	n := brokertest.Start(t, func(c *broker.Config) {
		if err := c.Metrics.Token.UnmarshalText([]byte("let me see")); err != nil {
			t.Fatal(err)
		}
	})
	for token, want := range map[string]int{
		"": http.StatusUnauthorized, "let me": http.StatusUnauthorized, "let me see": http.StatusOK,
	} {
		if status, _ := get(t, n, "/metrics", token); status != want {
			t.Errorf("GET /metrics with %q: %d, want %d", token, status, want)
		}
	}
}

// A node that cannot write says so before clients find out, and when it can again.
func TestANodeThatRefusesWritesIsNotReady(t *testing.T) {
	mongotest.Embedded(t, "its disk is too full")
	n := brokertest.Start(t, func(c *broker.Config) { c.Store.MinFree = 1 << 62 })
	if status, body := get(t, n, "/readyz", ""); status != http.StatusServiceUnavailable {
		t.Errorf("GET /readyz: %d %q, want 503", status, body)
	}
	if status, _ := get(t, n, "/healthz", ""); status != http.StatusOK {
		t.Errorf("GET /healthz: %d, want 200", status)
	}
}

func TestTheAdminSocketIsPrivateAndGoneAfterwards(t *testing.T) {
	n := brokertest.Start(t)
	path := filepath.Join(n.Dir(), broker.AdminSocket)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("admin socket: %v, %v, want mode 0600", info, err)
	}
	n.Stop()
	if _, err := os.Stat(path); err == nil {
		t.Error("the admin socket is still there after a stop")
	}
}
