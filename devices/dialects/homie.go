package dialects

import (
	"slices"
	"strings"
)

// What follows is the Homie convention, versions 3 and 4, https://homieiot.github.io/: what a device is, is said on a tree of
// retained topics whose last levels begin with $, a piece on each.

// homie is the base topic of the convention.
const homie = "homie"

// homieStates are which states of a device mean that it is there.
var homieStates = map[string]bool{
	"ready": true, "alert": true, "init": false, "disconnected": false, "sleeping": false, "lost": false,
}

// readHomie reads one of these topics.
func readHomie(topic string, payload []byte) (parts []Part, ok bool) {
	levels := strings.Split(topic, "/")
	if levels[0] != homie || len(levels) < 3 || slices.Contains(levels, "") {
		return nil, false
	}
	attribute, text := levels[len(levels)-1], string(payload)
	base := homie + "/" + levels[1]
	p := Part{Topic: topic, Local: "homie:" + levels[1]}
	switch {
	case text == "":
		p = Part{Topic: topic}
	case len(levels) == 3 && attribute == "$name":
		p.Name, p.Model, p.Type = text, "Homie", "sensor"
		p.There.Hints = []Hint{{Topic: base + "/$state", Words: homieStates}}
	case len(levels) == 5 && attribute == "$datatype":
		p.Points = []Point{homieValue(levels, text)}
	case len(levels) == 5 && attribute == "$settable" && text == "true":
		property := strings.Join(levels[:4], "/")
		p.Points = []Point{{Key: homieKey(levels), Command: property + "/set"}}
	case len(levels) == 5 && attribute == "$settable":
	default:
		return nil, false
	}
	return []Part{p}, true
}

// homieKey is what a property is called: with its node, because nodes may have properties of the same name.
func homieKey(levels []string) string { return word(levels[2] + "_" + levels[3]) }

func homieValue(levels []string, kind string) Point {
	p := Point{Key: homieKey(levels), State: strings.Join(levels[:4], "/")}
	switch kind {
	case "integer", "float":
		p.Kind = KindNumber
	case "boolean":
		p.Kind = KindBool
	}
	return p
}
