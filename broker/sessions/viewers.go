package sessions

import "strings"

// What the server says of things, under dev/, $aws/ and $own/, and of where people are, under owntracks/, it says to each viewer
// by himself: inside, the second level of such a topic is the account that is told. A client neither writes nor reads that level.
// Some of these topics say what is so now and go to who is connected (Registry.Route), others must not be missed and go through
// the queues (Registry.Publish): who subscribes is in both indexes.

// perViewer says whether the topics of a filter have a viewer.
func perViewer(filter string) bool {
	return strings.HasPrefix(filter, "dev/") || strings.HasPrefix(filter, "$aws/") || strings.HasPrefix(filter, "owntracks/") ||
		strings.HasPrefix(filter, own)
}

// own begins topics that are the same for each viewer as he writes them: there is nothing in front of his name.
const own = "$own/"

// aside says whether wildcards at the first level do not match a topic: it begins with $ (MQTT 5, 4.7.2), or is told to each
// viewer by himself, so that who may subscribe to # is not told what others are.
func aside(topic string) bool { return strings.HasPrefix(topic, "$") || perViewer(topic) }

// anyones gives a topic or filter without its viewer.
func anyones(topic string) string {
	area, rest, _ := strings.Cut(topic, "/")
	_, below, more := strings.Cut(rest, "/")
	switch {
	case !more:
		return area
	case area+"/" == own:
		return below
	}
	return area + "/" + below
}

// queues says whether what is published on the topics of a filter is kept for sessions that are not connected.
func queues(filter string) bool { return !reserved(filter) || perViewer(filter) }
