package pebble

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/transfer"
)

// notExported says of each table of which no records are made why not.
var notExported = map[string]string{
	"tableFormat":          "of the store, not of what is in it",
	"tableShown":           "computed from devices",
	"tableOwned":           "computed from devices",
	"tableOwners":          "computed from tokens",
	"tableEnds":            "computed from tokens and invitations",
	"tableUserConvs":       "computed from members",
	"tableUntold":          "computed from members",
	"tableLarge":           "said by members",
	"tableLinks":           "computed from rooms",
	"tablePending":         "computed from members",
	"tableSpoken":          "computed from messages",
	"tableExpiring":        "computed from messages",
	"tableMIDEnds":         "computed from mids",
	"tableContactVersions": "computed from contacts",
	"tableRequests":        "computed from contacts",
	"tableFound":           "computed from persons",
	"tableLeaving":         "said by users",
	"tableOnline":          "said by seen, as a start would",
	"tableMoving":          "of the import itself",
	"tableOpenHours":       "said by points",
	"tableBeat":            "said by seen",

	"tableSessions":     "sessions of MQTT clients stay: they connect again",
	"tableAcked":        "as tableSessions",
	"tableFlights":      "as tableSessions",
	"tableReceived":     "as tableSessions",
	"tablePositions":    "of free topics, which begin anew",
	"tableQueues":       "as tableSessions",
	"tableContents":     "as tableSessions",
	"tableQueueAcked":   "as tableSessions",
	"tableQueueFlights": "as tableSessions",
	"tableReplays":      "as tableSessions",
	"tableWills":        "as tableSessions",
	"tableDelayed":      "on its way, as what is in queues",
	"tableGroups":       "as tableSessions",

	"tableSeers":        "computed from things",
	"tableHomeThings":   "computed from things",
	"tableShadowNames":  "computed from shadows",
	"tableCommandIDs":   "computed from commands",
	"tableOpenCommands": "computed from commands",
	"tableDoneCommands": "computed from commands",
	"tableEventIDs":     "computed from events",
	"tableEventTimes":   "computed from events",
	"tableThere":        "computed from presences",
	"tableDueRecords":   "computed from records",
}

// TestEveryTableIsMovedOrNot holds everybody who writes rows of a new table to saying what becomes of them in an export. A
// table that is only reserved need not be here.
func TestEveryTableIsMovedOrNot(t *testing.T) {
	exported := map[table]transfer.Kind{}
	for kind, section := range sections {
		exported[section.table] = kind
	}
	values, uses := tablesIn(t)
	for name, value := range values {
		kind, moved := exported[value]
		why, not := notExported[name]
		switch {
		case moved && not:
			t.Errorf("%s is exported as %s, and is not, because: %s", name, kind, why)
		case !moved && !not && uses[name] > 0:
			t.Errorf("%s: its rows are in no export; make a section of it, or say in notExported why not", name)
		case not && name != "tableFormat" && uses[name] == 0:
			t.Errorf("%s: nothing uses it, and notExported has it", name)
		}
	}
	for name := range notExported {
		if _, ok := values[name]; !ok {
			t.Errorf("notExported has %s, and there is no such table", name)
		}
	}
	for _, kind := range transfer.Kinds() {
		if sections[kind].table == 0 {
			t.Errorf("there is no section for %s", kind)
		}
	}
}

// tablesIn gives the tables of keys.go and how often they are used elsewhere than there and in what is made for moving.
func tablesIn(t *testing.T) (values map[string]table, uses map[string]int) {
	t.Helper()
	values, uses = map[string]table{}, map[string]int{}
	dir, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range dir {
		name := file.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		declared := map[*ast.Ident]bool{}
		ast.Inspect(parsed, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit: // rows that are removed with others may be none yet
				list, ok := n.Type.(*ast.ArrayType)
				if !ok {
					break
				}
				if of, ok := list.Elt.(*ast.Ident); ok && of.Name == "table" {
					return false
				}
			case *ast.ValueSpec:
				if kind, ok := n.Type.(*ast.Ident); ok && kind.Name == "table" && len(n.Values) == 1 {
					literal := n.Values[0].(*ast.BasicLit)
					values[n.Names[0].Name], declared[n.Names[0]] = table(literal.Value[1]), true
				}
			case *ast.Ident:
				if strings.HasPrefix(n.Name, "table") && !declared[n] {
					uses[n.Name]++
				}
			}
			return true
		})
	}
	return values, uses
}

