package mongo

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/magpie-im/magpie/store/mongo/mongotest"
)

// keysOf gives the keys of an index as docs/storage.md has them.
func keysOf(keys bson.D) string {
	var names []string
	for _, k := range keys {
		names = append(names, "`"+k.Key+"`")
	}
	return strings.Join(names, " ")
}

// tables are the tables of docs/storage.md that say what is in the database.
func tables() (ofCollections, ofIndexes string) {
	ofCollections = "| collection | `_id` | document | shard key |\n|---|---|---|---|\n"
	for _, c := range collections {
		shard := ""
		if c.shard != "" {
			shard = "`" + c.shard + "`"
		}
		ofCollections += fmt.Sprintf("| `%s` | %s | %s | %s |\n", c.name, c.id, c.holds, shard)
	}
	ofIndexes = "| collection | index | keys | | serves |\n|---|---|---|---|---|\n"
	for _, c := range collections {
		for _, x := range allIndexes {
			if x.collection != c.name {
				continue
			}
			var is []string
			if x.unique {
				is = append(is, "unique")
			}
			if x.sparse {
				is = append(is, "sparse")
			}
			ofIndexes += fmt.Sprintf("| `%s` | `%s` | %s | %s | %s |\n", x.collection, x.name, keysOf(x.keys), strings.Join(is, ", "), x.serves)
		}
	}
	return strings.ReplaceAll(ofCollections, "|  |", "| |"), strings.ReplaceAll(ofIndexes, "|  |", "| |")
}

// With MAGPIE_TEST_UPDATE the tables are written.
func TestTheDocumentationSaysWhatIsInTheDatabase(t *testing.T) {
	const file = "../../docs/storage.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	is := string(text)
	ofCollections, ofIndexes := tables()
	for name, table := range map[string]string{"collections": ofCollections, "indexes": ofIndexes} {
		head, rest, ok := strings.Cut(is, "<!-- "+name+": written by store/mongo -->\n")
		got, _, closed := strings.Cut(rest, "<!-- end of "+name+" -->")
		if !ok || !closed {
			t.Fatalf("%s has no table of %s", file, name)
		}
		if got != table && os.Getenv("MAGPIE_TEST_UPDATE") == "" {
			t.Errorf("%s has another table of %s (MAGPIE_TEST_UPDATE=1 writes it):\n%s\nwant\n%s", file, name, got, table)
		}
		is = head + "<!-- " + name + ": written by store/mongo -->\n" + table + rest[len(got):]
	}
	if os.Getenv("MAGPIE_TEST_UPDATE") != "" && is != string(text) {
		if err := os.WriteFile(file, []byte(is), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A sharded collection has unique indexes only if they begin with its shard key, and no two indexes have one name.
func TestTheSchemaFitsTogether(t *testing.T) {
	shard, names := map[string]string{}, map[string]bool{}
	for _, c := range collections {
		shard[c.name] = c.shard
	}
	for _, x := range allIndexes {
		name := x.collection + " " + x.name
		if names[name] {
			t.Errorf("there are two indexes %s", name)
		}
		names[name] = true
		switch key, is := shard[x.collection]; {
		case !is:
			t.Errorf("%s is an index of a collection that is not in the table", name)
		case key != "" && x.unique && x.keys[0].Key != key:
			t.Errorf("%s is unique, and does not begin with the shard key %s", name, key)
		case x.serves == "":
			t.Errorf("%s serves nothing", name)
		}
	}
}

func TestTheIndexesOfTheServerAreThoseOfTheSchema(t *testing.T) {
	uri := mongotest.Database(t)
	store, err := Open(t.Context(), Config{URI: uri, Alone: true}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	names, err := store.db.ListCollectionNames(t.Context(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !slices.ContainsFunc(collections, func(c collection) bool { return c.name == name }) {
			t.Errorf("there is a collection %s, which is not in the table", name)
		}
	}
	want := map[string]index{}
	for _, x := range allIndexes {
		want[x.collection+" "+x.name] = x
	}
	for _, name := range names {
		for _, x := range readIndexes(t, store.db.Collection(name)) {
			w, is := want[name+" "+x.Name]
			delete(want, name+" "+x.Name)
			if x.Name == "_id_" {
				continue
			}
			sparse := x.Sparse == w.sparse || mongotest.Small() // which does not say so
			if !is || keysOf(x.Key) != keysOf(w.keys) || x.Unique != w.unique || !sparse {
				t.Errorf("the index %s of %s is on %s, unique %t, sparse %t; want %+v", x.Name, name, keysOf(x.Key), x.Unique, x.Sparse, w)
			}
		}
	}
	for name := range want {
		t.Errorf("the index %s is not there", name)
	}
}

// indexDoc is what a server says of an index.
type indexDoc struct {
	Name   string `bson:"name"`
	Key    bson.D `bson:"key"`
	Unique bool   `bson:"unique"`
	Sparse bool   `bson:"sparse"`
}

func readIndexes(t *testing.T, c *mongo.Collection) (all []indexDoc) {
	t.Helper()
	cursor, err := c.Indexes().List(t.Context(), options.ListIndexes())
	if err == nil {
		err = cursor.All(t.Context(), &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}
