package dialects

import (
	"encoding/json"
	"strconv"
	"strings"
)

// What follows is Tasmota, https://tasmota.github.io/docs/MQTT/: a device says what it is on tasmota/discovery/{mac}/config,
// and what its sensors are on .../sensors.

// tasmotaConfig is what a device says of itself.
type tasmotaConfig struct {
	Name    string   `json:"dn"`
	Names   []string `json:"fn"`
	Mac     string   `json:"mac"`
	Model   string   `json:"md"`
	Topic   string   `json:"t"`
	Full    string   `json:"ft"` // like %prefix%/%topic%/
	Prefix  []string `json:"tp"` // cmnd, stat, tele
	Relays  []int    `json:"rl"` // 0: none, 1: a switch, 2: a light, 3: a shutter
	States  []string `json:"state"`
	Online  string   `json:"onln"`
	Offline string   `json:"ofln"`
}

// readTasmota reads what a device says of itself, and of its sensors.
func readTasmota(topic string, payload []byte) (parts []Part, ok bool) {
	rest, ok := strings.CutPrefix(topic, "tasmota/discovery/")
	mac, what, more := strings.Cut(rest, "/")
	if !ok || !more || mac == "" || what != "config" {
		return nil, false
	}
	var c tasmotaConfig
	if json.Unmarshal(payload, &c) != nil || c.Topic == "" || len(c.Prefix) != 3 {
		return []Part{{Topic: topic}}, true
	}
	full := c.Full
	if full == "" {
		full = "%prefix%/%topic%/"
	}
	at := func(prefix int, what string) string {
		return strings.NewReplacer("%prefix%", c.Prefix[prefix], "%topic%", c.Topic).Replace(full) + what
	}
	const command, stat, tele = 0, 1, 2
	p := Part{Topic: topic, Local: "tasmota:" + mac, Name: c.Name, Model: strings.TrimSpace("Tasmota " + c.Model), Type: "sensor"}
	words := map[string]bool{either(c.Offline, "Offline"): false, either(c.Online, "Online"): true}
	p.There.Hints = []Hint{{Topic: at(tele, "LWT"), Words: words}}
	on, off := "ON", "OFF"
	if len(c.States) > 1 {
		off, on = c.States[0], c.States[1]
	}
	several := 0
	for _, kind := range c.Relays {
		if kind == 1 || kind == 2 {
			several++
		}
	}
	for i, kind := range c.Relays {
		if kind != 1 && kind != 2 {
			continue
		}
		p.Type = moreTelling(p.Type, map[int]string{1: "switch", 2: "lamp"}[kind])
		key, name := "power", "POWER"
		if several > 1 {
			key, name = "power"+strconv.Itoa(i+1), "POWER"+strconv.Itoa(i+1)
		}
		words, writes, calls := onOff(on, off)
		if several > 1 {
			calls = map[string]string{"on:" + strconv.Itoa(i+1): on, "off:" + strconv.Itoa(i+1): off}
		}
		p.Points = append(p.Points, Point{
			Key: key, State: at(stat, name), Words: words, Command: at(command, name), Writes: writes, Calls: calls,
		})
	}
	for _, sensor := range tasmotaSensors {
		p.Points = append(p.Points, Point{Key: sensor.key, State: at(tele, "SENSOR"), Path: sensor.path, Kind: KindNumber})
	}
	return []Part{p}, true
}

// tasmotaSensors are values that Tasmota publishes of the usual sensors.
var tasmotaSensors = []struct {
	key  string
	path []string
}{
	{"watts", []string{"ENERGY", "Power"}}, {"voltage", []string{"ENERGY", "Voltage"}},
	{"current", []string{"ENERGY", "Current"}}, {"energy", []string{"ENERGY", "Total"}},
	{"temperature", []string{"AM2301", "Temperature"}}, {"humidity", []string{"AM2301", "Humidity"}},
	{"temperature_ds18b20", []string{"DS18B20", "Temperature"}},
	{"temperature_bme280", []string{"BME280", "Temperature"}}, {"humidity_bme280", []string{"BME280", "Humidity"}},
	{"pressure_bme280", []string{"BME280", "Pressure"}},
}

// either is the first of two that is not empty.
func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
