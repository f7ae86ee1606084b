package dialects

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// What follows is the MQTT API of ThingsBoard for devices: https://thingsboard.io/docs/reference/mqtt-api/. Its client
// attributes are what a device reports, its shared attributes what the device should be, its RPC from the server are commands.

// ThingsBoardPrefix begins all topics of a device that was made for ThingsBoard.
const ThingsBoardPrefix = "v1/devices/me/"

// Topics on which a device is told something; those that end with a slash are completed by a number.
const (
	ThingsBoardAttributes = ThingsBoardPrefix + "attributes"
	ThingsBoardAnswer     = ThingsBoardPrefix + "attributes/response/"
	ThingsBoardCommand    = ThingsBoardPrefix + "rpc/request/"
	ThingsBoardServed     = ThingsBoardPrefix + "rpc/response/"
)

// Topics of devices that ask for an account of their own.
const (
	ProvisionRequest  = "/provision/request"
	ProvisionAsk      = "/provision" // as it is said, too
	ProvisionResponse = "/provision/response"
)

// Saying is what a device says to ThingsBoard.
type Saying byte

// Sayings.
const (
	SayTelemetry  Saying = iota + 1
	SayAttributes        // what it is
	AskAttributes        // what it is and should be; answered on ThingsBoardAnswer
	SayResult            // of a command
	AskServer            // to do something, which is answered on ThingsBoardServed
	SayClaim             // somebody is there who may have it
)

// ThingsBoard is a topic that a device publishes to.
type ThingsBoard struct {
	Saying
	ID uint64 // of AskAttributes, SayResult and AskServer
}

// ParseThingsBoard takes a topic apart; ok is false if it is none of ThingsBoard's.
func ParseThingsBoard(topic string) (t ThingsBoard, ok bool) {
	rest, ok := strings.CutPrefix(topic, ThingsBoardPrefix)
	if !ok {
		return t, false
	}
	switch rest {
	case "telemetry":
		return ThingsBoard{Saying: SayTelemetry}, true
	case "attributes":
		return ThingsBoard{Saying: SayAttributes}, true
	case "claim":
		return ThingsBoard{Saying: SayClaim}, true
	}
	for prefix, saying := range map[string]Saying{
		"attributes/request/": AskAttributes, "rpc/response/": SayResult, "rpc/request/": AskServer,
	} {
		number, is := strings.CutPrefix(rest, prefix)
		if !is {
			continue
		}
		if id, err := strconv.ParseUint(number, 10, 64); err == nil {
			return ThingsBoard{saying, id}, true
		}
		break
	}
	return t, false
}

// Asked is which attributes a device asks for.
type Asked struct {
	All            bool     // it names none
	Client, Shared []string // keys
}

// ParseAsked reads {"clientKeys":"a,b","sharedKeys":"c"}. devices.ErrMalformed.
func ParseAsked(payload []byte) (a Asked, err error) {
	var p struct {
		Client *string `json:"clientKeys"`
		Shared *string `json:"sharedKeys"`
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		return a, fmt.Errorf("attributes: %w: %w", devices.ErrMalformed, err)
	}
	return Asked{All: p.Client == nil && p.Shared == nil, Client: keys(p.Client), Shared: keys(p.Shared)}, nil
}

func keys(list *string) (all []string) {
	if list == nil {
		return nil
	}
	for key := range strings.SplitSeq(*list, ",") {
		if key = strings.TrimSpace(key); key != "" {
			all = append(all, key)
		}
	}
	return all
}

// Answer is what a device is told that has asked for attributes.
func (a Asked) Answer(s devices.Shadow) []byte {
	var out struct {
		Client devices.Object `json:"client,omitempty"`
		Shared devices.Object `json:"shared,omitempty"`
	}
	if !s.Deleted {
		out.Client, out.Shared = s.Reported.State, s.Desired.State
		if !a.All {
			out.Client, out.Shared = chosen(out.Client, a.Client), chosen(out.Shared, a.Shared)
		}
	}
	return encoded(out)
}

func chosen(from devices.Object, keys []string) devices.Object {
	out := devices.Object{}
	for _, key := range keys {
		if v, there := from[key]; there {
			out[key] = v
		}
	}
	return out
}

// SharedUpdate is what a device is told when what it should be has changed, by what AWS says of that: the document that is
// published on update/documents. An attribute is told as a whole, also where a part of it has changed. nil: none has.
func SharedUpdate(documents []byte) []byte {
	if !bytes.Contains(documents, []byte(`"desired"`)) { // nothing is asked of most devices
		return nil
	}
	type moment struct {
		State struct {
			Desired map[string]json.RawMessage `json:"desired"`
		} `json:"state"`
	}
	var change struct {
		Previous moment `json:"previous"`
		Current  moment `json:"current"`
	}
	if err := json.Unmarshal(documents, &change); err != nil {
		return nil
	}
	before, update, deleted := change.Previous.State.Desired, change.Current.State.Desired, []string{}
	for key := range before {
		if _, there := update[key]; !there {
			deleted = append(deleted, key)
		}
	}
	maps.DeleteFunc(update, func(key string, v json.RawMessage) bool { return bytes.Equal(v, before[key]) })
	if len(deleted) > 0 {
		slices.Sort(deleted)
		if update == nil {
			update = map[string]json.RawMessage{}
		}
		update["deleted"] = encoded(deleted)
	}
	if len(update) == 0 {
		return nil
	}
	return encoded(update)
}

