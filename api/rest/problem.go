package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/api"
)

// statuses gives the HTTP status of every kind of fault; a test holds it against api.Faults.
var statuses = map[string]int{
	"bad":           http.StatusBadRequest,
	"weak_password": http.StatusBadRequest,
	"credentials":   http.StatusUnauthorized,
	"not_member":    http.StatusForbidden,
	"no_right":      http.StatusForbidden,
	"blocked":       http.StatusForbidden,
	"await_reply":   http.StatusForbidden,
	"disabled":      http.StatusForbidden,
	"closed":        http.StatusForbidden,
	"invitation":    http.StatusForbidden,
	"banned":        http.StatusForbidden,
	"muted":         http.StatusForbidden,
	"no_conv":       http.StatusNotFound,
	"no_request":    http.StatusNotFound,
	"gone":          http.StatusNotFound,
	"no_method":     http.StatusNotFound,
	"no_msg":        http.StatusNotFound,
	"no_place":      http.StatusNotFound,
	"no_device":     http.StatusNotFound,
	"no_automation": http.StatusNotFound,
	"no_shadow":     http.StatusNotFound,
	"no_job":        http.StatusNotFound,
	"no_file":       http.StatusNotFound,
	"full":          http.StatusConflict,
	"too_many":      http.StatusConflict,
	"last_owner":    http.StatusConflict,
	"late":          http.StatusConflict,
	"running":       http.StatusConflict,
	"signature":     http.StatusForbidden,
	"taken":         http.StatusConflict,
	"mid_conflict":  http.StatusConflict,
	"rid_conflict":  http.StatusConflict,

	"version_conflict": http.StatusConflict,

	"too_big":   http.StatusRequestEntityTooLarge,
	"throttled": http.StatusTooManyRequests,
	"quota":     http.StatusTooManyRequests,
	"slow":      http.StatusTooManyRequests,
}

// problem is RFC 9457, with err and retry_ms of our own.
type problem struct {
	Type    string `json:"type"`
	Title   string `json:"title"`
	Status  int    `json:"status"`
	Detail  string `json:"detail,omitempty"`
	Err     string `json:"err"`
	RetryMS int64  `json:"retry_ms,omitempty"`
}

// fail answers with what the client may know of err.
func fail(w http.ResponseWriter, err error) {
	f, ok := api.FaultOf(err)
	switch {
	case ok:
		status := statuses[f.Err]
		if status == 0 {
			status = http.StatusBadRequest
		}
		if status == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") == "" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="magpie"`)
		}
		writeProblem(w, status, f)
	case unavailable(err):
		writeProblem(w, http.StatusServiceUnavailable, api.Fault{
			Err: "unavailable", Text: "The server cannot answer now.", RetryAfter: retryUnavailable,
		})
	default:
		writeProblem(w, http.StatusInternalServerError, api.Fault{Err: "internal", Text: "Something went wrong here."})
	}
}

func unavailable(err error) bool {
	return errors.Is(err, accounts.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, context.Canceled)
}

func writeProblem(w http.ResponseWriter, status int, f api.Fault) {
	p := problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: f.Text, Err: f.Err}
	if f.RetryAfter > 0 {
		p.RetryMS = max(f.RetryAfter.Milliseconds(), 1)
		w.Header().Set("Retry-After", strconv.FormatInt(int64((f.RetryAfter+time.Second-1)/time.Second), 10))
	}
	if err := writeJSON(w, status, "application/problem+json", p); err != nil {
		w.WriteHeader(status) // cannot be: strings and numbers always encode
	}
}

// writeJSON writes nothing at all if v cannot be encoded. An error of writing is the client's going away.
func writeJSON(w http.ResponseWriter, status int, contentType string, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // what is answered is never read as HTML, see nosniff
	if err := enc.Encode(v); err != nil {
		return err
	}
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(b.Len()))
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
	return nil
}
