package api_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
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
