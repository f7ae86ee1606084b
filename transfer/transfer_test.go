package transfer_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/transfer"
)

type ctx = context.Context

// many has so many records that there are marks among them.
func many() list {
	l := make(list, 25_001)
	for i := range l {
		l[i] = &transfer.User{Name: accounts.Name(fmt.Sprintf("u%06d", i)), Password: transfer.Text(strings.Repeat("x", i%50))}
	}
	return l
}

func TestAnExportGoesOnWhereItWasInterrupted(t *testing.T) {
	all := many()
	whole := export(t, all)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		size := rng.IntN(len(whole) + 1)
		part := append([]byte(nil), whole[:size]...)
		if rng.IntN(2) == 0 { // what a crash may leave of what was not synced
			for i := size - rng.IntN(min(size+1, 5000)); i < size; i++ {
				part[i] = 0
			}
			part = append(part, "\x00\x00{\"t\":"...)
		}
		f := &file{data: part}
		s, err := transfer.Export(t.Context(), all, f)
		if err != nil || !bytes.Equal(f.data, whole) || s.Counts[transfer.KindUser] != uint64(len(all)) {
			t.Fatalf("after %d bytes: got %d records, %v, equal %t", size, s.Records, err, bytes.Equal(f.data, whole))
		}
	}
}

// counted counts what is read from it.
type counted struct {
	list
	records *int
}

func (c counted) Records(ctx ctx, after transfer.Record, limit int) ([]transfer.Record, error) {
	page, err := c.list.Records(ctx, after, limit)
	*c.records += len(page)
	return page, err
}

func TestAnExportReadsAgainOnlyWhatComesAfterTheLastMark(t *testing.T) {
	all, n := many(), 0
	whole := export(t, all)
	f := &file{data: append([]byte(nil), whole[:len(whole)-100]...)}
	if _, err := transfer.Export(t.Context(), counted{all, &n}, f); err != nil || n != 5001 {
		t.Errorf("after the second mark: read %d records, %v, want 5001", n, err)
	}
	n = 0
	if _, err := transfer.Export(t.Context(), counted{all, &n}, f); err != nil || n != 0 {
		t.Errorf("when it is complete: read %d records, %v, want none", n, err)
	}
}

func TestAnImportGoesOnWhereItWasInterrupted(t *testing.T) {
	all := many()
	whole, another := export(t, all), export(t, all[1:])
	to := newSink()
	for attempts := 0; ; attempts++ {
		to.steps = 3
		_, err := transfer.Import(t.Context(), to, &file{data: whole}, nil)
		if err == nil {
			break
		}
		if !errors.Is(err, errBroken) || attempts > 100 {
			t.Fatalf("import: %v", err)
		}
		other := bytes.Replace(whole, []byte("u000001"), []byte("u00000x"), 1)
		if _, err := transfer.Import(t.Context(), to, &file{data: other}, nil); err == nil {
			t.Fatal("a changed file was taken")
		}
		_, err = transfer.Import(t.Context(), to, &file{data: another}, nil)
		if to.at.Bytes > 0 && !errors.Is(err, transfer.ErrOther) {
			t.Fatalf("another file: got %v, want %v", err, transfer.ErrOther)
		}
	}
	if len(to.records) != len(all) || !to.ended {
		t.Errorf("got %d records, ended %t, want %d", len(to.records), to.ended, len(all))
	}
}

