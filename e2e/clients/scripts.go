package clients

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// job is what the scripts are told, as JSON. They read messages to send from their standard input, and write messages
// that they got to their standard output: a line of JSON each, or "ready".
type job struct {
	Do        string   `json:"do"` // send or listen
	URL       string   `json:"url,omitempty"`
	Addr      string   `json:"addr,omitempty"`
	User      string   `json:"user"`
	Password  string   `json:"password"`
	Client    string   `json:"client"`
	Version   int      `json:"version"`
	Clean     bool     `json:"clean"`
	Reconnect bool     `json:"reconnect"`
	KeepAlive int      `json:"keepAlive"` // 0: its own
	Will      *Message `json:"will,omitempty"`
	Filters   []string `json:"filters"`
	QoS       byte     `json:"qos"`
}

func newJob(do string, c Client, s Session) job {
	return job{Do: do, Addr: s.Addr, User: s.User, Password: s.Password, Client: s.ClientID, Version: c.Version,
		Clean: s.Ends, Reconnect: s.Reconnect, KeepAlive: s.KeepAlive, Will: s.Will}
}

func (j job) String() string {
	b, err := json.Marshal(j)
	if err != nil { // strings and numbers
		panic(err)
	}
	return string(b)
}

// sendLines gives messages to a script that sends them and ends.
func sendLines(p *Program, messages []Message) error {
	in := json.NewEncoder(p.in)
	var err error
	for _, m := range messages {
		err = errors.Join(err, in.Encode(m))
		if err != nil {
			break // it has ended, and will say why
		}
	}
	return errors.Join(p.in.Close(), p.wait(), err)
}

func parseScript(line string) (*Message, bool, error) {
	if line == "ready" {
		return nil, true, nil
	}
	var m Message
	if err := json.Unmarshal([]byte(line), &m); err != nil {
		return nil, false, fmt.Errorf("strange line %q: %w", line, err)
	}
	return &m, false, nil
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

func (python) run(ctx context.Context, j job) (*Program, error) {
	return run(ctx, debianPython, "-c", pythonScript, j.String())
}

func (py python) send(ctx context.Context, c Client, s Session, messages []Message) error {
	p, err := py.run(ctx, newJob("send", c, s))
	if err != nil {
		return err
	}
	return sendLines(p, messages)
}

func (py python) listen(ctx context.Context, c Client, s Session, qos byte, filters []string, l *Listener) error {
	j := newJob("listen", c, s)
	j.QoS, j.Filters = qos, filters
	p, err := py.run(ctx, j)
	if err != nil {
		return err
	}
	return p.serve(l, parseScript)
}

// mqttjs is MQTT.js from npm under Node.js.
type mqttjs struct{ webSocket bool }

// npm gives the directory where a script and its node_modules are.
func npm(name string) string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), name)
}

// missingNPM says whether Node.js or a package of a script is missing.
func missingNPM(dir, module string) string {
	if _, err := os.Stat(filepath.Join(npm(dir), "node_modules", module)); err != nil {
		return module
	}
	return missing("node")
}

func (mqttjs) missing() string { return missingNPM("mqttjs", "mqtt") }

func (m mqttjs) run(ctx context.Context, s Session, j job) (*Program, error) {
	j.URL = "mqtt://" + s.Addr
	if m.webSocket {
		j.URL = "ws://" + s.HTTP + "/mqtt"
	}
	return run(ctx, "node", filepath.Join(npm("mqttjs"), "client.mjs"), j.String())
}

func (m mqttjs) send(ctx context.Context, c Client, s Session, messages []Message) error {
	p, err := m.run(ctx, s, newJob("send", c, s))
	if err != nil {
		return err
	}
	return sendLines(p, messages)
}

func (m mqttjs) listen(ctx context.Context, c Client, s Session, qos byte, filters []string, l *Listener) error {
	j := newJob("listen", c, s)
	j.QoS, j.Filters = qos, filters
	p, err := m.run(ctx, s, j)
	if err != nil {
		return err
	}
	return p.serve(l, parseScript)
}
