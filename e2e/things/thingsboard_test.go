package things

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/e2e/clients"
	"github.com/magpie-im/magpie/e2e/server"
)

// board is a shell in which commands of ThingsBoard's documentation are run as they stand there, but for the port, which is 1883
// there. A device was made for ThingsBoard, and knows nothing but its access token.
type board struct {
	*home
	env  []string
	port string
}

func (h *home) board(token string) *board {
	h.t.Helper()
	host, port, err := net.SplitHostPort(h.MQTT())
	if err != nil {
		h.t.Fatal(err)
	}
	return &board{h, append(os.Environ(), "THINGSBOARD_HOST="+host, "ACCESS_TOKEN="+token), port}
}

func (b *board) command(ctx context.Context, line string) *exec.Cmd {
	c := exec.CommandContext(ctx, "sh", "-c", "exec "+strings.ReplaceAll(line, "1883", b.port))
	c.Env = b.env
	return c
}

// run runs a command to its end, and gives what it has printed.
func (b *board) run(line string) []byte {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), server.Deadline)
	defer cancel()
	out, err := b.command(ctx, line).CombinedOutput()
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return out
}

// listen starts a command that subscribes, and gives what waits for a line with all of some words in it.
func (b *board) listen(line string) (hear func(words ...string) string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), server.Deadline)
	c := b.command(ctx, "stdbuf -oL "+line)
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { cancel(); _ = c.Wait() }) // it was killed
	lines := bufio.NewScanner(out)
	hear = func(words ...string) string {
		b.t.Helper()
		for lines.Scan() {
			text, all := lines.Text(), true
			for _, word := range words {
				all = all && strings.Contains(text, word)
			}
			if all {
				return text
			}
		}
		b.t.Fatalf("%s: ended before it said %q", line, words)
		return ""
	}
	hear("Subscribed")
	return hear
}

// comes waits until a request of alice's is answered so.
func (b *board) comes(method string, in m, want func(m) bool) {
	b.t.Helper()
	var last m
	if !server.Becomes(func() bool {
		last = m{}
		b.Call("alice", method, in, &last)
		return want(last)
	}) {
		b.t.Fatalf("%s: %v", method, last)
	}
}

