package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"text/template"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/chat"
)

// demoUsers are the people of the demo. Their passwords are easy to type and known to everybody.
var demoUsers = []string{"alice", "bob", "carol"}

func demoPassword(name string) string { return name + "-demo" }

func demoConfig(cfg *broker.Config) { cfg.Accounts.Registration = accounts.RegistrationOpen }

// demoTo are the arguments that make mosquitto's tools find the server.
func demoTo(addr string) (args string, ip netip.Addr) {
	host, port, _ := net.SplitHostPort(addr) // as bound
	ip, _ = netip.ParseAddr(host)
	if ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	if args = "-h " + host; port != "1883" {
		args += " -p " + port
	}
	return args, ip
}

// seedDemo adds what is not there yet.
func seedDemo(ctx context.Context, node *broker.Node) error {
	for _, name := range demoUsers {
		if _, err := node.Accounts().Add(ctx, name, demoPassword(name)); err != nil && !errors.Is(err, accounts.ErrTaken) {
			return err
		}
	}
	state, commit, err := node.Chat().RequestContact(ctx, "alice", "bob", "", nil)
	if err == nil && state.State == chat.ContactPending {
		_, commit, err = node.Chat().AcceptContact(ctx, "bob", "alice", nil)
	}
	if err == nil && commit != nil {
		err = commit.Wait(ctx)
	}
	for _, wanted := range []error{chat.ErrGone, chat.ErrBlocked, chat.ErrNoConversation, chat.ErrQuota, chat.ErrNoRequest} {
		if errors.Is(err, wanted) { // one was deleted, blocked the other, or hides: it stays as they want it
			return nil
		}
	}
	return err
}

var demoText = template.Must(template.New("demo").Parse(`
Magpie is running: MQTT on {{.MQTT}}{{if .HTTP}}, HTTP on {{.HTTP}}{{end}}.
The users alice, bob and carol are here, their passwords are alice-demo, bob-demo and carol-demo; alice and bob are
contacts. Everything below is mosquitto's own tools (Debian: apt install mosquitto-clients).
{{if .Open}}
WARNING: {{.MQTT}} can be reached from other machines, and these passwords are known to everybody.
{{end}}
1. In one terminal, bob listens:

mosquitto_sub {{.To}} -i bob-phone -c -q 1 -u 'bob?fmt=text' -P bob-demo -t im/u/me/in

2. In another one, alice writes. Every line you type is a message, Ctrl-D ends it:

mosquitto_pub {{.To}} -i alice-laptop -q 1 -l -u alice -P alice-demo -t im/to/bob/send

   Add -V 5 to either line for MQTT 5; without it they speak 3.1.1.

3. Offline: end bob's line with Ctrl-C, write some more as alice, and start bob's line again. He gets what he missed,
   in order, once.

4. Pull the plug: kill -9 {{.PID}} in a third terminal while alice writes, then start this server again:
   {{.Command}}
   Nothing that was acknowledged is lost. bob may see the last lines twice, as QoS 1 allows; with -q 2 he does not.

bob answers with:

mosquitto_pub {{.To}} -i bob-laptop -q 1 -l -u bob -P bob-demo -t im/to/alice/send

and alice reads with:

mosquitto_sub {{.To}} -i alice-phone -c -q 1 -u 'alice?fmt=text' -P alice-demo -t im/u/me/in

Ctrl-C here stops the server.
`))

// printDemo says what to type into two terminals, with the addresses that the server really has.
func printDemo(to io.Writer, args []string, a broker.Addresses) error {
	where, ip := demoTo(a.MQTT)
	return demoText.Execute(to, map[string]any{
		"MQTT": a.MQTT, "HTTP": a.HTTP, "To": where, "Open": !ip.IsLoopback(),
		"PID": os.Getpid(), "Command": strings.Join(args, " "),
	})
}
