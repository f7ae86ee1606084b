package automations

import (
	"encoding/json"
	"fmt"

	"github.com/magpie-im/magpie/devices"
)

// lay puts actions into the steps of a plan, one after the other; branches become steps that go elsewhere. There are no loops, so
// every run ends.
func (p *plan) lay(at string, actions []Action, depth int, cfg Config) error {
	if depth > maxNesting {
		return fault(at, "branches are nested more than %d deep", maxNesting)
	}
	for i, a := range actions {
		if err := p.layOne(fmt.Sprintf("%s.%d", at, i), a, depth, cfg); err != nil {
			return err
		}
	}
	return nil
}

// add adds a step, and gives its place.
func (p *plan) add(s step) (int, error) {
	if len(p.steps) >= 2*maxActions {
		return 0, fault(s.name, "there are more than %d actions", maxActions)
	}
	s.next = len(p.steps) + 1
	p.steps = append(p.steps, s)
	return len(p.steps) - 1, nil
}

func (p *plan) layOne(at string, a Action, depth int, cfg Config) error {
	if extra := a.extra(); extra != "" {
		return fault(at, "%q does not belong to the action %.40q", extra, a.Do)
	}
	s := step{name: at, Action: a}
	var err error
	switch a.Do {
	case doCommand:
		s.call, err = callOf(at, a)
	case doDesired:
		s.desired, err = desiredOf(at, a)
	case doScene:
		if !validID(a.Scene) {
			err = fault(at, "\"scene\" is not the id of a scene")
		}
	case doMessage:
		s.text, err = p.textOf(at, a)
	case doDelay:
		if a.For <= 0 || !validWait(a.For, cfg) {
			err = fault(at, "\"for\" is more than 0 and at most %.0f seconds", cfg.LongestDelay.Seconds())
		}
	case doIf:
		return p.layBranches(at, []branch{{at, "then", a.If, a.Then}}, a.Else, depth, cfg)
	case doChoose:
		if len(a.Choose) == 0 {
			return fault(at, "\"choose\" is empty")
		}
		branches := make([]branch, len(a.Choose))
		for i, c := range a.Choose {
			branches[i] = branch{fmt.Sprintf("%s.choose.%d", at, i), "then", c.If, c.Then}
		}
		return p.layBranches(at, branches, a.Else, depth, cfg)
	case doStop:
		if !validLabel(a.Why, maxTitle) {
			err = fault(at, "\"why\" is too long")
		}
	default:
		err = fault(at, "\"do\" is command, desired, scene, message, delay, if, choose or stop")
	}
	if err != nil {
		return err
	}
	p.mention(a.Device, at)
	_, err = p.add(s)
	return err
}

// branch is what is done if something holds.
type branch struct {
	at, below string
	condition string
	actions   []Action
}

// layBranches lays the first branch whose condition holds, or else what is done otherwise.
func (p *plan) layBranches(at string, branches []branch, otherwise []Action, depth int, cfg Config) error {
	var ends []int
	for _, b := range branches {
		if b.condition == "" {
			return fault(b.at, "\"if\" is missing")
		}
		c, err := p.compile(b.at, b.condition)
		if err != nil {
			return err
		}
		decision, err := p.add(step{name: b.at, Action: Action{Do: doIf, If: b.condition}, condition: c})
		if err != nil {
			return err
		}
		if err := p.lay(b.at+"."+b.below, b.actions, depth+1, cfg); err != nil {
			return err
		}
		end, err := p.add(step{name: b.at, Action: Action{Do: doGoto}})
		if err != nil {
			return err
		}
		ends = append(ends, end)
		p.steps[decision].next = len(p.steps)
	}
	if err := p.lay(at+".else", otherwise, depth+1, cfg); err != nil {
		return err
	}
	for _, end := range ends {
		p.steps[end].next = len(p.steps)
	}
	return nil
}

// extra gives a field that is set and does not belong to the action.
func (a *Action) extra() string {
	belongs := map[string]string{
		doCommand: "did name args ttl timeout key", doDesired: "did name desired", doScene: "scene", doMessage: "text to",
		doDelay: "for", doIf: "if then else", doChoose: "choose else", doStop: "why",
	}[a.Do]
	if belongs == "" {
		return ""
	}
	return firstExtra(belongs, []field{
		{"did", a.Device != ""}, {"name", a.Name != ""}, {"args", a.Args != nil}, {"ttl", a.TTL != 0}, {"timeout", a.Timeout != 0},
		{"key", a.Key != ""}, {"desired", a.Desired != nil}, {"scene", a.Scene != ""}, {"text", a.Text != ""}, {"to", a.To != ""},
		{"for", a.For != 0}, {"if", a.If != ""}, {"then", a.Then != nil}, {"else", a.Else != nil}, {"choose", a.Choose != nil},
		{"why", a.Why != ""},
	})
}

// callOf makes a command of an action.
func callOf(at string, a Action) (devices.Call, error) {
	if !validDevice(a.Device) {
		return devices.Call{}, fault(at, "\"did\" is not the name of a device")
	}
	request := map[string]any{"name": a.Name, "key": a.Key}
	if a.Args != nil {
		request["args"] = a.Args
	}
	if a.TTL != 0 {
		request["ttl"] = a.TTL
	}
	if a.Timeout != 0 {
		request["timeout"] = a.Timeout
	}
	payload, err := json.Marshal(request)
	if err != nil {
		return devices.Call{}, fault(at, "\"args\" is no valid JSON")
	}
	c, err := devices.ParseCall(payload)
	if err == nil {
		err = c.Check()
	}
	if err != nil {
		return devices.Call{}, fault(at, "\"name\", \"key\", \"ttl\" or \"timeout\" is not as a command has it")
	}
	return c, nil
}

// desiredOf makes an update of a shadow of an action.
func desiredOf(at string, a Action) (devices.ShadowUpdate, error) {
	if !validDevice(a.Device) {
		return devices.ShadowUpdate{}, fault(at, "\"did\" is not the name of a device")
	}
	request, err := json.Marshal(map[string]json.RawMessage{"desired": a.Desired})
	if err != nil || a.Desired == nil {
		return devices.ShadowUpdate{}, fault(at, "\"desired\" is missing")
	}
	u, err := devices.ParseDesired(request)
	if err != nil || !u.Desired.Set {
		return devices.ShadowUpdate{}, fault(at, "\"desired\" is no merge patch of a state")
	}
	return u, nil
}

// textOf makes what a message says.
func (p *plan) textOf(at string, a Action) (*text, error) {
	if a.Text == "" || len(a.Text) > maxMessage {
		return nil, fault(at, "\"text\" has 1 to %d bytes", maxMessage)
	}
	if a.To != "" {
		if !validDevice(a.To) { // which users are as well, by their form
			return nil, fault(at, "\"to\" is not the name of somebody")
		}
	}
	t, err := newText(a.Text)
	if err != nil {
		return nil, fault(at, "%s", err)
	}
	for _, did := range t.devices() {
		p.mention(did, at)
	}
	return t, nil
}
