package things

import (
	"context"
	"maps"
	"net"
	"slices"
	"strconv"
	"testing"

	"github.com/magpie-im/magpie/e2e/clients"
	"github.com/magpie-im/magpie/e2e/server"
)

// sdk is AWS's SDK for devices, which does what it is told. Lines that nobody has asked for yet wait.
type sdk struct {
	*clients.Program
	t       testing.TB
	waiting []m
}

func (h *home) sdk(did, client string) *sdk {
	h.t.Helper()
	s := h.as(did, client)
	return h.startSDK(s.Addr, m{"user": s.User, "password": s.Password, "client": client, "thing": did})
}

// startSDK has it connect to an address with what it is told.
func (h *home) startSDK(addr string, told m) *sdk {
	h.t.Helper()
	x := h.startApp(clients.AWSIoT, addr, told)
	x.hears("connected")
	return x
}

// startApp starts one of the SDKs, which is not connected yet.
func (h *home) startApp(app clients.App, addr string, told m) *sdk {
	h.t.Helper()
	host, port, _ := net.SplitHostPort(addr)
	if told["ca"] != nil {
		host = "localhost" // certificates are of names
	}
	told["host"] = host
	told["port"], _ = strconv.Atoi(port)
	p, err := app.Start(h.t.Context(), told)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(p.Kill)
	return &sdk{Program: p, t: h.t}
}

// hears waits for a line that says something of a word, and gives the line.
func (x *sdk) hears(word string) m {
	x.t.Helper()
	says := func(line m) bool { _, ok := line[word]; return ok }
	if i := slices.IndexFunc(x.waiting, says); i >= 0 {
		line := x.waiting[i]
		x.waiting = slices.Delete(x.waiting, i, i+1)
		return line
	}
	ctx, cancel := context.WithTimeout(x.t.Context(), server.Deadline)
	defer cancel()
	for {
		text, err := x.Line(ctx)
		if err != nil {
			x.t.Fatalf("waits for %s: %v; before: %v", word, err, x.waiting)
		}
		line := parse(x.t, []byte(text))
		if says(line) {
			return line
		}
		x.waiting = append(x.waiting, line)
	}
}

// does has it do something, and gives what came of it.
func (x *sdk) does(what string, request m) m {
	x.t.Helper()
	told := maps.Clone(request)
	if told == nil {
		told = m{}
	}
	told["do"] = what
	if err := x.Say(text(told)); err != nil {
		x.t.Fatal(err)
	}
	if slices.Contains([]string{"delta", "documents", "jobs", "next"}, what) {
		return x.hears("opened")
	}
	return x.hears(what)
}

func (x *sdk) want(what string, got any, want any) {
	x.t.Helper()
	if text(got) != text(want) {
		x.t.Errorf("%s: %s, want %s", what, text(got), text(want))
	}
}

// AWS's SDK keeps named and classic shadows here as it does there: nothing there (404), update, the stream of deltas, a version
// that is not the newest (409), delete.
func TestShadowsWithTheSDKOfAWS(t *testing.T) {
	clients.AWSIoT.Need(t)
	h := begin(t)
	for name, request := range map[string]m{"named": {"shadowName": "light"}, "classic": {}} {
		t.Run(name, func(t *testing.T) {
			h := h.with(t, h.lamp)
			did := "aws-" + name
			h.addDevice(did, nil)
			h.shadows(did, request)
		})
	}
}

func (h *home) shadows(did string, request m) {
	x := h.sdk(did, did)
	with := func(fields m) m {
		all := maps.Clone(request)
		maps.Copy(all, fields)
		return all
	}
	x.want("get of nothing", at(x.does("get", request)["error"], "code"), 404)
	x.does("delta", request)
	got := x.does("update", with(m{"state": m{"desired": m{"on": true, "rgb": []int{1, 2, 3}}}}))
	x.want("accepted", at(got["update"], "state", "desired", "on"), true)
	x.want("version", at(got["update"], "version"), 1)
	delta := x.hears("delta")["delta"]
	x.want("delta", at(delta, "state"), m{"on": true, "rgb": []int{1, 2, 3}})
	x.want("conflict", at(x.does("update", with(m{"version": 7, "state": m{"reported": m{"on": true}}}))["error"], "code"), 409)
	got = x.does("update", with(m{"version": 1, "state": m{"reported": m{"on": true}}}))
	x.want("version", at(got["update"], "version"), 2)
	delta = x.hears("delta")["delta"]
	x.want("what is left", at(delta, "state"), m{"rgb": []int{1, 2, 3}})
	got = x.does("get", request)
	x.want("reported", at(got["get"], "state", "reported"), m{"on": true})
	x.want("delta", at(got["get"], "state", "delta"), m{"rgb": []int{1, 2, 3}})

	// What was wanted while it was away comes with the SUBSCRIBE.
	x.Kill()
	y := h.sdk(did, did)
	y.does("delta", request)
	y.want("delta of who comes back", at(y.hears("delta")["delta"], "state"), m{"rgb": []int{1, 2, 3}})
	if y.does("delete", request)["delete"] == nil {
		y.t.Error("delete failed")
	}
	y.want("get of what was deleted", at(y.does("get", request)["error"], "code"), 404)
}
