package things

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/clients"
	"github.com/magpie-im/magpie/e2e/server"
)

// day is a home on one day, with a lamp that a factory has made. Its chapters are those of docs/day.md.
type day struct {
	*home
	c    clients.Client
	c0   string // the home's conversation
	lamp *ear
	app  *ear // alice's
}

// TestADayInAHome is docs/day.md, from the unpacking of a lamp to its sale, with mosquitto as everybody's client.
func TestADayInAHome(t *testing.T) {
	t.Parallel()
	c := clients.Mosquitto5
	c.Need(t)
	d := &day{home: begin(t), c: c}
	d.home.lamp = "lamp-7f3a"
	for _, chapter := range []struct {
		name string
		tell func()
	}{
		{"claiming it", d.claim}, {"sharing it with a guest", d.share}, {"switching it from the chat", d.chat},
		{"a power cut", d.powerCut}, {"sunset", d.sunset}, {"new firmware", d.firmware}, {"selling it", d.sell},
	} {
		t.Log(chapter.name)
		chapter.tell()
	}
}

// hear has the lamp, and alice's app, connect.
func (d *day) hear() {
	d.t.Helper()
	d.lamp = d.listen(d.c, d.home.lamp, "lamp", "dev/me/want", "dev/me/cmd/+", "$aws/things/"+d.home.lamp+"/jobs/notify-next")
	d.app = d.listen(d.c, "alice", "app", "im/u/me/in", "dev/+/presence", "dev/+/status/+")
}

func (d *day) refused(err error, want string) {
	d.t.Helper()
	var refused *server.RefusalError
	if !errors.As(err, &refused) || refused.Err != want {
		d.t.Errorf("%v, want %s", err, want)
	}
}

func (d *day) claim() {
	printed, err := d.Magpie("", "device", "add", d.home.lamp, "--type", "lamp", "--data", d.Dir())
	if err != nil {
		d.t.Fatal(err)
	}
	words := map[string]string{}
	for _, line := range regexp.MustCompile(`(?m)^(\w+) +(\S+)$`).FindAllStringSubmatch(printed, -1) {
		words[line[1]] = line[2]
	}
	d.secrets[d.home.lamp] = words["secret"]
	var made struct {
		C string `json:"c"`
	}
	d.Call("alice", "home.create", m{"title": "Home", "rooms": []string{"Hall"}}, &made)
	d.c0 = made.C
	into := m{"did": d.home.lamp, "code": words["code"], "home": d.c0, "room": "Hall"}
	d.refused(d.TryCall("alice", "device.claim", m{"did": d.home.lamp, "code": "wrong"}, nil), "no_device")
	d.Call("alice", "device.claim", into, nil)
	d.refused(d.TryCall("bob", "device.claim", m{"did": d.home.lamp, "code": words["code"]}, nil), "taken")
	d.hear()
	d.app.hears("dev/"+d.home.lamp+"/presence", func(p m) bool { return p["state"] == "online" })
}

func (d *day) share() {
	d.Call("alice", "group.invite", m{"c": d.c0, "who": []string{"bob"}}, nil)
	d.refused(d.TryCall("bob", "device.call", m{"did": d.home.lamp, "name": "blink"}, nil), "no_device") // he is a guest
	var grant struct {
		ID string `json:"id"`
	}
	hour := time.Now().Add(time.Hour).UnixMilli()
	d.Call("alice", "device.grant", m{"did": d.home.lamp, "to": "bob", "verbs": []string{"control"}, "until": hour}, &grant)
	d.Call("bob", "device.call", m{"did": d.home.lamp, "name": "blink"}, nil)
	command := d.lamp.hears("dev/me/cmd/+", func(c m) bool { return c["by"] == "bob" })
	d.send(d.c, d.home.lamp, "lamp-says", "dev/me/cmd/"+command["cid"].(string)+"/ack", m{"s": "succeeded"})
	d.app.hears("dev/"+d.home.lamp+"/status/"+command["cid"].(string), func(s m) bool { return s["s"] == "succeeded" })
	d.Call("alice", "device.revoke", m{"did": d.home.lamp, "id": grant.ID}, nil) // nobody waits for an hour here
	soon := time.Now().Add(2 * time.Second).UnixMilli()
	d.Call("alice", "device.grant", m{"did": d.home.lamp, "to": "bob", "verbs": []string{"control"}, "until": soon}, nil)
	d.eventually("bob's time is over", func() bool {
		return d.TryCall("bob", "device.desire", m{"did": d.home.lamp, "desired": m{"level": 1}}, nil) != nil
	})
	d.refused(d.TryCall("bob", "device.desire", m{"did": d.home.lamp, "desired": m{"level": 1}}, nil), "no_device")
}

