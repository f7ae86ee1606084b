package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/clients"
	"github.com/magpie-im/magpie/e2e/server"
)

// terminal is a program that somebody runs in a terminal.
type terminal struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
}

// run types a line.
func run(t *testing.T, line string) *terminal {
	t.Helper()
	cmd := exec.Command("sh", "-c", "exec "+line)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, cmd: cmd, lines: make(chan string, 1000)}
	go func() {
		defer close(term.lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			term.lines <- in.Text()
		}
	}()
	return term
}

// sees waits for these lines, and no others between them.
func (term *terminal) sees(want ...string) {
	term.t.Helper()
	for _, w := range want {
		select {
		case got, open := <-term.lines:
			if got != w {
				term.t.Fatalf("%s prints %q (%t), want %q", term.cmd, got, open, w)
			}
		case <-time.After(server.Deadline):
			term.t.Fatalf("%s does not print %q", term.cmd, w)
		}
	}
}

// interrupt is Ctrl-C. What was printed and not expected is an error.
func (term *terminal) interrupt() {
	term.t.Helper()
	if err := term.cmd.Process.Signal(os.Interrupt); err != nil {
		term.t.Fatal(err)
	}
	var more []string
	for line := range term.lines {
		more = append(more, line)
	}
	if len(more) > 0 {
		term.t.Errorf("%s prints %.300q, want nothing more", term.cmd, more)
	}
	_ = term.cmd.Wait() // mosquitto_sub says how it was ended
}

// types runs a line that reads from the keyboard, and waits for its end.
func types(t *testing.T, line string, texts ...string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "exec "+line)
	cmd.Stdin = strings.NewReader(strings.Join(texts, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
}

// pasted gives the lines to paste that the demo prints, in their order: bob listens, alice writes, bob answers, alice
// listens.
func pasted(t *testing.T, s *server.Server) (bobListens, aliceWrites, bobWrites, aliceListens string) {
	t.Helper()
	var lines []string
	if !server.Becomes(func() bool {
		lines = regexp.MustCompile(`(?m)^mosquitto_(?:sub|pub) .*\n`).FindAllString(s.Output(), -1)
		return len(lines) == 4
	}) {
		t.Fatalf("the demo prints %d lines to paste, want 4:\n%s", len(lines), s.Output())
	}
	for i, line := range lines {
		lines[i] = strings.TrimSuffix(line, "\n")
	}
	return lines[0], lines[1], lines[2], lines[3]
}

func TestTheDemoWorksAsItIsPrinted(t *testing.T) {
	long(t)
	clients.Mosquitto3.Need(t)
	for name, more := range map[string]string{"3.1.1": "", "5": " -V 5"} {
		t.Run(name, func(t *testing.T) {
			s := server.Start(t, server.Args("--demo"))
			bobListens, aliceWrites, bobWrites, aliceListens := pasted(t, s)

			// The sessions begin where they are made; -E ends the program once that is done, so that nothing is missed.
			types(t, bobListens+more+" -E")
			types(t, aliceListens+more+" -E")
			bob, alice := run(t, bobListens+more), run(t, aliceListens+more)
			types(t, aliceWrites+more, "dinner at 7?", "我们七点吃饭吧")
			bob.sees("alice: dinner at 7?", "alice: 我们七点吃饭吧")
			types(t, bobWrites+more, "yes")
			bob.sees("bob: yes")
			alice.sees("alice: dinner at 7?", "alice: 我们七点吃饭吧", "bob: yes")

			bob.interrupt()
			var missed []string
			for i := range 100 {
				missed = append(missed, fmt.Sprintf("missed %d", i))
			}
			types(t, aliceWrites+more, missed...)
			bob = run(t, bobListens+more)
			for _, text := range missed {
				bob.sees("alice: " + text)
				alice.sees("alice: " + text) // she was there all the time
			}
			bob.interrupt()
			alice.interrupt()
		})
	}
}

func TestTheDemoSurvivesThePlugBeingPulled(t *testing.T) {
	long(t)
	clients.Mosquitto3.Need(t)
	s := server.Start(t, server.Args("--demo"))
	bobListens, aliceWrites, _, _ := pasted(t, s)
	types(t, bobListens+" -E")
	var want []string
	for round := range 3 {
		text := fmt.Sprintf("before the plug was pulled, time %d", round+1)
		types(t, aliceWrites, text)
		want = append(want, "alice: "+text)
		s.Kill()
		s.Start()
		bobListens, aliceWrites, _, _ = pasted(t, s) // on another port
	}
	bob := run(t, bobListens)
	bob.sees(want...)
	bob.interrupt()
}
