package rest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/api"
	"github.com/magpie-im/magpie/automations"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/jobs"
	"github.com/magpie-im/magpie/locations"
	"github.com/magpie-im/magpie/spaces"
	"github.com/magpie-im/magpie/store/pebble"
	"github.com/magpie-im/magpie/trips"
)

const password = "correct horse"

// node serves the real table on a real store, with alice and bob in it, who are contacts.
type node struct {
	t       *testing.T
	store   *pebble.Store
	commits *commits
	acc     *accounts.Service
	table   *api.Table
	admin   *api.Table
	handler http.Handler
	log     *bytes.Buffer // written by one goroutine at a time: requests here follow each other
}

// commits is the chat store whose commits a test can hold back.
type commits struct {
	chat.Store

	mu   sync.Mutex
	hold error // what Wait gives instead; nil: nothing special
}

type heldCommit struct{ err error }

func (c heldCommit) Wait(ctx context.Context) error {
	if errors.Is(c.err, context.DeadlineExceeded) {
		<-ctx.Done()
		return ctx.Err()
	}
	return c.err
}

func (s *commits) Append(ctx context.Context, d chat.Draft) (chat.Appended, chat.Commit, error) {
	a, commit, err := s.Store.Append(ctx, d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hold != nil {
		commit = heldCommit{s.hold}
	}
	return a, commit, err
}

type nobodyListens struct{}

func (nobodyListens) Wake(...accounts.Name) {}

type nobodyRides struct{}

func (nobodyRides) Tell([]accounts.Name, trips.Trip)            {}
func (nobodyRides) Summarize(context.Context, trips.Trip) error { return nil }

func start(t *testing.T, config func(*accounts.Config), opts ...Option) *node {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	store, err := pebble.Open(pebble.Config{Dir: t.TempDir()}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg := accounts.DefaultConfig()
	cfg.HashMemory, cfg.HashTime = 8, 1
	if config != nil {
		config(&cfg)
	}
	n := &node{t: t, store: store, commits: &commits{Store: store.Chat()}, log: new(bytes.Buffer)}
	n.acc = accounts.New(cfg, store.Accounts(), quiet)
	things := devices.NewThings(store.Devices(), time.Now, quiet)
	work := devices.New(devices.DefaultConfig(), store.Devices(), things, quiet)
	rooms := api.Rooms{
		Accounts: n.acc, Chat: chat.New(chat.DefaultConfig(), n.commits, n.acc, nobodyListens{}, quiet),
		Sessions: sessions.New(sessions.DefaultConfig(), store.Sessions(), nil, quiet),
		Things:   things, Devices: work, Claims: devices.NewClaims(things, n.acc, store.Records(), time.Now),
		Factory:   devices.NewFactory(things, work, n.acc, store.Records(), time.Now),
		Telemetry: devices.NewTelemeter(devices.DefaultTelemetryConfig(), store.Telemetry(), time.Now, quiet),
		Jobs:      jobs.NewService(jobs.DefaultConfig(), store.Records(), things, nil, nil, quiet),
	}
	homes := spaces.NewHomes(rooms.Chat, things, store.Records(), time.Now, quiet)
	sights := spaces.NewSights(rooms.Chat, things, homes, rooms.Accounts, quiet)
	rooms.Homes = homes
	rooms.Places = locations.New(locations.DefaultConfig(), store.Records(), sights, sights, time.Now, quiet)
	rooms.Trips = trips.New(store.Records(), sights, rooms.Places, nobodyRides{}, time.Now, quiet)
	rooms.Automations = automations.New(automations.DefaultConfig(), store.Records(), work, things, homes,
		spaces.NewScribe(rooms.Chat), time.Now, quiet)
	n.table, n.admin = api.New(rooms), api.NewAdmin(rooms)
	opts = append([]Option{WithLog(slog.New(slog.NewTextHandler(n.log, nil))), WithAdmin(n.admin)}, opts...)
	n.handler = New(n.table, n.acc, opts...)
	for _, name := range []string{"alice", "bob"} {
		if _, err := n.acc.Add(t.Context(), name, password); err != nil {
			t.Fatal(err)
		}
	}
	n.mustPost(n.token("alice"), "contact.request", `{"to":"bob"}`)
	n.mustPost(n.token("bob"), "contact.accept", `{"from":"alice"}`)
	return n
}

func (n *node) token(name string) string {
	n.t.Helper()
	secret, _, err := n.acc.Login(n.t.Context(), name, password, "", netip.MustParseAddr("192.0.2.1"))
	if err != nil {
		n.t.Fatal(err)
	}
	return secret
}

// answer is a response with its body decoded.
type answer struct {
	*http.Response
	raw    string
	fields map[string]any
}

func serve(t *testing.T, h http.Handler, r *http.Request) answer {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	a := answer{Response: w.Result(), raw: w.Body.String()}
	if a.raw != "" {
		if err := json.Unmarshal([]byte(a.raw), &a.fields); err != nil {
			t.Fatalf("answer %q: %v", a.raw, err)
		}
	}
	wantDescribed(t, h, r, a)
	return a
}

func request(token, method, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/api/v1/"+method, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

func (n *node) post(token, method, body string) answer {
	n.t.Helper()
	return serve(n.t, n.handler, request(token, method, body))
}

func (n *node) mustPost(token, method, body string) answer {
	n.t.Helper()
	a := n.post(token, method, body)
	if a.StatusCode != http.StatusOK {
		n.t.Fatalf("%s: %d %s", method, a.StatusCode, a.raw)
	}
	return a
}

// wantProblem checks a refusal and all that every refusal has.
func wantProblem(t *testing.T, a answer, status int, err string) {
	t.Helper()
	if a.StatusCode != status || a.fields["err"] != err {
		t.Errorf("got %d %s, want %d %s", a.StatusCode, a.raw, status, err)
	}
	if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q", got)
	}
	if a.fields["status"] != float64(a.StatusCode) || a.fields["type"] != "about:blank" || a.fields["title"] == "" ||
		a.fields["detail"] == "" {
		t.Errorf("problem %s", a.raw)
	}
	wantSafe(t, a)
}

// wantSafe checks what every answer has: no cache keeps it, no browser guesses, and nothing of ours is in it.
func wantSafe(t *testing.T, a answer) {
	t.Helper()
	if a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", a.Header)
	}
	for _, internal := range []string{"pebble", "panic", "goroutine", ".go", ": ", "context", "argon2"} {
		if strings.Contains(a.raw, internal) {
			t.Errorf("answer %s contains %q", a.raw, internal)
		}
	}
}

func TestAClientRegistersAndSends(t *testing.T) {
	n := start(t, func(c *accounts.Config) { c.Registration = accounts.RegistrationOpen })
	a := n.mustPost("", "register", `{"uid":"carol","password":"correct horse"}`)
	wantSafe(t, a)
	if a.Header.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", a.Header)
	}
	expires, _ := a.fields["expires"].(float64)
	if a.fields["uid"] != "carol" || a.fields["token"] == "" || expires < float64(time.Now().UnixMilli()) {
		t.Errorf("register: %s", a.raw)
	}
	a = n.mustPost("", "login", `{"uid":"alice","password":"correct horse"}`)
	token := a.fields["token"].(string)
	a = n.mustPost(token, "send", `{"to":"bob","body":{"text":"<b>7 & 8</b>"}}`)
	if a.fields["c"] != "d.alice.bob" || a.fields["seq"] != float64(1) {
		t.Errorf("send: %s", a.raw)
	}
	a = n.mustPost(token, "history", `{"c":"d.alice.bob"}`)
	if !strings.Contains(a.raw, `"body":{"text":"<b>7 & 8</b>"}`) {
		t.Errorf("history: %s", a.raw)
	}
	n.mustPost(token, "logout", ``)
	wantProblem(t, n.post(token, "history", `{"c":"d.alice.bob"}`), http.StatusUnauthorized, "credentials")
}

