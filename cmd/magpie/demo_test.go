package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestTheDemoDoesWhatItSays types the lines that the demo prints into two terminals, and does to the server what it
// proposes.
func TestTheDemoDoesWhatItSays(t *testing.T) {
	if _, err := exec.LookPath("mosquitto_sub"); err != nil {
		if os.Getenv("MAGPIE_TEST_ALL") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	for name, option := range map[string]string{"MQTT 3.1.1": "", "MQTT 5": " -V 5"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := startDemo(t, dir)
			listen, write := s.line("mosquitto_sub", "-i bob-phone")+option, s.line("mosquitto_pub", "-i alice-laptop")+option

			bob := startLine(t, listen)
			until(t, "bob hears alice", func() bool { // his subscription has been made when he hears the first of these
				typeLine(t, write, "hello")
				return strings.Contains(bob.out.String(), "alice: hello\n")
			})
			bob.end(syscall.SIGINT)

			typeLine(t, write, "dinner at 7?\n", "晚饭七点?\n")
			s.end(syscall.SIGKILL)
			s = startDemo(t, dir)
			listen, write = s.line("mosquitto_sub", "-i bob-phone")+option, s.line("mosquitto_pub", "-i alice-laptop")+option
			typeLine(t, write, "and bring wine")

			bob = startLine(t, listen)
			want := []string{"alice: dinner at 7?", "alice: 晚饭七点?", "alice: and bring wine"}
			var got []string
			until(t, "bob got what he missed", func() bool {
				got = slices.DeleteFunc(strings.Split(bob.out.String(), "\n"), func(line string) bool {
					return line == "" || line == "alice: hello"
				})
				return len(got) >= len(want)
			})
			if !slices.Equal(got, want) {
				t.Errorf("bob got %q, want %q", got, want)
			}
			bob.end(syscall.SIGINT)
			s.end(syscall.SIGTERM)
		})
	}
}

// running is a process and what it has printed so far.
type running struct {
	t   *testing.T
	cmd *exec.Cmd
	out *output
}

func startProcess(t *testing.T, cmd *exec.Cmd) *running {
	t.Helper()
	r := &running{t: t, cmd: cmd, out: &output{}}
	cmd.Stdout, cmd.Stderr = r.out, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.end(syscall.SIGKILL) })
	return r
}

// end ends the process, if it has not ended yet, and waits for it.
func (r *running) end(signal syscall.Signal) {
	if r.cmd.ProcessState != nil {
		return
	}
	_ = r.cmd.Process.Signal(signal)
	_ = r.cmd.Wait() // by a signal, or by itself: it has ended
}

func startDemo(t *testing.T, dir string) *running {
	t.Helper()
	cmd := exec.Command("magpie", "serve", "--demo", "--data", filepath.Join(dir, "data"), "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "MAGPIE_LOG_LEVEL=warn"}
	r := startProcess(t, cmd)
	until(t, "the demo is ready", func() bool { return strings.Contains(r.out.String(), "Ctrl-C here stops the server.") })
	return r
}

// line finds a line of what was printed.
func (r *running) line(tool, with string) string {
	r.t.Helper()
	found := regexp.MustCompile(`(?m)^` + tool + ` .*` + regexp.QuoteMeta(with) + ` .*$`).FindString(r.out.String())
	if found == "" {
		r.t.Fatalf("no line with %s and %s in\n%s", tool, with, r.out)
	}
	return found
}

func startLine(t *testing.T, line string) *running {
	t.Helper()
	return startProcess(t, exec.Command("sh", "-c", "exec "+line))
}

// typeLine runs a line and types into it.
func typeLine(t *testing.T, line string, text ...string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", line)
	cmd.Stdin = strings.NewReader(strings.Join(text, ""))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s until %s", patience, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// output collects what a process prints. Safe for concurrent use.
type output struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
