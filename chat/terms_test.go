package chat_test

import (
	"errors"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// listedAs gives what a listed person is found by, without what everybody is.
func listedAs(user accounts.Name, name string) []string {
	p := chat.Person{User: user}
	p.Profile.Name, p.Settings.Find.Listed = name, true
	var out []string
	for _, t := range p.Terms() {
		if t.Kind == chat.TermWord {
			out = append(out, t.Value)
		}
	}
	return out
}

func TestWordsOfNames(t *testing.T) {
	tests := map[string]struct {
		name string
		want []string // besides the uid
	}{
		"nothing":                    {"", nil},
		"one word":                   {"Alice", []string{"alice"}},
		"each word":                  {"Alice  van der-Linde", []string{"alice van der linde", "der linde", "linde", "van der linde"}},
		"no case, also without":      {"STRASSE Straße", []string{"strasse", "strasse strasse"}},
		"one way to write":           {"Ångström Ⅳ", []string{"iv", "ångström iv"}},
		"wide":                       {"Ａｌｉｃｅ", []string{"alice"}},
		"Chinese has words all over": {"王小明", []string{"小明", "明", "王小明"}},
		"mixed":                      {"Li 小明", []string{"li 小明", "小明", "明"}},
		"Korean has spaces":          {"김 민수", []string{"김 민수", "민수"}},
		"Kana":                       {"さくら", []string{"くら", "さくら", "ら"}},
		"combining marks stay":       {"हिन्दी", []string{"हिन्दी"}},
		"only signs":                 {"☺ -- !", nil},
		"long":                       {"Abcdefghijklmnopqrstuvwxyz0123", []string{"abcdefghijklmnopqrstuvwx"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := slices.Sorted(slices.Values(append([]string{"uid"}, tt.want...)))
			if got := listedAs("uid", tt.name); !slices.Equal(got, want) {
				t.Errorf("%q: got %q, want %q", tt.name, got, want)
			}
		})
	}
	if got, want := listedAs("foo-bar_baz", "Foo"), []string{"bar baz", "baz", "foo", "foo bar baz"}; !slices.Equal(got, want) {
		t.Errorf("a uid of words: got %q, want %q", got, want)
	}
}

func TestOnlyThoseWhoSaidSoHaveTerms(t *testing.T) {
	p := chat.Person{User: "alice"}
	p.Profile.Name, p.Profile.Phone.Value, p.Profile.Email.Value = "Alice", "+1", "a@b"
	if got := p.Terms(); len(got) != 0 {
		t.Errorf("nothing said: got %q", got)
	}
	p.Settings.Find.Nearby = chat.Area{Cell: 1, Until: 2}
	if got := p.Terms(); len(got) != 1 || got[0].Kind != chat.TermCell {
		t.Errorf("nearby: got %q", got)
	}
	p.Settings.Find.Listed, p.Settings.Find.Hidden = true, true
	if got := p.Terms(); len(got) != 0 {
		t.Errorf("hidden: got %q", got)
	}
}

func FuzzWords(f *testing.F) {
	for _, name := range []string{"Alice van der Linde", "王小明", "STRASSE ß ⅳ", "\u0301\u0301", "ﷺ", "\xff", "  -"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		for _, word := range listedAs("u", name) {
			if word == "" || word[0] == ' ' || !utf8.ValidString(word) || utf8.RuneCountInString(word) > 24 {
				t.Errorf("%q is found by %q", name, word)
			}
		}
	})
}

func TestCellsAreCoarse(t *testing.T) {
	cell := func(lat, lon float64) uint64 {
		t.Helper()
		c, err := chat.CellOf(lat, lon)
		if err != nil || c == 0 {
			t.Fatalf("cell of %v, %v: got %d, %v", lat, lon, c, err)
		}
		return c
	}
	if cell(48.1372, 11.5756) != cell(48.1374, 11.5755) {
		t.Error("neighbours in a street are in different cells")
	}
	if cell(48.1372, 11.5756) == cell(48.2489, 11.6532) {
		t.Error("two towns are in one cell")
	}
	for _, at := range [][2]float64{{90, 0}, {-90, 0}, {0, 180}, {0, -180}, {0, 0}, {90, 180}} {
		cell(at[0], at[1])
	}
	nan := 0.0
	nan /= nan
	for _, at := range [][2]float64{{90.1, 0}, {-91, 0}, {0, 180.1}, {0, -181}, {nan, 0}, {0, nan}} {
		if _, err := chat.CellOf(at[0], at[1]); !errors.Is(err, chat.ErrMalformed) {
			t.Errorf("cell of %v: got %v, want %v", at, err, chat.ErrMalformed)
		}
	}
}
