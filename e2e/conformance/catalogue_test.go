package conformance

import (
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/e2e/wire"
)

func TestTheCatalogueIsInOrder(t *testing.T) {
	for version, statements := range run.catalogue {
		seen := map[string]bool{}
		for _, s := range statements {
			if seen[s.id] {
				t.Errorf("MQTT-%s of %s is there twice", s.id, names[version])
			}
			seen[s.id] = true
			if s.text == "" || strings.Contains(s.text, "|") || strings.Contains(s.why, "|") {
				t.Errorf("MQTT-%s of %s: text %q, why %q", s.id, names[version], s.text, s.why)
			}
		}
		if !slices.IsSortedFunc(statements, byID) {
			t.Errorf("those of %s are not in order", names[version])
		}
	}
}

func TestThePageCannotLie(t *testing.T) {
	catalogue := map[byte][]statement{wire.V5: {
		{"1.0.0-1", server, "shown", ""}, {"1.0.0-2", both, "explained", "because"}, {"1.0.0-3", client, "not ours", ""},
	}}
	tests := map[string]struct {
		change func(l *ledger)
		want   string
	}{
		"all is well":               {func(*ledger) {}, ""},
		"a test failed":             {func(l *ledger) { l.fail("TestA") }, "did not pass"},
		"a test is gone":            {func(l *ledger) { delete(l.claims, key{wire.V5, "1.0.0-1"}) }, "neither a test nor a reason"},
		"a statement is none":       {func(l *ledger) { l.claim("TestA", wire.V5, "1.0.0-4") }, "does not exist"},
		"it is one of the other":    {func(l *ledger) { l.claim("TestA", wire.V311, "1.0.0-1") }, "does not exist"},
		"a reason has become false": {func(l *ledger) { l.claim("TestA", wire.V5, "1.0.0-2") }, "and a reason"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLedger(catalogue)
			l.claim("TestA", wire.V5, "1.0.0-1")
			tt.change(l)
			got := strings.Join(l.problems(), "; ")
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("problems %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTitle(t *testing.T) {
	for name, want := range map[string]string{
		"TestA": "TestA", "TestA/5": "TestA", "TestA/a_row/3.1.1": "TestA: a row", "TestA/a_row": "TestA: a row",
	} {
		if got := title(name); got != want {
			t.Errorf("title(%q) = %q, want %q", name, got, want)
		}
	}
}
