package promises

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/e2e/people"
)

//go:generate env MAGPIE_TEST_UPDATE=1 go test -run ^TestThePageIsMadeFromTheTable$ .

const (
	root = "../.."
	page = root + "/docs/promises.md"
)

// row is a question of whoever builds a messenger, and our answer.
type row struct {
	id       string
	question string
	promise  string
	// test shows the promise: it is TestPromises/{id}. each runs it once for each version.
	test func(t *testing.T)
	// later is the test of what is not there yet. It ends in awaits, and is no evidence.
	later func(t *testing.T)
	// shown are tests elsewhere that show it: the directory, and their names.
	shown []evidence
	// lacks says what of the promise is not there yet, and which issue brings it. Empty: nothing is missing.
	lacks string
	// waits are methods without which there is nothing to test. Once there is one of them, the row has to have its test.
	waits []string
}

type evidence struct {
	dir   string
	tests []string
}

func in(dir string, tests ...string) evidence { return evidence{dir, tests} }

// ours is the directory of this package.
const ours = "e2e/promises"

// our is for what the test of another row shows.
func our(id string) evidence { return in(ours, name(id)) }

func name(id string) string { return "TestPromises/" + id }

// state says what the page says of a row.
func (r row) state() string {
	var by []string
	if r.test != nil {
		by = append(by, ours+": "+name(r.id))
	}
	for _, e := range r.shown {
		by = append(by, e.dir+": "+strings.Join(e.tests, ", "))
	}
	shown := "shown by " + strings.Join(by, "; ")
	switch {
	case len(by) == 0:
		return "not built yet: " + r.lacks
	case r.lacks != "":
		return "partly: " + shown + "; missing: " + r.lacks
	}
	return shown
}

// problems is what does not add up in a table.
func problems(sections []section, exists func(dir, test string) bool) (found []string) {
	add := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	seen := map[string]bool{}
	for _, s := range sections {
		for _, r := range s.rows {
			if seen[r.id] {
				add("%s is there twice", r.id)
			}
			seen[r.id] = true
			if r.question == "" || r.promise == "" || strings.ContainsAny(r.question+r.promise+r.lacks, "|\n") {
				add("%s: question %q, promise %q, lacks %q", r.id, r.question, r.promise, r.lacks)
			}
			if r.test == nil && len(r.shown) == 0 && r.lacks == "" {
				add("%s has neither a test nor a reason", r.id)
			}
			if (len(r.waits) > 0 || r.later != nil) && r.lacks == "" {
				add("%s waits for something (%q), and lacks nothing", r.id, r.waits)
			}
			for _, e := range r.shown {
				for _, name := range e.tests {
					if !exists(e.dir, name) {
						add("%s is said to be shown by %s in %s, which does not exist", r.id, name, e.dir)
					}
				}
			}
		}
	}
	return found
}

// render writes the page.
func render(sections []section) string {
	var b strings.Builder
	b.WriteString(preamble)
	counts := map[string]int{}
	for _, s := range sections {
		for _, r := range s.rows {
			word, _, _ := strings.Cut(r.state(), " ")
			counts[word]++
		}
	}
	fmt.Fprintf(&b, "\nOf %d rows, %d are shown, %d partly, and %d are not built yet.\n",
		counts["shown"]+counts["partly:"]+counts["not"], counts["shown"], counts["partly:"], counts["not"])
	for _, s := range sections {
		fmt.Fprintf(&b, "\n## %s\n\n| row | question | promise | state |\n|---|---|---|---|\n", s.title)
		for _, r := range s.rows {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.id, r.question, r.promise, r.state())
		}
	}
	return b.String()
}

const preamble = `# Promises

What whoever builds a messenger has to answer, what Magpie's answer is, and the test that shows it, from outside and for
MQTT 3.1.1 and 5 alike. ` + "`go generate ./e2e/promises`" + ` writes this page from the table of
[e2e/promises](../e2e/promises); a test fails if it says anything else, if a row has neither a test nor a reason, or if a
test that it names does not exist.
`

// awaits ends a test before what its row lacks. Once that is built, the row must not say so any more.
func awaits(t *testing.T, id string, built bool) {
	t.Helper()
	lacks := ""
	for _, s := range table() {
		for _, r := range s.rows {
			if r.id == id {
				lacks = r.lacks
			}
		}
	}
	switch {
	case built && lacks != "":
		t.Errorf("%s says that it lacks %s, and that is there now", id, lacks)
	case !built && lacks == "":
		t.Errorf("%s says that it lacks nothing", id)
	case !built:
		t.Skip("not built yet: " + lacks)
	}
}

func TestThePageIsMadeFromTheTable(t *testing.T) {
	want := render(table())
	if os.Getenv("MAGPIE_TEST_UPDATE") != "" {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile(page); err != nil || string(got) != want {
		t.Errorf("%s is not what the table says (%v); go generate ./e2e/promises writes it", page, err)
	}
}

func TestEveryRowHasATestOrAReason(t *testing.T) {
	declared := declarations(t)
	for _, p := range problems(table(), func(dir, test string) bool { return declared[dir+" "+test] }) {
		t.Error(p)
	}
}

// declarations are the tests of all packages that the table names: directory and name.
func declarations(t *testing.T) map[string]bool {
	t.Helper()
	declared := map[string]bool{}
	for _, s := range table() {
		for _, r := range s.rows {
			declared[ours+" "+name(r.id)] = r.test != nil
		}
	}
	for _, dir := range directories() {
		files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range file.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
					declared[dir+" "+f.Name.Name] = true
				}
			}
		}
	}
	return declared
}

func directories() (dirs []string) {
	for _, s := range table() {
		for _, r := range s.rows {
			for _, e := range r.shown {
				dirs = append(dirs, e.dir)
			}
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// What a row waits for is a method that does not exist. When it does, the row has to be gone over.
func TestWhatIsNotBuiltYetIsNotThere(t *testing.T) {
	place, _ := people.Inside(t)
	alice := place.Join("alice", people.HTTP)
	for _, s := range table() {
		for _, r := range s.rows {
			for _, method := range r.waits {
				if _, word := alice.Call(method, people.M{}); word != "no_method" {
					t.Errorf("%s says that it waits for %s, and that is there now (%q): it needs its test", r.id, method, word)
				}
			}
		}
	}
}

func TestATableThatDoesNotAddUpIsSeen(t *testing.T) {
	fine := row{id: "1", question: "why?", promise: "because", shown: []evidence{in("e2e", "TestA")}}
	exists := func(_, test string) bool { return test == "TestA" }
	tests := map[string]struct {
		change func(r *row)
		want   string
	}{
		"all is well":               {func(*row) {}, ""},
		"a test is gone":            {func(r *row) { r.shown = []evidence{in("e2e", "TestB")} }, "does not exist"},
		"nothing shows it":          {func(r *row) { r.shown = nil }, "neither a test nor a reason"},
		"it is not built, and why":  {func(r *row) { r.shown, r.lacks = nil, "issue 7" }, ""},
		"it says nothing":           {func(r *row) { r.promise = "" }, "promise \"\""},
		"it breaks the page":        {func(r *row) { r.question = "a|b" }, "a|b"},
		"it waits and lacks nought": {func(r *row) { r.waits = []string{"media.begin"} }, "lacks nothing"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := fine
			tt.change(&r)
			got := strings.Join(problems([]section{{rows: []row{r}}}, exists), "; ")
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("problems %q, want %q", got, tt.want)
			}
		})
	}
}