func TestWhatHTTPRefuses(t *testing.T) {
	n := start(t, nil)
	token := n.token("alice")
	shows := func(authorization string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", authorization) }
	}
	sends := func(contentType string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Content-Type", contentType) }
	}
	tests := map[string]struct {
		change func(*http.Request)
		status int
		err    string
	}{
		"no such method":     {func(r *http.Request) { r.URL.Path = "/api/v1/no.such" }, 404, "no_method"},
		"no such path":       {func(r *http.Request) { r.URL.Path = "/api/v2/send" }, 404, "no_method"},
		"deeper":             {func(r *http.Request) { r.URL.Path = "/api/v1/send/x" }, 404, "no_method"},
		"for administrators": {func(r *http.Request) { r.URL.Path = "/api/v1/user.add" }, 404, "no_method"},
		"GET":                {func(r *http.Request) { r.Method = http.MethodGet }, 405, "bad"},
		"OPTIONS":            {func(r *http.Request) { r.Method = http.MethodOptions }, 405, "bad"},
		"no token":           {func(r *http.Request) { r.Header.Del("Authorization") }, 401, "credentials"},
		"other scheme":       {shows("Basic YTpi"), 401, "credentials"},
		"empty token":        {shows("Bearer "), 401, "credentials"},
		"wrong token":        {shows("Bearer " + token + "x"), 401, "credentials"},
		"password as token":  {shows("Bearer " + password), 401, "credentials"},
		"a form":             {sends("application/x-www-form-urlencoded"), 415, "bad"},
		"plain text":         {sends("text/plain"), 415, "bad"},
		"no type":            {func(r *http.Request) { r.Header.Del("Content-Type") }, 415, "bad"},
		"other charset":      {sends("application/json; charset=gbk"), 415, "bad"},
		"too big": {func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("x", 2<<20))), 2<<20
		}, 413, "too_big"},
		"too big, in chunks": {func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("x", 2<<20))), -1
		}, 413, "too_big"},
		"cut off":  {func(r *http.Request) { r.Body = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF)) }, 400, "bad"},
		"no JSON":  {func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("hello")) }, 400, "bad"},
		"long key": {func(r *http.Request) { r.Header.Set("Idempotency-Key", strings.Repeat("k", 129)) }, 400, "bad"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := request(token, "send", `{"to":"bob","body":{"text":"hi"}}`)
			tt.change(r)
			a := serve(t, n.handler, r)
			wantProblem(t, a, tt.status, tt.err)
			if challenge := a.Header.Get("WWW-Authenticate"); (challenge != "") != (tt.status == 401) {
				t.Errorf("WWW-Authenticate %q", challenge)
			}
			if allow := a.Header.Get("Allow"); (allow == http.MethodPost) != (tt.status == 405) {
				t.Errorf("Allow %q", allow)
			}
		})
	}
	for name, header := range map[string]string{
		"charset": "application/json; charset=UTF-8", "capitals": "Application/JSON",
	} {
		r := request(token, "send", `{"to":"bob","body":{"text":"hi"}}`)
		r.Header.Set("Content-Type", header)
		r.Header.Set("Authorization", "bearer "+token)
		if a := serve(t, n.handler, r); a.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.raw)
		}
	}
}

