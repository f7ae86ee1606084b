package sessions

import "strings"

// hasWildcard says whether filter has a level that is a wildcard. A + or # within a level is none, and no valid filter.
func hasWildcard(filter string) bool {
	if strings.IndexByte(filter, '+') < 0 && strings.IndexByte(filter, '#') < 0 {
		return false
	}
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		if level == "+" || level == "#" && !more {
			return true
		}
	}
	return false
}

// Matches says whether a filter matches a topic (MQTT 5, 4.7).
func Matches(filter, topic string) bool { return matches(filter, topic) }

func matches(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") && !strings.HasPrefix(filter, "$") {
		return filter == topic
	}
	f, t, moreF, moreT := filter, topic, true, true
	for moreF {
		var level, name string
		level, f, moreF = strings.Cut(f, "/")
		if level == "#" && !moreF {
			return true // also when the topic has ended: a/# matches a
		}
		if !moreT {
			return false
		}
		name, t, moreT = strings.Cut(t, "/")
		if level != "+" && level != name {
			return false
		}
	}
	return !moreT
}
