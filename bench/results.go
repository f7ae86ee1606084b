package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// value is one number of one measurement.
type value struct {
	name, unit string
	value      float64
}

// row is one number of one case, of all targets.
type row struct {
	Case    string               `json:"case"`
	Name    string               `json:"name"`
	Unit    string               `json:"unit"`
	Values  map[string][]float64 `json:"values"`  // by target, one for each round
	Medians map[string]float64   `json:"medians"` // by target
}

// results are all rows, in the order in which they were first measured.
type results struct {
	Rows []*row `json:"rows"`
}

func (r *results) add(name, number, unit, target string, v float64) {
	i := slices.IndexFunc(r.Rows, func(row *row) bool { return row.Case == name && row.Name == number })
	if i < 0 {
		i = len(r.Rows)
		r.Rows = append(r.Rows, &row{Case: name, Name: number, Unit: unit, Values: map[string][]float64{},
			Medians: map[string]float64{}})
	}
	row := r.Rows[i]
	row.Values[target] = append(row.Values[target], v)
	row.Medians[target] = median(row.Values[target])
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// percentile gives the p-th percentile of sorted values.
func percentile[T any](sorted []T, p int) T { return sorted[min(len(sorted)*p/100, len(sorted)-1)] }

// report prints one line for each number: the medians, and how magpie's relates to the others'.
func report(out io.Writer, r *results) error {
	var shown []string
	for _, name := range targetNames() {
		if slices.ContainsFunc(r.Rows, func(row *row) bool { return len(row.Values[name]) > 0 }) {
			shown = append(shown, name)
		}
	}
	others := shown[min(1, len(shown)):]
	head := append([]string{"case", "number"}, shown...)
	for _, name := range others {
		head = append(head, magpieName+" : "+name)
	}
	lines := [][]string{head}
	last := ""
	for _, row := range r.Rows {
		line := []string{row.Case, row.Name}
		if row.Case == last {
			line[0] = ""
		}
		last = row.Case
		for _, name := range shown {
			line = append(line, number(row, name))
		}
		for _, name := range others {
			line = append(line, ratio(row, name))
		}
		lines = append(lines, line)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, strings.Join(line, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}

func number(r *row, target string) string {
	v, ok := r.Medians[target]
	if !ok {
		return "-"
	}
	digits := 0
	if v < 100 && v != float64(int(v)) {
		digits = 2
	}
	return strings.TrimSpace(strconv.FormatFloat(v, 'f', digits, 64) + " " + r.Unit)
}

func ratio(r *row, target string) string {
	ours, ok := r.Medians[magpieName]
	theirs := r.Medians[target]
	if !ok || theirs == 0 {
		return "-"
	}
	return strconv.FormatFloat(ours/theirs, 'f', 2, 64)
}
