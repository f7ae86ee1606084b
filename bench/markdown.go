package main

import (
	"bytes"
	"fmt"
	"strings"
)

// markdown gives the tables of docs/benchmarks.md.
func markdown(r *results) []byte {
	var b bytes.Buffer
	b.WriteString("| case | deliveries/s | | CPU, us each | | ack, us | | arrival, us | |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|\n")
	for _, name := range r.cases() {
		if c := r.of(name); strings.HasPrefix(name, "free/q") {
			b.WriteString(c.line() + "\n")
		}
	}
	b.WriteString("\n")
	for _, name := range r.cases() {
		b.WriteString(r.of(name).losses())
	}
	for _, name := range r.cases() {
		if !strings.HasPrefix(name, "free/q") {
			r.of(name).table(&b)
		}
	}
	return b.Bytes()
}

// cases gives their names, in order.
func (r *results) cases() (names []string) {
	for _, row := range r.Rows {
		if len(names) == 0 || names[len(names)-1] != row.Case {
			names = append(names, row.Case)
		}
	}
	return names
}

// caseRows are the rows of one case.
type caseRows struct {
	name string
	rows []*row
}

func (r *results) of(name string) caseRows {
	c := caseRows{name: name}
	for _, row := range r.Rows {
		if row.Case == name {
			c.rows = append(c.rows, row)
		}
	}
	return c
}

// number gives a median; ok is false if the target has none.
func (c caseRows) number(name, target string) (v float64, ok bool) {
	for _, row := range c.rows {
		if row.Name == name {
			v, ok = row.Medians[target]
			return v, ok
		}
	}
	return 0, false
}

// line is that of a case with publishers and subscribers: magpie's numbers, mosquitto's, and how they relate.
func (c caseRows) line() string {
	cells := []string{"`" + c.name + "`"}
	for _, name := range []string{"deliveries", "server CPU"} {
		ours, _ := c.number(name, magpieName)
		theirs, _ := c.number(name, mosquittoName)
		cells = append(cells, short(ours)+" : "+short(theirs), fmt.Sprintf("**%.2f**", ours/max(theirs, 1e-9)))
	}
	for _, what := range []string{"ack", "arrival"} {
		for _, target := range []string{magpieName, mosquittoName} {
			cells = append(cells, c.spread(what, target))
		}
	}
	return "| " + strings.Join(cells, " | ") + " |"
}

// spread gives three percentiles.
func (c caseRows) spread(what, target string) string {
	var all []string
	for _, p := range []string{" p50", " p99", " p99.9"} {
		v, ok := c.number(what+p, target)
		if !ok {
			return ""
		}
		all = append(all, short(v))
	}
	return strings.Join(all, " / ")
}

// losses says what should not be there, a line for each.
func (c caseRows) losses() (lines string) {
	for _, bad := range append(misfortunes(), "failed") {
		for _, target := range targetNames() {
			if v, _ := c.number(bad, target); v > 0 {
				lines += fmt.Sprintf("- `%s`: %s, %s: %s\n", c.name, target, bad, short(v))
			}
		}
	}
	return lines
}

// table is one for a case of another kind.
func (c caseRows) table(b *bytes.Buffer) {
	var shown []string
	for _, name := range targetNames() {
		for _, row := range c.rows {
			if _, ok := row.Medians[name]; ok {
				shown = append(shown, name)
				break
			}
		}
	}
	fmt.Fprintf(b, "\n| `%s` | %s |\n|---%s|\n", c.name, strings.Join(shown, " | "), strings.Repeat("|---", len(shown)))
	for _, row := range c.rows {
		cells := []string{strings.TrimSuffix(row.Name+", "+row.Unit, ", ")}
		for _, name := range shown {
			cell := "-"
			if v, ok := row.Medians[name]; ok {
				cell = short(v)
			}
			cells = append(cells, cell)
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	}
}

// short writes a number with three digits at least, and thousands apart.
func short(v float64) string {
	if v < 100 && v != float64(int(v)) {
		return fmt.Sprintf("%.3g", v)
	}
	digits := fmt.Sprintf("%.0f", v)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
