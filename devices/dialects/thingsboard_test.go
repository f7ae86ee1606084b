package dialects

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

func TestTopicsOfThingsBoard(t *testing.T) {
	for topic, want := range map[string]ThingsBoard{
		"v1/devices/me/telemetry":                         {Saying: SayTelemetry},
		"v1/devices/me/attributes":                        {Saying: SayAttributes},
		"v1/devices/me/claim":                             {Saying: SayClaim},
		"v1/devices/me/attributes/request/1":              {AskAttributes, 1},
		"v1/devices/me/rpc/request/0":                     {AskServer, 0},
		"v1/devices/me/rpc/response/18446744073709551615": {SayResult, 18446744073709551615},
		"v1/devices/me/rpc/response/18446744073709551616": {},
		"v1/devices/me/rpc/response/x":                    {},
		"v1/devices/me/attributes/response/1":             {},
		"v1/devices/me/":                                  {},
		"v1/devices/you/telemetry":                        {},
		"v1/devices/me/telemetry/1":                       {},
		"v1/gateway/telemetry":                            {},
	} {
		got, ok := ParseThingsBoard(topic)
		if ok != (want.Saying != 0) || ok && got != want {
			t.Errorf("%s: %+v, %t, want %+v", topic, got, ok, want)
		}
	}
}

