package storetest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"pgregory.net/rapid"

	"github.com/magpie-im/magpie/records"
)

var recordTests = []test{
	{"a record is put over the one that was read", testRecordRevisions},
	{"a record that is put again by one who was late is refused", testRecordRace},
	{"records come in the order of their keys", testRecordOrder},
	{"records are found when they are due", testRecordsDue},
	{"records are removed", testRecordsRemoved},
	{"what cannot be kept is refused", testRecordsUnfit},
	{"random changes of records against a map", testRecordModel},
}

func (k *kit) records() records.Store { return k.store.Records() }

func record(kind, scope, id string, rev uint64, due int64, body string) records.Record {
	r := records.Record{Key: records.Key{Kind: kind, Scope: scope, ID: id}, Rev: rev, Due: due}
	if body != "" {
		r.Body = []byte(body)
	}
	return r
}

// putRecords puts records that are new.
func (k *kit) putRecords(all ...records.Record) {
	k.Helper()
	for _, r := range all {
		k.ok("put "+r.ID, k.records().Put(k.ctx(), r))
	}
}

// recordsOf reads a scope in small pages.
func (k *kit) recordsOf(kind, scope string) (all []records.Record) {
	k.Helper()
	after := ""
	for {
		page, err := k.records().Records(k.ctx(), kind, scope, after, 2)
		k.ok("records", err)
		if all = append(all, page...); len(page) < 2 {
			return all
		}
		after = page[1].ID
	}
}

// allRecords reads a kind in pages.
func (k *kit) allRecords(kind string, limit int) (all []records.Record) {
	k.Helper()
	after := records.Key{}
	for {
		page, err := k.records().All(k.ctx(), kind, after, limit)
		k.ok("all records", err)
		if all = append(all, page...); len(page) < limit {
			return all
		}
		after = page[limit-1].Key
	}
}

func (k *kit) due(kind string, by int64, limit int) []records.Record {
	k.Helper()
	all, err := k.records().DueBy(k.ctx(), kind, by, limit)
	k.ok("due", err)
	return all
}

func testRecordRevisions(k *kit) {
	r := record("job", "h.1", "a", 1, 5, `{"n":1}`)
	_, err := k.records().Record(k.ctx(), r.Key)
	k.is("of nothing", err, records.ErrNone)
	for _, rev := range []uint64{2, 3} {
		early := r
		early.Rev = rev
		k.is("put without what was before", k.records().Put(k.ctx(), early), records.ErrChanged)
	}
	k.putRecords(r)
	k.is("put twice", k.records().Put(k.ctx(), r), records.ErrChanged)
	next := record("job", "h.1", "a", 2, 0, "\x00\xff")
	k.putRecords(next)
	for range 2 {
		got, err := k.records().Record(k.ctx(), r.Key)
		k.ok("record", err)
		same(k, "record", got, next)
		k.crash()
	}
	k.is("put what was before", k.records().Put(k.ctx(), r), records.ErrChanged)
}

func testRecordRace(k *kit) {
	const writers = 4
	rounds := k.few(50)
	var won atomic.Int64
	for round := range rounds {
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				r := record("job", "", "a", uint64(round)+1, int64(w), fmt.Sprintf(`{"w":%d}`, w))
				if err := k.records().Put(k.ctx(), r); err == nil {
					won.Add(1)
				} else {
					k.is("put", err, records.ErrChanged)
				}
			})
		}
		all.Wait()
	}
	equal(k, "puts that were the first", int(won.Load()), rounds)
	equal(k, "records", len(k.allRecords("job", 10)), 1)
}

func testRecordOrder(k *kit) {
	all := []records.Record{
		record("job", "", "a", 1, 0, "1"), record("job", "", "b", 1, 0, "2"),
		record("job", "h.1", "a", 1, 9, "3"), record("job", "h.1", "a\x00", 1, 0, "4"), record("job", "h.1", "ab", 1, 1, "5"),
		record("job", "h.1", "ü", 1, 0, "6"),
		record("job", "h.1\x00", "a", 1, 0, "7"), record("job", "h.10", "a", 1, 0, "8"),
	}
	for _, i := range []int{5, 0, 7, 2, 4, 6, 1, 3} {
		k.putRecords(all[i])
	}
	k.putRecords(record("jo", "h.1", "a", 1, 3, "9"), record("job\x00", "h.1", "a", 1, 3, "10"))
	for range 2 {
		same(k, "of a scope", k.recordsOf("job", "h.1"), all[2:6])
		same(k, "of no scope", k.recordsOf("job", ""), all[:2])
		same(k, "of nobody", k.recordsOf("job", "h.2"), nil)
		for _, limit := range []int{1, 2, 3, 5, 100} {
			same(k, fmt.Sprintf("all, %d to a page", limit), k.allRecords("job", limit), all)
		}
		none, err := k.records().All(k.ctx(), "job", records.Key{}, 0)
		k.ok("a page of none", err)
		same(k, "a page of none", none, nil)
		k.crash()
	}
}

func testRecordsDue(k *kit) {
	a, b, c := record("timer", "x", "a", 1, 10, ""), record("timer", "x", "b", 1, 7, ""), record("timer", "w", "c", 1, 1<<50, "")
	k.putRecords(a, b, c, record("timer", "x", "never", 1, 0, ""), record("other", "x", "d", 1, 1, ""))
	same(k, "before all", k.due("timer", 6, 9), nil)
	same(k, "at 0", k.due("timer", 0, 9), nil)
	same(k, "the first", k.due("timer", 7, 9), []records.Record{b})
	same(k, "two", k.due("timer", 1<<50-1, 9), []records.Record{b, a})
	same(k, "one of them", k.due("timer", 1<<50-1, 1), []records.Record{b})
	same(k, "all", k.due("timer", 1<<50, 9), []records.Record{b, a, c})
	b.Rev, b.Due = 2, 11
	a.Rev, a.Due = 2, 0
	k.putRecords(a, b)
	for range 2 {
		same(k, "after changes", k.due("timer", 11, 9), []records.Record{b})
		k.crash()
	}
}

