// Package rest serves the table of operations over HTTP: POST /api/v1/{method}, JSON in and out.
//
// Who asks shows a token: Authorization: Bearer. An Idempotency-Key is the rid of package api. What is refused is
// answered with problem details (RFC 9457) that carry the word "err" of docs/protocol.md, section 3, and "retry_ms"
// if a retry may succeed. A change is answered once it would survive a crash. No answer may be kept by a cache.
//
// GET /api/v1/openapi.json and /api/v1/asyncapi.json describe all of it (package document), and /api/v1/docs is a page to
// look at them with, and to try a call.
//
// The table of [api.NewAdmin] is served at /api/v1/admin/{method} to accounts with the role of an administrator, if there is
// [WithAdmin]; [Admin] serves it at /admin/{method}, for a socket that only the administrator may open: it asks nobody
// who he is.
package rest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/api"
	"github.com/magpie-im/magpie/chat"
)

// Option changes how a handler serves.
type Option func(*handler)

// WithConfig replaces the defaults; c has passed Validate.
func WithConfig(c Config) Option { return func(h *handler) { h.cfg = c } }

// WithLog says where to write what went wrong on our side; nowhere by default.
func WithLog(log *slog.Logger) Option { return func(h *handler) { h.log = log } }

// WithAdmin serves the table of [api.NewAdmin] at /api/v1/admin/ to accounts that have the role, at the moment of the request.
func WithAdmin(table *api.Table) Option { return func(h *handler) { h.admin = table } }

// New serves table at /api/v1/, and what describes it. Paths elsewhere are answered with 404.
func New(table *api.Table, acc *accounts.Service, opts ...Option) http.Handler {
	h := newHandler(table, opts)
	h.revisions = acc.Revisions
	h.who = func(r *http.Request, op *api.Operation) (api.Caller, error) { return h.user(r, op, acc) }
	routes := h.routes("/api/v1/{method}")
	h.documents(routes)
	if h.admin != nil {
		admin := *h
		admin.table = h.admin
		admin.who = func(r *http.Request, op *api.Operation) (api.Caller, error) { return h.administrator(r, op, acc) }
		routes.Post("/api/v1/admin/{method}", admin.call)
	}
	return routes
}

// administrator finds out whether who asks has the role, now.
func (h *handler) administrator(r *http.Request, op *api.Operation, acc *accounts.Service) (api.Caller, error) {
	c, err := h.user(r, op, acc)
	if err != nil {
		return c, err
	}
	ok, err := acc.IsAdmin(r.Context(), c.Account)
	if err == nil && !ok {
		err = chat.ErrNoRight
	}
	return c, err
}

// Admin serves the table of [api.NewAdmin] at /admin/ to whoever can connect.
func Admin(table *api.Table, opts ...Option) http.Handler {
	h := newHandler(table, opts)
	h.cfg.Origins = nil // no browser has any business here
	h.who = func(*http.Request, *api.Operation) (api.Caller, error) { return api.Caller{}, nil }
	return h.routes("/admin/{method}")
}

type handler struct {
	table *api.Table
	admin *api.Table // nil: none
	cfg   Config
	log   *slog.Logger
	who   func(r *http.Request, op *api.Operation) (api.Caller, error)
	// revisions changes when who might give something else.
	revisions func() uint64
}

func newHandler(table *api.Table, opts []Option) *handler {
	h := &handler{table: table, cfg: DefaultConfig(), log: slog.New(slog.DiscardHandler), revisions: func() uint64 { return 0 }}
	for _, o := range opts {
		o(h)
	}
	return h
}

func (h *handler) routes(pattern string) chi.Router {
	r := chi.NewRouter()
	r.Use(h.recoverPanic, h.crossOrigin)
	r.Post(pattern, h.call)
	r.Get(pattern, h.get)
	r.NotFound(func(w http.ResponseWriter, _ *http.Request) { fail(w, api.ErrNoMethod) })
	r.MethodNotAllowed(func(w http.ResponseWriter, _ *http.Request) { notAllowed(w) })
	return r
}

func notAllowed(w http.ResponseWriter) {
	w.Header().Set("Allow", http.MethodPost)
	writeProblem(w, http.StatusMethodNotAllowed, api.Fault{Err: "bad", Text: "Methods are called with POST."})
}

// get serves what streams, for who wants to save it as it is.
func (h *handler) get(w http.ResponseWriter, r *http.Request) {
	if op, ok := h.table.Lookup(chi.URLParam(r, "method")); !ok || !op.Streams() {
		notAllowed(w)
		return
	}
	h.call(w, r)
}

