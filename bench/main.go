// Command bench measures a chat server and what others have for the same work, on one machine and in one run: magpie,
// mosquitto, and NATS with JetStream behind its MQTT gateway. One load generator, raw MQTT 3.1.1 over loopback, is used
// for all of them, they take turns, and what is printed are medians over several rounds. The generator runs on the same
// cores as the servers: ratios mean something, absolute numbers are of this machine.
//
// What is compared is the nearest thing that each offers. With magpie every message is a chat message: accepted by the
// rules of the conversation, stored and synced to the disk before the ack, numbered, counted as unread, delivered to
// the peer's stream. With the others it is a message on a topic: mosquitto keeps it in memory, NATS writes it to a
// file and syncs later.
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
	flag.Parse()
	s.only, s.targets = names(only), names(targets)
	if *list {
		for _, c := range chosen(s) {
			_, _ = fmt.Fprintln(os.Stdout, c.name) // there is nobody to tell
		}
		return
	}
	if err := run(s, os.Stdout); err != nil {
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
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", s.magpie,
			"github.com/magpie-im/magpie/cmd/magpie")
		if text, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build magpie: %w: %s", err, text)
		}
	}
	results, err := measureAll(s)
	if err != nil {
		return err
	}
	if err := report(out, results); err != nil || s.json == "" {
		return err
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
			if !wanted(s.targets, t.name) {
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
		if c.once && round > 0 || !t.takesPart(c) {
			continue
		}
		if srv == nil || c.fresh || c.alone {
			if err := stop(); err != nil {
				return err
			}
		}
		if srv == nil && !c.alone {
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
