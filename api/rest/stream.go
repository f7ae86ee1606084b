package rest

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/magpie-im/magpie/api"
)

const (
	streamBuffer = 32 << 10
	// streamWrite is how long the client may take for a buffer: one that does not read must not hold on to a goroutine.
	streamWrite = 30 * time.Second
)

// lines is an answer of many JSON objects (application/x-ndjson). Nothing is written, and a problem can still be answered
// with, until a buffer is full or all is there.
type lines struct {
	http.ResponseWriter
	control *http.ResponseController
	begun   bool
}

// Write hands a buffer to the client, and takes as long as the client does, up to streamWrite.
func (l *lines) Write(b []byte) (int, error) {
	if err := l.control.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	if !l.begun {
		l.begun = true
		header := l.Header()
		header.Set("Content-Type", "application/x-ndjson")
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		l.WriteHeader(http.StatusOK)
	}
	n, err := l.ResponseWriter.Write(b)
	if err == nil {
		if err = l.control.Flush(); errors.Is(err, http.ErrNotSupported) {
			err = nil
		}
	}
	return n, err
}

// stream answers with lines. Where that ends before its time, the last line says so.
func (h *handler) stream(w http.ResponseWriter, r *http.Request, op *api.Operation, caller api.Caller, body []byte) {
	out := &lines{ResponseWriter: w, control: http.NewResponseController(w)}
	// The body has been read: what follows may take longer than that could.
	if err := out.control.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		h.fail(w, op, err)
		return
	}
	ctx := r.Context()
	buffer := bufio.NewWriterSize(out, streamBuffer)
	enc := json.NewEncoder(buffer)
	enc.SetEscapeHTML(false)
	var gone error // the client's going away
	err := h.table.Stream(ctx, op, caller, body, func(line any) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		gone = enc.Encode(line)
		return gone
	})
	switch {
	case gone != nil || ctx.Err() != nil:
		return
	case err != nil && !out.begun:
		h.fail(w, op, err)
		return
	case err != nil:
		_ = enc.Encode(lastLine(err)) // if it cannot be written, the client sees that there is no end
	}
	_ = buffer.Flush()
	_ = out.control.SetWriteDeadline(time.Time{}) // the connection may serve other requests
}

// lastLine is that of a stream that ended before its time.
func lastLine(err error) any {
	line := struct {
		Type string `json:"t"`
		Err  string `json:"err"`
	}{"error", "internal"}
	if f, ok := api.FaultOf(err); ok {
		line.Err = f.Err
	} else if unavailable(err) {
		line.Err = "unavailable"
	}
	return line
}
