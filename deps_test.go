// Package magpie_test holds what must be true of the repository as a whole.
package magpie_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/magpie-im/magpie"

// anything marks the packages that nobody imports: tests and tools.
var anything = []string{"*"}

// mayImport says which packages of ours a package may import; its tests may import what they like. It is the table of
// docs/architecture.md. The domain (accounts, chat, broker/sessions) knows no MQTT library, no HTTP and no database, and
// nothing below broker knows which store there is.
var mayImport = map[string][]string{
	"accounts":                  {},
	"authority":                 {},
	"backup":                    {},
	"broker/transport":          {},
	"chat":                      {"accounts"},
	"devices":                   {"accounts", "records"},
	"automations":               {"accounts", "devices", "records"},
	"records":                   {},
	"records/recordstest":       {"records"},
	"files":                     {},
	"jobs":                      {"accounts", "devices", "files", "records"},
	"broker/sessions":           {"accounts"},
	"api":                       {"accounts", "automations", "chat", "devices", "jobs", "locations", "trips", "broker/sessions"},
	"api/document":              {"accounts", "chat", "devices", "jobs", "locations", "trips", "api"},
	"devices/dialects":          {"accounts", "devices", "devices/dialects/jinja", "locations"},
	"devices/dialects/jinja":    {},
	"api/rest":                  {"accounts", "chat", "devices/dialects", "jobs", "locations", "broker/sessions", "api", "api/document"},
	"hooks":                     {"accounts", "chat", "devices", "devices/dialects", "bridges", "jobs", "locations", "provisioning", "trips", "broker/sessions", "broker/transport", "api"},
	"api/document/documenttest": {},
	"spaces":                    {"accounts", "automations", "chat", "devices", "locations", "records"},
	"bridges":                   {"accounts", "devices", "devices/dialects", "records"},
	"provisioning":              {"accounts", "authority", "devices", "devices/dialects"},
	"locations":                 {"accounts", "records"},
	"trips":                     {"accounts", "locations", "records"},
	"transfer":                  {"accounts", "chat", "devices", "broker/sessions"},
	"store/backlogs":            {"broker/sessions"},
	"store/pebble":              {"accounts", "chat", "devices", "records", "broker/sessions", "transfer", "store/backlogs"},
	"store/mongo":               {"accounts", "chat", "devices", "records", "broker/sessions", "transfer", "store/backlogs"},
	"store/mongo/mongotest":     {},
	"store/storetest":           {"accounts", "chat", "devices", "records", "broker/sessions", "transfer"},
	"broker": {
		"accounts", "authority", "automations", "bridges", "chat", "devices", "files", "jobs", "locations", "provisioning", "records", "trips", "broker/sessions", "broker/transport",
		"api", "api/rest", "hooks", "spaces",
	},
	"broker/brokertest": {"accounts", "chat", "devices", "broker/sessions", "api", "broker", "records", "store/mongo", "store/mongo/mongotest", "store/pebble"},
	"cmd/magpie":        {"accounts", "authority", "backup", "chat", "files", "api/rest", "broker", "store/mongo", "store/pebble", "transfer"},

	"bench":             anything,
	"e2e":               anything,
	"e2e/clients":       anything,
	"e2e/conformance":   anything,
	"e2e/conversations": anything,
	"e2e/database":      anything,
	"e2e/device":        anything,
	"e2e/journal":       anything,
	"e2e/live":          anything,
	"e2e/model":         anything,
	"e2e/people":        anything,
	"e2e/peers":         anything,
	"e2e/promises":      anything,
	"e2e/server":        anything,
	"e2e/things":        anything,
	"e2e/traffic":       anything,
	"e2e/trips":         anything,
	"e2e/wire":          anything,
	"e2e/mochi":         anything,

	"store/mongo/wirefault": anything,
}

// ownedBy says which packages may import a library, and with it know what it is about. One that only tests import
// need not be here.
var ownedBy = map[string][]string{
	"github.com/mochi-mqtt/server/v2":  {"hooks", "broker"},
	"github.com/cockroachdb/pebble/v2": {"store/pebble"},
	"github.com/coder/websocket":       {"broker/transport"},
	"github.com/go-chi/chi/v5":         {"api/rest", "broker"},
	"golang.org/x/crypto":              {"accounts"},
	"golang.org/x/text":                {"chat"},
	"github.com/golang/geo":            {"chat", "locations"},
	"github.com/alecthomas/kong":       {"cmd/magpie"},
	"github.com/expr-lang/expr":        {"automations"},
	"github.com/adhocore/gronx":        {"automations"},
	"github.com/pelletier/go-toml/v2":  {"cmd/magpie"},
	"net/http":                         {"broker/transport", "api/rest", "broker", "broker/brokertest", "cmd/magpie"},
	"github.com/nats-io":               {},
	"go.mongodb.org/mongo-driver":      {"store/mongo", "store/mongo/mongotest"},
}

type goPackage struct {
	ImportPath string
	Doc        string
	GoFiles    []string
	Imports    []string
}

func packages(t *testing.T) map[string]goPackage {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Doc,GoFiles,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr(err))
	}
	found := map[string]goPackage{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("answer of go list: %v", err)
		}
		if name, ok := ours(p.ImportPath); ok && name != "" {
			found[name] = p
		}
	}
	return found
}

func stderr(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(exit.Stderr)
	}
	return ""
}

// ours gives the name of a package within this module; "" for its root.
func ours(path string) (name string, ok bool) {
	if path == module {
		return "", true
	}
	return strings.CutPrefix(path, module+"/")
}

func TestPackagesImportOnlyWhatTheTableAllows(t *testing.T) {
	found := packages(t)
	for name := range mayImport {
		if _, ok := found[name]; !ok {
			t.Errorf("the table has a row for %s, and there is no such package", name)
		}
	}
	for name, p := range found {
		allowed, ok := mayImport[name]
		if !ok {
			t.Errorf("package %s is not in the table", name)
		}
		if slices.Equal(allowed, anything) {
			continue
		}
		for _, path := range p.Imports {
			if imported, ok := ours(path); ok && !slices.Contains(allowed, imported) {
				t.Errorf("%s imports %s; it may import %q", name, imported, allowed)
			}
		}
	}
}

func TestLibrariesStayWithTheirOwners(t *testing.T) {
	for name, p := range packages(t) {
		if slices.Equal(mayImport[name], anything) {
			continue
		}
		for _, path := range p.Imports {
			for library, owners := range ownedBy {
				if (path == library || strings.HasPrefix(path, library+"/")) && !slices.Contains(owners, name) {
					t.Errorf("%s imports %s; only %q may", name, path, owners)
				}
			}
		}
	}
}

func TestTheTableNamesOnlyPackagesThatExist(t *testing.T) {
	found := packages(t)
	for row, names := range mayImport {
		for _, name := range names {
			if _, ok := found[name]; !ok && name != "*" {
				t.Errorf("%s may import %s, and there is no such package", row, name)
			}
		}
	}
	for library, names := range ownedBy {
		for _, name := range names {
			if _, ok := found[name]; !ok {
				t.Errorf("%s belongs to %s, and there is no such package", library, name)
			}
		}
	}
}

func TestEveryPackageHasAComment(t *testing.T) {
	for name, p := range packages(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("package %s has no comment that says what it knows", name)
		}
	}
}
