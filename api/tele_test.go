package api_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

func TestWhatADeviceHasMeasuredIsAnswered(t *testing.T) {
	n := start(t, nil)
	n.ok("alice", "device.add", `{"did":"lamp"}`)
	hour := time.Now().Truncate(time.Hour).UnixMilli()
	payload := fmt.Appendf(nil, `[{"ts":%d,"values":{"t":1,"s":"x"}},{"ts":%d,"values":{"t":2}}]`, hour, hour+1)
	if _, err := n.telemeter.Record(t.Context(), "lamp", payload, time.UnixMilli(hour+2)); err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]string{
		`{"did":"lamp","from":%d,"limit":1}`: `{"did":"lamp","from":%[1]d,"next":%[2]d,"series":[` +
			`{"key":"s","points":[{"ts":%[1]d,"v":"x"}]},{"key":"t","points":[{"ts":%[1]d,"v":1}]}]}`,
		`{"did":"lamp","from":%d,"agg":"avg","every":60000,"keys":["t"]}`: `{"did":"lamp","from":%[1]d,"series":[` +
			`{"key":"t","points":[{"ts":%[1]d,"v":1.5}]}]}`,
		`{"did":"lamp","from":%d,"points":10,"keys":["t","none"]}`: `{"did":"lamp","from":%[1]d,"series":[` +
			`{"key":"none","points":[]},{"key":"t","points":[{"ts":%[1]d,"v":1},{"ts":%[2]d,"v":2}]}]}`,
	} {
		got, err := json.Marshal(n.ok("alice", "device.tele", fmt.Sprintf(body, hour)))
		if want := fmt.Sprintf(want, hour, hour+1); err != nil || string(got) != want {
			t.Errorf("%s: got %s, want %s", body, got, want)
		}
	}
	got, err := json.Marshal(n.ok("alice", "device.tele.last", `{"did":"lamp"}`))
	want := fmt.Sprintf(`{"did":"lamp","values":{"s":{"ts":%d,"v":"x"},"t":{"ts":%d,"v":2}}}`, hour, hour+1)
	if err != nil || string(got) != want {
		t.Errorf("last: got %s, want %s", got, want)
	}
}

// Who sees a device because it was granted to him is shown nothing that it has measured before.
func TestWhatWasMeasuredBeforeAGrantIsNotAnswered(t *testing.T) {
	n := start(t, nil)
	n.befriend("alice", "bob")
	n.ok("alice", "device.add", `{"did":"lamp"}`)
	granted := int64(n.ok("alice", "device.grant", `{"did":"lamp","to":"bob","verbs":["see"]}`)["made"].(float64))
	payload := fmt.Appendf(nil, `[{"ts":%d,"values":{"t":1}},{"ts":%d,"values":{"t":2}}]`, granted-2, granted)
	if _, err := n.telemeter.Record(t.Context(), "lamp", payload, time.UnixMilli(granted)); err != nil {
		t.Fatal(err)
	}
	points := func(who, body string) string {
		t.Helper()
		series, _ := n.ok(accounts.Name(who), "device.tele", fmt.Sprintf(body, granted-10, granted+10))["series"].([]any)
		text := ""
		for _, s := range series {
			for _, p := range s.(map[string]any)["points"].([]any) {
				text += fmt.Sprint(p.(map[string]any)["v"], " ")
			}
		}
		return text
	}
	const raw = `{"did":"lamp","from":%d,"to":%d}`
	if alice, bob := points("alice", raw), points("bob", raw); alice != "1 2 " || bob != "2 " {
		t.Errorf("alice sees %q, bob %q", alice, bob)
	}
	for _, body := range []string{
		`{"did":"lamp","from":0,"agg":"avg","every":60000,"keys":["t"],"x":[%d,%d]}`,
		`{"did":"lamp","from":0,"points":10,"keys":["t"],"x":[%d,%d]}`,
		`{"did":"lamp","from":1,"to":1000,"x":[%d,%d]}`,
	} {
		if got := points("bob", body); got != "" {
			t.Errorf("%s: bob sees %q", body, got)
		}
	}
}