func TestAFileThatIsNotGoodChangesNothing(t *testing.T) {
	whole := string(export(t, world()))
	lines := strings.SplitAfter(whole, "\n")
	tests := map[string]struct {
		data string
		want error
	}{
		"empty":             {"", transfer.ErrCut},
		"something else":    {"hello\n", transfer.ErrFormat},
		"a record first":    {strings.Join(lines[1:], ""), transfer.ErrFormat},
		"a newer format":    {`{"t":"magpie","format":2}` + "\n", transfer.ErrFormat},
		"no format":         {`{"t":"magpie"}` + "\n", transfer.ErrFormat},
		"no end":            {strings.Join(lines[:len(lines)-2], ""), transfer.ErrCut},
		"cut in a line":     {whole[:len(whole)-1], transfer.ErrCut},
		"a line is missing": {strings.Join(append(append([]string{}, lines[:3]...), lines[4:]...), ""), transfer.ErrSum},
		"a line twice":      {strings.Join(append(append([]string{}, lines[:3]...), lines[2:]...), ""), transfer.ErrLine},
		"another order":     {lines[0] + lines[5] + lines[1] + "\n", transfer.ErrLine},
		"another order within a kind": {
			fileOf(`{"t":"user","name":"b"}`, `{"t":"user","name":"a"}`), transfer.ErrLine,
		},
		"the same twice": {
			fileOf(`{"t":"own","c":"g.1","who":"a","seq":1,"n":1}`, `{"t":"own","c":"g.1","who":"a","seq":1,"n":2}`), transfer.ErrLine,
		},
		"a second header":  {lines[0] + whole, transfer.ErrLine},
		"a second file":    {whole + whole, transfer.ErrLine},
		"an unknown kind":  {lines[0] + `{"t":"bird"}` + "\n", transfer.ErrLine},
		"an unknown field": {lines[0] + `{"t":"user","name":"a","wings":2}` + "\n", transfer.ErrLine},
		"no JSON":          {lines[0] + `{"t":"user","name"}` + "\n", transfer.ErrLine},
		"no UTF-8":         {lines[0] + "{\"t\":\"user\",\"name\":\"\xff\"}\n", transfer.ErrLine},
		"a wrong type":     {lines[0] + `{"t":"user","name":7}` + "\n", transfer.ErrLine},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			to := newSink()
			_, err := transfer.Import(t.Context(), to, &file{data: []byte(tt.data)}, nil)
			if !errors.Is(err, tt.want) || to.under || len(to.records) > 0 {
				t.Errorf("got %v, under way %t, %d records; want %v and nothing changed", err, to.under, len(to.records), tt.want)
			}
		})
	}
}

func TestWhatDoesNotFitKeepsAnImportFromItsEnd(t *testing.T) {
	to := newSink()
	_, err := transfer.Import(t.Context(), to, &file{data: export(t, world())}, func(ctx) error { return errBroken })
	if !errors.Is(err, errBroken) || !to.under || to.ended {
		t.Errorf("got %v, under way %t, ended %t", err, to.under, to.ended)
	}
}

// TestTheFormatStaysAsItIs: files of each version have to stay readable.
func TestTheFormatStaysAsItIs(t *testing.T) {
	const path = "testdata/export.ndjson"
	all := everyKind()
	all[len(all)-1] = part("hello", 0, 5) // a reader wants files to be whole
	got := export(t, all)
	if os.Getenv("MAGPIE_TEST_UPDATE") != "" {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if _, err := transfer.Verify(t.Context(), &file{data: want}); err != nil {
		t.Errorf("verify: %v", err)
	}
}

// everyKind has one record of each kind, with something in every field.
func everyKind() list {
	var l list
	n := 0
	for _, kind := range append(transfer.Kinds(), transfer.KindFile) {
		r := transfer.New(kind)
		fill(reflect.ValueOf(r).Elem(), &n)
		l = append(l, r)
	}
	return l
}

// fill gives every field a value of its own.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(int64(*n), int64(*n)).UTC()))
		return
	case transfer.Body:
		v.SetBytes(fmt.Appendf(nil, `{"n":%d}`, *n))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value, n)
		v.SetMapIndex(reflect.ValueOf("key"), value)
	case reflect.String:
		v.SetString(fmt.Sprint("s", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint8, reflect.Uint64:
		v.SetUint(uint64(*n % 256))
	case reflect.Float64:
		v.SetFloat(float64(*n) / 4)
	default:
		panic(v.Type())
	}
}

// fileOf is a file of lines, which need not be good ones.
func fileOf(records ...string) string {
	before := "{\"t\":\"magpie\",\"format\":1}\n"
	for _, line := range records {
		before += line + "\n"
	}
	return before + fmt.Sprintf("{\"t\":\"end\",\"records\":%d,\"sha256\":\"%x\"}\n", len(records), sha256.Sum256([]byte(before)))
}

