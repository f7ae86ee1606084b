package conformance

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/wire"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
)

const page = "../../docs/conformance.md"

var update = flag.Bool("update", false, "write docs/conformance.md")

// who says whom a statement binds.
type who string

const (
	server who = "server"
	client who = "client"
	both   who = "both"
)

// statement is one that a specification numbers.
type statement struct {
	id    string // without MQTT-
	binds who
	text  string // in our own words
	why   string // no test shows it: why
}

var names = map[byte]string{wire.V311: "3.1.1", wire.V5: "5"}

// key names a statement; ids mean different things in the two versions.
type key struct {
	version byte
	id      string
}

func (k key) String() string { return fmt.Sprintf("MQTT-%s of %s", k.id, names[k.version]) }

// ledger is what tests say that they show.
type ledger struct {
	catalogue map[byte][]statement

	mu     sync.Mutex
	claims map[key]map[string]bool // the tests that show a statement, by their names in the page
	failed map[string]bool         // those that did not pass
}

func newLedger(catalogue map[byte][]statement) *ledger {
	return &ledger{catalogue: catalogue, claims: map[key]map[string]bool{}, failed: map[string]bool{}}
}

func (l *ledger) claim(test string, version byte, ids ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		k := key{version, id}
		if l.claims[k] == nil {
			l.claims[k] = map[string]bool{}
		}
		l.claims[k][test] = true
	}
}

func (l *ledger) fail(test string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed[test] = true
}

// run is the ledger of this run.
var run = newLedger(map[byte][]statement{wire.V311: mqtt311, wire.V5: mqtt5})

// shows says that a test shows statements of one version. If it does not pass, they are not shown; what needs
// the embedded store is shown by another run.
func shows(t *testing.T, version byte, ids ...string) {
	t.Helper()
	name := title(t.Name())
	run.claim(name, version, ids...)
	t.Cleanup(func() {
		if t.Failed() || t.Skipped() && !mongotest.Wanted() {
			run.fail(name)
		}
	})
}

// title is how a test is named in the page: without the version, and as a sentence below the top.
func title(name string) string {
	for _, v := range names {
		name = strings.TrimSuffix(name, "/"+v)
	}
	top, rest, below := strings.Cut(name, "/")
	if !below {
		return top
	}
	return top + ": " + strings.ReplaceAll(rest, "_", " ")
}

// ids are statements of both versions, separated by blanks.
type ids struct{ v311, v5 string }

// absent, in ids, says that there is no such thing in that version.
const absent = "-"

// inBoth runs a test once for each version, and says what it shows.
func inBoth(t *testing.T, s ids, f func(t *testing.T, version byte)) {
	t.Helper()
	for _, version := range []byte{wire.V311, wire.V5} {
		if s.of(version) == absent {
			continue
		}
		t.Run(names[version], func(t *testing.T) {
			in(t, version, s)
			f(t, version)
		})
	}
}

func (s ids) of(version byte) string {
	if version == wire.V5 {
		return s.v5
	}
	return s.v311
}

// in is shows for one of the versions of ids.
func in(t *testing.T, version byte, s ids) {
	t.Helper()
	shows(t, version, strings.Fields(s.of(version))...)
}

func TestMain(m *testing.M) {
	flag.Parse()
	parallel := "8" // most of a test here is waiting
	if brokertest.Small() {
		parallel = "3" // for the one server
	}
	if err := flag.Set("test.parallel", parallel); err != nil {
		panic(err)
	}
	code := m.Run()
	if whole() {
		problems := run.problems()
		if err := compare(run.render()); err != nil {
			problems = append(problems, err.Error())
		}
		for _, problem := range problems {
			fmt.Fprintln(os.Stderr, problem)
			code = 1
		}
	}
	if *update && !whole() {
		fmt.Fprintln(os.Stderr, "-update needs all tests to run")
		code = 1
	}
	os.Exit(code)
}

// compare holds the page against what it should be, or writes it.
func compare(want string) error {
	if *update {
		return os.WriteFile(page, []byte(want), 0o644)
	}
	got, err := os.ReadFile(page)
	if err == nil && string(got) != want {
		err = fmt.Errorf("%s is not what this run would write; -update writes it", page)
	}
	return err
}

