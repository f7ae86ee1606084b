package hooks_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/e2e/wire"
	"github.com/magpie-im/magpie/locations"
	"github.com/magpie-im/magpie/trips"
)

// ride is a node on which alice, who shares nothing with anybody, asks bob and carol for a trip.
func ride(t *testing.T, ttl time.Duration) (*home, trips.Trip) {
	t.Helper()
	n := startDevices(t)
	for _, driver := range []string{"bob", "carol"} {
		n.Befriend("alice", driver)
	}
	q := trips.Request{
		Drivers: []accounts.Name{"bob", "carol"}, TTL: ttl,
		From: trips.Place{Lat: 52.5, Lon: 13.4, Name: "Home"}, To: trips.Place{Lat: 52.6, Lon: 13.4},
	}
	asked, err := n.Trips().Request(t.Context(), "alice", q)
	if err != nil {
		t.Fatal(err)
	}
	return n, asked
}

func (h *home) isAt(t *testing.T, who string, lat float64) {
	t.Helper()
	<-time.After(2 * time.Millisecond) // what is of the same moment is not newer
	s := locations.Subject{Who: accounts.Name(who), Label: "phone"}
	if _, err := h.Places().Report(t.Context(), s, locations.Position{Lat: lat, Lon: 13.4, Acc: 5}); err != nil {
		t.Fatal(err)
	}
}

func TestOneDriverHasATrip(t *testing.T) {
	n, asked := ride(t, time.Minute)
	var running sync.WaitGroup
	errs := map[accounts.Name]error{}
	var mu sync.Mutex
	for _, driver := range []accounts.Name{"bob", "carol"} {
		running.Go(func() {
			_, err := n.Trips().Accept(t.Context(), driver, asked.ID)
			mu.Lock()
			defer mu.Unlock()
			errs[driver] = err
		})
	}
	running.Wait()
	driver, other := accounts.Name("bob"), accounts.Name("carol")
	if errs[driver] != nil {
		driver, other = other, driver
	}
	if errs[driver] != nil || !errors.Is(errs[other], trips.ErrLate) {
		t.Fatalf("two accept at once: %v", errs)
	}
	got, err := n.Trips().Get(t.Context(), other, asked.ID)
	if err != nil || got.For(other).Driver != "" || got.For(other).Drivers != nil {
		t.Errorf("who does not have it is told %+v, %v", got.For(other), err)
	}
	if again, err := n.Trips().Accept(t.Context(), driver, asked.ID); err != nil || again.Driver != driver {
		t.Errorf("a repeat: %+v, %v", again, err)
	}
}