func (h *handler) call(w http.ResponseWriter, r *http.Request) {
	whole := r.Context()
	ctx, cancel := context.WithTimeout(whole, h.cfg.Timeout)
	defer cancel()
	r = r.WithContext(ctx)
	op, ok := h.table.Lookup(chi.URLParam(r, "method"))
	if !ok {
		fail(w, api.ErrNoMethod)
		return
	}
	if !isJSON(r) {
		writeProblem(w, http.StatusUnsupportedMediaType, api.Fault{Err: "bad", Text: "The body has to be application/json."})
		return
	}
	revisions := h.revisions()
	caller, err := h.who(r, op)
	if err != nil {
		h.stranger(w, op, err)
		return
	}
	body, err := h.body(w, r, op)
	if err != nil {
		h.unread(w, op, err)
		return
	}
	if h.revisions() != revisions { // the body took its time, and he may have lost what he showed
		if caller, err = h.who(r, op); err != nil {
			h.stranger(w, op, err)
			return
		}
	}
	if op.Streams() {
		cancel() // it takes as long as it takes
		h.stream(w, r.WithContext(whole), op, caller, body)
		return
	}
	answer := h.table.Call(ctx, op, caller, r.Header.Get("Idempotency-Key"), body)
	defer answer.Answered()
	if answer.Err == nil && answer.Commit != nil {
		answer.Err = answer.Commit.Wait(ctx)
	}
	if answer.Err != nil {
		h.fail(w, op, answer.Err)
		return
	}
	if err := writeJSON(w, http.StatusOK, "application/json", answer.Body); err != nil {
		h.fail(w, op, err)
	}
}

// stranger answers who could not say who he is, or may not call op.
func (h *handler) stranger(w http.ResponseWriter, op *api.Operation, err error) {
	if errors.Is(err, accounts.ErrCredentials) { // RFC 6750, 3.1
		w.Header().Set("WWW-Authenticate", `Bearer realm="magpie", error="invalid_token"`)
	}
	h.fail(w, op, err)
}

// body reads at most what op takes, within the time of the request: a client that stops in the middle must not hold
// on to a goroutine, whatever the server's own settings are.
func (h *handler) body(w http.ResponseWriter, r *http.Request, op *api.Operation) ([]byte, error) {
	if deadline, ok := r.Context().Deadline(); ok {
		err := http.NewResponseController(w).SetReadDeadline(deadline)
		if err != nil && !errors.Is(err, http.ErrNotSupported) { // a recorder in a test cannot
			return nil, err
		}
	}
	return io.ReadAll(http.MaxBytesReader(w, r.Body, int64(op.MaxBody)))
}

func (h *handler) unread(w http.ResponseWriter, op *api.Operation, err error) {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		fail(w, api.ErrTooLarge)
	case errors.Is(err, os.ErrDeadlineExceeded):
		writeProblem(w, http.StatusRequestTimeout, api.Fault{Err: "bad", Text: "The body did not arrive in time."})
	default: // the connection broke, or what came was not HTTP: hardly anybody reads this
		h.log.Debug("cannot read a request", "method", op.Name, "err", err)
		writeProblem(w, http.StatusBadRequest, api.Fault{Err: "bad", Text: "The body could not be read."})
	}
}

// user finds out who asks. Strangers may show anything to methods that are for everybody.
func (h *handler) user(r *http.Request, op *api.Operation, acc *accounts.Service) (api.Caller, error) {
	c := api.Caller{Addr: h.cfg.clientAddr(r), Label: r.UserAgent()}
	if op.Access == api.Public {
		return c, nil
	}
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return c, api.ErrNoAccount
	}
	t, err := acc.Bearer(r.Context(), strings.TrimSpace(secret), c.Addr)
	if err != nil {
		return c, err
	}
	c.Account, c.Token = t.Owner, t.Digest
	return c, nil
}

// isJSON is also what keeps pages of other origins out: without their preflight being granted, browsers send no
// application/json.
func isJSON(r *http.Request) bool {
	given := r.Header.Get("Content-Type")
	if given == "" {
		return r.ContentLength == 0
	}
	kind, params, err := mime.ParseMediaType(given)
	charset := params["charset"]
	return err == nil && kind == "application/json" && (charset == "" || strings.EqualFold(charset, "utf-8"))
}

// fail answers with what went wrong, and logs what is not the client's doing.
func (h *handler) fail(w http.ResponseWriter, op *api.Operation, err error) {
	if unavailable(err) {
		h.log.Debug("request not served", "method", op.Name, "err", err)
	} else if _, ok := api.FaultOf(err); !ok {
		h.log.Error("request failed", "method", op.Name, "err", err)
	}
	fail(w, err)
}

func (h *handler) recoverPanic(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p) // net/http knows what to do with it
			}
			h.log.Error("panic in a request", "path", r.URL.Path, "err", p, "stack", string(debug.Stack()))
			fail(w, errPanic)
		}()
		next.ServeHTTP(w, r)
	})
}

// retryUnavailable is when a client may try again that met a server which cannot serve.
const retryUnavailable = time.Second

var errPanic = errors.New("panic")
