package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker"
)

// errNobody means that no server answers on the admin socket.
var errNobody = errors.New("no server answers on the admin socket")

// startTime is how long a server may have the store and not yet its admin socket, or the other way round.
const startTime = 5 * time.Second

// reach calls running with the server that runs on the data directory, or stopped with a node on the store itself if there is
// none. Between the two, while a server starts or stops, it tries again.
func (f configFlags) reach(
	c *console, running func(context.Context, *remote) error, stopped func(context.Context, *broker.Node) error,
) error {
	cfg, err := f.load(c.environ)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(startTime); ; {
		err := running(c.ctx, newRemote(cfg.Data))
		if !errors.Is(err, errNobody) {
			return err
		}
		err = onStore(c.ctx, cfg, stopped)
		if !inUse(err) {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w, and it does not answer on the admin socket", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// onStore calls do with a node that is never run: it listens nowhere.
func onStore(ctx context.Context, cfg broker.Config, do func(context.Context, *broker.Node) error) (err error) {
	log := slog.New(slog.DiscardHandler) // what matters comes back as an error
	store, err := openStore(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStore(store)) }()
	node, err := broker.New(cfg, store, log)
	if err != nil {
		return err
	}
	return do(ctx, node)
}

// remote administers a running server over its admin socket. Every method fails with errNobody if none answers.
type remote struct{ http *http.Client }

func newRemote(dir string) *remote {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", socketPath(dir))
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
			return nil, errNobody
		case errors.Is(err, syscall.EINVAL): // the path is too long for a socket, and no server has named another
			return nil, errNobody
		}
		return conn, err
	}
	return &remote{&http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: time.Minute}}
}

// socketPath is where the server on dir listens: a file in it says so if that is elsewhere.
func socketPath(dir string) string {
	if path, err := os.ReadFile(filepath.Join(dir, broker.AdminSocketPath)); err == nil {
		return strings.TrimSpace(string(path))
	}
	return filepath.Join(dir, broker.AdminSocket)
}

// call carries a method out and reads its answer into out.
func (r *remote) call(ctx context.Context, method string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://magpie/admin/"+method, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the running server: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // only read
	if resp.StatusCode != http.StatusOK {
		return refusal(resp)
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("answer of the running server: %w", err)
	}
	return nil
}

// refusal is the error that a server gave as problem details (RFC 9457).
func refusal(resp *http.Response) error {
	var problem struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
		Err    string `json:"err"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&problem); err != nil || problem.Title+problem.Detail == "" {
		return fmt.Errorf("the running server answered %s", resp.Status)
	}
	text := problem.Detail
	if text == "" {
		text = problem.Title
	}
	if resp.StatusCode == http.StatusServiceUnavailable {
		return fmt.Errorf("the running server: %w", accounts.ErrUnavailable)
	}
	return fmt.Errorf("%s (%s)", strings.TrimSuffix(text, "."), problem.Err)
}