func TestEveryFaultHasAStatus(t *testing.T) {
	for _, f := range api.Faults() {
		if statuses[f.Err] == 0 {
			t.Errorf("%s has none", f.Err)
		}
	}
}

func TestAThrottledClientIsToldWhenToTryAgain(t *testing.T) {
	n := start(t, nil)
	for range 10 {
		wantProblem(t, n.post("", "login", `{"uid":"zoe","password":"wrong horse"}`), 401, "credentials")
	}
	a := n.post("", "login", `{"uid":"zoe","password":"wrong horse"}`)
	wantProblem(t, a, http.StatusTooManyRequests, "throttled")
	ms, _ := a.fields["retry_ms"].(float64)
	if ms <= 0 || ms > 6000 {
		t.Errorf("retry_ms is %v", a.fields["retry_ms"])
	}
	if s := a.Header.Get("Retry-After"); s != fmt.Sprint(math.Ceil(ms/1000)) {
		t.Errorf("Retry-After is %s for %v ms", s, ms)
	}
}

func TestADisabledAccountIsTold(t *testing.T) {
	n := start(t, nil)
	token := n.token("alice")
	if err := n.acc.SetDisabled(t.Context(), "alice", true); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, n.post(token, "unread.get", ``), http.StatusForbidden, "disabled")
	wantProblem(t, n.post("", "login", `{"uid":"alice","password":"correct horse"}`), http.StatusForbidden, "disabled")
}