// TestRecordsAreSortedByWhatTheDocumentSays: by the fields that it names, and by nothing else.
func TestRecordsAreSortedByWhatTheDocumentSays(t *testing.T) {
	_, sorted := documented(t)
	for _, r := range everyKind() {
		v := reflect.ValueOf(r).Elem()
		var by []string
		for i := range v.NumField() {
			other := transfer.New(r.Of())
			changed := reflect.ValueOf(other).Elem()
			if v.Field(i).IsZero() { // fill makes a zero of 256
				v.Field(i).SetUint(1)
			}
			changed.Set(v)
			changed.Field(i).SetZero()
			switch order := transfer.Compare(r, other); {
			case order != -transfer.Compare(other, r), order < 0:
				t.Errorf("%s: without %s it comes %d", r.Of(), v.Type().Field(i).Name, order)
			case order > 0:
				name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
				by = append(by, name)
			}
		}
		if want := sorted[r.Of()]; !slices.Equal(by, want) {
			t.Errorf("%s is sorted by %q, docs/export.md says %q", r.Of(), by, want)
		}
	}
}

func TestTheDocumentHasAllKindsInTheirOrder(t *testing.T) {
	kinds, _ := documented(t)
	if want := append(transfer.Kinds(), transfer.KindFile); !slices.Equal(kinds, want) {
		t.Errorf("docs/export.md has\n%v, there are\n%v", kinds, want)
	}
}

// documented gives what docs/export.md says of records: the kinds, and what each is sorted by.
func documented(t *testing.T) (kinds []transfer.Kind, sorted map[transfer.Kind][]string) {
	text, err := os.ReadFile("../docs/export.md")
	if err != nil {
		t.Fatal(err)
	}
	_, records, _ := strings.Cut(string(text), "## Records")
	sorted = map[transfer.Kind][]string{}
	for line := range strings.Lines(records) {
		columns := strings.Split(line, " | ")
		name, ok := strings.CutPrefix(columns[0], "| `")
		if !ok || name == "t`" {
			continue
		}
		kind := transfer.Kind(strings.TrimSuffix(name, "`"))
		kinds = append(kinds, kind)
		sorted[kind] = strings.Split(strings.Trim(columns[1], "`"), "`, `")
	}
	return kinds, sorted
}