func TestTheTwoSeeEachOtherWhileATripLasts(t *testing.T) {
	t.Parallel()
	n, asked := ride(t, time.Minute)
	app := func(who string) *client {
		c := connect(t, n.Node, wire.V5, wire.Connect{User: who, ClientID: "app", Clean: true})
		c.subscribe(wire.Filter{Topic: "owntracks/+/phone"}, wire.Filter{Topic: "im/u/me/trip/+"},
			wire.Filter{Topic: "owntracks/+/x/status"})
		return c
	}
	alice, bob, carol := app("alice"), app("bob"), app("carol")
	n.isAt(t, "bob", 52.5)
	bob.toldOf(`owntracks/bob/phone "lat":52.5`)
	alice.toldNothing("alice")

	if _, err := n.Trips().Accept(t.Context(), "bob", asked.ID); err != nil {
		t.Fatal(err)
	}
	alice.toldOf(`owntracks/bob/phone "lat":52.5`, "im/u/me/trip/"+asked.ID+` "driver":"bob","st":"accepted"`)
	bob.toldOf("im/u/me/trip/" + asked.ID + ` "st":"accepted"`)
	p := carol.read(wire.PUBLISH)
	if !strings.Contains(string(p.Payload), `"st":"accepted"`) || strings.Contains(string(p.Payload), "bob") {
		t.Errorf("carol is told %s", p.Payload)
	}
	for i := 1; i <= 10; i++ {
		n.isAt(t, "bob", 52.5+float64(i)/1000)
		alice.toldOf(fmt.Sprintf(`owntracks/bob/phone "lat":%v`, 52.5+float64(i)/1000))
		bob.toldOf("owntracks/bob/phone ")
	}
	n.isAt(t, "alice", 52.51)
	bob.toldOf(`owntracks/alice/phone "lat":52.51`)
	alice.toldOf("owntracks/alice/phone ")
	carol.toldNothing("carol")
	n.Restart() // and it goes on
	alice = app("alice")
	alice.toldOf("owntracks/alice/phone ", `owntracks/bob/phone "lat":52.51`)

	over, err := n.Trips().End(t.Context(), "alice", asked.ID)
	if err != nil || over.State != trips.Ended || over.Metres < 1000 || over.Metres > 1300 || len(over.Waypoint) < 2 {
		t.Errorf("the end: %+v, %v", over, err)
	}
	alice.toldOf("owntracks/bob/phone ", "im/u/me/trip/"+asked.ID+` "st":"ended"`)
	n.isAt(t, "bob", 52.6)
	alice.toldNothing("alice")
	late := app("alice")
	late.toldOf("owntracks/alice/phone ")
	late.toldNothing("alice")
	if again, err := n.Trips().End(t.Context(), "bob", asked.ID); err != nil || again.Over != over.Over {
		t.Errorf("a repeat: %+v, %v", again, err)
	}
	page, err := n.Chat().History(t.Context(), "alice", chat.HistoryQuery{Conversation: chat.Direct("alice", "bob")})
	if err != nil || len(page.Messages) != 1 || page.Messages[0].Kind != "x.trip" ||
		!strings.Contains(string(page.Messages[0].Body), `"metres":1`) {
		t.Errorf("summaries %+v, %v", page.Messages, err)
	}
}