// whole says whether every test was asked for.
func whole() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list"} {
		if flag.Lookup(name).Value.String() != "" {
			return false
		}
	}
	return true
}

// problems is what does not add up between the catalogue and what the tests said.
func (l *ledger) problems() (problems []string) {
	known := map[key]statement{}
	for version, statements := range l.catalogue {
		for _, s := range statements {
			known[key{version, s.id}] = s
		}
	}
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	for k, tests := range l.claims {
		if _, ok := known[k]; !ok {
			add("%s does not exist; %q name it", k, sorted(tests))
		}
		for test := range tests {
			if l.failed[test] {
				add("%s is not shown: %s did not pass", k, test)
			}
		}
	}
	for k, s := range known {
		switch shown := len(l.claims[k]) > 0; {
		case s.binds != client && !shown && s.why == "":
			add("%s has neither a test nor a reason: %s", k, s.text)
		case shown && s.why != "":
			add("%s has a test, %q, and a reason why it has none", k, sorted(l.claims[k]))
		}
	}
	slices.Sort(problems)
	return problems
}

func sorted(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }

// render writes the page.
func (l *ledger) render() string {
	var b strings.Builder
	b.WriteString(preamble)
	for _, version := range []byte{wire.V311, wire.V5} {
		var bound, free []statement
		for _, s := range l.catalogue[version] {
			if s.binds == client {
				free = append(free, s)
			} else {
				bound = append(bound, s)
			}
		}
		fmt.Fprintf(&b, "\n## MQTT %s: statements that bind a server\n\n", names[version])
		b.WriteString("| statement | binds | what it asks | shown by |\n|---|---|---|---|\n")
		for _, s := range bound {
			fmt.Fprintf(&b, "| MQTT-%s | %s | %s | %s |\n", s.id, s.binds, s.text, l.evidence(version, s))
		}
		fmt.Fprintf(&b, "\n## MQTT %s: statements that bind clients only\n\n", names[version])
		b.WriteString("Where there is a test, it shows what the server does about a client that breaks them.\n\n")
		b.WriteString("| statement | what it asks | test |\n|---|---|---|\n")
		for _, s := range free {
			fmt.Fprintf(&b, "| MQTT-%s | %s | %s |\n", s.id, s.text, l.evidence(version, s))
		}
	}
	return b.String()
}

func (l *ledger) evidence(version byte, s statement) string {
	tests := sorted(l.claims[key{version, s.id}])
	if len(tests) == 0 {
		return s.why
	}
	var tops []string
	below := map[string][]string{}
	for _, test := range tests {
		top, title, _ := strings.Cut(test, ": ")
		if !slices.Contains(tops, top) {
			tops = append(tops, top)
		}
		if title != "" {
			below[top] = append(below[top], title)
		}
	}
	for i, top := range tops {
		titles := below[top]
		if more := len(titles) - 4; more > 1 {
			titles = append(titles[:4:4], fmt.Sprintf("and %d more", more))
		}
		if len(titles) > 0 {
			tops[i] += ": " + strings.Join(titles, "; ")
		}
	}
	return strings.Join(tops, "<br>")
}

// byID compares by the numbers in the ids.
func byID(a, b statement) int { return slices.Compare(numbers(a.id), numbers(b.id)) }

func numbers(id string) []int {
	var ns []int
	for _, field := range strings.FieldsFunc(id, func(r rune) bool { return r == '.' || r == '-' }) {
		n, err := strconv.Atoi(field)
		if err != nil {
			panic(err)
		}
		ns = append(ns, n)
	}
	return ns
}

const preamble = `# Conformance

What MQTT 3.1.1 and MQTT 5.0 number as normative, in our own words, and the test in [e2e/conformance](../e2e/conformance)
that shows it. The tests speak raw packets to whole nodes. ` + "`go test ./e2e/conformance -update`" + ` writes this page from what the
tests say about themselves, and a run of them fails if a statement that binds the server has neither a test that passed nor
a reason here, or if the page says anything else.

Chapter 7 (what conforming means) and chapter 5 (not normative) are left out.
`
