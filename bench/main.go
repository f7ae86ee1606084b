// Command bench measures magpie and what others have for the same work, on one machine and in one run: mosquitto, which
// keeps messages in memory, and where that says something NATS with JetStream behind its MQTT gateway, which writes to a
// file and syncs later. Magpie has synced a message of QoS 1 or 2 for a session that is kept before it acknowledges it.
//
// One load generator is used for all of them: raw MQTT 3.1.1 over loopback, one process, which coalesces what it writes.
// The targets take turns, and what is printed are medians over several rounds. The generator runs on the same cores as the
// servers: ratios mean something, absolute numbers are of this machine. A publisher sends as long as fewer messages than
// its window are unacknowledged, and, where there are several subscribers, as long as nobody is more than two windows
// behind: so nobody is overrun, and a message or a connection that is lost all the same is a result.
//
// Cases have names of several levels. free/q1/1-50/w64/durable is QoS 1 on a free topic, from one publisher with 64
// unacknowledged messages to 50 subscribers, whose sessions are kept; volatile ones end with their connections. The chat
// cases are magpie's own: every message is accepted by the rules of a conversation, stored, numbered, counted as unread
// and delivered to the peer's stream.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// settings are the flags.
type settings struct {
	magpie   string
	duration time.Duration
	rounds   int
	only     []string
	all      bool
	targets  []string
	idle     int
	storm    int
	backlog  int
	json     string
	markdown string
	natsSync string
	pprof    string
}

func main() {
	var s settings
	var only, targets string
	flag.StringVar(&s.magpie, "magpie", "", "magpie binary; empty: build it")
	flag.DurationVar(&s.duration, "duration", time.Second, "how long each throughput is measured")
	flag.IntVar(&s.rounds, "rounds", 3, "how often everything is repeated")
	flag.StringVar(&only, "only", "", "only these cases, separated by commas, or those below them (* is any level): chat, "+
		"free/q1/1-1, free/*/*/w64/durable; -list prints all")
	flag.BoolVar(&s.all, "all", false, "also those cases that are usually left out")
	list := flag.Bool("list", false, "print the names of the cases and do nothing")
	flag.StringVar(&targets, "targets", "", "only these, separated by commas: "+strings.Join(targetNames(), ", "))
	flag.IntVar(&s.idle, "idle", 10_000, "idle connections")
	flag.IntVar(&s.storm, "storm", 5_000, "connections of a storm")
	flag.IntVar(&s.backlog, "backlog", 20_000, "messages that wait for an offline session")
	flag.StringVar(&s.pprof, "pprof", "", "beginning of the names of files for profiles of magpie in each case on free "+
		"topics: its CPU (.cpu) and its allocations (.allocs)")
	flag.StringVar(&s.json, "json", "", "file for the results as JSON")
	flag.StringVar(&s.markdown, "md", "", "file for the results as the tables of docs/benchmarks.md")
	flag.StringVar(&s.natsSync, "nats-sync", "", "a nats-server of 2.10 or later, to be measured as one that syncs each message")
	again := flag.String("from", "", "take the results out of this file of an earlier -json, and measure nothing")
	flag.Parse()
	s.only, s.targets = names(only), names(targets)
	if *list {
		for _, c := range chosen(s) {
			_, _ = fmt.Fprintln(os.Stdout, c.name) // there is nobody to tell
		}
		return
	}
	do := run
	if *again != "" {
		do = func(s settings, out io.Writer) error { return repeat(s, *again, out) }
	}
	if err := do(s, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func names(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// wanted says whether a name is in the list, or the list is empty.
func wanted(names []string, name string) bool { return len(names) == 0 || slices.Contains(names, name) }

func run(s settings, out io.Writer) error {
	if err := raiseFileLimit(); err != nil {
		return err
	}
	if s.magpie == "" {
		dir, err := os.MkdirTemp("", "magpie-bench-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		s.magpie = filepath.Join(dir, "magpie")
		if err := buildMagpie(s.magpie); err != nil {
			return err
		}
	}
	results, err := measureAll(s)
	if err != nil {
		return err
	}
	return write(s, results, out)
}

func buildMagpie(file string) error {
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, "github.com/magpie-im/magpie/cmd/magpie")
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build magpie: %w: %s", err, text)
	}
	return nil
}

// repeat writes the results of an earlier run.
func repeat(s settings, file string, out io.Writer) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	results := &results{}
	if err := json.Unmarshal(text, results); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	return write(s, results, out)
}

// write writes results wherever they are wanted.
func write(s settings, results *results, out io.Writer) error {
	if err := report(out, results); err != nil {
		return err
	}
	if s.markdown != "" {
		if err := os.WriteFile(s.markdown, markdown(results), 0o644); err != nil {
			return err
		}
	}
	if s.json == "" {
		return nil
	}
	text, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.json, append(text, '\n'), 0o644)
}

// measureAll lets the targets take turns: in each round each of them is started anew and does every case.
func measureAll(s settings) (*results, error) {
	all := &results{}
	for round := range s.rounds {
		for _, t := range targets {
			if !wanted(s.targets, t.name) || t.name == natsSyncName && s.natsSync == "" {
				continue
			}
			if err := measureTarget(s, t, round, all); err != nil {
				return nil, fmt.Errorf("%s: %w", t.name, err)
			}
		}
	}
	return all, nil
}

func measureTarget(s settings, t target, round int, all *results) (err error) {
	var srv *instance
	stop := func() error {
		if srv == nil {
			return nil
		}
		defer func() { srv = nil }()
		return srv.close()
	}
	defer func() { err = errors.Join(err, stop()) }()
	for _, c := range chosen(s) {
		if c.once && round > 0 || !slices.Contains(c.targets, t.name) {
			continue
		}
		if srv == nil || c.fresh || c.own {
			if err := stop(); err != nil {
				return err
			}
		}
		if srv == nil && !c.own {
			if srv, err = t.start(s); err != nil {
				return err
			}
		}
		fmt.Fprintf(os.Stderr, "round %d: %s, %s\n", round+1, t.name, c.name)
		values, err := c.measure(s, srv)
		if err != nil { // that is a result, too
			fmt.Fprintf(os.Stderr, "FAILED: %s, %s: %v\n", t.name, c.name, err)
			values = append(values, value{"failed", "", 1})
			if err := stop(); err != nil {
				return err
			}
		}
		for _, v := range values {
			all.add(c.name, v.name, v.unit, t.name, v.value)
		}
	}
	return nil
}
