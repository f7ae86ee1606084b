package mongo

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// accepted are the queries that no index serves alone (it finds more than is wanted, or in another order, or there is none), by
// the reason why that is right.
var accepted = map[string][]string{
	"an export reads everything": {
		"acts {} +_id", "asks {} +u +at", "convs {_id<> calls!} +_id", "convs {_id<> floor.floor<>} +_id",
		"convs {_id<> floor.ops<>} +_id", "convs {_id<> gone!} +_id", "convs {_id<> likes<>} +_id", "convs {_id<> pins!} +_id",
		"convs {_id<> room!} +_id", "convs {calls!} +_id", "convs {floor.floor<>} +_id", "convs {floor.ops<>} +_id",
		"convs {gone!} +_id", "convs {likes<>} +_id", "convs {pins!} +_id", "convs {room!} +_id",
		"convs {room.large= _id<>} +_id", "convs {room.large=} +_id", "convs {} +_id", "handles {_id<> free! u?} +_id",
		"handles {free! u?} +_id", "hidden {} +_id", "hours {} +_id", "invitations {} +_id", "last {} +_id", "minutes {} +_id",
		"points {} +_id", "telemetry {} +_id", "log {c<> m<>} +c +f +m", "log {c<> m?}",
		"log {c<> msg.edits!} +c +s", "log {c<> r<>} +c +r", "log {c<> s<>} +c +s", "log {c= f<> m<>} +c +f +m",
		"log {c= f<> s<> msg.out? msg.silent?} +c +f +s", "log {c= op.op= op.s= r<>} +r", "log {c= s<> msg.edits!} +c +s",
		"log {m<>} +c +f +m", "log {r<>} +c +r", "log {s<> msg.edits!} +c +s", "log {s<>} +c +s", "members {_id<> side!} +_id",
		"members {boxed= _id<>} +_id", "members {boxed=} +_id", "members {c<> mentions!} +c +u",
		"members {c= own<> u<>} +c +u", "members {hides= u<>} +_id", "members {hides=} +_id", "members {mentions!} +c +u",
		"members {side!} +_id", "members {} +c +u", "people {_id<> n<>} +_id", "people {_id<> telling!} +_id",
		"people {n<>} +_id", "people {telling!} +_id", "reactions {on= _id<>} +_id", "reactions {on=} +_id",
		"relations {} +u +p", "seen {} +_id", "snapshots {} +_id", "stream {} +u +n",
		"alarms {} +d +type", "commands {} +d +n", "events {} +d +n", "presences {} +_id", "shadows {} +d +name", "things {} +_id",
		"records {} +k +s +i",
	},
	"a sweep looks at everything, in the background": {
		"convs {_id<> head<>} +_id",
	},
	"few are open": {
		"log {open=} +n", "log {mx<> open?} +mx", "points {h<> open?}",
	},
	"few are gone": {
		"groups {gone?}", "groups {gone= v<>}", "sessions {gone= v<>}", "wills {gone= v<>}", "sessions {_id<> gone?}",
		"sessions {_id<> gone?} +_id", "wills {_id<> gone?} +_id",
	},
	"an account has few": {
		"tokens {owner= _id?} +_id", "tokens {owner= epoch<>} +_id", "members {pending= c<>} +c", "members {spoke= c<>} +c",
	},
	"few commands of a device are open, and it has one last event: the index of these finds them alone": {
		"commands {busy= d=}", "events {d= newest=}", "events {d= newest= n<>}",
	},
	"a device has few shadows": {
		"shadows {d= name<> deleted?} +name",
	},
	"messages are in the order of their times: those that are too old are passed once, and swept": {
		"log {c= s<> ts<>} +s", "publications {q= p<> ts<>} +p",
	},
	"the index device has those that have none, in the order of their names": {
		"users {_id<> device?} +_id", "users {device?} +_id",
	},
	"most are so": {
		"log {c= f= s<> msg.k?} +s", "members {c= in=}",
	},
	"only what is due by now is sorted, and the first ones are kept": {
		"publications {due<>} +due +p",
	},
	"a start counts what is delayed": {
		"publications {_id<> due<>}",
	},
	"a start reads which queues have lost something since the last sweeps": {
		"queues {}",
	},
}

// asked is what was asked in this process.
var asked = struct {
	sync.Mutex
	shapes  map[string]string // those that no index serves, and what was found
	indexes map[string]bool
}{shapes: map[string]string{}, indexes: map[string]bool{}}

// Watched notes which indexes a command needs.
func Watched(command bson.Raw) {
	all, err := shapes(command)
	asked.Lock()
	defer asked.Unlock()
	if err != nil {
		asked.shapes[err.Error()] = "it is not known what it asks"
	}
	for _, s := range all {
		x, left, well := s.served()
		sorted := true
		if well < 0 || len(left) > 0 {
			unsorted := s
			unsorted.sort = nil
			if y, rest, better := unsorted.served(); better > well {
				x, left, well, sorted = y, rest, better, false
			}
		}
		asked.indexes[x.collection+" "+x.name] = true
		switch {
		case well < 0:
			asked.shapes[s.String()] = "nothing finds it"
		case !sorted:
			asked.shapes[s.String()] = x.name + " finds it, in another order"
		case len(left) > 0:
			asked.shapes[s.String()] = fmt.Sprintf("%s finds it, and %s are looked at", x.name, strings.Join(left, ", "))
		}
	}
}

