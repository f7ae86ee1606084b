package rest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/api"
	"github.com/magpie-im/magpie/api/document"
	"github.com/magpie-im/magpie/api/document/documenttest"
)

func get(t *testing.T, h http.Handler, path string, header ...string) answer {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, http.NoBody)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{Response: w.Result(), raw: w.Body.String()}
}

// described are documents that were read before.
var described sync.Map

func documentOf(t *testing.T, h http.Handler, path string) *documenttest.Document {
	t.Helper()
	text := get(t, h, path).raw
	if d, ok := described.Load(text); ok {
		return d.(*documenttest.Document)
	}
	d, err := documenttest.Read([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v\n%.1000s", path, err, text)
	}
	described.Store(text, d)
	return d
}

// wantDescribed checks an answer to a call that there is: it has to be one that openapi.json tells of. So every test of this
// package is one of the document, too.
func wantDescribed(t *testing.T, h http.Handler, r *http.Request, a answer) {
	t.Helper()
	path, ok := strings.CutPrefix(r.URL.Path, "/api/v1")
	if !ok || r.Method != http.MethodPost {
		return
	}
	if get(t, h, "/api/v1/openapi.json").StatusCode != http.StatusOK { // a part of a handler, made by a test
		return
	}
	d := documentOf(t, h, "/api/v1/openapi.json")
	if _, known := d.Example(path); !known {
		if a.fields["err"] != "no_method" {
			t.Errorf("%s is no call of openapi.json, and is answered with %d %s", path, a.StatusCode, a.raw)
		}
		return
	}
	if err := d.Answer(r.Method, path, a.StatusCode, a.Header.Get("Content-Type"), []byte(a.raw)); err != nil {
		t.Error(err)
	}
}

// Who adds a row, or a field, has to say what it is.
func TestEverythingIsDescribed(t *testing.T) {
	n := start(t, nil)
	h := newHandler(n.table, []Option{WithAdmin(n.admin)})
	for name, write := range map[string]func(document.Source) ([]byte, []string){
		"OpenAPI": document.OpenAPI, "AsyncAPI": document.AsyncAPI,
	} {
		_, gaps := write(h.source())
		for _, gap := range gaps {
			t.Errorf("%s: %s", name, gap)
		}
	}
}

func TestEveryOperationIsInTheDocuments(t *testing.T) {
	n := start(t, nil)
	var want []string
	topics := documentOf(t, n.handler, "/api/v1/asyncapi.json").Topics(true)
	for _, op := range n.table.Operations() {
		want = append(want, "/"+op.Name)
		if _, ok := topics["im/rpc/"+op.Name]; ok == op.Streams() {
			t.Errorf("im/rpc/%s in asyncapi.json: %t", op.Name, ok)
		}
	}
	for _, op := range n.admin.Operations() {
		want = append(want, "/admin/"+op.Name)
	}
	slices.Sort(want)
	if got := documentOf(t, n.handler, "/api/v1/openapi.json").Paths(); !slices.Equal(got, want) {
		t.Errorf("openapi.json has\n%q, want\n%q", got, want)
	}
}

// Without an administrator's table there is nothing to tell of it.
func TestOnlyWhatIsServedIsDescribed(t *testing.T) {
	n := start(t, nil)
	for _, path := range documentOf(t, New(n.table, n.acc), "/api/v1/openapi.json").Paths() {
		if strings.HasPrefix(path, "/admin/") {
			t.Errorf("%s is in the document", path)
		}
	}
}

// Every kind of fault has to have a status in the document, and no status may be there that is not in statuses.
func TestEveryRefusalIsDescribed(t *testing.T) {
	n := start(t, nil)
	d := documentOf(t, n.handler, "/api/v1/openapi.json")
	for _, f := range api.Faults() {
		w := httptest.NewRecorder()
		writeProblem(w, statuses[f.Err], f)
		if err := d.Answer(http.MethodPost, "/send", w.Code, w.Header().Get("Content-Type"), w.Body.Bytes()); err != nil {
			t.Error(err)
		}
	}
}

// The examples are sent to a real server. It may refuse them, where they depend on what was before, but only in a way that is
// in the document; serve checks that.
func TestExamplesAreAnsweredAsDescribed(t *testing.T) {
	n := start(t, func(c *accounts.Config) { c.Registration = accounts.RegistrationOpen })
	if err := n.acc.SetRole(t.Context(), "bob", accounts.RoleAdmin); err != nil {
		t.Fatal(err)
	}
	d := documentOf(t, n.handler, "/api/v1/openapi.json")
	paths := d.Paths()
	slices.SortStableFunc(paths, func(a, b string) int { return late(a) - late(b) }) // what ends an account comes last
	done := map[string]bool{}
	for _, path := range paths {
		example, ok := d.Example(path)
		if !ok {
			t.Errorf("%s has no example", path)
		}
		if path == "/account.export" {
			continue // lines, see below
		}
		who := "alice"
		if strings.HasPrefix(path, "/admin/") {
			who = "bob"
		}
		secret, _, err := n.acc.Login(t.Context(), who, "correct horse", "", netip.MustParseAddr("192.0.2.1"))
		if err != nil {
			t.Fatalf("before %s: %v", path, err)
		}
		a := n.post(secret, path[1:], string(example))
		done[path] = a.StatusCode == http.StatusOK
		if !done[path] {
			t.Logf("%s %s: %d %s", path, example, a.StatusCode, a.raw)
		}
		if a.StatusCode >= http.StatusInternalServerError {
			t.Errorf("the example of %s fails: %s: %d %s", path, example, a.StatusCode, a.raw)
		}
		if a.fields["err"] == "bad" {
			t.Errorf("the example of %s is malformed; tags `required` and `example` say what is in it: %s: %s", path, example, a.raw)
		}
	}
	for _, path := range []string{"/send", "/history", "/sync", "/read", "/conv.list", "/unread.get", "/contact.list",
		"/contact.search", "/profile.get", "/profile.set", "/settings.set", "/presence.get", "/session.list", "/login",
		"/admin/user.list", "/admin/user.show", "/admin/invite.add", "/admin/invite.list", "/admin/audit.list"} {
		if !done[path] {
			t.Errorf("the example of %s was refused", path)
		}
	}
}

// late puts off what an account cannot go on after.
func late(path string) int {
	switch path {
	case "/contact.remove", "/contact.block", "/contact.unblock":
		return 1
	case "/account.passwd", "/admin/user.disable", "/admin/user.enable", "/admin/user.passwd":
		return 2
	case "/account.delete", "/admin/user.delete":
		return 3
	}
	return 0
}

// What is said to be required is: without it a call is refused. What is not said to be is not missed for being malformed.
func TestRequiredFieldsAreRequired(t *testing.T) {
	n := start(t, nil)
	d := documentOf(t, n.handler, "/api/v1/openapi.json")
	for _, op := range n.table.Operations() {
		example, _ := d.Example("/" + op.Name)
		var whole map[string]json.RawMessage
		if err := json.Unmarshal(example, &whole); err != nil {
			t.Fatal(err)
		}
		for _, field := range d.Required("/" + op.Name) {
			without := map[string]json.RawMessage{}
			for name, value := range whole {
				if name != field {
					without[name] = value
				}
			}
			body, err := json.Marshal(without)
			if err != nil {
				t.Fatal(err)
			}
			if a := n.post(n.token("alice"), op.Name, string(body)); a.StatusCode == http.StatusOK {
				t.Errorf("%s(%s) is answered with %s, and %q is said to be required", op.Name, body, a.raw, field)
			}
		}
	}
}

func TestAnExportIsDescribed(t *testing.T) {
	n := start(t, nil)
	token := n.token("alice")
	n.mustPost(token, "send", `{"to":"bob","body":{"text":"hi"}}`)
	d := documentOf(t, n.handler, "/api/v1/openapi.json")
	for _, method := range []string{http.MethodPost, http.MethodGet} {
		r := request(token, "account.export", "")
		r.Method = method
		w := httptest.NewRecorder()
		n.handler.ServeHTTP(w, r)
		err := d.Answer(method, "/account.export", w.Code, w.Header().Get("Content-Type"), w.Body.Bytes())
		if err != nil || !strings.Contains(w.Body.String(), `"t":"msg"`) {
			t.Errorf("%v\n%s", err, w.Body)
		}
	}
}

// The checks themselves: what the document does not say is found.
func TestWhatIsNotDescribedIsFound(t *testing.T) {
	n := start(t, nil)
	d := documentOf(t, n.handler, "/api/v1/openapi.json")
	const good = `{"c":"d.alice.bob","seq":1,"id":"i","mid":"m","ts":1}`
	for name, tt := range map[string]struct {
		path string
		code int
		kind string
		body string
	}{
		"as described":    {"/send", 200, "application/json", good},
		"another field":   {"/send", 200, "application/json", strings.Replace(good, `{`, `{"more":1,`, 1)},
		"a field missing": {"/send", 200, "application/json", strings.Replace(good, `"seq":1,`, ``, 1)},
		"another type":    {"/send", 200, "application/json", strings.Replace(good, `"seq":1`, `"seq":"1"`, 1)},
		"null":            {"/send", 200, "application/json", strings.Replace(good, `"seq":1`, `"seq":null`, 1)},
		"another status":  {"/send", 201, "application/json", good},
		"another kind":    {"/send", 200, "text/plain", good},
		"another path":    {"/sent", 200, "application/json", good},
		"deep inside": {"/history", 200, "application/json",
			`{"msgs":[{"seq":1,"id":"i","mid":"m","from":"bob","ts":1,"k":"text","body":{},"more":1}],"head":1,"floor":1}`},
		"in a nothing": {"/logout", 200, "application/json", `{"more":1}`},
		"another word": {"/send", 403, "application/problem+json",
			`{"type":"about:blank","title":"Forbidden","status":403,"err":"no_reason"}`},
	} {
		err := d.Answer(http.MethodPost, tt.path, tt.code, tt.kind, []byte(tt.body))
		if (err == nil) != (name == "as described") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDocumentsAreServed(t *testing.T) {
	n := start(t, nil)
	for path, kind := range map[string]string{
		"/api/v1/openapi.json": "application/json", "/api/v1/asyncapi.json": "application/json",
		"/api/v1/docs": "text/html; charset=utf-8", "/api/v1/docs/page.js": "text/javascript; charset=utf-8",
		"/api/v1/docs/page.css": "text/css; charset=utf-8",
	} {
		a := get(t, n.handler, path)
		tag := a.Header.Get("ETag")
		if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != kind || tag == "" ||
			a.Header.Get("X-Content-Type-Options") != "nosniff" || a.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("GET %s: %d %v", path, a.StatusCode, a.Header)
		}
		policy := a.Header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "trusted-types 'none'"} {
			if !strings.Contains(policy, part) || strings.Contains(policy, "unsafe") {
				t.Errorf("GET %s: policy %q, want %q in it", path, policy, part)
			}
		}
		if a := get(t, n.handler, path, "If-None-Match", tag); a.StatusCode != http.StatusNotModified {
			t.Errorf("GET %s again: %d", path, a.StatusCode)
		}
		if b := get(t, New(n.table, n.acc, WithAdmin(n.admin)), path); b.Header.Get("ETag") != tag {
			t.Errorf("GET %s from another server: another ETag", path)
		}
	}
	for _, path := range []string{"/api/v1/docs/", "/api/v1/docs/index.html", "/api/v1/docs/../rest.go", "/api/v1/docs/page"} {
		if a := get(t, n.handler, path); a.StatusCode != http.StatusNotFound {
			t.Errorf("GET %s: %d", path, a.StatusCode)
		}
	}
}

// The page has no script and no style within it, takes nothing from elsewhere, and makes no HTML of what it is given.
func TestThePageIsSelfContained(t *testing.T) {
	for _, name := range []string{"index.html", "page.js", "page.css"} {
		text, err := page.ReadFile("page/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{
			`https?:`, `//[a-z0-9.-]+\.[a-z]+/`, `\bon[a-z]+=`, `style=`, `<script>`, `<style>`, `innerHTML`, `outerHTML`,
			`insertAdjacentHTML`, `document\.write`, `\beval\b`, `new Function`, `DOMParser`, `srcdoc`, `javascript:`, `@import`, `url\(`,
			`localStorage`, `sessionStorage`, `document\.cookie`,
		} {
			if found := regexp.MustCompile(bad).Find(text); found != nil {
				t.Errorf("%s has %q", name, found)
			}
		}
	}
}