func TestAnIdempotencyKeyMakesARepeatHarmless(t *testing.T) {
	n := start(t, nil)
	token := n.token("alice")
	send := func(body string) answer {
		r := request(token, "send", body)
		r.Header.Set("Idempotency-Key", "k1")
		return serve(t, n.handler, r)
	}
	first, again := send(`{"to":"bob","body":{"text":"one"}}`), send(`{"to":"bob","body":{"text":"one"}}`)
	if first.StatusCode != 200 || first.raw != again.raw {
		t.Errorf("got %s and %s", first.raw, again.raw)
	}
	wantProblem(t, send(`{"to":"bob","body":{"text":"two"}}`), http.StatusConflict, "rid_conflict")
}

func TestNothingIsAnsweredBeforeItIsDurable(t *testing.T) {
	n := start(t, nil, WithConfig(Config{Timeout: 50 * time.Millisecond}))
	token := n.token("alice")
	for name, err := range map[string]error{"not in time": context.DeadlineExceeded, "failed": accounts.ErrUnavailable} {
		t.Run(name, func(t *testing.T) {
			n.commits.mu.Lock()
			n.commits.hold = err
			n.commits.mu.Unlock()
			a := n.post(token, "send", `{"to":"bob","body":{"text":"hi"}}`)
			wantProblem(t, a, http.StatusServiceUnavailable, "unavailable")
			if a.Header.Get("Retry-After") != "1" || a.fields["retry_ms"] != float64(1000) {
				t.Errorf("%v %s", a.Header, a.raw)
			}
		})
	}
}

func TestAStoreThatCannotServe(t *testing.T) {
	n := start(t, nil)
	token := n.token("alice")
	if err := n.store.Close(); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, n.post(token, "send", `{"to":"bob","body":{"text":"hi"}}`), 503, "unavailable")
	wantProblem(t, n.post("", "login", `{"uid":"alice","password":"correct horse"}`), 503, "unavailable")
}

func TestNothingOfOursIsEverShown(t *testing.T) {
	n := start(t, nil)
	h := newHandler(n.table, []Option{WithLog(slog.New(slog.NewTextHandler(n.log, nil)))})
	for name, who := range map[string]func(*http.Request, *api.Operation) (api.Caller, error){
		"panic": func(*http.Request, *api.Operation) (api.Caller, error) { panic("the secret is 42") },
		"unforeseen": func(*http.Request, *api.Operation) (api.Caller, error) {
			return api.Caller{}, errors.New("the secret is 42")
		},
	} {
		t.Run(name, func(t *testing.T) {
			n.log.Reset()
			h.who = who
			a := serve(t, h.routes("/api/v1/{method}"), request("", "send", `{}`))
			wantProblem(t, a, http.StatusInternalServerError, "internal")
			if strings.Contains(a.raw, "secret") || !strings.Contains(n.log.String(), "the secret is 42") {
				t.Errorf("answer %s, log %s", a.raw, n.log)
			}
		})
	}
	token := n.token("alice")
	for _, op := range n.table.Operations() {
		for _, body := range []string{
			`{}`, `[]`, `{"c":5,"uid":5,"to":5,"from":5,"limit":"x","cursor":5,"usn":"x","seq":"x"}`,
			`{"c":"d.alice.bob","to":"bob","from":"bob","body":7,"cursor":"zzz","uid":"alice","password":"wrong horse"}`,
			`{"c":"../..","to":"../..","from":"../..","cursor":"\u0000","uid":"\u0000","password":"\u0000"}`,
		} {
			if op.Name == "logout" || op.Streams() {
				continue
			}
			wantSafeText(t, op.Name, n.post(token, op.Name, body))
		}
	}
}

// wantSafeText is wantSafe for answers that may hold anything that users wrote.
func wantSafeText(t *testing.T, method string, a answer) {
	t.Helper()
	if a.StatusCode == http.StatusOK {
		return
	}
	if a.StatusCode >= 500 {
		t.Errorf("%s: %d %s", method, a.StatusCode, a.raw)
	}
	wantSafe(t, a)
}

