package document

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/magpie-im/magpie/api"
)

const aboutMQTT = `Magpie speaks MQTT 3.1.1 and MQTT 5 with the same guarantees; 5 gets richer answers. A client publishes what
a user does and subscribes to what he is told. Outcomes are in the PUBACK or PUBREC of MQTT 5 (reason, and err as a user
property); MQTT 3.1.1 gets them as events on im/u/{uid}/rsp.

A request is a PUBLISH to im/rpc/{method}; its answer comes on im/u/{uid}/rsp with the same rid, or in MQTT 5 the same
Correlation Data. The same methods are served over HTTP: see openapi.json beside this document. Payloads are open: what
is not described is to be ignored.`

// AsyncAPI describes what is said over MQTT, from the server's side. gaps says what could not be described.
func AsyncAPI(src Source) (doc []byte, gaps []string) {
	a := asyncAPI{schemas: newSchemas(), channels: object{}, operations: object{}, messages: object{}}
	a.schemas.undescribed(src.Table)
	a.add(src.Table)
	return encode(object{
		"asyncapi":           "3.0.0",
		"info":               object{"title": "Magpie over MQTT", "version": "1", "description": aboutMQTT},
		"defaultContentType": "application/json",
		"servers":            servers(),
		"channels":           a.channels,
		"operations":         a.operations,
		"components": object{
			"schemas": a.schemas.all(), "messages": a.messages,
			"securitySchemes": object{"password": object{
				"type": "userPassword",
				"description": "User name and password of the CONNECT. The password is that of the account, or a token that " +
					"login over HTTP has given.",
			}},
			"correlationIds": object{"rid": object{
				"description": "MQTT 3.1.1; in MQTT 5 Correlation Data.", "location": "$message.payload#/rid",
			}},
		},
	}), a.schemas.gaps
}

// servers are the listeners that there can be; which ones there are, the configuration says.
func servers() object {
	server := func(protocol, port, path, doc string) object {
		s := object{
			"host": "{host}:{port}", "protocol": protocol, "protocolVersion": "5.0", "description": doc,
			"variables": object{"host": object{"default": "localhost"}, "port": object{"default": port}},
			"security":  []any{ref("#/components/securitySchemes/password")},
		}
		if path != "" {
			s["pathname"] = path
		}
		return s
	}
	return object{
		"mqtt":  server("mqtt", "1883", "", "MQTT 5 and 3.1.1 over TCP."),
		"mqtts": server("secure-mqtt", "8883", "", "The same over TLS, where it is set up."),
		"ws":    server("ws", "8080", "/mqtt", "The same over WebSocket, subprotocol mqtt."),
		"wss":   server("wss", "8443", "/mqtt", "The same over secure WebSocket, where it is set up."),
	}
}

type asyncAPI struct {
	schemas                        *schemas
	channels, operations, messages object
}

func (a *asyncAPI) add(table []*api.Operation) {
	for name, m := range a.schemas.messages(table) {
		a.message(name, m.doc, m.contentType, m.payload)
	}
	var stream []string
	for _, e := range events {
		name := "event." + string(e.t)
		a.message(name, e.doc, "application/json", a.schemas.event(e))
		stream = append(stream, name)
	}
	replies := []string{}
	for _, op := range table {
		if !op.Streams() {
			replies = append(replies, a.request(op))
		}
	}
	for _, t := range topics {
		names := t.messages
		switch t.id {
		case "in":
			names = slices.Concat(stream, []string{"batch", "head", "watched.msg", "watched.change", "line"})
		case "rsp":
			names = append(names[:len(names):len(names)], replies...)
		}
		a.channel(t.id, t.address, t.doc, names)
		if t.up {
			a.operation(t.id, "receive", t.id, t.doc, t.qos, names)
		} else {
			a.operation(t.id, "send", t.id, t.doc, t.qos, names)
		}
	}
}

// request adds a method, and gives the name of the message that answers it.
func (a *asyncAPI) request(op *api.Operation) (reply string) {
	id := "rpc." + op.Name
	reply = "reply." + op.Name
	input := a.schemas.object(op.Input, true)
	if !input.Properties.has("rid") {
		rid := schema{Type: "string", Description: vocabulary["rid"].doc, MaxLength: 128}
		input.Properties = append(input.Properties, property{name: "rid", schema: rid})
	}
	a.message(id, op.Doc, "application/json", input)
	output := schema{Type: "object"}
	a.schemas.fields(&output, typeOf[replyHead](), false)
	a.schemas.fields(&output, op.Output, false)
	a.message(reply, "The answer to "+op.Name+".", "application/json", output)
	for _, name := range []string{id, reply} {
		a.messages[name].(object)["correlationId"] = ref("#/components/correlationIds/rid")
	}
	a.channel(id, "im/rpc/"+op.Name, op.Doc, []string{id})
	call := a.operation(id, "receive", id, op.Doc, 2, []string{id})
	call["reply"] = object{
		"channel":  ref("#/channels/rsp"),
		"messages": []any{ref("#/channels/rsp/messages/" + reply), ref("#/channels/rsp/messages/refused")},
	}
	return reply
}

func (a *asyncAPI) message(name, doc, contentType string, payload schema) {
	m := object{"name": name, "summary": doc, "contentType": contentType, "payload": payload}
	if len(payload.Examples) > 0 {
		m["examples"] = []any{object{"payload": payload.Examples[0]}}
	} else if example := payload.whole(); len(example) > 0 || strings.HasPrefix(name, "rpc.") {
		m["examples"] = []any{object{"payload": example}}
	}
	a.messages[name] = m
}

var braces = regexp.MustCompile(`\{(\w+)\}`)

func (a *asyncAPI) channel(id, address, doc string, names []string) {
	c := object{"address": address, "description": doc}
	known := object{}
	for _, found := range braces.FindAllStringSubmatch(address, -1) {
		p, ok := parameters[found[1]]
		if !ok {
			a.schemas.gap("parameter %s of topic %s is not in parameters in api/document/topics.go", found[1], address)
		}
		known[found[1]] = p
	}
	if len(known) > 0 {
		c["parameters"] = known
	}
	list := object{}
	for _, name := range names {
		list[name] = ref("#/components/messages/" + name)
	}
	c["messages"] = list
	a.channels[id] = c
}

func (a *asyncAPI) operation(id, action, channel, doc string, qos int, names []string) object {
	list := make([]any, len(names))
	for i, name := range names {
		list[i] = ref(fmt.Sprintf("#/channels/%s/messages/%s", channel, name))
	}
	o := object{
		"action": action, "channel": ref("#/channels/" + channel), "summary": doc, "messages": list,
		"bindings": object{"mqtt": object{"qos": qos, "retain": false, "bindingVersion": "0.2.0"}},
	}
	a.operations[id] = o
	return o
}