// unserved gives the queries that should have an index.
func unserved() (all []string) {
	asked.Lock()
	defer asked.Unlock()
	rest := maps.Clone(asked.shapes)
	for _, list := range accepted {
		for _, s := range list {
			delete(rest, s)
		}
	}
	for _, s := range slices.Sorted(maps.Keys(rest)) {
		all = append(all, s+": "+rest[s])
	}
	return all
}

// unused gives the indexes that no query needed, and that do not keep anything from being there twice.
func unused() (all []string) {
	asked.Lock()
	defer asked.Unlock()
	for _, x := range allIndexes {
		if name := x.collection + " " + x.name; !asked.indexes[name] && !x.unique {
			all = append(all, name)
		}
	}
	return all
}

// What was asked is looked at when all tests are done: every query of every test, if the store is told to watch.
func TestMain(m *testing.M) {
	code := m.Run()
	for _, s := range unserved() {
		fmt.Fprintln(os.Stderr, "no index serves", s)
		code = max(code, 1)
	}
	if flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == "" && !testing.Short() && code == 0 {
		for _, x := range unused() {
			fmt.Fprintln(os.Stderr, "no query needs the index", x)
			code = 1
		}
	}
	os.Exit(code)
}

func TestAnIndexServesAQuery(t *testing.T) {
	tests := map[string]struct {
		command bson.D
		want    string // the index of each branch, and what is left to be looked at
	}{
		"equal":          {bson.D{{Key: "find", Value: "log"}, {Key: "filter", Value: bson.D{{Key: "c", Value: "x"}, {Key: "n", Value: 1}}}}, "n"},
		"a range":        {bson.D{{Key: "find", Value: "log"}, {Key: "filter", Value: bson.D{{Key: "c", Value: "x"}, {Key: "s", Value: positive}}}}, "seq"},
		"an order":       {bson.D{{Key: "find", Value: "log"}, {Key: "filter", Value: bson.D{{Key: "c", Value: "x"}}}, {Key: "sort", Value: bson.D{{Key: "r", Value: -1}}}}, "rev"},
		"another order":  {bson.D{{Key: "find", Value: "log"}, {Key: "filter", Value: bson.D{{Key: "c", Value: "x"}}}, {Key: "sort", Value: bson.D{{Key: "ts", Value: 1}}}}, "nothing"},
		"both ways":      {bson.D{{Key: "find", Value: "log"}, {Key: "filter", Value: bson.D{}}, {Key: "sort", Value: bson.D{{Key: "c", Value: 1}, {Key: "n", Value: -1}}}, {Key: "limit", Value: 1}}, "nothing"},
		"a page of all":  {bson.D{{Key: "find", Value: "log"}, {Key: "filter", Value: bson.D{}}, {Key: "sort", Value: bson.D{{Key: "_id", Value: 1}}}, {Key: "limit", Value: 9}}, "_id_"},
		"all":            {bson.D{{Key: "find", Value: "log"}, {Key: "filter", Value: bson.D{}}, {Key: "sort", Value: bson.D{{Key: "_id", Value: 1}}}}, "nothing"},
		"not the first":  {bson.D{{Key: "find", Value: "log"}, {Key: "filter", Value: bson.D{{Key: "s", Value: 1}}}}, "nothing"},
		"sparse":         {bson.D{{Key: "find", Value: "log"}, {Key: "filter", Value: bson.D{{Key: "ttl", Value: positive}}}}, "expires"},
		"sparse, no":     {bson.D{{Key: "find", Value: "log"}, {Key: "filter", Value: bson.D{{Key: "ttl", Value: nil}}}}, "nothing"},
		"more is asked":  {bson.D{{Key: "find", Value: "log"}, {Key: "filter", Value: bson.D{{Key: "c", Value: "x"}, {Key: "r", Value: 1}, {Key: "k", Value: "op"}}}}, "rev, k"},
		"one document":   {bson.D{{Key: "find", Value: "log"}, {Key: "filter", Value: bson.D{{Key: "_id", Value: 1}, {Key: "k", Value: "op"}}}}, "_id_"},
		"either":         {bson.D{{Key: "find", Value: "log"}, {Key: "filter", Value: bson.D{{Key: "$or", Value: bson.A{bson.D{{Key: "c", Value: "x"}, {Key: "s", Value: 1}}, bson.D{{Key: "k", Value: "op"}}}}}}}, "seq; nothing"},
		"an update":      {bson.D{{Key: "update", Value: "members"}, {Key: "updates", Value: bson.A{bson.D{{Key: "q", Value: bson.D{{Key: "_id", Value: 1}, {Key: "n", Value: positive}}}}, bson.D{{Key: "q", Value: bson.D{{Key: "u", Value: "a"}}}}}}}, "_id_; user"},
		"an aggregation": {bson.D{{Key: "aggregate", Value: "relations"}, {Key: "pipeline", Value: bson.A{bson.D{{Key: "$match", Value: bson.D{{Key: "u", Value: "a"}, {Key: "state", Value: "x"}}}}}}}, "state"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			all, err := shapes(marshal(tt.command))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range all {
				x, left, well := s.served()
				if well < 0 {
					x.name = "nothing"
				}
				got = append(got, strings.Join(append([]string{x.name}, left...), ", "))
			}
			if text := strings.Join(got, "; "); text != tt.want {
				t.Errorf("%s is served by %s, want %s", bson.Raw(marshal(tt.command)), text, tt.want)
			}
		})
	}
}
