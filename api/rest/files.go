package rest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/api"
	"github.com/magpie-im/magpie/jobs"
)

// stallTime is how long a file may stand still on its way, in either direction.
const stallTime = 30 * time.Second

// Files serves the files of jobs at /files/{sha256}. A user who manages a device stores one with PUT, and shows a token; a device
// reads it with GET, at the address that it was told, also a part of it (Range, RFC 9110).
func Files(shelf *jobs.Shelf, work *jobs.Service, acc *accounts.Service, opts ...Option) http.Handler {
	h := newHandler(nil, opts)
	f := files{h, shelf, work, acc}
	r := chi.NewRouter()
	r.Use(h.recoverPanic)
	r.Put("/files/{sha256}", f.put)
	r.Get("/files/{sha256}", f.get)
	r.Head("/files/{sha256}", f.get)
	r.NotFound(func(w http.ResponseWriter, _ *http.Request) { fail(w, jobs.ErrNoFile) })
	r.MethodNotAllowed(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", "GET, HEAD, PUT")
		writeProblem(w, http.StatusMethodNotAllowed, api.Fault{Err: "bad", Text: "Files are stored with PUT and read with GET."})
	})
	return r
}

type files struct {
	h     *handler
	shelf *jobs.Shelf
	work  *jobs.Service
	acc   *accounts.Service
}

// storing is put, for what is said of it.
var storing = &api.Operation{Name: "files", Access: api.User}

type storedOutput struct {
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

func (f files) put(w http.ResponseWriter, r *http.Request) {
	caller, err := f.h.user(r, storing, f.acc)
	if err == nil {
		err = f.work.MayStore(r.Context(), caller.Account)
	}
	if err != nil {
		f.h.stranger(w, storing, err)
		return
	}
	if r.ContentLength > f.shelf.MaxFile() { // so that it is not sent at all, if the client waits
		fail(w, jobs.ErrTooLarge)
		return
	}
	sum := chi.URLParam(r, "sha256")
	body := &moving{r.Body, http.NewResponseController(w).SetReadDeadline}
	size, err := f.shelf.Put(r.Context(), caller.Account, sum, body)
	if err != nil {
		f.h.unstored(w, err)
		return
	}
	if err := writeJSON(w, http.StatusOK, "application/json", storedOutput{sum, size}); err != nil {
		f.h.fail(w, storing, err)
	}
}

// unstored answers who has sent a file that is not kept. The rest of it is not read.
func (h *handler) unstored(w http.ResponseWriter, err error) {
	w.Header().Set("Connection", "close")
	if errors.Is(err, errBody) { // the client is gone, or stands still
		h.log.Debug("file not stored", "err", err)
		writeProblem(w, http.StatusBadRequest, api.Fault{Err: "bad", Text: "The body could not be read."})
		return
	}
	h.fail(w, storing, err)
}

func (f files) get(w http.ResponseWriter, r *http.Request) {
	sum := chi.URLParam(r, "sha256")
	file, err := f.shelf.Open(sum, r.URL.Query())
	if err != nil {
		f.h.fail(w, storing, err)
		return
	}
	defer func() { _ = file.Close() }() // it was only read
	status, _, err := f.acc.Standing(r.Context(), accounts.Name(r.URL.Query().Get("did")))
	if err == nil && status != accounts.Active {
		err = jobs.ErrNoFile
	}
	if err != nil {
		f.h.fail(w, storing, err)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "application/octet-stream")
	header.Set("Content-Disposition", "attachment")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("ETag", `"`+sum+`"`)
	http.ServeContent(&taking{w, http.NewResponseController(w).SetWriteDeadline}, r, "", time.Time{}, file)
}

// errBody means that something was wrong with the line to the client, not with us.
var errBody = errors.New("body not read")

// moving is a body that may take long as a whole, and not stand still.
type moving struct {
	io.Reader
	until func(time.Time) error
}

func (m *moving) Read(p []byte) (int, error) {
	if err := m.until(time.Now().Add(stallTime)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, fmt.Errorf("%w: %w", errBody, err)
	}
	n, err := m.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", errBody, err)
	}
	return n, err
}

// taking is the same for an answer.
type taking struct {
	http.ResponseWriter
	until func(time.Time) error
}

func (t *taking) Write(p []byte) (int, error) {
	if err := t.until(time.Now().Add(stallTime)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return t.ResponseWriter.Write(p)
}