// shadow is one that was made by documents of what a device is and should be.
func shadow(t *testing.T, reported, desired string) (s devices.Shadow) {
	t.Helper()
	u, err := devices.ParseShadowUpdate(fmt.Appendf(nil, `{"state":{"reported":%s,"desired":%s}}`, reported, desired))
	if err == nil {
		s, err = s.Update(u, 1, devices.DefaultShadowLimits())
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAttributesAreAnswered(t *testing.T) {
	s := shadow(t, `{"attribute1":"a","attribute2":2}`, `{"shared1":true,"shared2":{"x":1.50}}`)
	for asked, want := range map[string]string{
		`{"clientKeys":"attribute1,attribute2", "sharedKeys":"shared1,shared2"}`: `{"client":{"attribute1":"a","attribute2":2},"shared":{"shared1":true,"shared2":{"x":1.50}}}`,
		`{"clientKeys":" attribute1 ,,none"}`:                                    `{"client":{"attribute1":"a"}}`,
		`{"sharedKeys":""}`:                                                      `{}`,
		`{}`:                                                                     `{"client":{"attribute1":"a","attribute2":2},"shared":{"shared1":true,"shared2":{"x":1.50}}}`,
	} {
		a, err := ParseAsked([]byte(asked))
		if got := string(a.Answer(s)); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", asked, got, err, want)
		}
	}
	if got := string(Asked{All: true}.Answer(devices.Shadow{})); got != `{}` {
		t.Errorf("of nothing: %s", got)
	}
	for _, wrong := range []string{``, `1`, `{"clientKeys":1}`} {
		if _, err := ParseAsked([]byte(wrong)); !errors.Is(err, devices.ErrMalformed) {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

func TestWhatADeviceShouldBeIsAnUpdateOfItsAttributes(t *testing.T) {
	const is = `{"previous":{"state":{"desired":{"power":"off","a":1,"net":{"ssid":"x","dhcp":true}}}},"current":{"state":`
	for documents, want := range map[string]string{
		is + `{"desired":{"power":"on","a":1,"net":{"ssid":"x","dhcp":true}}}}}`:                     `{"power":"on"}`,
		is + `{"desired":{"power":"off","a":1,"net":{"ssid":"y","dhcp":true}}}}}`:                    `{"net":{"ssid":"y","dhcp":true}}`,
		is + `{"desired":{"power":"off","b":2}}}}`:                                                   `{"b":2,"deleted":["a","net"]}`,
		is + `{"reported":{"power":"off"}}}}`:                                                        `{"deleted":["a","net","power"]}`,
		is + `{"desired":{"power":"off","a":1,"net":{"ssid":"x","dhcp":true}},"reported":{"a":1}}}}`: ``,
		`{"previous":{"state":{}},"current":{"state":{"desired":{"a":1}}}}`:                          `{"a":1}`,
		`{"previous":{"state":{}},"current":{"state":{"reported":{"desired":1}}}}`:                   ``,
		`{"desired":1}`: ``,
		`"desired"`:     ``,
	} {
		if got := string(SharedUpdate([]byte(documents))); got != want {
			t.Errorf("%s: %s, want %s", documents, got, want)
		}
	}
}

func TestACommandIsAnRPC(t *testing.T) {
	c := devices.Command{Order: 7, Name: "setValue", Args: json.RawMessage(`{"v":1}`)}
	if topic, payload := CommandTopic(c), string(CommandPayload(c)); topic != "v1/devices/me/rpc/request/7" ||
		payload != `{"method":"setValue","params":{"v":1}}` {
		t.Errorf("%s %s", topic, payload)
	}
	if got := string(CommandPayload(devices.Command{Name: "x"})); got != `{"method":"x","params":{}}` {
		t.Error(got)
	}
	for payload, want := range map[string]string{`{"ok": true}`: `{"ok":true}`, `yes`: `"yes"`, ``: `""`, "\xff": `"` + "\ufffd" + `"`, `null`: ``} {
		a, err := ParseResult([]byte(payload))
		if err != nil || a.State != devices.CommandSucceeded || string(a.Result) != want {
			t.Errorf("%q: %s %s, %v, want %s", payload, a.State, a.Result, err, want)
		}
	}
	for payload, want := range map[string]string{
		`{"method":"getCurrentTime","params":{}}`: `{"time":5}`, `{"method":"getTime"}`: `{"time":5}`,
		`{"method":"x"}`: `{"error":"method not supported"}`,
	} {
		if got, err := Serve([]byte(payload), 5); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", payload, got, err)
		}
	}
	if _, err := Serve([]byte(`{}`), 5); !errors.Is(err, devices.ErrMalformed) {
		t.Error(err)
	}
}

func TestWhoAsksForAnAccountIsAnswered(t *testing.T) {
	for payload, want := range map[string]string{
		`{"deviceName":"DEVICE_NAME","provisionDeviceKey":"k","provisionDeviceSecret":"s"}`: "device_name",
		`{"deviceName":" Öl 1","provisionDeviceKey":"k"}`:                                   "l-1",
		`{"provisionDeviceKey":"Key"}`:                                                      "key-x",
		`{"deviceName":"a","credentialsType":"ACCESS_TOKEN"}`:                               "a",
	} {
		p, err := ParseProvision([]byte(payload))
		if did, bad := p.DID("x"); err != nil || bad != nil || string(did) != want {
			t.Errorf("%s: %s, %v, %v, want %s", payload, did, err, bad, want)
		}
	}
	for payload, want := range map[string]string{
		`{"deviceName":"a","credentialsType":"ACCESS_TOKEN","token":"t"}`: "ACCESS_TOKEN",
		`{"credentialsType":"X509_CERTIFICATE"}`:                          "ACCESS_TOKEN",
		`[]`:                                                              "malformed",
	} {
		if _, err := ParseProvision([]byte(payload)); err == nil || !strings.Contains(string(Failed(err)), want) {
			t.Errorf("%s: %v", payload, err)
		}
	}
	for _, name := range []string{"me", "---", strings.Repeat("x", 65)} {
		if did, err := (Provision{Name: name}).DID("x"); !errors.Is(err, accounts.ErrBadName) {
			t.Errorf("%s: %s, %v", name, did, err)
		}
	}
	for err, want := range map[error]string{
		devices.ErrUnknown: "NOT_FOUND", accounts.ErrTaken: "FAILURE", devices.ErrTooMany: "FAILURE", accounts.ErrUnavailable: "",
	} {
		if got := string(Failed(err)); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%v: %s", err, got)
		}
	}
}

func FuzzThingsBoard(f *testing.F) {
	f.Add("v1/devices/me/rpc/response/1", `{"clientKeys":"a","method":"x","deviceName":"a","state":{"desired":{"a":null}}}`)
	f.Add("v1/devices/me/attributes/request/x", `{"current":{"state":{"desired":{"deleted":1,"b":null}}}}`)
	f.Fuzz(func(t *testing.T, topic, payload string) {
		if said, ok := ParseThingsBoard(topic); ok != (said.Saying != 0) {
			t.Errorf("%s: %+v %t", topic, said, ok)
		}
		text := []byte(payload)
		if a, err := ParseAsked(text); err == nil && !json.Valid(a.Answer(devices.Shadow{})) {
			t.Errorf("%s: no JSON", payload)
		}
		if update := SharedUpdate(text); update != nil && !json.Valid(update) {
			t.Errorf("%s: update is no JSON: %s", payload, update)
		}
		if a, err := ParseResult(text); err == nil && a.Result != nil && !json.Valid(a.Result) {
			t.Errorf("%s: result is no JSON: %s", payload, a.Result)
		}
		if answer, err := Serve(text, 1); err == nil && !json.Valid(answer) {
			t.Errorf("%s: answer is no JSON", payload)
		}
		if p, err := ParseProvision(text); err == nil {
			if did, err := p.DID("suffix"); err == nil {
				if _, err := accounts.ParseDevice(string(did)); err != nil {
					t.Errorf("%s: %v", payload, err)
				}
			}
		}
	})
}
