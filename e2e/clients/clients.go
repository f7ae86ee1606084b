// Package clients drives MQTT clients that others wrote, each behind the same small interface: publish these payloads,
// subscribe and give what comes. They are what people will use with the server, so what they do is what counts:
// mosquitto's tools, Debian's Paho for Python, MQTT.js, and both Paho clients for Go.
package clients

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// AllEnv names the variable that, when it is not empty, makes a missing client a failure; otherwise its tests are
// skipped.
const AllEnv = "MAGPIE_TEST_ALL"

// Session is what a client connects with. Sessions are persistent.
type Session struct {
	Addr           string // host:port for TCP
	HTTP           string // host:port for WebSocket
	User, Password string
	ClientID       string
}

// Client is one program or library, speaking one version of the protocol.
type Client struct {
	Name    string
	Version int // 4 is 3.1.1
	driver  driver
}

// driver knows one program or library.
type driver interface {
	// missing says what is not installed, or "".
	missing() string
	publish(ctx context.Context, c Client, s Session, topic string, qos byte, payloads []string) error
	subscribe(ctx context.Context, c Client, s Session, topic string, qos byte, ready func(), each func(string)) error
}

// The clients.
var (
	Mosquitto3 = Client{"mosquitto 3.1.1", 4, mosquitto{}}
	Mosquitto5 = Client{"mosquitto 5", 5, mosquitto{}}
	Python3    = Client{"Paho Python 3.1.1", 4, python{}}
	Python5    = Client{"Paho Python 5", 5, python{}}
	MQTTJS3    = Client{"MQTT.js 3.1.1", 4, mqttjs{}}
	MQTTJS5    = Client{"MQTT.js 5", 5, mqttjs{}}
	MQTTJS3WS  = Client{"MQTT.js 3.1.1 WebSocket", 4, mqttjs{webSocket: true}}
	MQTTJS5WS  = Client{"MQTT.js 5 WebSocket", 5, mqttjs{webSocket: true}}
	PahoGo3    = Client{"paho.mqtt.golang 3.1.1", 4, pahoGo3{}}
	PahoGo5    = Client{"paho.golang 5", 5, pahoGo5{}}
	All        = []Client{Mosquitto3, Mosquitto5, Python3, Python5, MQTTJS3, MQTTJS5, MQTTJS3WS, MQTTJS5WS, PahoGo3,
		PahoGo5}
)

// Need skips the test if the client is not installed, or fails it if everything has to be.
func (c Client) Need(t testing.TB) {
	t.Helper()
	what := c.driver.missing()
	switch {
	case what == "":
	case os.Getenv(AllEnv) != "":
		t.Fatalf("%s: %s is not installed (.ci/deps does that)", c.Name, what)
	default:
		t.Skipf("%s: %s is not installed (.ci/deps does that)", c.Name, what)
	}
}

// Publish connects, sends the payloads in order, and returns when all are acknowledged. A payload is a line: it has no
// newline and is not empty.
func (c Client) Publish(ctx context.Context, s Session, topic string, qos byte, payloads []string) error {
	if err := c.driver.publish(ctx, c, s, topic, qos, payloads); err != nil {
		return fmt.Errorf("%s publishes: %w", c.Name, err)
	}
	return nil
}

// Subscribe connects, subscribes, calls ready once that is confirmed, and then each with every payload until ctx ends.
// That is no error; losing the connection is.
func (c Client) Subscribe(
	ctx context.Context, s Session, topic string, qos byte, ready func(), each func(payload string),
) error {
	err := c.driver.subscribe(ctx, c, s, topic, qos, ready, each)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%s subscribes: %w", c.Name, err)
	}
	return nil
}

func (c Client) missing(programs ...string) string {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return p
		}
	}
	return ""
}

// command prepares a program that ends with ctx, softly at first.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// feed runs a program with lines on its standard input.
func feed(cmd *exec.Cmd, lines []string) error {
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, bytes.TrimSpace(out))
	}
	return nil
}

// follow runs a program and gives the lines of its standard output.
func follow(cmd *exec.Cmd, each func(line string)) error {
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		each(lines.Text())
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, bytes.TrimSpace(errs.Bytes()))
	}
	return nil
}

// afterReady gives a function for follow that calls ready for the line that says so, and each for those after it.
func afterReady(ready func(), each func(string)) func(string) {
	begun := false
	return func(line string) {
		if !begun && line == "ready" {
			begun = true
			ready()
			return
		}
		each(line)
	}
}