func (d *day) chat() {
	say := func(who, line string) {
		d.send(d.c, who, who+"-says", "im/c/"+d.c0+"/send", m{"k": "text", "body": m{"text": line}})
	}
	answer := func(event, state string) {
		d.app.hears("im/u/me/in", func(e m) bool {
			return e["t"] == event && e["k"] == "device.reply" && at(e, "body", "did") == d.home.lamp && at(e, "body", "s") == state
		})
	}
	say("alice", "@"+d.home.lamp+" on")
	d.lamp.hears("dev/me/want", func(w m) bool { return at(w, "state", "power") == "on" })
	answer("msg", "wanted")
	d.send(d.c, d.home.lamp, "lamp-says", "dev/me/state", m{"power": "on"})
	answer("edit", "reported")
	say("bob", "@"+d.home.lamp+" off") // for whom it is a text like any other
	d.app.hears("im/u/me/in", func(e m) bool { return e["from"] == "bob" && at(e, "body", "text") == "@"+d.home.lamp+" off" })
	say("alice", "@"+d.home.lamp+" set level 40")
	for want := (m{}); at(want, "state", "level") != 40.0; {
		if want = d.lamp.hears("dev/me/want", nil); at(want, "state", "power") == "off" {
			d.t.Errorf("a guest without a right has switched it: %v", want)
		}
	}
}

func (d *day) powerCut() {
	if err := d.lamp.Stop(); err != nil {
		d.t.Log(err) // what mosquitto_sub says when it is stopped
	}
	var c struct {
		CID string `json:"cid"`
	}
	d.Call("alice", "device.call", m{"did": d.home.lamp, "name": "blink", "ttl": 600, "mid": "before the cut"}, &c)
	d.Call("alice", "device.call", m{"did": d.home.lamp, "name": "open", "ttl": 1, "mid": "not later"}, nil)
	d.Kill()
	d.Start()
	d.eventually("nobody opens anything any more", func() bool {
		var all struct {
			Commands []struct{ Name, S string }
		}
		d.Call("alice", "device.commands", m{"did": d.home.lamp}, &all)
		for _, command := range all.Commands {
			if command.Name == "open" {
				return command.S == "expired"
			}
		}
		return false
	})
	d.hear()
	command := d.lamp.hears("dev/me/cmd/+", nil)
	if command["cid"] != c.CID || command["dup"] != nil {
		d.t.Errorf("the lamp is told %v, want %s once", command, c.CID)
	}
	d.send(d.c, d.home.lamp, "lamp-says", "dev/me/cmd/"+c.CID+"/ack", m{"s": "succeeded"})
	d.app.hears("dev/"+d.home.lamp+"/status/"+c.CID, func(s m) bool { return s["s"] == "succeeded" })
	d.app.hears("dev/"+d.home.lamp+"/presence", func(p m) bool { return p["state"] == "online" })
	d.send(d.c, d.home.lamp, "lamp-says", "dev/me/state", m{"power": "off", "level": 40})
}

