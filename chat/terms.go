package chat

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/golang/geo/s2"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/magpie-im/magpie/accounts"
)

// maxTerm is how many characters of a name a search can tell apart: what follows is not looked at.
const maxTerm = 24

// Terms gives what the user is found by, besides his account's name and his handles, in the order of the terms.
func (p Person) Terms() []Term {
	var all []Term
	find := p.Settings.Find
	if find.Listed && !find.Hidden {
		for _, name := range []string{string(p.User), p.Profile.Name} {
			for _, word := range words(name) {
				all = append(all, Term{TermWord, word})
			}
		}
		all = append(all, Term{TermListed, listedValue(p.User)})
	}
	if find.Nearby.Cell != 0 && !find.Hidden {
		all = append(all, Term{TermCell, cellValue(find.Nearby.Cell)})
	}
	slices.SortFunc(all, func(a, b Term) int {
		if a.Kind != b.Kind {
			return int(a.Kind) - int(b.Kind)
		}
		return strings.Compare(a.Value, b.Value)
	})
	return slices.Compact(all)
}

// words gives what a name is found by: what is left of it from the beginning of each word on. Scripts that put no space
// between words have one at each character.
func words(name string) []string {
	folded := []rune(fold(name))
	var out []string
	for i, r := range folded {
		if i == 0 || folded[i-1] == ' ' || r != ' ' && unspaced(r) {
			out = append(out, strings.TrimSpace(string(folded[i:min(len(folded), i+maxTerm)])))
		}
	}
	return out
}

// fold makes names comparable: without case, one way to write each character, and one space for all that is neither a
// letter nor a digit.
func fold(name string) string {
	var b strings.Builder
	gap := false
	for _, r := range cases.Fold().String(norm.NFKC.String(name)) {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) {
			gap = true
			continue
		}
		if gap && b.Len() > 0 {
			b.WriteByte(' ')
		}
		gap = false
		b.WriteRune(r)
	}
	return b.String()
}

// prefixOf is what a search for the beginning of a name looks for; empty if there is nothing to look for.
func prefixOf(q string) string {
	folded := []rune(fold(q))
	return strings.TrimSpace(string(folded[:min(len(folded), maxTerm)]))
}

// unspaced says whether r belongs to a script that puts no space between words.
func unspaced(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer,
		unicode.Myanmar)
}

const listedSize = 8 // bytes of the value of a TermListed

func listedValue(user accounts.Name) string {
	sum := sha256.Sum256([]byte(user))
	return string(sum[:listedSize])
}

// cellLevel makes cells of about 20 square kilometres everywhere on earth.
const cellLevel = 11

// CellOf gives the cell of a place on earth, or ErrMalformed.
func CellOf(lat, lon float64) (uint64, error) {
	if !(lat >= -90 && lat <= 90 && lon >= -180 && lon <= 180) {
		return 0, fmt.Errorf("latitude and longitude: %w", ErrMalformed)
	}
	return uint64(s2.CellIDFromLatLng(s2.LatLngFromDegrees(lat, lon)).Parent(cellLevel)), nil
}

// around gives a cell and those that touch it.
func around(cell uint64) []uint64 {
	all := []uint64{cell}
	for _, c := range s2.CellID(cell).AllNeighbors(cellLevel) {
		if !slices.Contains(all, uint64(c)) {
			all = append(all, uint64(c))
		}
	}
	return all
}

func cellValue(cell uint64) string { return string(binary.BigEndian.AppendUint64(nil, cell)) }