func testRecordsRemoved(k *kit) {
	a, b, other := record("t", "x", "a", 1, 1, ""), record("t", "x", "b", 1, 2, ""), record("t", "xy", "a", 1, 3, "")
	k.putRecords(a, b, other)
	k.is("another revision", k.records().Remove(k.ctx(), a.Key, 2), records.ErrChanged)
	k.ok("remove", k.records().Remove(k.ctx(), a.Key, 1))
	k.ok("remove again", k.records().Remove(k.ctx(), a.Key, 1))
	same(k, "what is left", k.recordsOf("t", "x"), []records.Record{b})
	same(k, "what is due", k.due("t", 9, 9), []records.Record{b, other})
	k.putRecords(a)
	k.ok("remove all", k.records().RemoveScope(k.ctx(), "t", "x"))
	k.ok("remove nothing", k.records().RemoveScope(k.ctx(), "t", "x"))
	for range 2 {
		same(k, "of the scope", k.recordsOf("t", "x"), nil)
		same(k, "of others", k.due("t", 9, 9), []records.Record{other})
		k.crash()
	}
	b.Rev = 7
	k.ok("put all", k.records().PutAll(k.ctx(), []records.Record{a, b}))
	k.ok("put all again", k.records().PutAll(k.ctx(), []records.Record{a, b}))
	k.ok("put none", k.records().PutAll(k.ctx(), nil))
	k.crash()
	same(k, "put all", k.recordsOf("t", "x"), []records.Record{a, b})
}

func testRecordsUnfit(k *kit) {
	long := strings.Repeat("a", records.MaxName)
	k.putRecords(record(long, long, long, 1, 0, strings.Repeat("b", k.few(records.MaxBody))))
	for what, r := range map[string]records.Record{
		"no kind":            record("", "x", "a", 1, 0, ""),
		"no id":              record("t", "x", "", 1, 0, ""),
		"no revision":        record("t", "x", "a", 0, 0, ""),
		"due before 1970":    record("t", "x", "a", 1, -1, ""),
		"a key that is long": record("t", long+"a", "a", 1, 0, ""),
		"no UTF-8":           record("t", "x", "\xff", 1, 0, ""),
		"a body that is big": record("t", "x", "a", 1, 0, strings.Repeat("b", records.MaxBody+1)),
	} {
		k.is(what, k.records().Put(k.ctx(), r), records.ErrUnfit)
		k.is(what+" among others", k.records().PutAll(k.ctx(), []records.Record{r}), records.ErrUnfit)
	}
	same(k, "what was stored", k.allRecords("t", 10), nil)
}

// testRecordModel changes few keys in any order, with crashes in between.
func testRecordModel(k *kit) {
	want := map[records.Key]records.Record{}
	check := func(k *kit) {
		all := slices.SortedFunc(maps.Values(want), func(a, b records.Record) int {
			return cmp.Or(cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.ID, b.ID))
		})
		same(k, "all", k.allRecords("m", 3), all)
		due := slices.DeleteFunc(slices.Clone(all), func(r records.Record) bool { return r.Due == 0 || r.Due > 5 })
		slices.SortStableFunc(due, func(a, b records.Record) int { return cmp.Compare(a.Due, b.Due) })
		got := k.due("m", 5, 100)
		slices.SortStableFunc(got, func(a, b records.Record) int {
			return cmp.Or(cmp.Compare(a.Due, b.Due), cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.ID, b.ID))
		})
		same(k, "due", got, due)
	}
	rapid.Check(k.t, func(t *rapid.T) {
		run := *k
		run.tb = t
		clear(want)
		for _, scope := range []string{"a", "b"} {
			run.ok("begin", run.records().RemoveScope(run.ctx(), "m", scope))
		}
		key := func() records.Key {
			return records.Key{
				Kind: "m", Scope: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "scope"),
				ID: rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "id"),
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				k := key()
				r := records.Record{Key: k, Rev: want[k].Rev + 1, Due: rapid.Int64Range(0, 7).Draw(t, "due"), Body: []byte{'x'}}
				run.ok("put", run.records().Put(run.ctx(), r))
				want[k] = r
			},
			"remove": func(*rapid.T) {
				k := key()
				run.ok("remove", run.records().Remove(run.ctx(), k, want[k].Rev))
				delete(want, k)
			},
			"remove scope": func(*rapid.T) {
				scope := key().Scope
				run.ok("remove scope", run.records().RemoveScope(run.ctx(), "m", scope))
				maps.DeleteFunc(want, func(k records.Key, _ records.Record) bool { return k.Scope == scope })
			},
			"crash": func(*rapid.T) { run.crash(); k.store = run.store },
			"":      func(*rapid.T) { check(&run) },
		})
	})
}

// inhabitRecords makes some.
func (k *kit) inhabitRecords() {
	k.Helper()
	k.putRecords(
		record("fence", "", "f1", 1, 0, `{"r":5}`),
		record("job", "h.1", "a\x00", 1, 5, "\xff"), record("job", "h.1", "b", 1, 0, ""),
		record("job", "h.2", "a", 1, 0, `{ "a":1}`), record("job", "h.1", "b", 2, 1<<60, "{}"),
	)
}

func (k *kit) everyRecord() (out []any) {
	k.Helper()
	return append(out, k.allRecords("fence", 2), k.allRecords("job", 2), k.due("job", 1<<61, 9))
}