func (d *day) sunset() {
	dusk := m{"c": d.c0, "id": "dusk", "triggers": []m{{"on": "sun", "sun": "set"}}, "condition": `state["` + d.home.lamp + `"].power == "off"`,
		"actions": []m{{"do": "desired", "did": d.home.lamp, "desired": m{"power": "on", "level": 80}}}}
	var put struct{ Next int64 }
	for _, lon := range []int{0, 180} { // at one of them it sets within twelve hours
		d.Call("alice", "home.place.put", m{"c": d.c0, "zone": "UTC", "lat": 0, "lon": lon}, nil)
		if d.Call("alice", "automation.put", dusk, &put); time.Until(time.UnixMilli(put.Next)) < 11*time.Hour {
			break
		}
	}
	before := time.Until(time.UnixMilli(put.Next)) - 2*time.Second // two seconds from now are so long before it
	dusk["triggers"] = []m{{"on": "sun", "sun": "set", "offset": -before.Seconds()}}
	d.Call("alice", "automation.put", dusk, nil)
	d.lamp.hears("dev/me/want", func(w m) bool { return at(w, "state", "power") == "on" && at(w, "state", "level") == 80.0 })
	d.eventually("it is written down what was done", func() bool { return fmt.Sprint(d.results(d.c0, "dusk")) == "[done]" })
}

func (d *day) firmware() {
	content := strings.Repeat("firmware 1.2.0 ", 1000)
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	store := "http://" + d.HTTP() + "/files/" + sum
	if status, answer := request(d.t.(*testing.T), http.MethodPut, store, content, m{"Authorization": "Bearer " + d.Token("alice")}); status != 200 {
		d.t.Fatalf("store the firmware: %d %s", status, answer)
	}
	job := d.job(m{"devices": []string{d.home.lamp}, "document": m{"operation": "update"}, "files": []m{{"name": "lamp.bin", "sha256": sum}}})
	next := "$aws/things/" + d.home.lamp + "/jobs/notify-next"
	told := d.lamp.hears(next, func(n m) bool { return at(n, "execution", "jobId") == job })
	files, _ := at(told, "execution", "jobDocument", "files").([]any)
	if len(files) != 1 {
		d.t.Fatalf("the lamp is told %v", told)
	}
	status, got := request(d.t.(*testing.T), http.MethodGet, at(files[0], "url").(string), "", nil)
	if loaded := fmt.Sprintf("%x", sha256.Sum256([]byte(got))); status != 200 || loaded != at(files[0], "sha256") {
		d.t.Errorf("it loads %d bytes: %d, SHA-256 %s", len(got), status, loaded)
	}
	d.send(d.c, d.home.lamp, "lamp-says", "$aws/things/"+d.home.lamp+"/jobs/"+job+"/update", m{"status": "SUCCEEDED"})
	d.becomes(job, "COMPLETED", m{"SUCCEEDED": 1})
}

func (d *day) sell() {
	d.send(d.c, d.home.lamp, "lamp-says", "dev/me/event", m{"id": "e-1", "type": "warm"})
	d.app.hears("im/u/me/in", func(e m) bool { return e["k"] == "device.event" && e["from"] == d.home.lamp })
	d.Call("alice", "device.transfer", m{"did": d.home.lamp, "to": "bob"}, nil)
	d.refused(d.TryCall("carol", "device.transfer.accept", m{"did": d.home.lamp}, nil), "no_device")
	d.Call("bob", "device.transfer.accept", m{"did": d.home.lamp}, nil)
	d.refused(d.TryCall("alice", "device.get", m{"did": d.home.lamp}, nil), "no_device")
	for method, list := range map[string]string{"device.events": "events", "device.commands": "commands", "device.alarms": "alarms"} {
		var answer m
		d.Call("bob", method, m{"did": d.home.lamp}, &answer)
		if all, _ := answer[list].([]any); len(all) > 0 {
			d.t.Errorf("%s tells who has bought it: %v", method, all)
		}
	}
	for range 2 { // the one before is good until there is another
		var out struct {
			Secret string `json:"secret"`
		}
		d.Call("bob", "device.secret", m{"did": d.home.lamp}, &out)
		d.secrets[d.home.lamp] = out.Secret
	}
	lamp := d.listen(d.c, d.home.lamp, "lamp", "dev/me/want")
	d.send(d.c, "bob", "bob-says", "dev/"+d.home.lamp+"/set", m{"power": "off"})
	lamp.hears("dev/me/want", func(w m) bool { return at(w, "state", "power") == "off" && at(w, "state", "level") == nil })
}