// CommandTopic is where a device is given a command.
func CommandTopic(c devices.Command) string {
	return ThingsBoardCommand + strconv.FormatUint(c.Order, 10)
}

// CommandPayload is a command in ThingsBoard's words.
func CommandPayload(c devices.Command) []byte {
	params := c.Args
	if params == nil {
		params = json.RawMessage("{}")
	}
	return encoded(struct {
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
	}{c.Name, params})
}

// ParseResult reads what a device answers to a command, which is whatever it likes: what is no JSON is a text.
func ParseResult(payload []byte) (devices.CommandAck, error) {
	result := payload
	if !json.Valid(payload) {
		result = encoded(strings.ToValidUTF8(string(payload), "\ufffd"))
	}
	return devices.ParseCommandAck(encoded(struct {
		State  devices.CommandState `json:"s"`
		Result json.RawMessage      `json:"result"`
	}{devices.CommandSucceeded, result}))
}

// Serve answers what a device asks the server to do, at a time in Unix milliseconds. There is only the time to be had.
func Serve(payload []byte, now int64) ([]byte, error) {
	var p struct {
		Method string `json:"method"`
	}
	if err := json.Unmarshal(payload, &p); err != nil || p.Method == "" {
		return nil, fmt.Errorf("rpc: %w", devices.ErrMalformed)
	}
	switch p.Method {
	case "getCurrentTime", "getTime":
		return encoded(map[string]int64{"time": now}), nil
	}
	return encoded(map[string]string{"error": "method not supported"}), nil
}

// Provision is what a device shows that asks for an account.
type Provision struct {
	Name        string `json:"deviceName"` // what it calls itself; empty: it does not care
	Key         string `json:"provisionDeviceKey"`
	Secret      string `json:"provisionDeviceSecret"`
	Credentials string `json:"credentialsType"` // empty: what the server gives it
}

// errCredentials means that a device wants to log in with something that it has made itself.
var errCredentials = errors.New("only ACCESS_TOKEN, as made by the server")

// ParseProvision reads the request. devices.ErrMalformed, and what Failed knows.
func ParseProvision(payload []byte) (p Provision, err error) {
	var own struct {
		Provision
		Token string `json:"token"`
	}
	if err := json.Unmarshal(payload, &own); err != nil {
		return p, fmt.Errorf("provision: %w: %w", devices.ErrMalformed, err)
	}
	p = own.Provision
	if own.Token != "" || p.Credentials != "" && p.Credentials != "ACCESS_TOKEN" {
		return p, errCredentials
	}
	return p, nil
}

// maxGiven is how much of a name that a device has not chosen itself is from its batch, in bytes.
const maxGiven = 32

// DID is the name that a device gets. Names of devices are more than Magpie's may have in them: every other character becomes a
// hyphen. suffix completes the name of one that does not say how it is called.
func (p Provision) DID(suffix string) (accounts.Name, error) {
	name := p.Name
	if name == "" {
		name = p.Key[:min(len(p.Key), maxGiven)] + "-" + suffix
	}
	did := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
	return accounts.ParseDevice(strings.TrimLeft(did, "-_"))
}

// Provisioned is the answer to who has an account now.
func Provisioned(secret string) []byte {
	return encoded(struct {
		Status string `json:"status"`
		Type   string `json:"credentialsType"`
		Value  string `json:"credentialsValue"`
	}{"SUCCESS", "ACCESS_TOKEN", secret})
}

// Failed is the answer to who has none; nil: err is nothing that a device may know.
func Failed(err error) []byte {
	var text string
	status := "FAILURE"
	switch {
	case errors.Is(err, devices.ErrUnknown):
		status, text = "NOT_FOUND", "Provision data was not found!"
	case errors.Is(err, accounts.ErrTaken):
		text = "There is, or was, a device of this name!"
	case errors.Is(err, devices.ErrTooMany):
		text = "There are as many devices as there may be!"
	case errors.Is(err, devices.ErrMalformed), errors.Is(err, accounts.ErrBadName):
		text = "The request is malformed!"
	case errors.Is(err, errCredentials):
		text = errCredentials.Error()
	default:
		return nil
	}
	return encoded(struct {
		Status string `json:"status"`
		Text   string `json:"errorMsg"`
	}{status, text})
}

func encoded(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err)) // of what was read as JSON
	}
	return text
}
