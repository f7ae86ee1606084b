// Package server runs the real magpie binary for tests: builds it once, starts it on a data directory of the test's
// own, waits until it is ready, kills it, stops it, starts it again on the same data, and keeps what it logged. What
// tests need to know of it from outside, accounts and final states, goes through the command line and HTTP.
package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/magpie-im/magpie/store/mongo/mongotest"
)

// Deadline is how long anything may take that has to happen. It is generous, because it only matters when a test fails.
const Deadline = 60 * time.Second

// RaceEnv names the variable that, when it is not empty, builds the binary with the race detector.
const RaceEnv = "MAGPIE_TEST_RACE"

// BinaryEnv names the variable that may have the path of a binary to test, instead of one that is built. A test process
// that has built one sets it for its children, the workers of a fuzz target.
const BinaryEnv = "MAGPIE_TEST_BINARY"

// built is the directory of the binary that this process has built, if it has.
var built string

// build makes the binary, once in the life of the test process.
var build = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(BinaryEnv); path != "" {
		return path, nil
	}
	dir, err := os.MkdirTemp("", "magpie-e2e-")
	if err != nil {
		return "", fmt.Errorf("build magpie: %w", err)
	}
	built = dir
	path := filepath.Join(dir, "magpie")
	args := []string{"build", "-o", path}
	if os.Getenv(RaceEnv) != "" {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "github.com/magpie-im/magpie/cmd/magpie")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build magpie: %w\n%s", err, out)
	}
	return path, os.Setenv(BinaryEnv, path)
})

// Binary gives the path of the binary under test.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Cleanup removes the binary; for TestMain, after the tests.
func Cleanup() error {
	if built == "" {
		return nil
	}
	return os.RemoveAll(built)
}

// Server is a magpie with its data directory, running or not. Its methods may be called concurrently.
type Server struct {
	t    testing.TB
	dir  string
	env  []string
	args []string
	log  *os.File

	users users

	mu   sync.Mutex
	boot int           // how often it was started
	proc *process      // nil: not running
	up   chan struct{} // closed while it is ready
}

// process is one run of the binary.
type process struct {
	cmd   *exec.Cmd
	addr  addresses
	out   *buffer
	ended chan struct{} // closed when it has ended
}

// addresses is what the server writes to addresses.json.
type addresses struct {
	MQTT string `json:"mqtt"`
	HTTP string `json:"http"`
	// MQTTS is empty unless an option has the server listen for MQTT over TLS.
	MQTTS string `json:"mqtts"`
}

// Option changes how a server is run.
type Option func(*Server)

// Env adds settings, as MAGPIE_LIMITS_WINDOW=10.
func Env(settings ...string) Option { return func(s *Server) { s.env = append(s.env, settings...) } }

// Args adds arguments to serve.
func Args(args ...string) Option { return func(s *Server) { s.args = append(s.args, args...) } }

