package rest

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/magpie-im/magpie/api"
	"github.com/magpie-im/magpie/api/document"
)

// page is what one looks at the documents with. It gets everything from here, and nothing from anywhere else.
//
//go:embed page
var page embed.FS

// pagePolicy lets the page run its own script and ask this server. Nothing that is written into it can become a script
// (Trusted Types), it sends nothing elsewhere, and nobody frames it.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; " +
	"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// documents serves what describes the rest, to everybody: it says nothing that the source does not.
func (h *handler) documents(r chi.Router) {
	source := sync.OnceValue(h.source)
	for path, write := range map[string]func(document.Source) ([]byte, []string){
		"/api/v1/openapi.json":  document.OpenAPI,
		"/api/v1/asyncapi.json": document.AsyncAPI,
	} {
		text := sync.OnceValue(func() []byte { // not before somebody asks
			doc, gaps := write(source())
			if len(gaps) > 0 { // a test has seen to it
				h.log.Warn("not everything is described", "path", path, "gaps", gaps)
			}
			return doc
		})
		h.file(r, path, "application/json", func() []byte { return text() })
	}
	for path, file := range map[string]struct{ name, kind string }{
		"/api/v1/docs":          {"index.html", "text/html; charset=utf-8"},
		"/api/v1/docs/page.js":  {"page.js", "text/javascript; charset=utf-8"},
		"/api/v1/docs/page.css": {"page.css", "text/css; charset=utf-8"},
	} {
		text, err := page.ReadFile("page/" + file.name)
		if err != nil { // cannot be: it is in the binary
			panic(err)
		}
		h.file(r, path, file.kind, func() []byte { return text })
	}
}

// file serves something that stays the same as long as the server runs. Caches ask each time whether it has changed.
func (h *handler) file(r chi.Router, path, kind string, content func() []byte) {
	tag := sync.OnceValue(func() string {
		sum := sha256.Sum256(content())
		return `"` + hex.EncodeToString(sum[:16]) + `"`
	})
	serve := func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Type", kind)
		header.Set("Cache-Control", "no-cache")
		header.Set("ETag", tag())
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Content-Security-Policy", pagePolicy)
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("X-Frame-Options", "DENY") // for what does not know frame-ancestors
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content()))
	}
	r.Get(path, serve)
	r.Head(path, serve)
}

// source is what is served here, and how it is refused.
func (h *handler) source() document.Source {
	src := document.Source{Table: h.table.Operations()}
	if h.admin != nil {
		src.Admin = h.admin.Operations()
	}
	for _, f := range api.Faults() {
		status := statuses[f.Err]
		if status == 0 {
			status = http.StatusBadRequest
		}
		src.Refusals = append(src.Refusals, document.Refusal{Status: status, Err: f.Err, Text: f.Text})
	}
	src.Refusals = append(src.Refusals,
		document.Refusal{Status: http.StatusRequestTimeout, Err: "bad", Text: "The body did not arrive in time."},
		document.Refusal{Status: http.StatusUnsupportedMediaType, Err: "bad", Text: "The body has to be application/json."},
		document.Refusal{Status: http.StatusInternalServerError, Err: "internal", Text: "Something went wrong here."},
		document.Refusal{Status: http.StatusServiceUnavailable, Err: "unavailable", Text: "The server cannot answer now."})
	return src
}