func TestABodyThatStopsInTheMiddle(t *testing.T) {
	n := start(t, nil, WithConfig(Config{Timeout: 50 * time.Millisecond}))
	server := httptest.NewServer(n.handler)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = io.WriteString(conn, "POST /api/v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+
		"Content-Length: 100\r\n\r\n{\"uid\":")
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{Response: response, raw: string(raw)}
	if err := json.Unmarshal(raw, &a.fields); err != nil {
		t.Fatalf("answer %q: %v", raw, err)
	}
	wantProblem(t, a, http.StatusRequestTimeout, "bad")
}

func TestTheClientsAddress(t *testing.T) {
	proxies := Config{TrustedProxies: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"),
	}}
	tests := map[string]struct {
		cfg       Config
		remote    string
		forwarded []string
		want      string
	}{
		"direct":                 {Config{}, "192.0.2.1:99", nil, "192.0.2.1"},
		"nobody is trusted":      {Config{}, "10.0.0.1:99", []string{"192.0.2.1"}, "10.0.0.1"},
		"a stranger claims":      {proxies, "192.0.2.1:99", []string{"198.51.100.1"}, "192.0.2.1"},
		"behind a proxy":         {proxies, "10.0.0.1:99", []string{"192.0.2.1"}, "192.0.2.1"},
		"a client claims":        {proxies, "10.0.0.1:99", []string{"198.51.100.1, 192.0.2.1"}, "192.0.2.1"},
		"behind two":             {proxies, "10.0.0.1:99", []string{"198.51.100.1, 192.0.2.1, 10.0.0.2"}, "192.0.2.1"},
		"in two lines":           {proxies, "10.0.0.1:99", []string{"198.51.100.1", "192.0.2.1"}, "192.0.2.1"},
		"with a port":            {proxies, "10.0.0.1:99", []string{"192.0.2.1:1234"}, "192.0.2.1"},
		"IPv6":                   {proxies, "[fd00::1]:99", []string{"2001:db8::1"}, "2001:db8::1"},
		"IPv6 in brackets":       {proxies, "[fd00::1]:99", []string{"[2001:db8::1]"}, "2001:db8::1"},
		"IPv4 in IPv6":           {proxies, "[::ffff:10.0.0.1]:99", []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
		"nonsense":               {proxies, "10.0.0.1:99", []string{"192.0.2.1, unknown"}, "10.0.0.1"},
		"the proxy says nothing": {proxies, "10.0.0.1:99", nil, "10.0.0.1"},
		"only proxies":           {proxies, "10.0.0.1:99", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		"a Unix socket":          {proxies, "@", []string{"192.0.2.1"}, "invalid IP"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: tt.remote, Header: http.Header{"X-Forwarded-For": tt.forwarded}}
			if got := tt.cfg.clientAddr(r).String(); got != tt.want {
				t.Errorf("%s via %v: got %s, want %s", tt.remote, tt.forwarded, got, tt.want)
			}
		})
	}
}

func TestOtherOrigins(t *testing.T) {
	const app, evil = "https://app.example.org", "https://evil.example.org"
	only, all := DefaultConfig(), DefaultConfig()
	only.Origins, all.Origins = []string{app}, []string{"*"}
	for name, tt := range map[string]struct {
		cfg     Config
		origin  string
		granted bool
	}{
		"off": {DefaultConfig(), app, false}, "granted": {only, app, true}, "another": {only, evil, false},
		"everybody": {all, evil, true}, "no browser": {all, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			n := start(t, nil, WithConfig(tt.cfg))
			wanted := ""
			if tt.granted {
				wanted = tt.origin
			}
			r := request("", "login", `{"uid":"alice","password":"correct horse"}`)
			r.Header.Set("Origin", tt.origin)
			a := serve(t, n.handler, r)
			if got := a.Header.Get("Access-Control-Allow-Origin"); got != wanted || a.StatusCode != 200 {
				t.Errorf("login: %d, allowed origin %q, want %q", a.StatusCode, got, wanted)
			}
			r = httptest.NewRequest(http.MethodOptions, "/api/v1/send", nil)
			r.Header.Set("Origin", tt.origin)
			r.Header.Set("Access-Control-Request-Method", "POST")
			a = serve(t, n.handler, r)
			if (a.StatusCode == http.StatusNoContent) != tt.granted || a.Header.Get("Access-Control-Allow-Origin") != wanted {
				t.Errorf("preflight: %d %v", a.StatusCode, a.Header)
			}
		})
	}
}

