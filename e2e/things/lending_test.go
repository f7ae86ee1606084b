package things

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/clients"
	"github.com/magpie-im/magpie/e2e/server"
)

// What is lent to a guest of a home begins and ends by the clock, by windows of the week and by being taken back, for who listens
// all the time with a client that others wrote and subscribes to nothing anew; and he reads nothing of before he came.
func TestWhatIsLentEndsForWhoListens(t *testing.T) {
	t.Parallel()
	h := begin(t)
	home := h.house("lamp")
	send := func(text string) { h.Call("alice", "send", m{"c": home, "mid": text, "body": m{"text": text}}, nil) }
	send("before he came")
	h.Call("alice", "group.invite", m{"c": home, "who": []string{"bob"}}, nil)
	send("after he came")
	history, _ := h.History("bob", home)
	all := make([]string, len(history))
	for i, message := range history {
		all[i] = string(message)
	}
	if text := strings.Join(all, "\n"); strings.Contains(text, "before he came") || !strings.Contains(text, "after he came") {
		t.Errorf("the guest reads %s", text)
	}
	week := []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
	for _, c := range []clients.Client{clients.Mosquitto5, clients.PahoGo3} {
		t.Run(c.Name, func(t *testing.T) {
			c.Need(t)
			h := h.with(t, "lamp")
			bob := h.listen(c, "bob", "guest", "dev/+/shadow", "im/u/me/in")
			n := 0
			set := func() (value string) {
				n++
				value = fmt.Sprint(n, " with ", c.Name)
				h.Call("alice", "device.desire", m{"did": "lamp", "desired": m{"value": value}}, nil)
				return value
			}
			shown := func(what string) {
				t.Helper()
				value := set()
				if !bob.heard(server.Deadline, "dev/lamp/shadow", func(d m) bool { return at(d, "desired", "value") == value }) {
					t.Errorf("%s: he is not shown it", what)
				}
			}
			hidden := func(what string) {
				t.Helper()
				value := set()
				mark := "said after " + value
				h.Call("alice", "send", m{"c": home, "mid": mark, "body": m{"text": mark}}, nil)
				bob.hears("im/u/me/in", func(d m) bool { return at(d, "body", "text") == mark })
				if last := string(bob.others["dev/lamp/shadow"].Payload); strings.Contains(last, value) {
					t.Errorf("%s: he is shown %s", what, last)
				}
			}
			give := func(terms m) (revoke func()) {
				t.Helper()
				in := m{"did": "lamp", "to": "bob", "verbs": []string{"control"}}
				for k, v := range terms {
					in[k] = v
				}
				var made m
				h.Call("alice", "device.grant", in, &made)
				return func() { h.Call("alice", "device.revoke", m{"did": "lamp", "id": made["id"]}, nil) }
			}
			becomes := func(may bool) {
				t.Helper()
				server.Eventually(t, fmt.Sprint("he may see it: ", may), func() bool {
					return (h.TryCall("bob", "device.get", m{"did": "lamp"}, nil) == nil) == may
				})
			}
			windows := func(days ...string) m {
				return m{"zone": "UTC", "weekly": []m{{"days": days, "from": "00:00", "to": "24:00"}}}
			}
			hidden("a guest")
			revoke := give(m{"from": time.Now().Add(time.Second).UnixMilli()})
			becomes(true)
			shown("its time has begun")
			revoke()
			hidden("taken back")
			give(m{"until": time.Now().Add(time.Second).UnixMilli()})
			becomes(false)
			hidden("its time is over")
			today := int(time.Now().UTC().Weekday())
			soon := []string{week[today], week[(today+1)%7]} // it may be midnight
			revoke = give(windows(soon...))
			shown("in a window")
			revoke()
			revoke = give(windows(slices.DeleteFunc(slices.Clone(week), func(day string) bool { return slices.Contains(soon, day) })...))
			hidden("in no window")
			revoke()
			bob.Kill()
		})
	}
}