func TestATripThatNobodyTakesExpires(t *testing.T) {
	t.Parallel()
	n, asked := ride(t, time.Second)
	for deadline := time.Now().Add(brokertest.Deadline); ; <-time.After(50 * time.Millisecond) {
		got, err := n.Trips().Get(t.Context(), "alice", asked.ID)
		if err == nil && got.State == trips.Expired {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if _, err := n.Trips().Accept(t.Context(), "bob", asked.ID); !errors.Is(err, trips.ErrLate) {
		t.Errorf("after that: %v", err)
	}
	if left := n.Trips().Open("alice"); len(left) > 0 {
		t.Errorf("open are %v", left)
	}
}

func TestWhoMayDoWhatWithATrip(t *testing.T) {
	n, asked := ride(t, time.Minute)
	n.AddUsers("dave")
	ctx := t.Context()
	ask := func(rider accounts.Name, q trips.Request) error {
		if q.Drivers == nil {
			q.Drivers = []accounts.Name{"bob"}
		}
		_, err := n.Trips().Request(ctx, rider, q)
		return err
	}
	for name, tt := range map[string]struct{ got, want error }{
		"oneself":      {ask("alice", trips.Request{Drivers: []accounts.Name{"alice"}}), trips.ErrMalformed},
		"twice":        {ask("alice", trips.Request{Drivers: []accounts.Name{"bob", "bob"}}), trips.ErrMalformed},
		"nobody":       {ask("alice", trips.Request{Drivers: []accounts.Name{}}), trips.ErrMalformed},
		"nowhere":      {ask("alice", trips.Request{From: trips.Place{Lat: 91}}), trips.ErrMalformed},
		"at once":      {ask("alice", trips.Request{TTL: time.Millisecond}), trips.ErrMalformed},
		"a stranger":   {ask("dave", trips.Request{}), locations.ErrNotContact},
		"second":       {ask("alice", trips.Request{}), nil},
		"not a driver": {last(n.Trips().Accept(ctx, "dave", asked.ID)), trips.ErrNone},
		"the rider":    {last(n.Trips().Accept(ctx, "alice", asked.ID)), trips.ErrNone},
		"a driver":     {last(n.Trips().Cancel(ctx, "bob", asked.ID)), trips.ErrNone},
		"too early":    {last(n.Trips().End(ctx, "alice", asked.ID)), trips.ErrLate},
		"none":         {last(n.Trips().Get(ctx, "alice", "none")), trips.ErrNone},
		"not his":      {last(n.Trips().Get(ctx, "dave", asked.ID)), trips.ErrNone},
	} {
		if !errors.Is(tt.got, tt.want) {
			t.Errorf("%s: %v, want %v", name, tt.got, tt.want)
		}
	}
	if err := errors.Join(ask("alice", trips.Request{})); err != nil {
		t.Error(err)
	}
	if err := ask("alice", trips.Request{}); !errors.Is(err, trips.ErrTooMany) {
		t.Errorf("a fourth one: %v", err)
	}
	if _, err := n.Trips().Accept(ctx, "bob", asked.ID); err != nil {
		t.Fatal(err)
	}
	n.isAt(t, "bob", 52.5)
	phone := locations.Subject{Who: "bob", Label: "phone"}
	if _, err := n.Places().Last(ctx, "alice", phone); err != nil {
		t.Errorf("the rider does not see the driver: %v", err)
	}
	if _, _, err := n.Chat().BlockContact(ctx, "bob", "alice", nil); err != nil {
		t.Fatal(err)
	}
	if p, err := n.Places().Last(ctx, "alice", phone); !errors.Is(err, locations.ErrNone) {
		t.Errorf("who is blocked sees %+v, %v", p, err)
	}
	if _, err := n.Trips().Cancel(ctx, "bob", asked.ID); err != nil {
		t.Error(err)
	}
	if _, err := n.Trips().End(ctx, "alice", asked.ID); !errors.Is(err, trips.ErrLate) {
		t.Errorf("the end of what was canceled: %v", err)
	}
}

func last(_ trips.Trip, err error) error { return err }

// TestWhoIsNearIsAsked has drivers found by where they are, one after the other.
func TestWhoIsNearIsAsked(t *testing.T) {
	n := startDevices(t)
	app := map[string]*client{}
	for i, driver := range []string{"bob", "carol"} {
		n.Befriend("alice", driver)
		n.isAt(t, driver, 52.5+float64(i)/1000)
		n.share(t, driver, "alice", locations.LevelExact)
	}
	for _, who := range []string{"alice", "bob", "carol"} {
		app[who] = connect(t, n.Node, wire.V311, wire.Connect{User: who, ClientID: "app", Clean: true})
		app[who].subscribe(wire.Filter{Topic: "im/u/me/trip/+"}, wire.Filter{Topic: "im/u/me/rsp"})
	}
	asked := app["alice"].call("trip.request", `{"from":{"lat":52.5,"lon":13.4},"to":{"lat":52.6,"lon":13.4},"near":{"r":2000,"wave":1},"ttl":60}`)
	id, _ := asked["id"].(string)
	if got := fmt.Sprint(asked["drivers"]); got != "[bob]" {
		t.Fatalf("asked is %v", asked)
	}
	app["bob"].toldOf("im/u/me/trip/" + id + ` "st":"requested"`)
	if said := app["bob"].call("trip.decline", `{"id":"`+id+`"}`); said["st"] != "declined" || said["drivers"] != nil {
		t.Errorf("bob declines: %v", said)
	}
	app["carol"].toldOf("im/u/me/trip/" + id + ` "st":"requested"`)
	if said := app["carol"].call("trip.accept", `{"id":"`+id+`"}`); said["st"] != "accepted" {
		t.Errorf("carol accepts: %v", said)
	}
	if err := n.Accounts().Delete(t.Context(), "carol"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(brokertest.Deadline); ; <-time.After(10 * time.Millisecond) {
		got, err := n.Trips().Get(t.Context(), "alice", id)
		if err == nil && got.State == trips.Canceled {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after carol's account was deleted: %+v, %v", got, err)
		}
	}
}

func TestWhoIsSuspendedDrivesNobody(t *testing.T) {
	n, asked := ride(t, time.Minute)
	if _, err := n.Trips().Accept(t.Context(), "bob", asked.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Administer(t.Context(), "user.disable", []byte(`{"name":"bob"}`)); err != nil {
		t.Fatal(err)
	}
	if got, err := n.Trips().Get(t.Context(), "alice", asked.ID); err != nil || got.State != trips.Canceled {
		t.Errorf("it is %+v, %v", got, err)
	}
}