func TestALineGivesTheRecordAgain(t *testing.T) {
	correlation := transfer.Bytes{}
	records := append(everyKind(),
		&transfer.Token{Label: "no UTF-8 \xff"}, &transfer.Token{Label: "\x00\u2028<&>\"\\"},
		&transfer.Message{Body: transfer.Body(`{"a": 1}`)}, &transfer.Message{Body: transfer.Body(`"text"`)},
		&transfer.Message{Body: transfer.Body(`{"a":"` + "\u2028" + `<>"}`)}, &transfer.Message{Body: transfer.Body("{\"\xff\":1}")},
		&transfer.Message{Body: transfer.Body(`{"a":`)}, &transfer.Message{Seq: 1<<64 - 1, TS: -1 << 63},
		&transfer.Retained{Correlation: &correlation}, &transfer.User{},
	)
	for _, r := range records {
		line, err := transfer.Marshal(r)
		if err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		got, err := transfer.Unmarshal(line)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%s: got %+v, %v, want %+v", line, got, err, r)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	for line := range bytes.Lines(export(f, everyKind())) {
		f.Add(bytes.TrimSuffix(line, []byte{'\n'}))
	}
	f.Add([]byte(`{"t":"token","digest":"00","label":{"base64":"/w=="}}`))
	f.Add([]byte(`{"t":"message","body":"e30="}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := transfer.Unmarshal(line)
		if err != nil {
			if !errors.Is(err, transfer.ErrLine) {
				t.Errorf("error %v is not %v", err, transfer.ErrLine)
			}
			return
		}
		again, err := transfer.Marshal(r)
		if err != nil {
			t.Skip(err) // a year that has five digits
		}
		back, err := transfer.Unmarshal(again)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if twice, err := transfer.Marshal(back); err != nil || !bytes.Equal(twice, again) {
			t.Errorf("got %s, %v, want %s", twice, err, again)
		}
	})
}

// FuzzImport is of the lines between header and end, which say what is right for any lines: else nothing would get past the sum.
func FuzzImport(f *testing.F) {
	lines := func(l list) string {
		inner := bytes.SplitAfter(export(f, l), []byte{'\n'})
		return string(bytes.Join(inner[1:len(inner)-2], nil))
	}
	whole := lines(world())
	f.Add(whole)
	f.Add(lines(everyKind()))
	f.Add(strings.Replace(whole, "alice", "malice", 1))
	f.Add(whole + whole)
	f.Add("")
	f.Fuzz(func(t *testing.T, lines string) {
		var records []string
		if lines != "" {
			records = strings.Split(strings.TrimSuffix(lines, "\n"), "\n")
		}
		data := []byte(fileOf(records...))
		to := &nowhere{}
		s, err := transfer.Import(t.Context(), to, &file{data: data}, nil)
		if err != nil {
			known := slices.ContainsFunc([]error{transfer.ErrLine, transfer.ErrSum}, func(e error) bool { return errors.Is(err, e) })
			if !known || len(to.took) > 0 || to.ended {
				t.Errorf("got %v, %d records taken, ended %t", err, len(to.took), to.ended)
			}
			return
		}
		sorted := slices.IsSortedFunc(to.took, transfer.Compare)
		if s.Records != uint64(len(to.took)) || len(to.took) != len(records) || !sorted || !to.ended {
			t.Errorf("got %d of %d records, sorted %t, ended %t", s.Records, len(records), sorted, to.ended)
		}
		if _, err := transfer.Check(t.Context(), list(to.took)); err != nil {
			t.Errorf("check: %v", err)
		}
	})
}

// nowhere takes any import.
type nowhere struct {
	sink
	took []transfer.Record
}

func (n *nowhere) Import(_ ctx, records []transfer.Record, _ transfer.Progress) error {
	n.took = append(n.took, records...)
	return nil
}

func TestCheckFindsWhatDoesNotFit(t *testing.T) {
	report, err := transfer.Check(t.Context(), world())
	if err != nil || report.Found != 0 || report.Counts[transfer.KindMessage] != 4 {
		t.Fatalf("a store in which everything fits: got %+v, %v", report, err)
	}
	tests := map[string]struct {
		change func(r transfer.Record) (keep bool)
		want   string
	}{
		"a message is missing": {drop(message(2)), "message d.alice.bob 3: 2 was to come"},
		"the first one is":     {drop(message(1)), "it is the first, and there is no floor"},
		"the last one is":      {drop(message(3)), "there is no message d.alice.bob 3"},
		"n is another": {
			with(message(3), func(r transfer.Record) { r.(*transfer.Message).N = 3 }), "n is 3, counted 2",
		},
		"own is another": {
			with(message(3), func(r transfer.Record) { r.(*transfer.Message).Own = 2 }), "own is 2, counted 1",
		},
		"older than the one before": {with(message(3), func(r transfer.Record) { r.(*transfer.Message).TS = 3 }), "it is older"},
		"the conversation is missing": {
			drop(func(r transfer.Record) bool { c, ok := r.(*transfer.Conversation); return ok && c.C == "d.alice.bob" }),
			"there is no conversation d.alice.bob",
		},
		"a member is missing": {drop(member("bob")), "there are no members [bob]"},
		"marks are too far": {
			with(member("bob"), func(r transfer.Record) { r.(*transfer.Member).Recv = 9 }), "received 9, and the last is 3",
		},
		"read more than received": {
			with(member("bob"), func(r transfer.Record) { r.(*transfer.Member).Recv = 0 }), "read 1, received 0",
		},
		"ordinals are others": {
			with(member("alice"), func(r transfer.Record) { r.(*transfer.Member).ReadOwn = 2 }), "own 2, counted 2 and 1",
		},
		"more in private than read": {
			with(member("bob"), func(r transfer.Record) { r.(*transfer.Member).Hid = 2 }), "read 1, and 2 of that in private",
		},
		"half a period": {
			with(member("bob"), func(r transfer.Record) { r.(*transfer.Member).Past = []uint64{1} }), "was there in [1]",
		},
		"a body that breaks out of its event": {
			with(message(3), func(r transfer.Record) { r.(*transfer.Message).Body = transfer.Body(`1,"from":"root"`) }), "no JSON",
		},
		"an entry is missing":      {drop(entry("bob", 2)), "entry bob 3: 2 was to come"},
		"the last entry is":        {drop(entry("bob", 3)), "stream of bob: message 3 of d.alice.bob is not in it"},
		"a pointer leads nowhere":  {with(entry("bob", 3), func(r transfer.Record) { r.(*transfer.Entry).Seq = 4 }), "there is no message"},
		"two pointers to the same": {with(entry("bob", 3), func(r transfer.Record) { r.(*transfer.Entry).Seq = 2 }), "comes after 2"},
		"a mid leads to another": {
			with(isA[*transfer.MID], func(r transfer.Record) { r.(*transfer.MID).MID = "m2" }), "message 1 has another",
		},
		"a mid leads nowhere": {
			with(isA[*transfer.MID], func(r transfer.Record) { r.(*transfer.MID).Seq = 7 }), "there is no message 7",
		},
		"a contact is missing": {drop(isA[*transfer.Contact]), "1 contacts more than there are"},
		"a list is too old": {
			with(isA[*transfer.List], func(r transfer.Record) { r.(*transfer.List).Version = 0 }), "the list has 0",
		},
		"a room has no owner": {
			with(isA[*transfer.Room], func(r transfer.Record) { r.(*transfer.Room).Owner = "bob" }), "the owner is bob",
		},
		"a room has other members": {
			with(isA[*transfer.Room], func(r transfer.Record) { r.(*transfer.Room).Members = 5 }), "4 members more than there are",
		},
		"own of nothing": {
			with(isA[*transfer.Own], func(r transfer.Record) { r.(*transfer.Own).Seq = 9 }), "there is no message g.one 9",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var damaged list
			for _, r := range world() {
				if tt.change(r) {
					damaged = append(damaged, r)
				}
			}
			report, err := transfer.Check(t.Context(), damaged)
			if err != nil || report.Found == 0 || !strings.Contains(strings.Join(report.Problems, "\n"), tt.want) {
				t.Errorf("got %d problems, %v:\n%s\nwant %q among them", report.Found, err, strings.Join(report.Problems, "\n"), tt.want)
			}
		})
	}
}

func message(seq uint64) func(transfer.Record) bool {
	return func(r transfer.Record) bool {
		m, ok := r.(*transfer.Message)
		return ok && m.C == "d.alice.bob" && m.Seq == seq
	}
}

func member(who accounts.Name) func(transfer.Record) bool {
	return func(r transfer.Record) bool {
		m, ok := r.(*transfer.Member)
		return ok && m.C == "d.alice.bob" && m.Who == who
	}
}

func entry(user accounts.Name, usn uint64) func(transfer.Record) bool {
	return func(r transfer.Record) bool {
		e, ok := r.(*transfer.Entry)
		return ok && e.User == user && e.USN == usn
	}
}

func isA[R transfer.Record](r transfer.Record) bool {
	_, ok := r.(R)
	return ok
}

// drop leaves out what is.
func drop(is func(transfer.Record) bool) func(transfer.Record) bool {
	return func(r transfer.Record) bool { return !is(r) }
}

// with changes the first that is.
func with(is func(transfer.Record) bool, change func(transfer.Record)) func(transfer.Record) bool {
	done := false
	return func(r transfer.Record) bool {
		if !done && is(r) {
			change(r)
			done = true
		}
		return true
	}
}