// The commands and payloads are those of https://thingsboard.io/docs/reference/mqtt-api/ and of the page that was there before.
func TestCommandsOfThingsBoardsDocumentationWork(t *testing.T) {
	h := begin(t)
	clients.Mosquitto3.Need(t)
	b := h.board(h.secrets["lamp"])
	const did = "lamp"

	t.Run("telemetry", func(t *testing.T) {
		for _, payload := range []string{
			`{"temperature": 42}`,
			`{"stringKey":"value1", "booleanKey":true, "doubleKey":42.0, "longKey":73, "jsonKey":{"someNumber": 42,"someArray": [1,2,3],"someNestedObject": {"key": "value"}}}`,
			`[{"key1":"value1"}, {"key2":true}]`,
			`{"ts":1451649600512, "values":{"key1":"value1", "key2":"value2"}}`,
		} {
			b.run(`mosquitto_pub -d -q 1 -h "$THINGSBOARD_HOST" -p "1883" -t "v1/devices/me/telemetry" -u "$ACCESS_TOKEN" -m '` + payload + `'`)
		}
		b.comes("device.tele.last", m{"did": did}, func(last m) bool {
			return at(last, "values", "temperature", "v") == 42.0 && at(last, "values", "stringKey", "v") == "value1" &&
				at(last, "values", "key1", "v") == "value1" && at(last, "values", "key2", "v") == true
		})
	})
	t.Run("attributes", func(t *testing.T) {
		updates := b.listen(`mosquitto_sub -d -h "$THINGSBOARD_HOST" -p 1883 -t "v1/devices/me/attributes" -u "$ACCESS_TOKEN"`)
		answers := b.listen(`mosquitto_sub -d -h "$THINGSBOARD_HOST" -p 1883 -t "v1/devices/me/attributes/response/+" -u "$ACCESS_TOKEN"`)
		b.run(`mosquitto_pub -d -q 1 -h "$THINGSBOARD_HOST" -p 1883 -t "v1/devices/me/attributes" -u "$ACCESS_TOKEN" -m '{"attribute1": "value1", "attribute2": true}'`)
		h.Call("alice", "device.desire", m{"did": did, "desired": m{"shared1": "on"}}, nil)
		updates(`{"shared1":"on"}`)
		b.run(`mosquitto_pub -d -h "$THINGSBOARD_HOST" -p 1883 -t "v1/devices/me/attributes/request/1" -u "$ACCESS_TOKEN" -m '{"clientKeys":"attribute1,attribute2", "sharedKeys":"shared1,shared2"}'`)
		answers(`{"client":{"attribute1":"value1","attribute2":true},"shared":{"shared1":"on"}}`)
	})
	t.Run("rpc", func(t *testing.T) {
		requests := b.listen(`mosquitto_sub -d -v -h "$THINGSBOARD_HOST" -p 1883 -t "v1/devices/me/rpc/request/+" -u "$ACCESS_TOKEN" -q 1`)
		var command m
		h.Call("alice", "device.call", m{"did": did, "name": "setValue", "args": m{"pin": 4}}, &command)
		got := requests("v1/devices/me/rpc/request/", `{"method":"setValue","params":{"pin":4}}`)
		_, id, _ := strings.Cut(strings.Fields(got)[0], "request/")
		b.run(`mosquitto_pub -d -q 1 -h "$THINGSBOARD_HOST" -p 1883 -t "v1/devices/me/rpc/response/` + id + `" -u "$ACCESS_TOKEN" -m '{"result":"ok"}'`)
		b.comes("device.command", m{"did": did, "cid": command["cid"]}, func(c m) bool {
			return c["s"] == "succeeded" && at(c, "result", "result") == "ok"
		})
		served := b.listen(`mosquitto_sub -d -h "$THINGSBOARD_HOST" -p 1883 -t "v1/devices/me/rpc/response/+" -u "$ACCESS_TOKEN"`)
		b.run(`mosquitto_pub -d -q 1 -h "$THINGSBOARD_HOST" -p 1883 -t "v1/devices/me/rpc/request/1" -u "$ACCESS_TOKEN" -m '{"method": "getCurrentTime", "params": {}}'`)
		served(`{"time":`)
	})
	t.Run("claim", func(t *testing.T) {
		h.Call("alice", "device.release", m{"did": did}, nil)
		if err := h.TryCall("bob", "device.claim", m{"did": did, "code": "value"}, nil); err == nil {
			t.Error("claimed without a word of the device")
		}
		b.run(`mosquitto_pub -d -q 1 -h "$THINGSBOARD_HOST" -p 1883 -t "v1/devices/me/claim" -u "$ACCESS_TOKEN" -m '{"secretKey":"value", "durationMs":60000}'`)
		var claimed m
		h.Call("bob", "device.claim", m{"did": did, "code": "value"}, &claimed)
		if claimed["owner"] != "bob" {
			t.Errorf("claimed: %v", claimed)
		}
	})
	t.Run("provision", func(t *testing.T) {
		out, err := h.Magpie("", "device", "batch", "add", "--key", "PUT_PROVISION_KEY_HERE", "--type", "sensor")
		if err != nil {
			t.Fatal(err)
		}
		_, secret, _ := strings.Cut(out, "secret")
		// An answer goes to the connection that has asked; the documentation has a program for that, as mosquitto_rr is.
		answer := parse(t, b.run(`mosquitto_rr -V mqttv311 -h "$THINGSBOARD_HOST" -p 1883 -u "provision" -t "/provision/request" `+
			`-e "/provision/response" -m '{"deviceName": "DEVICE_NAME", "provisionDeviceKey": "PUT_PROVISION_KEY_HERE", `+
			`"provisionDeviceSecret": "`+strings.TrimSpace(secret)+`"}'`))
		token, _ := answer["credentialsValue"].(string)
		if answer["status"] != "SUCCESS" || token == "" {
			t.Fatalf("answer: %v", answer)
		}
		h.board(token).run(`mosquitto_pub -d -q 1 -h "$THINGSBOARD_HOST" -p 1883 -t "v1/devices/me/telemetry" -u "$ACCESS_TOKEN" -m '{"temperature": 25}'`)
		list, err := h.Magpie("", "device", "list")
		if err != nil || !strings.Contains(list, "device_name") {
			t.Errorf("devices: %s, %v", list, err)
		}
	})
}