// job is what the scripts are told, as JSON.
type job struct {
	Do       string `json:"do"`
	URL      string `json:"url,omitempty"`
	Addr     string `json:"addr,omitempty"`
	User     string `json:"user"`
	Password string `json:"password"`
	Client   string `json:"client"`
	Version  int    `json:"version"`
	Topic    string `json:"topic"`
	QoS      byte   `json:"qos"`
}

func (j job) String() string {
	b, err := json.Marshal(j)
	if err != nil { // strings and numbers
		panic(err)
	}
	return string(b)
}

// mosquitto is mosquitto_pub and mosquitto_sub.
type mosquitto struct{}

func (mosquitto) missing() string { return Client{}.missing("mosquitto_pub", "mosquitto_sub") }

func (mosquitto) args(c Client, s Session, topic string, qos byte) []string {
	host, port, _ := strings.Cut(s.Addr, ":")
	version := map[int]string{4: "311", 5: "5"}[c.Version]
	args := []string{"-h", host, "-p", port, "-i", s.ClientID, "-c", "-V", version, "-t", topic, "-q",
		strconv.Itoa(int(qos))}
	if s.User != "" {
		args = append(args, "-u", s.User, "-P", s.Password)
	}
	return args
}

func (m mosquitto) publish(ctx context.Context, c Client, s Session, topic string, qos byte, payloads []string) error {
	return feed(command(ctx, "mosquitto_pub", append(m.args(c, s, topic, qos), "-l")...), payloads)
}

// subscribe makes the session with -E, which ends as soon as the subscription is confirmed, and then uses it.
func (m mosquitto) subscribe(
	ctx context.Context, c Client, s Session, topic string, qos byte, ready func(), each func(string),
) error {
	args := m.args(c, s, topic, qos)
	if err := follow(command(ctx, "mosquitto_sub", append(args, "-E")...), each); err != nil {
		return err
	}
	ready()
	return follow(command(ctx, "mosquitto_sub", args...), each)
}

// python is Debian's python3-paho-mqtt, under Debian's Python.
type python struct{}

//go:embed python.py
var pythonScript string

const debianPython = "/usr/bin/python3"

func (python) missing() string {
	if err := exec.Command(debianPython, "-I", "-c", "import paho.mqtt.client").Run(); err != nil {
		return "python3-paho-mqtt"
	}
	return ""
}

func (python) command(ctx context.Context, j job) *exec.Cmd {
	return command(ctx, debianPython, "-c", pythonScript, j.String())
}

func (p python) publish(ctx context.Context, c Client, s Session, topic string, qos byte, payloads []string) error {
	j := job{"publish", "", s.Addr, s.User, s.Password, s.ClientID, c.Version, topic, qos}
	return feed(p.command(ctx, j), payloads)
}

func (p python) subscribe(
	ctx context.Context, c Client, s Session, topic string, qos byte, ready func(), each func(string),
) error {
	j := job{"subscribe", "", s.Addr, s.User, s.Password, s.ClientID, c.Version, topic, qos}
	return follow(p.command(ctx, j), afterReady(ready, each))
}

// mqttjs is MQTT.js from npm under Node.js.
type mqttjs struct{ webSocket bool }

// mqttjsDir is where the script and its node_modules are.
func mqttjsDir() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "mqttjs")
}

func (mqttjs) missing() string {
	if _, err := os.Stat(filepath.Join(mqttjsDir(), "node_modules", "mqtt")); err != nil {
		return "MQTT.js"
	}
	return Client{}.missing("node")
}

func (m mqttjs) url(s Session) string {
	if m.webSocket {
		return "ws://" + s.HTTP + "/mqtt"
	}
	return "mqtt://" + s.Addr
}

func (m mqttjs) command(ctx context.Context, j job) *exec.Cmd {
	return command(ctx, "node", filepath.Join(mqttjsDir(), "client.mjs"), j.String())
}

func (m mqttjs) publish(ctx context.Context, c Client, s Session, topic string, qos byte, payloads []string) error {
	j := job{"publish", m.url(s), "", s.User, s.Password, s.ClientID, c.Version, topic, qos}
	return feed(m.command(ctx, j), payloads)
}

func (m mqttjs) subscribe(
	ctx context.Context, c Client, s Session, topic string, qos byte, ready func(), each func(string),
) error {
	j := job{"subscribe", m.url(s), "", s.User, s.Password, s.ClientID, c.Version, topic, qos}
	return follow(m.command(ctx, j), afterReady(ready, each))
}