func TestConfigNamesTheFieldThatIsWrong(t *testing.T) {
	for field, c := range map[string]Config{
		"timeout": {}, "origins": {Timeout: time.Minute, Origins: []string{"https://a.example/path"}},
		"trusted_proxies": {Timeout: time.Minute, TrustedProxies: make([]netip.Prefix, 1)},
	} {
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), field+": ") {
			t.Errorf("%s: got %v", field, err)
		}
	}
	c := DefaultConfig()
	c.Origins = []string{"*", "http://localhost:5173"}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestAnExportHasAllThatThereIs(t *testing.T) {
	n := start(t, nil)
	alice := n.token("alice")
	for i := range 250 {
		n.mustPost(alice, "send", fmt.Sprintf(`{"to":"bob","body":{"text":"<%d>"}}`, i))
	}
	server := httptest.NewServer(n.handler)
	defer server.Close()
	for _, method := range []string{http.MethodPost, http.MethodGet} {
		r, err := http.NewRequestWithContext(t.Context(), method, server.URL+"/api/v1/account.export", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+alice)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/x-ndjson" {
			t.Fatalf("%s: %d, %v, %v", method, resp.StatusCode, resp.Header, err)
		}
		_ = resp.Body.Close()
		count := map[string]int{}
		var last map[string]any
		lines := strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
		for _, line := range lines {
			last = nil
			if err := json.Unmarshal([]byte(line), &last); err != nil {
				t.Fatalf("line %q: %v", line, err)
			}
			count[last["t"].(string)]++
		}
		want := map[string]int{"account": 1, "profile": 1, "settings": 1, "session": 2, "contact": 1, "conv": 1, "msg": 250, "end": 1}
		if !maps.Equal(count, want) || last["lines"] != float64(len(lines)-1) {
			t.Errorf("lines %v, then %v, want %v", count, last, want)
		}
		if !strings.Contains(string(raw), `"body":{"text":"<249>"}`) || strings.Contains(string(raw), "mgp_") {
			t.Error("the export lacks a message, or has a token")
		}
	}
	wantProblem(t, n.post("", "account.export", ``), http.StatusUnauthorized, "credentials")
	r := httptest.NewRequest(http.MethodGet, "/api/v1/sync", nil)
	wantProblem(t, serve(t, n.handler, r), http.StatusMethodNotAllowed, "bad")
}

// pipe is a client that reads nothing until it is told to.
type pipe struct {
	*httptest.ResponseRecorder
	wrote chan struct{} // closed by the first Write
	read  chan struct{} // lets it return
	once  sync.Once
}

func (p *pipe) Write(b []byte) (int, error) {
	p.once.Do(func() { close(p.wrote) })
	<-p.read
	return p.ResponseRecorder.Write(b)
}

func TestAnExportEndsWithItsToken(t *testing.T) {
	n := start(t, nil)
	alice := n.token("alice")
	for i := range 300 {
		n.mustPost(alice, "send", fmt.Sprintf(`{"to":"bob","body":{"text":"%d %s"}}`, i, strings.Repeat("x", 500)))
	}
	p := &pipe{ResponseRecorder: httptest.NewRecorder(), wrote: make(chan struct{}), read: make(chan struct{})}
	r := httptest.NewRequest(http.MethodGet, "/api/v1/account.export", nil)
	r.Header.Set("Authorization", "Bearer "+alice)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.handler.ServeHTTP(p, r)
	}()
	<-p.wrote
	wantProblem(t, n.post(n.token("alice"), "account.export", ``), http.StatusTooManyRequests, "throttled")
	if err := n.acc.RevokeAll(t.Context(), "alice", accounts.Digest{}); err != nil {
		t.Fatal(err)
	}
	close(p.read)
	<-ended
	if body := p.Body.String(); !strings.HasSuffix(body, `{"t":"error","err":"credentials"}`+"\n") {
		t.Errorf("the export ends with %q", body[max(0, len(body)-200):])
	}
}