// moved are the rows of which records are made, and the records.
var moved = [][2]any{
	{&userRow{}, &transfer.User{}}, {&tokenRow{}, &transfer.Token{}}, {&deviceAccountRow{}, &transfer.Device{}},
	{&invitationRow{}, &transfer.Invitation{}}, {&auditRow{}, &transfer.Act{}}, {&profileRow{}, &transfer.Person{}}, {&tellingRow{}, &transfer.Telling{}},
	{&seenRow{}, &transfer.Seen{}}, {&socialRow{}, &transfer.List{}}, {&relationRow{}, &transfer.Contact{}},
	{&conversationRow{}, &transfer.Conversation{}}, {&memberRow{}, &transfer.Member{}}, {&boxRow{}, &transfer.Boxed{}},
	{&placeRow{}, &transfer.Message{}}, {&contentRow{}, &transfer.Message{}}, {&midRow{}, &transfer.MID{}},
	{&entryRow{}, &transfer.Entry{}}, {&roomRow{}, &transfer.Room{}}, {&floorRow{}, &transfer.Floor{}},
	{&snapshotRow{}, &transfer.Snapshot{}}, {&liveRow{}, &transfer.Likes{}}, {&selfRow{}, &transfer.Side{}},
	{&goneRow{}, &transfer.Gone{}}, {&mentionRow{}, &transfer.Mention{}},
	{&changeRow{}, &transfer.Change{}}, {&editRow{}, &transfer.Edit{}},
	{&thingRow{}, &transfer.Thing{}}, {&shadowRow{}, &transfer.Shadow{}}, {&commandRow{}, &transfer.Command{}},
	{&eventRow{}, &transfer.Event{}}, {&alarmRow{}, &transfer.Alarm{}}, {&presenceRow{}, &transfer.Presence{}},
	{&recordRow{}, &transfer.Kept{}},
}

// TestRecordsHaveWhatRowsHave fills rows with something in every field, and sees that it comes back out of a line.
func TestRecordsHaveWhatRowsHave(t *testing.T) {
	for _, pair := range moved {
		row := reflect.ValueOf(pair[0]).Elem()
		t.Run(row.Type().Name(), func(t *testing.T) {
			n := 1
			fillIn(row, &n)
			if err := toRecord(pair[1], pair[0]); err != nil {
				t.Fatal(err)
			}
			line, err := transfer.Marshal(pair[1].(transfer.Record))
			if err != nil {
				t.Fatal(err)
			}
			record, err := transfer.Unmarshal(line)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			back := reflect.New(row.Type())
			if err := toRow(back.Interface(), record); err != nil {
				t.Fatal(err)
			}
			for i := range row.NumField() {
				name := row.Type().Field(i).Name
				if notMoved[row.Type().Name()+"."+name] {
					continue
				}
				got, want := back.Elem().Field(i).Interface(), row.Field(i).Interface()
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%s: got %v, want %v", name, got, want)
				}
			}
		})
	}
}

// fillIn gives every field a value of its own that is not zero.
func fillIn(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fillIn(v.Field(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillIn(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fillIn(v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		value := reflect.New(v.Type().Elem()).Elem()
		fillIn(value, n)
		v.SetMapIndex(reflect.ValueOf("key").Convert(v.Type().Key()), value)
	case reflect.String:
		v.SetString(string(rune('a' + *n%26)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int: // also what is called by words
		v.SetInt(int64(1 + *n%3))
	case reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint8, reflect.Uint64:
		v.SetUint(uint64(*n))
	default:
		panic(v.Type())
	}
}

// TestTablesHaveLettersOfTheirOwn looks at the source: two tables of one letter would read each other's rows.
func TestTablesHaveLettersOfTheirOwn(t *testing.T) {
	source, err := os.ReadFile("keys.go")
	if err != nil {
		t.Fatal(err)
	}
	has := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\s+(table\w+)\s+table = '(.)'`).FindAllStringSubmatch(string(source), -1) {
		if other := has[m[2]]; other != "" {
			t.Errorf("%s and %s are both %s", other, m[1], m[2])
		}
		has[m[2]] = m[1]
	}
	if len(has) < 50 {
		t.Errorf("found %d tables: are they written otherwise now?", len(has))
	}
}
