package trips

import (
	"fmt"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/e2e/people"
	"github.com/magpie-im/magpie/e2e/wire"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
)

func TestAnOperationTakesNoMoreRoundTripsThanItMay(t *testing.T) {
	mongotest.Only(t)
	t.Run("sessions", sessions)
	t.Run("messages", messages)
	t.Run("reading", reading)
	t.Run("things", things)
}

// again gives what prepares an operation that needs what the last one was before.
func again(do func()) func(int) {
	return func(i int) {
		if i > 0 {
			do()
		}
	}
}

func sessions(t *testing.T) {
	s := begin(t)
	s.node.AddUsers("alice", "bob")
	token, _ := s.post("", "login", people.M{"uid": "alice", "password": brokertest.Password})["token"].(string)
	s.check(login, nil, func(int) { s.post("", "login", people.M{"uid": "alice", "password": brokertest.Password}) })
	var c *wire.Client
	leave := func() { s.leave(c) }
	for _, as := range []struct {
		who              wire.Connect
		connects, leaves operation
	}{
		{clean("alice"), connectClean, leaveClean},
		{wire.Connect{ClientID: "clean", User: "alice", Password: token, Clean: true}, connectToken, leaveClean},
	} {
		connect := func() { c = s.connect(as.who) }
		s.check(as.connects, again(leave), func(int) { connect() })
		s.check(as.leaves, again(connect), func(int) { leave() })
	}
	connect := func() { c = s.connect(kept("bob")) }
	connect()
	s.check(subscribe, nil, func(i int) { s.subscribe(c, fmt.Sprint("a/", i%5), 1) })
	s.check(connectKept, func(int) { leave() }, func(int) { connect() })
	s.check(leaveKept, again(connect), func(int) { leave() })

	c = s.connect(clean("alice"))
	s.check(queued, nil, func(int) { s.publish(c, "a/1", "x") })
	s.check(nobody, nil, func(int) { s.publish(c, "b/1", "x") })
	s.check(retained, nil, func(int) {
		s.ask(c, wire.Packet{Type: wire.PUBLISH, QoS: 1, Topic: "b/1", Payload: []byte("x"), Retain: true})
	})
}

func messages(t *testing.T) {
	s := begin(t)
	s.node.AddUsers("alice", "bob")
	s.node.Befriend("alice", "bob")
	for i := range times + 1 {
		s.node.AddUsers(fmt.Sprint("new", i))
		s.node.Befriend("alice", fmt.Sprint("new", i))
	}
	room := s.room(19)
	s.node.Restart() // a minute after a start sweeps begin
	c := s.connect(clean("alice"))
	s.check(sendFirst, nil, func(i int) { s.publish(c, fmt.Sprint("im/to/new", i, "/send"), "hello") })
	s.check(send, nil, func(int) { s.publish(c, "im/to/bob/send", "hello") })
	s.check(sendRoom, nil, func(int) { s.publish(c, "im/c/"+room+"/send", "hello") })
	bob := s.connect(clean("bob"))
	s.check(markRead, nil, func(i int) { s.publish(bob, "im/c/"+people.Direct("alice", "bob")+"/read", fmt.Sprint(i+1)) })

	s.node.Restart()
	c = s.connect(clean("alice"))
	s.quiet = 1500 * time.Millisecond // receipts wait for a second
	s.place.Device("bob", brokertest.Password, "phone", people.V5)
	s.check(sendThere, nil, func(int) { s.publish(c, "im/to/bob/send", "hello") })
}

// room makes a room of alice with some others, and gives its name.
func (s *scene) room(others int) string {
	s.t.Helper()
	var members []string
	for i := range others {
		name := fmt.Sprint("m", i)
		members = append(members, name)
		s.node.AddUsers(name)
		s.node.Befriend(name, "alice")
	}
	token, _ := s.post("", "login", people.M{"uid": "alice", "password": brokertest.Password})["token"].(string)
	c, _ := s.post(token, "group.create", people.M{"kind": "group", "title": "ours", "members": members})["c"].(string)
	return c
}

func reading(t *testing.T) {
	s := begin(t)
	s.node.AddUsers("alice")
	var room string
	conversations := 200
	if mongotest.Small() {
		conversations = 20
	}
	for range conversations {
		room = s.room(0)
	}
	c := s.connect(clean("alice"))
	for i := range 50 {
		s.publish(c, "im/c/"+room+"/send", fmt.Sprint(i))
	}
	s.node.Restart() // a minute after a start sweeps begin
	c = s.connect(clean("alice"))
	s.subscribe(c, "im/u/me/rsp", 0)
	s.check(history, nil, func(int) { s.call(c, "history", fmt.Sprintf(`{"c":%q,"limit":50}`, room)) })
	s.check(sync, nil, func(int) { s.call(c, "sync", `{"usn":1,"limit":50}`) })
	s.check(unread, nil, func(int) { s.call(c, "unread.get", `{"limit":200}`) })
	s.check(list, nil, func(int) { s.call(c, "conv.list", `{"limit":200}`) })
}

func things(t *testing.T) {
	s := begin(t)
	s.node.AddUsers("alice", "lamp")
	if _, err := s.node.Things().Add(t.Context(), devices.Added{ID: "lamp", Owner: "alice"}); err != nil {
		t.Fatal(err)
	}
	app, lamp := s.connect(clean("alice")), s.connect(clean("lamp"))
	s.check(state, nil, func(i int) { s.publish(lamp, "dev/me/state", fmt.Sprintf(`{"n":%d}`, i)) })
	s.check(want, nil, func(i int) { s.publish(app, "dev/lamp/set", fmt.Sprintf(`{"n":%d}`, i)) })
	s.check(happen, nil, func(i int) { s.publish(lamp, "dev/me/event", fmt.Sprintf(`{"id":"%d","type":"door"}`, i)) })
	s.check(call, nil, func(i int) { s.publish(app, "dev/lamp/call", fmt.Sprintf(`{"name":"on","mid":"%d"}`, i)) })
}