// Config gives it a configuration file with this text (TOML).
func Config(text string) Option {
	return func(s *Server) {
		file := filepath.Join(s.t.TempDir(), "magpie.toml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
		s.args = append(s.args, "--config", file)
	}
}

// New prepares a server without starting it; with MAGPIE_TEST_STORE=mongo it has a database of package mongotest. Its rate
// limit is off unless an option sets it. When the test ends, its
// metrics are looked at, it is killed, and what it logged is shown if the test failed.
func New(t testing.TB, options ...Option) *Server {
	t.Helper()
	Binary(t)
	s := &Server{t: t, dir: filepath.Join(t.TempDir(), "data"), up: make(chan struct{}),
		env:  append(os.Environ(), "MAGPIE_LIMITS_PUBLISH_RATE=0", "MAGPIE_STORE_MIN_FREE=0"),
		args: []string{"--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"}}
	s.users.init(s)
	if mongotest.Wanted() {
		s.env = append(s.env, "MAGPIE_STORE="+mongotest.Database(t))
		if mongotest.Small() { // and slow
			s.env = append(s.env, "MAGPIE_STORE_START_TIMEOUT=1m", "MAGPIE_STORE_TIMEOUT=1m", "MAGPIE_STORE_LEASE=1m")
		}
	}
	for _, o := range options {
		o(s)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	s.log = log
	t.Cleanup(s.cleanup)
	return s
}

// Start is New, and starts it.
func Start(t testing.TB, options ...Option) *Server {
	t.Helper()
	s := New(t, options...)
	s.Start()
	return s
}

func (s *Server) cleanup() {
	s.mu.Lock()
	running := s.proc != nil
	s.mu.Unlock()
	if running {
		if !s.t.Failed() {
			s.checkMetrics()
		}
		s.Kill()
	}
	if s.t.Failed() {
		s.t.Logf("the end of the server's log:\n%s", s.Log(8<<10))
	}
	if err := s.log.Close(); err != nil {
		s.t.Error(err)
	}
}

// checkMetrics sees that nothing has collected in the parts of mochi that must stay empty, and that nothing has
// panicked.
func (s *Server) checkMetrics() {
	_, metrics := s.Get("/metrics")
	for _, want := range []string{"magpie_mochi_residue 0", "magpie_panics_total 0"} {
		if !strings.Contains(metrics, "\n"+want+"\n") {
			s.t.Errorf("at the end, /metrics does not say %q", want)
		}
	}
}

// Dir gives the data directory.
func (s *Server) Dir() string { return s.dir }

// Log gives up to n bytes from the end of what all runs have logged.
func (s *Server) Log(n int64) string {
	size, err := s.log.Seek(0, io.SeekCurrent)
	if err != nil {
		return err.Error()
	}
	b := make([]byte, min(n, size))
	if _, err := s.log.ReadAt(b, size-int64(len(b))); err != nil {
		return err.Error()
	}
	return string(b)
}

// Start runs the server and waits until it is ready.
func (s *Server) Start() {
	s.t.Helper()
	if err := s.TryStart(); err != nil {
		s.t.Fatalf("start: %v\n%s", err, s.Log(8<<10))
	}
}

// TryStart is Start for servers that may end instead; the error is an *exec.ExitError then.
func (s *Server) TryStart() error {
	file := filepath.Join(s.dir, "addresses.json")
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	p := &process{ended: make(chan struct{}), out: &buffer{}}
	p.cmd = exec.Command(Binary(s.t), append([]string{"serve", "--data", s.dir}, s.args...)...)
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = s.env, p.out, s.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		ended <- p.cmd.Wait()
		close(p.ended)
	}()
	for began := time.Now(); ; time.Sleep(2 * time.Millisecond) {
		text, err := os.ReadFile(file)
		if err == nil {
			if err := json.Unmarshal(text, &p.addr); err != nil {
				return fmt.Errorf("addresses.json: %w", err)
			}
			break
		}
		select {
		case err := <-ended:
			return errors.Join(errEnded, err)
		default:
		}
		if time.Since(began) > Deadline {
			_ = p.cmd.Process.Kill()
			return errors.New("not ready in time")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.boot++
	s.proc = p
	close(s.up)
	return nil
}

var errEnded = errors.New("it ended by itself")

// running gives the process, or fails the test. Like all that a fuzz target calls, it does without Helper, which a
// testing.F does not allow there.
func (s *Server) running() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		s.t.Fatal("the server is not running")
	}
	return s.proc
}

// MQTT gives the address for MQTT.
func (s *Server) MQTT() string { return s.running().addr.MQTT }

// HTTP gives the address for HTTP.
func (s *Server) HTTP() string { return s.running().addr.HTTP }

// MQTTS gives the address for MQTT over TLS, host:port; empty if there is none.
func (s *Server) MQTTS() string { return s.running().addr.MQTTS }

// PID gives the process id.
func (s *Server) PID() int { return s.running().cmd.Process.Pid }

// Output gives what the running server has printed to standard output.
func (s *Server) Output() string { return s.running().out.String() }

// Up waits until the server is running, and gives its MQTT address and how often it has been started.
func (s *Server) Up(ctx context.Context) (addr string, boot int, err error) {
	for {
		s.mu.Lock()
		proc, boot, up := s.proc, s.boot, s.up
		s.mu.Unlock()
		if proc != nil {
			return proc.addr.MQTT, boot, nil
		}
		select {
		case <-up:
		case <-ctx.Done():
			return "", 0, ctx.Err()
		}
	}
}

// Kill ends the process as a power cut would, without asking it, and waits for its end.
func (s *Server) Kill() {
	s.t.Helper()
	p := s.forget()
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Errorf("kill: %v", err)
	}
	<-p.ended
}

// Stop asks the process to end (SIGTERM) and gives its exit code.
func (s *Server) Stop() int {
	s.t.Helper()
	p := s.forget()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Errorf("stop: %v", err)
	}
	select {
	case <-p.ended:
	case <-time.After(Deadline):
		s.t.Errorf("did not stop")
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	return p.cmd.ProcessState.ExitCode()
}

// Ended waits until the process has ended by itself, and gives its exit code.
func (s *Server) Ended() int {
	s.t.Helper()
	p := s.forget()
	select {
	case <-p.ended:
	case <-time.After(Deadline):
		s.t.Errorf("did not end")
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	return p.cmd.ProcessState.ExitCode()
}

// Alive says whether the process is still running.
func (s *Server) Alive() bool {
	select {
	case <-s.running().ended:
		return false
	default:
		return true
	}
}

// forget makes the server one that is not running.
func (s *Server) forget() *process {
	s.t.Helper()
	p := s.running()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proc, s.up = nil, make(chan struct{})
	return p
}

// Magpie runs another command of the binary on the data directory, with standard input, and gives what it printed.
func (s *Server) Magpie(stdin string, args ...string) (string, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, Binary(s.t), append(args, "--data", s.dir)...)
	cmd.Stdin, cmd.Env = strings.NewReader(stdin), s.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("magpie %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

// Eventually waits until ok gives true, and fails the test if it does not.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if !Becomes(ok) {
		t.Fatalf("did not happen: %s", what)
	}
}

// Becomes waits until ok gives true, at most Deadline, and says whether it did.
func Becomes(ok func() bool) bool {
	for began := time.Now(); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > Deadline {
			return false
		}
	}
	return true
}

// buffer is a bytes.Buffer that may be read while a process writes to it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
