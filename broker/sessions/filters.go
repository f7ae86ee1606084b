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
	if aside(topic) && (strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")) {
		return false
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

// SeekTopic gives the first topic that filter may match from a topic on that it does not match; more is false if there is
// none. It may give the topic itself.
func SeekTopic(filter, topic string) (to string, more bool) {
	path := "" // the levels of topic that filter matches, each with its slash
	wild := "" // those before the last + among them; what is after that may be another
	hasWild := false
	for f, t := filter, topic; ; {
		level, restF, moreF := strings.Cut(f, "/")
		name, restT, moreT := strings.Cut(t, "/")
		switch {
		case level == "#" && !moreF:
			if path == "" && strings.HasPrefix(topic, "$") {
				return "%", true // no wildcard matches a $ at the beginning
			}
			return max(path, topic), true
		case level == "+":
			if path == "" && strings.HasPrefix(topic, "$") {
				return "%", true
			}
			wild, hasWild = path+name, true
		case level != name:
			at := path + level
			if at > topic {
				return at, true
			}
			// a/# and a/b match below a, and topics like a! lie in between
			if moreF && strings.HasPrefix(topic, at) {
				if below := at + "/"; below > topic {
					return below, true
				}
			}
			return nextWild(wild, hasWild, topic)
		}
		if !moreF {
			if !moreT {
				return topic, true
			}
			return nextWild(wild, hasWild, topic) // deeper than the filter
		}
		path += name + "/"
		if !moreT {
			if level == "+" {
				return topic, true // a!/b lies between a and a/b
			}
			return path, true
		}
		f, t = restF, restT
	}
}

// nextWild gives what comes after all topics below the level that the last + has matched.
func nextWild(wild string, has bool, topic string) (string, bool) {
	if !has {
		return "", false
	}
	return max(wild+"0", topic), true // 0 follows on the slash
}
