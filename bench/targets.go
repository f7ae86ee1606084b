package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/magpie-im/magpie/e2e/peers"
)

// The targets.
const (
	magpieName        = "magpie"
	mosquittoName     = "mosquitto"
	mosquittoDiskName = "mosquitto+disk"
	natsName          = "NATS"
	natsSyncName      = "NATS+sync"
)

// pairs is how many senders, each with a receiver of his own, the largest case has.
const pairs = 4

// target is a server to measure.
type target struct {
	name  string
	start func(settings) (*instance, error)
}

var targets = []target{
	{name: magpieName, start: startMagpie},
	{name: mosquittoName, start: func(settings) (*instance, error) { return wrap(peers.Mosquitto(false)) }},
	{name: natsName, start: func(settings) (*instance, error) { return wrap(peers.NATS()) }},
	{name: natsSyncName, start: func(s settings) (*instance, error) { return wrap(peers.NATSSyncing(s.natsSync)) }},
	{name: mosquittoDiskName, start: func(settings) (*instance, error) { return wrap(peers.Mosquitto(true)) }},
}

func targetNames() []string {
	var names []string
	for _, t := range targets {
		names = append(names, t.name)
	}
	return names
}

// login is what a client connects with.
type login struct{ user, password string }

// instance is a running server, as the generator sees it.
type instance struct {
	addr  string
	pid   int
	close func() error

	// The n-th sender publishes to sendTo(n), and the n-th receiver subscribes to receiveFrom(n).
	sender, receiver    func(n int) login
	sendTo, receiveFrom func(n int) string

	free  func(n int) login // may publish and subscribe everywhere below bench/
	admin string            // the directory of an admin socket, if it has one
}

// wrap makes an instance of a server that knows only topics.
func wrap(p *peers.Peer, err error) (*instance, error) {
	if err != nil {
		return nil, err
	}
	topic := func(n int) string { return "bench/" + strconv.Itoa(n) }
	nobody := func(int) login { return login{} }
	return &instance{addr: p.Addr, pid: p.PID, close: p.Close, sender: nobody, receiver: nobody, sendTo: topic,
		receiveFrom: topic, free: nobody}, nil
}

// magpie is the running server with its data directory.
type magpie struct {
	cmd  *exec.Cmd
	base string // everything of it
	dir  string // of its data
	addr struct {
		MQTT string `json:"mqtt"`
		HTTP string `json:"http"`
	}
	tokens map[string]string
}

const password = "a password for the benchmark"

const freeTopics = `
[[acl]]
topic = "bench/#"
who = "users"
allow = ["pub", "sub"]
`

func startMagpie(s settings) (*instance, error) {
	m, err := runMagpie(s)
	if err != nil {
		return nil, err
	}
	return m.instance(), nil
}

// runMagpie runs magpie, and makes senders and receivers who are contacts.
func runMagpie(s settings) (*magpie, error) {
	base, err := os.MkdirTemp("", "magpie-bench-data-")
	if err != nil {
		return nil, err
	}
	m := &magpie{base: base, dir: filepath.Join(base, "data"), tokens: map[string]string{}}
	err = os.WriteFile(filepath.Join(base, "magpie.toml"), []byte(freeTopics), 0o600)
	if err == nil {
		err = m.start(s)
	}
	if err == nil {
		err = m.prepare(s)
	}
	if err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

// ours are variables that say how large benchmarks are. The server knows nothing of them.
var ours = []string{"MAGPIE_CARS", "MAGPIE_RIDERS", "MAGPIE_NEAR", "MAGPIE_SECONDS", "MAGPIE_LAMPS", "MAGPIE_PPROF"}

// start runs it, with limits off that would measure themselves, until it is ready.
func (m *magpie) start(s settings) error {
	m.cmd = exec.Command(s.magpie, "serve", "--data", m.dir, "--config", filepath.Join(m.base, "magpie.toml"),
		"--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0")
	m.cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(ours, name)
	})
	m.cmd.Env = append(m.cmd.Env, "MAGPIE_LIMITS_PUBLISH_RATE=0", "MAGPIE_LIMITS_SESSIONS_PER_ACCOUNT=0",
		"MAGPIE_LIMITS_HANDSHAKES=0", "MAGPIE_LIMITS_HANDSHAKES_PER_ADDRESS=0", "MAGPIE_LOG_LEVEL=warn")
	m.cmd.Stderr = os.Stderr
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := m.cmd.Start(); err != nil {
		return err
	}
	return m.ready()
}

// stop lets it end by itself.
func (m *magpie) stop() error {
	return errors.Join(m.cmd.Process.Signal(syscall.SIGTERM), m.cmd.Wait())
}

func (m *magpie) instance() *instance {
	name := func(prefix string) func(int) login {
		return func(n int) login {
			user := prefix + strconv.Itoa(n%pairs)
			return login{user, m.tokens[user]}
		}
	}
	return &instance{
		addr: m.addr.MQTT, pid: m.cmd.Process.Pid, close: m.close,
		sender: name("sender"), receiver: name("receiver"),
		sendTo:      func(n int) string { return "im/to/receiver" + strconv.Itoa(n) + "/send" },
		receiveFrom: func(int) string { return "im/u/me/in" },
		free:        name("sender"), admin: m.dir,
	}
}

func (m *magpie) close() error {
	if m.cmd != nil && m.cmd.Process != nil {
		_ = m.cmd.Process.Kill() // it may have ended already
		_ = m.cmd.Wait()         // says that it was killed
	}
	return os.RemoveAll(m.base)
}

func (m *magpie) prepare(s settings) error {
	for n := range pairs {
		from, to := "sender"+strconv.Itoa(n), "receiver"+strconv.Itoa(n)
		for _, user := range []string{from, to} {
			add := exec.Command(s.magpie, "user", "add", user, "--password-stdin", "--data", m.dir)
			add.Stdin = strings.NewReader(password + "\n")
			if out, err := add.CombinedOutput(); err != nil {
				return fmt.Errorf("add user: %w: %s", err, out)
			}
			var answer struct{ Token string }
			if err := m.call("", "login", map[string]string{"uid": user, "password": password}, &answer); err != nil {
				return err
			}
			m.tokens[user] = answer.Token
		}
		err := m.call(m.tokens[from], "contact.request", map[string]string{"to": to}, nil)
		if err == nil {
			err = m.call(m.tokens[to], "contact.accept", map[string]string{"from": from}, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ready waits for the file with the addresses.
func (m *magpie) ready() error {
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(filepath.Join(m.dir, "addresses.json"))
		if err == nil {
			return json.Unmarshal(text, &m.addr)
		}
		if time.Since(began) > 20*time.Second {
			return errors.New("magpie is not ready in time")
		}
	}
}

func (m *magpie) call(token, method string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+m.addr.HTTP+"/api/v1/"+method, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(answer.Body)
	err = errors.Join(err, answer.Body.Close())
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: status %d: %s", method, answer.StatusCode, text)
	}
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(text, out)
}
