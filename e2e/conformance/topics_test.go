package conformance

import (
	"slices"
	"strings"
	"testing"
)

func TestFiltersMatchTheTopicsThatTheySay(t *testing.T) {
	n := start(t)
	tests := []struct {
		filter  string
		yes, no []string
		shows   ids
	}{
		{"t/player1/#", []string{"t/player1", "t/player1/ranking", "t/player1/score/wimbledon", "t/player1/"},
			[]string{"t", "t/player2", "t/player1x"}, ids{"4.7.1-2", "4.7.1-1"}},
		{"t/+", []string{"t/a", "t/", "t/A b"}, []string{"t", "t/a/b", "t/a/"}, ids{"4.7.1-3", "4.7.1-2"}},
		{"t/+/b", []string{"t/a/b", "t//b"}, []string{"t/b", "t/a/c", "t/a/a/b"}, ids{"4.7.1-3", "4.7.1-2"}},
		{"t/+/+/#", []string{"t/a/b", "t///", "t/a/b/c/d"}, []string{"t/a"}, ids{"4.7.1-2 4.7.1-3", "4.7.1-1 4.7.1-2"}},
		{"t/a", []string{"t/a"}, []string{"T/a", "t/A", "t/a/", "/t/a", "t/aa", "t//a", "t/ a"}, ids{"4.7.3-4",
			"4.7.3-4"}},
		{"/t/a", []string{"/t/a"}, []string{"t/a"}, ids{"4.7.3-4", "4.7.3-4"}},
		{"/+/a", []string{"/t/a"}, []string{"t/a"}, ids{"4.7.1-3", "4.7.1-2"}},
		{"t/é", []string{"t/é"}, []string{"t/e\u0301", "t/É"}, ids{"4.7.3-4", "4.7.3-4"}}, // one character, or two
		{"t/\ufeffbom", []string{"t/\ufeffbom"}, []string{"t/bom"}, ids{"1.5.3-3", "1.5.4-3"}},
		{"t/😀", []string{"t/😀"}, []string{"t/😁"}, ids{"4.7.3-4", "4.7.3-4"}},
	}
	for _, tt := range tests {
		t.Run("filter "+slashes(tt.filter), func(t *testing.T) {
			inBoth(t, ids{tt.shows.v311 + " 3.3.2-3", tt.shows.v5 + " 3.3.2-3"}, func(t *testing.T, version byte) {
				p, publisher := n.connect(t, version), n.connect(t, version)
				p.listen(1, tt.filter, "end")
				for _, topic := range append(slices.Clone(tt.no), tt.yes...) {
					publisher.publish(topic, topic, 1)
				}
				p.only(publisher, "end", tt.yes...)
			})
		})
	}
}

func TestAWildcardDoesNotMatchADollarAtTheBeginning(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"4.7.2-1", "4.7.2-1"}, func(t *testing.T, version byte) {
		wild, watcher := n.connect(t, version), n.connect(t, version)
		wild.listen(0, "#", "+/#", "+/broker/#")
		watcher.listen(0, "$SYS/#")
		watcher.take() // there is something on $SYS
		publisher := n.connect(t, version)
		publisher.publish("t/end", "end", 0)
		for {
			m := wild.take()
			if strings.HasPrefix(m.Topic, "$") {
				t.Errorf("a filter with a wildcard in front got %s", m.Topic)
			}
			if m.Topic == "t/end" {
				break
			}
		}
	})
}

// slashes makes a topic or filter a part of a test's name, in which slashes separate levels.
func slashes(topic string) string {
	return strings.ReplaceAll(strings.ReplaceAll(topic, "/", "∕"), "\ufeff", "BOM")
}
