package broker

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"github.com/magpie-im/magpie/api"
	"github.com/magpie-im/magpie/api/rest"
)

// AdminSocket is the name of the admin socket in the data directory. Where the path would be longer than a socket's may
// be, the file AdminSocketPath holds the path of the socket instead.
const (
	AdminSocket     = "admin.sock"
	AdminSocketPath = "admin.sock.path"
)

// longestSocketPath is what fits into a sockaddr_un on every system, its final 0 included.
const longestSocketPath = 103

// finishTimeout is how long a stop waits for requests that are being answered.
const finishTimeout = 2 * time.Second

// web is everything of a node that speaks HTTP.
type web struct {
	node    *Node
	public  http.Handler
	admin   http.Handler
	servers []*http.Server
	cleanup []string   // files to remove at the end
	failed  chan error // a server that ended by itself
	closing atomic.Bool
}

func newWeb(n *Node, table *api.Table) *web {
	w := &web{node: n, failed: make(chan error, 4)}
	mux := http.NewServeMux()
	mux.Handle("/mqtt", n.transport.WebSocket())
	admin := n.adminTable()
	mux.Handle("/api/", rest.New(table, n.accounts, rest.WithAdmin(admin), rest.WithConfig(n.cfg.rest()), rest.WithLog(n.log)))
	mux.Handle("/files/", rest.Files(n.shelf, n.jobs, n.accounts, rest.WithConfig(n.cfg.rest()), rest.WithLog(n.log)))
	mux.Handle("/pub", rest.NewOwnTracks(n.accounts, n.places, n.phones.URL, rest.WithConfig(n.cfg.rest()), rest.WithLog(n.log)))
	mux.Handle("/view/", rest.Tours(n.accounts, n.places, rest.WithConfig(n.cfg.rest()), rest.WithLog(n.log)))
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { answer(rw, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", w.readyz)
	mux.Handle("GET /metrics", w.guardMetrics(promhttp.HandlerFor(n.metrics, promhttp.HandlerOpts{})))
	w.public = mux
	w.admin = profiled(rest.Admin(admin, rest.WithLog(n.log)))
	return w
}

// profiled adds what go tool pprof reads, to be fetched with curl --unix-socket.
func profiled(admin http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", admin)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index) // and by name: heap, allocs, goroutine, mutex, block
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// readyz says whether a load balancer should send clients here.
func (w *web) readyz(rw http.ResponseWriter, _ *http.Request) {
	if w.closing.Load() {
		answer(rw, http.StatusServiceUnavailable, "stopping")
		return
	}
	if err := w.node.store.Writable(); err != nil {
		answer(rw, http.StatusServiceUnavailable, "store does not accept writes")
		return
	}
	answer(rw, http.StatusOK, "ready")
}

func answer(rw http.ResponseWriter, status int, text string) {
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	rw.Header().Set("Cache-Control", "no-store")
	rw.WriteHeader(status)
	_, _ = rw.Write([]byte(text + "\n")) // the peer may be gone
}

// guardMetrics asks for the bearer token of the configuration, if there is one.
func (w *web) guardMetrics(next http.Handler) http.Handler {
	token := w.node.cfg.Metrics.Token.Reveal()
	if token == "" {
		return next
	}
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || subtle.ConstantTimeCompare([]byte(got), []byte(token)) != 1 {
			rw.Header().Set("WWW-Authenticate", "Bearer")
			answer(rw, http.StatusUnauthorized, "metrics need a token")
			return
		}
		next.ServeHTTP(rw, r)
	})
}

// listen serves the public handler on an address and gives the bound one.
func (w *web) listen(network, addr string, secure *tls.Config) (string, error) {
	ln, err := net.Listen(network, addr)
	if err != nil {
		return "", err
	}
	bound := ln.Addr().String()
	if most := w.node.cfg.Limits.Connections; most > 0 { // MQTT's own limit would be no use if these took all files
		ln = netutil.LimitListener(ln, most)
	}
	if secure != nil {
		secure = secure.Clone()
		secure.NextProtos = []string{"http/1.1"} // WebSocket needs HTTP/1.1
		ln = tls.NewListener(ln, secure)
	}
	w.serve(ln, w.public)
	return bound, nil
}

// listenAdmin serves the admin handler on a socket that only this user can open. A socket that a crash left behind is
// replaced: whoever has the store open owns the directory.
func (w *web) listenAdmin(dir string) error {
	path := filepath.Join(dir, AdminSocket)
	pointer := filepath.Join(dir, AdminSocketPath)
	_ = os.Remove(pointer)
	if len(path) > longestSocketPath {
		short, err := os.MkdirTemp("", "magpie-") // 0700
		if err != nil {
			return err
		}
		path = filepath.Join(short, AdminSocket)
		if err := os.WriteFile(pointer, []byte(path+"\n"), 0o600); err != nil {
			return err
		}
		w.cleanup = append(w.cleanup, pointer, short)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	ln, err := listenPrivate(path)
	if err != nil {
		return err
	}
	w.serve(ln, w.admin)
	return nil
}

func (w *web) serve(ln net.Listener, h http.Handler) {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          nil,
	}
	w.servers = append(w.servers, server)
	go func() {
		if err := server.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) {
			w.failed <- fmt.Errorf("serve HTTP on %s: %w", ln.Addr(), err)
		}
	}()
}

// stopAccepting makes /readyz say so; requests that come are still answered until close.
func (w *web) stopAccepting() { w.closing.Store(true) }

// close waits a moment for the requests that are being answered, and then ends them: one that a client does not finish
// must not hold up the stop.
func (w *web) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, finishTimeout)
	defer cancel()
	var errs []error
	for _, server := range w.servers {
		if err := server.Shutdown(ctx); err != nil {
			errs = append(errs, server.Close())
		}
	}
	for i := len(w.cleanup) - 1; i >= 0; i-- {
		if err := os.RemoveAll(w.cleanup[i]); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func processCollectors() []prometheus.Collector {
	return []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	}
}
