package main

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/magpie-im/magpie/e2e/wire"
)

// clients are those that connect left connected: $WORK and client id to client.
var clients sync.Map

type clientOf struct{ work, id string }

// connect USER VERSION CLIENT FILTER... connects with the password "correct horse", subscribes with QoS 1 and stays. With
// version 5 the session outlives the connection by an hour, and its will, to gone/CLIENT, comes a minute after it. With
// version 3 the session ends with the connection. CLIENT may be quoted as in Go.
func connect(ts *testscript.TestScript, _ bool, args []string) {
	user, id := args[0], unquoted(args[2])
	version, c, props := wire.V5, wire.Connect{ClientID: id, User: user, Password: "correct horse"}, wire.Properties{}
	if args[1] == "3" {
		version, c.Clean = wire.V311, true
	} else {
		props = append(props, wire.Num(wire.SessionExpiry, 3600))
		c.Will = &wire.Will{
			Topic: "t/gone", Payload: []byte("gone"), QoS: 1, Props: wire.Properties{wire.Num(wire.WillDelay, 60)},
		}
	}
	cl, ack, err := wire.Open(ts.Getenv("MQTT"), version, c, props...)
	ts.Check(err)
	ts.Defer(func() { _ = cl.Close() })
	if ack.Reason != 0 {
		ts.Fatalf("CONNECT of %s is answered with %#x", user, ack.Reason)
	}
	for i, f := range args[3:] {
		ts.Check(cl.Send(wire.Packet{Type: wire.SUBSCRIBE, ID: uint16(i + 1), Filters: []wire.Filter{{Topic: f, Options: 1}}}))
		if got := answer(ts, cl, wire.SUBACK); len(got.Codes) != 1 || got.Codes[0] != 1 {
			ts.Fatalf("SUBSCRIBE to %s is answered with %v", f, got.Codes)
		}
	}
	clients.Store(clientOf{ts.Getenv("WORK"), id}, cl)
}

func unquoted(s string) string {
	if plain, err := strconv.Unquote(s); err == nil {
		return plain
	}
	return s
}

func answer(ts *testscript.TestScript, cl *wire.Client, want wire.Type) wire.Packet {
	p, err := cl.Read(time.Now().Add(patience))
	ts.Check(err)
	if p.Type != want {
		ts.Fatalf("the server answers %s, want %s", p.Type, want)
	}
	return p
}

// leave CLIENT closes its connection without a word.
func leave(ts *testscript.TestScript, _ bool, args []string) {
	cl, ok := clients.LoadAndDelete(clientOf{ts.Getenv("WORK"), unquoted(args[0])})
	if !ok {
		ts.Fatalf("%s is not connected", args[0])
	}
	ts.Check(cl.(*wire.Client).Close())
}

// publish USER TOPIC TEXT publishes with QoS 1, and waits for the PUBACK.
func publish(ts *testscript.TestScript, _ bool, args []string) {
	c := wire.Connect{ClientID: "publisher", User: args[0], Password: "correct horse", Clean: true}
	cl, _, err := wire.Open(ts.Getenv("MQTT"), wire.V5, c)
	ts.Check(err)
	ts.Check(cl.Send(wire.Packet{Type: wire.PUBLISH, QoS: 1, ID: 1, Topic: args[1], Payload: []byte(args[2])}))
	if got := answer(ts, cl, wire.PUBACK); got.Reason >= 0x80 {
		ts.Fatalf("PUBLISH is answered with %#x", got.Reason)
	}
	ts.Check(errors.Join(cl.Send(wire.Packet{Type: wire.DISCONNECT}), cl.Close()))
}

// poll PATTERN COMMAND ARG... runs a command until what it prints matches.
func poll(ts *testscript.TestScript, _ bool, args []string) {
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s prints nothing like %s", strings.Join(args[1:], " "), args[0])
		}
	}
}
