package hooks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/magpie-im/magpie/accounts"
)

// Whom a [Rule] is for, if not for one account.
const (
	whoUsers   = "users"
	whoDevices = "devices"
	whoAll     = "all"
)

// deviceMark begins the MQTT user names of devices; it is no part of their names (docs/protocol.md, section 1).
const deviceMark = "dev:"

// Rule grants the topics that an MQTT filter matches. A level %u stands for the name of the account, and so does a level
// me, which the client may write as well ([Grants.Canonical]).
type Rule struct {
	Topic    string
	Who      string // "users", "devices", "all", or the name of an account
	Pub, Sub bool
}

// Mount puts the topics of one account into a place of their own: what it calls x is At/x.
type Mount struct {
	Who string // the name of an account
	At  string // a topic
}

// ACL says who may do what with free topics, those that mean nothing to the server but MQTT. Nothing is granted by default, and
// nothing can grant what begins with im/, dev/, owntracks/ or $; except for $SYS, and to one account by its name one home, both
// to subscribe to. It does not change, and may be used concurrently.
type ACL struct {
	rules  []Rule
	mounts map[string]string // by account, with a slash at the end
}

// NewACL checks the rules and mounts. The error names everything that cannot be, as the configuration does: acl[0].topic.
func NewACL(rules []Rule, mounts []Mount) (*ACL, error) {
	a := &ACL{rules: rules, mounts: map[string]string{}}
	var errs []error
	for i, r := range rules {
		for _, err := range []error{r.validTopic(), r.validWho(), r.validHome()} {
			if err != nil {
				errs = append(errs, fmt.Errorf("acl[%d].%w", i, err))
			}
		}
	}
	for i, m := range mounts {
		if err := m.valid(); err != nil {
			errs = append(errs, fmt.Errorf("mount[%d].%w", i, err))
		} else if a.mounts[m.Who] != "" {
			errs = append(errs, fmt.Errorf("mount[%d].who: %q has a mount already", i, m.Who))
		}
		a.mounts[m.Who] = m.At + "/"
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return a, nil
}

func (r Rule) validTopic() error {
	first := firstLevel(r.Topic)
	switch {
	case !validFilter(r.Topic) || len(r.Topic) > longestTopic:
		return fmt.Errorf("topic: %q is no topic filter", r.Topic)
	case slices.ContainsFunc(strings.Split(r.Topic, "/"), isPartlyName):
		return fmt.Errorf("topic: %q: %%u has to be a level of its own", r.Topic)
	case first == "$SYS" && r.Pub:
		return fmt.Errorf("allow: only the server publishes to %q", r.Topic)
	case first == "$SYS", first == homes: // validHome has more to say
		return nil
	case strings.HasPrefix(first, "$"):
		return fmt.Errorf("topic: %q: of topics that begin with $ only those of $SYS, and of one home, can be granted", r.Topic)
	case !free(r.Topic):
		return fmt.Errorf("topic: %q: topics under im/, dev/ and owntracks/ cannot be granted", r.Topic)
	}
	return nil
}

// homes is the first level of what homes have mounted. It begins with $, so that no wildcard matches it.
const homes = "$home"

// validHome says whether a rule for a home is the narrow one that there may be: homes are no business of whom the operator grants
// topics to, so that he has to name both the home and the account, and lets that look on.
func (r Rule) validHome() error {
	rest, below := strings.CutPrefix(r.Topic, homes+"/")
	home, _, _ := strings.Cut(rest, "/")
	switch {
	case firstLevel(r.Topic) != homes:
		return nil
	case !below || !strings.HasPrefix(home, "h.") || strings.ContainsAny(home, "+#"):
		return fmt.Errorf("topic: %q: the home has to be named, as in %s/h.4zx/#", r.Topic, homes)
	case r.Pub:
		return fmt.Errorf("allow: only what is mounted in a home publishes to %q", r.Topic)
	case r.Who == whoUsers || r.Who == whoDevices || r.Who == whoAll:
		return fmt.Errorf("who: %q: a home can be granted to one account, by its name", r.Who)
	}
	return nil
}

func isPartlyName(level string) bool { return level != "%u" && strings.Contains(level, "%u") }

func (r Rule) validWho() error {
	switch r.Who {
	case whoUsers, whoDevices, whoAll:
		return nil
	}
	if !validAccount(r.Who) {
		return fmt.Errorf(`who: %q is no account, and not "users", "devices" or "all"`, r.Who)
	}
	return nil
}

func (m Mount) valid() error {
	switch {
	case !validAccount(m.Who):
		return fmt.Errorf("who: %q is no account", m.Who)
	case !validFilter(m.At) || strings.ContainsAny(m.At, "+#") || slices.Contains(strings.Split(m.At, "/"), "") ||
		len(m.At) > longestTopic:
		return fmt.Errorf("at: %q is no place like m/home1", m.At)
	case !free(m.At):
		return fmt.Errorf("at: %q: nothing can be mounted under im/, dev/, owntracks/ or $", m.At)
	}
	return nil
}

// longestTopic is what MQTT can express, in bytes.
const longestTopic = 65535

// validAccount says whether there may be an account of this name.
func validAccount(name string) bool {
	parse := accounts.ParseUser
	if device, ok := strings.CutPrefix(name, deviceMark); ok {
		name, parse = device, accounts.ParseDevice
	}
	_, err := parse(name)
	return err == nil
}

// grantsOf gives what an account may do with free topics, and the home that it is mounted in: a device that speaks for others
// in a home is, unless the configuration says where.
func (g *Gateway) grantsOf(ctx context.Context, who accounts.Name, device bool) (*Grants, string, error) {
	if !device {
		return g.cfg.ACL.For(who), "", nil
	}
	home, err := "", error(nil)
	if g.cfg.ACL.mounts[string(deviceMark+who)] == "" {
		home, err = g.rooms.Things.Mount(ctx, who)
	}
	if home == "" || err != nil {
		return g.cfg.ACL.For(deviceMark + who), "", err
	}
	return g.cfg.ACL.mounted(deviceMark+who, homeMount(home)), home, nil
}

// homeMount is where the topics of a home are, with a slash at the end.
func homeMount(home string) string { return homes + "/" + home + "/" }

// For gives what an account may do. That of a device begins with dev:.
func (a *ACL) For(name accounts.Name) *Grants { return a.mounted(name, a.mounts[string(name)]) }

// mounted gives what an account may do that has a mount; empty: none.
func (a *ACL) mounted(name accounts.Name, mount string) *Grants {
	if !validAccount(string(name)) {
		return &Grants{} // the name could be a wildcard
	}
	self, isDevice := strings.CutPrefix(string(name), deviceMark)
	g := &Grants{self: self, mount: mount}
	for _, r := range a.rules {
		outOfReach := g.mount != "" && free(r.Topic)
		if r.isFor(string(name), isDevice) && !outOfReach {
			g.add(r)
		}
	}
	return g
}

func (r Rule) isFor(name string, isDevice bool) bool {
	switch r.Who {
	case whoAll:
		return true
	case whoUsers:
		return !isDevice
	case whoDevices:
		return isDevice
	}
	return r.Who == name
}

// Grants are what one account may do with free topics. The zero value grants nothing. They do not change, and may be used
// concurrently.
type Grants struct {
	self     string
	mount    string   // with a slash at the end; empty: none
	pub, sub []string // filters
	// aliases are the levels before each level me of a rule.
	aliases [][]string
}

// add makes a rule part of g.
func (g *Grants) add(r Rule) {
	levels := strings.Split(r.Topic, "/")
	for i, level := range levels {
		switch level {
		case "me":
			g.aliases = append(g.aliases, slices.Clone(levels[:i]))
			levels[i] = g.self
		case "%u":
			levels[i] = g.self
		}
	}
	filter := strings.Join(levels, "/")
	if r.Pub {
		g.pub = append(g.pub, filter)
	}
	if r.Sub {
		g.sub = append(g.sub, filter)
	}
}

// MayPublish says whether the account may publish to a topic, which Canonical has seen and which has no wildcards. It
// allocates nothing.
func (g *Grants) MayPublish(topic string) bool {
	return g.isMounted(topic) || topic != "" && free(topic) && coveredByAny(g.pub, topic)
}

// MaySubscribe says whether the account may subscribe to a filter, which Canonical has seen: it lies below the mount, or
// one rule alone grants every topic that it matches. What is in front of the filter of a shared subscription ($share/g/) is
// no part of it.
func (g *Grants) MaySubscribe(filter string) bool {
	if !validFilter(filter) {
		return false
	}
	first := firstLevel(filter)
	return g.isMounted(filter) || (free(filter) || first == "$SYS" || first == homes) && coveredByAny(g.sub, filter)
}

// isMounted says whether a topic or filter is one that the account can call otherwise: below its mount, and free there.
func (g *Grants) isMounted(topic string) bool {
	return g.mount != "" && len(topic) > len(g.mount) && strings.HasPrefix(topic, g.mount) && free(topic[len(g.mount):])
}

func coveredByAny(filters []string, other string) bool {
	for _, f := range filters {
		if covers(f, other) {
			return true
		}
	}
	return false
}

// Canonical gives the topic or filter that the server knows for what the client wrote: in the place where the account is
// mounted, or else with its name for me where a rule says me and has, or covers, the levels before. It is to be called
// once: a mount is not an alias, and at/x may well be written by who is mounted at at, for at/at/x.
func (g *Grants) Canonical(written string) string {
	if written == "" || !free(written) {
		return written
	}
	if g.mount != "" {
		return g.mount + written
	}
	if len(g.aliases) == 0 || !strings.Contains(written, "me") {
		return written
	}
	levels := strings.Split(written, "/")
	for i, level := range levels { // from the left, so that what is before is canonical
		if level == "me" && g.isAlias(levels[:i]) {
			levels[i] = g.self
		}
	}
	return strings.Join(levels, "/")
}

// isAlias says whether me may be written behind these levels.
func (g *Grants) isAlias(before []string) bool {
	same := func(rule, level string) bool { return rule == level || rule == "+" }
	for _, levels := range g.aliases {
		if slices.EqualFunc(levels, before, same) {
			return true
		}
	}
	return false
}

// Spell gives the topic as the client calls it: Canonical backwards, but that a name stays a name. The topic of the
// mount itself, which a subscription to # has a part in, has no other name, and neither has what would read like a topic
// that is not free.
func (g *Grants) Spell(topic string) string {
	if g.isMounted(topic) { // what is not free there would be taken for one of the server's own
		return topic[len(g.mount):]
	}
	return topic
}

// speller gives Spell, or nil if it changes nothing.
func (g *Grants) speller() func(string) string {
	if g.mount == "" {
		return nil
	}
	return g.Spell
}

// free says whether a topic or filter is free: it begins neither with im/, dev/ or owntracks/ nor with $.
func free(topic string) bool {
	first := firstLevel(topic)
	return first != "im" && first != "dev" && first != "owntracks" && !strings.HasPrefix(first, "$")
}

func firstLevel(topic string) string {
	first, _, _ := strings.Cut(topic, "/")
	return first
}

// covers says whether a filter matches all that another one, or a topic, does. Wildcards at the beginning do not match
// topics with $ there (MQTT 5, 4.7.2).
func covers(filter, other string) bool {
	if strings.HasPrefix(other, "$") && (filter == "#" || strings.HasPrefix(filter, "+")) {
		return false
	}
	if other == "#" && filter == "+/#" { // no topic has less than one level
		return true
	}
	for {
		level, rest, more := strings.Cut(filter, "/")
		if level == "#" {
			return true
		}
		otherLevel, otherRest, otherMore := strings.Cut(other, "/")
		switch {
		case otherLevel == "#", level != "+" && level != otherLevel:
			return false
		case !more || !otherMore:
			return more == otherMore || rest == "#" // a/# matches a as well (MQTT 5, 4.7.1.2)
		}
		filter, other = rest, otherRest
	}
}
