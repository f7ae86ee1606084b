package storetest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"pgregory.net/rapid"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

var telemetryTests = []test{
	{"points come back in the order of time", testPoints},
	{"of two points of one time the later one counts", testPointsAgain},
	{"the last point of each key is kept", testLastPoints},
	{"a device has only so many keys", testTooManyKeys},
	{"points are read in pages of hours", testPointPages},
	{"rollups are what the points come to", testRollups},
	{"hours are open until they are sealed", testOpenHours},
	{"before the floor only rollups are left", testPurgePoints},
	{"a device is forgotten", testForgetPoints},
	{"many write at once", testManyMeasure},
	{"random points against a map", testTelemetryModel},
}

func (k *kit) telemetry() devices.Telemetry { return k.store.Telemetry() }

// teleHour is the hour that tests measure in.
const teleHour devices.Hour = 500_000

// at is a time some milliseconds after teleHour has begun.
func at(ms int64) int64 { return teleHour.Start() + ms }

func measured(key string, ts int64, v float64) devices.Point {
	return devices.Point{Key: key, TS: ts, Kind: devices.PointNumber, Number: v}
}

// alone is the rollup of one number.
func alone(ts int64, v float64) devices.Rollup {
	return devices.Rollup{TS: ts, Count: 1, Sum: v, Min: v, Max: v, First: v, Last: v}
}

// maxKeys is more keys than tests use.
const maxKeys = 100

func (k *kit) measure(did accounts.Name, points ...devices.Point) []devices.Point {
	k.Helper()
	last, err := k.telemetry().AddPoints(k.ctx(), did, points, maxKeys)
	k.ok("add points", err)
	return last
}

// points reads what a device has measured, an hour at a time.
func (k *kit) points(did accounts.Name, keys []string) (all []devices.Point) {
	k.Helper()
	before := teleHour + 1000
	for from := devices.Hour(0); from < before; {
		some, next, err := k.telemetry().Points(k.ctx(), did, keys, from, before, 1)
		k.ok("points", err)
		if next <= from {
			k.Fatalf("points from %d: the next hour is %d", from, next)
		}
		all, from = append(all, some...), next
	}
	devices.SortPoints(all)
	return all
}

func (k *kit) rollups(did accounts.Name, span devices.Span, keys ...string) devices.Rollups {
	k.Helper()
	all, err := k.telemetry().Rollups(k.ctx(), did, keys, span, teleHour-1000, teleHour+1000)
	k.ok("rollups", err)
	return all
}

// sealAll seals what is open before an hour.
func (k *kit) sealAll(before devices.Hour) {
	k.Helper()
	after := devices.OpenHour{}
	for {
		page, err := k.telemetry().OpenHours(k.ctx(), after, 2)
		k.ok("open hours", err)
		for _, o := range page {
			if o.Hour < before {
				k.ok("seal", k.telemetry().Seal(k.ctx(), o))
			}
			after = o
		}
		if len(page) == 0 {
			return
		}
	}
}

func testPoints(k *kit) {
	same(k, "of nobody", k.points("lamp", nil), nil)
	all := []devices.Point{
		{Key: "on", TS: at(-1), Kind: devices.PointFalse},
		{Key: "on", TS: at(2), Kind: devices.PointTrue, Number: 1, Moved: true},
		{Key: "state", TS: at(1), Kind: devices.PointText, Text: "a\x00ü"},
		measured("t", at(-5000), 1e300), measured("t", at(3), -0.25), measured("t", at(4), 3),
		measured("ü\x00", at(3), 1),
	}
	for _, i := range []int{4, 0, 6, 2, 5, 3, 1} {
		k.measure("lamp", all[i])
	}
	k.measure("lam", measured("t", at(3), 7))
	k.measure("lamp\x00", measured("t", at(3), 7))
	for range 3 {
		same(k, "points", k.points("lamp", nil), all)
		same(k, "points of some keys", k.points("lamp", []string{"t", "on", "none"}), append(all[:2:2], all[3:6]...))
		same(k, "points of no keys", k.points("lamp", []string{}), nil)
		k.sealAll(teleHour + 1)
		same(k, "sealed points", k.points("lamp", nil), all)
		k.crash()
	}
}

func testPointsAgain(k *kit) {
	k.measure("lamp", measured("t", at(1), 1), measured("t", at(1), 2), measured("t", at(2), 3))
	same(k, "points", k.points("lamp", nil), []devices.Point{measured("t", at(1), 2), measured("t", at(2), 3)})
	k.sealAll(teleHour + 1)
	k.measure("lamp", measured("t", at(2), 4))
	text := devices.Point{Key: "t", TS: at(1), Kind: devices.PointText, Text: "x"}
	k.measure("lamp", text)
	same(k, "points", k.points("lamp", nil), []devices.Point{text, measured("t", at(2), 4)})
	for range 2 {
		same(k, "rollups", k.rollups("lamp", devices.SpanHour, "t"), devices.Rollups{"t": {
			alone(at(0), 4),
		}})
		k.sealAll(teleHour + 1)
	}
	k.measure("lamp", devices.Point{Key: "t", TS: at(2), Kind: devices.PointText})
	for range 2 {
		same(k, "rollups of texts", k.rollups("lamp", devices.SpanHour, "t"), devices.Rollups{})
		same(k, "rollups of texts", k.rollups("lamp", devices.SpanMinute, "t"), devices.Rollups{})
		k.sealAll(teleHour + 1)
	}
}

func testLastPoints(k *kit) {
	last, err := k.telemetry().LastPoints(k.ctx(), "lamp")
	k.ok("last points", err)
	same(k, "of nobody", last, nil)
	object := devices.Point{Key: "j", TS: at(9), Kind: devices.PointJSON, Text: `{"a":[1]}`}
	given := k.measure("lamp", measured("t", at(5), 1), object)
	same(k, "given", given, []devices.Point{object, measured("t", at(5), 1)})
	given = k.measure("lamp", measured("t", at(4), 2), measured("a", at(1), 3))
	want := []devices.Point{measured("a", at(1), 3), object, measured("t", at(5), 1)}
	same(k, "given when points are late", given, want)
	given = k.measure("lamp", measured("t", at(5), 7))
	want[2].Number = 7
	same(k, "given again", given, want)
	same(k, "given for nothing", k.measure("lamp"), want)
	k.crash()
	last, err = k.telemetry().LastPoints(k.ctx(), "lamp")
	k.ok("last points", err)
	same(k, "last points", last, want)
	same(k, "points without JSON", k.points("lamp", []string{"j"}), nil)
}

func testTooManyKeys(k *kit) {
	k.measure("lamp", measured("a", at(1), 1), measured("b", at(1), 1))
	_, err := k.telemetry().AddPoints(k.ctx(), "lamp", []devices.Point{measured("a", at(2), 1), measured("c", at(2), 1)}, 2)
	k.is("a third key", err, devices.ErrTooManyKeys)
	_, err = k.telemetry().AddPoints(k.ctx(), "lamp", []devices.Point{measured("a", at(3), 1)}, 1)
	k.ok("keys of before", err)
	same(k, "points", k.points("lamp", nil), []devices.Point{
		measured("a", at(1), 1), measured("a", at(3), 1), measured("b", at(1), 1),
	})
}

func testPointPages(k *kit) {
	for i := range int64(6) {
		k.measure("lamp", measured("t", at(i*1_800_000), float64(i)))
		k.measure("a"+accounts.Name(fmt.Sprint(i)), measured("t", at(i*1_800_000), 0))
	}
	page := func(from, before devices.Hour, limit int, want devices.Hour, points ...float64) {
		k.Helper()
		some, next, err := k.telemetry().Points(k.ctx(), "lamp", nil, from, before, limit)
		k.ok("points", err)
		var got []float64
		for _, p := range some {
			got = append(got, p.Number)
		}
		same(k, "points", got, points)
		equal(k, "next", next, want)
	}
	page(0, teleHour+9, 100, teleHour+9, 0, 1, 2, 3, 4, 5)
	page(0, teleHour+9, 1, teleHour+1, 0, 1)
	page(0, teleHour+9, 3, teleHour+2, 0, 1, 2, 3)
	page(teleHour+1, teleHour+2, 100, teleHour+2, 2, 3)
	page(teleHour+2, teleHour+9, 2, teleHour+9, 4, 5)
	page(teleHour+3, teleHour+9, 2, teleHour+9)
}

func testRollups(k *kit) {
	minute := int64(devices.SpanMinute)
	k.measure("lamp",
		measured("t", at(0), 4), measured("t", at(minute-1), 2), measured("t", at(minute), 8), measured("t", at(59*minute), 1),
		measured("t", at(60*minute), 5), devices.Point{Key: "t", TS: at(1), Kind: devices.PointText, Text: "x"},
		devices.Point{Key: "on", TS: at(1), Kind: devices.PointTrue, Number: 1},
		devices.Point{Key: "on", TS: at(2), Kind: devices.PointFalse},
	)
	minutes := devices.Rollups{
		"t": {
			{TS: at(0), Count: 2, Sum: 6, Min: 2, Max: 4, First: 4, Last: 2}, alone(at(minute), 8), alone(at(59*minute), 1),
			alone(at(60*minute), 5),
		},
		"on": {{TS: at(0), Count: 2, Sum: 1, Min: 0, Max: 1, First: 1, Last: 0}},
	}
	hours := devices.Rollups{
		"t": {
			{TS: at(0), Count: 4, Sum: 15, Min: 1, Max: 8, First: 4, Last: 1}, alone(at(60*minute), 5),
		},
		"on": minutes["on"],
	}
	for _, sealed := range []devices.Hour{0, teleHour + 1, teleHour + 2} {
		k.sealAll(sealed)
		same(k, "minutes", k.rollups("lamp", devices.SpanMinute, "t", "on", "none"), minutes)
		same(k, "hours", k.rollups("lamp", devices.SpanHour, "on", "t"), hours)
		same(k, "of one key", k.rollups("lamp", devices.SpanHour, "on"), devices.Rollups{"on": hours["on"]})
		some, err := k.telemetry().Rollups(k.ctx(), "lamp", []string{"t"}, devices.SpanMinute, teleHour+1, teleHour+2)
		k.ok("rollups", err)
		same(k, "minutes of one hour", some, devices.Rollups{"t": minutes["t"][3:]})
		k.crash()
	}
}

func testOpenHours(k *kit) {
	open := func(want ...devices.OpenHour) {
		k.Helper()
		got, err := k.telemetry().OpenHours(k.ctx(), devices.OpenHour{}, 10)
		k.ok("open hours", err)
		same(k, "open hours", got, want)
	}
	open()
	k.measure("b", measured("t", at(0), 1), measured("t", at(-1), 1))
	k.measure("a", measured("t", at(0), 1))
	a, b, early := devices.OpenHour{Hour: teleHour, Device: "a"}, devices.OpenHour{Hour: teleHour, Device: "b"},
		devices.OpenHour{Hour: teleHour - 1, Device: "b"}
	open(early, a, b)
	page, err := k.telemetry().OpenHours(k.ctx(), a, 1)
	k.ok("open hours", err)
	same(k, "the next page", page, []devices.OpenHour{b})
	k.ok("seal", k.telemetry().Seal(k.ctx(), a))
	k.ok("seal what is not open", k.telemetry().Seal(k.ctx(), a))
	k.ok("seal what is not there", k.telemetry().Seal(k.ctx(), devices.OpenHour{Hour: 7, Device: "nobody"}))
	open(early, b)
	k.measure("a", measured("t", at(-3), 1), measured("t", at(9), 1))
	k.crash()
	open(devices.OpenHour{Hour: teleHour - 1, Device: "a"}, early, a, b)
}

func testPurgePoints(k *kit) {
	for i := range int64(4) {
		k.measure("lamp", measured("t", at(i*3_600_000), float64(i)), measured("t", at(i*3_600_000+5), 1))
		k.measure("lamp2", measured("t", at(i*3_600_000), float64(i)))
	}
	minutes, hours := k.rollups("lamp", devices.SpanMinute, "t"), k.rollups("lamp", devices.SpanHour, "t")
	k.sealAll(teleHour + 1)
	is, err := k.telemetry().RaiseFloor(k.ctx(), teleHour+2)
	k.ok("raise the floor", err)
	equal(k, "floor", is, teleHour+2)
	k.ok("purge", k.telemetry().PurgePoints(k.ctx(), 0))
	same(k, "points that are left: those of open hours, and since the floor", k.points("lamp", nil), []devices.Point{
		measured("t", at(3_600_000), 1), measured("t", at(3_600_005), 1),
		measured("t", at(7_200_000), 2), measured("t", at(7_200_005), 1),
		measured("t", at(10_800_000), 3), measured("t", at(10_800_005), 1),
	})
	k.sealAll(teleHour + 9)
	k.ok("purge", k.telemetry().PurgePoints(k.ctx(), teleHour+1))
	k.measure("lamp", measured("t", at(7_199_999), 9), measured("new", at(0), 1), measured("t", at(7_200_000), 5))
	is, err = k.telemetry().RaiseFloor(k.ctx(), teleHour)
	k.ok("lower the floor", err)
	equal(k, "floor", is, teleHour+2)
	for range 2 {
		same(k, "points", k.points("lamp", nil), []devices.Point{
			measured("t", at(7_200_000), 5), measured("t", at(7_200_005), 1),
			measured("t", at(10_800_000), 3), measured("t", at(10_800_005), 1),
		})
		got := k.rollups("lamp", devices.SpanHour, "t", "new")
		same(k, "hours before the floor", got["t"][:2], hours["t"][:2])
		equal(k, "number of hours", len(got["t"]), 4)
		equal(k, "sum of an hour to which was added", got["t"][2].Sum, 6)
		same(k, "minutes", k.rollups("lamp", devices.SpanMinute, "t")["t"][0], minutes["t"][1])
		k.crash()
		k.sealAll(teleHour + 9)
	}
	last, err := k.telemetry().LastPoints(k.ctx(), "lamp")
	k.ok("last", err)
	same(k, "last", last, []devices.Point{measured("t", at(10_800_005), 1)})
}

func testForgetPoints(k *kit) {
	for i := range int64(k.few(100)) {
		for _, did := range []accounts.Name{"a", "lamp", "z"} {
			k.measure(did, measured("t", at(i*3_600_000), 1), measured("u", at(i*3_600_000), 1))
		}
		if i == 50 {
			k.sealAll(teleHour + 40)
		}
	}
	want := k.points("a", nil)
	k.ok("forget", k.telemetry().ForgetPoints(k.ctx(), "lamp"))
	k.ok("forget nobody", k.telemetry().ForgetPoints(k.ctx(), "nobody"))
	same(k, "points", k.points("lamp", nil), nil)
	same(k, "minutes", k.rollups("lamp", devices.SpanMinute, "t", "u"), devices.Rollups{})
	same(k, "hours", k.rollups("lamp", devices.SpanHour, "t", "u"), devices.Rollups{})
	last, err := k.telemetry().LastPoints(k.ctx(), "lamp")
	k.ok("last", err)
	same(k, "last", last, nil)
	for _, did := range []accounts.Name{"a", "z"} {
		same(k, "points of another", k.points(did, nil), want)
		equal(k, "hours of another", len(k.rollups(did, devices.SpanHour, "t")["t"]), len(want)/2)
	}
}

func testManyMeasure(k *kit) {
	const writers = 8
	n := k.few(50)
	each(writers, func(w int) {
		did := accounts.Name(fmt.Sprint("lamp", w%2))
		for i := range n {
			_, err := k.telemetry().AddPoints(k.ctx(), did, []devices.Point{
				measured("t", at(int64(i*writers+w)), float64(i)), measured(fmt.Sprint("own", w), at(int64(i)), 1),
			}, maxKeys)
			if err != nil {
				k.Errorf("add: %v", err)
			}
			if i%10 == w {
				if err := k.telemetry().Seal(k.ctx(), devices.OpenHour{Hour: teleHour, Device: did}); err != nil {
					k.Errorf("seal: %v", err)
				}
			}
		}
	})
	for _, did := range []accounts.Name{"lamp0", "lamp1"} {
		equal(k, "points", len(k.points(did, []string{"t"})), n*writers/2)
		last, err := k.telemetry().LastPoints(k.ctx(), did)
		k.ok("last", err)
		equal(k, "keys", len(last), 1+writers/2)
		k.sealAll(teleHour + 1)
		equal(k, "count of the rollup", k.rollups(did, devices.SpanHour, "t")["t"][0].Count, uint64(n*writers/2))
	}
}

// teleModel is what devices have measured, as a map.
type teleModel struct {
	*kit
	points map[telePlace]devices.Point
	last   map[telePlace]devices.Point // TS of the place is 0
	frozen map[accounts.Name][]devices.Point
	floor  devices.Hour
	minute devices.Hour
}

type telePlace struct {
	did accounts.Name
	key string
	ts  int64
}

func testTelemetryModel(k *kit) {
	rapid.Check(k.t, func(t *rapid.T) {
		run := &kit{tb: t, t: k.t, newHarness: k.newHarness, harness: k.newHarness(k.t), clock: newClock()}
		run.open()
		defer func() { run.ok("close", run.store.Close()) }()
		m := &teleModel{
			kit: run, points: map[telePlace]devices.Point{}, last: map[telePlace]devices.Point{},
			frozen: map[accounts.Name][]devices.Point{},
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": m.add, "add2": m.add, "add3": m.add,
			"seal":   func(t *rapid.T) { m.sealAll(teleHour + devices.Hour(rapid.IntRange(0, 4).Draw(t, "before"))) },
			"purge":  m.purge,
			"forget": m.forget,
			"reopen": func(*rapid.T) { m.reopen() },
			"crash":  func(*rapid.T) { m.crash() },
			"":       func(*rapid.T) { m.check() },
		})
	})
}

func (m *teleModel) did(t *rapid.T) accounts.Name {
	return rapid.SampledFrom([]accounts.Name{"a", "lamp"}).Draw(t, "did")
}

func (m *teleModel) add(t *rapid.T) {
	did := m.did(t)
	var points []devices.Point
	for range rapid.IntRange(0, 5).Draw(t, "n") {
		hour, ms := rapid.Int64Range(0, 3), rapid.SampledFrom([]int64{0, 1, 59_999, 60_000, 3_599_999})
		p := measured(rapid.SampledFrom([]string{"t", "u", "v"}).Draw(t, "key"),
			at(hour.Draw(t, "hour")*3_600_000+ms.Draw(t, "ms")), float64(rapid.IntRange(-5, 5).Draw(t, "v"))/4)
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			p.Kind, p.Number, p.Text = devices.PointText, 0, "x"
		case 1:
			p.Kind, p.Number, p.Text = devices.PointJSON, 0, "[]"
		}
		points = append(points, p)
	}
	m.measure(did, points...)
	for _, p := range points {
		if devices.HourOf(p.TS) < m.floor {
			continue
		}
		if p.Kind != devices.PointJSON {
			m.points[telePlace{did, p.Key, p.TS}] = p
		}
		if last, is := m.last[telePlace{did, p.Key, 0}]; !is || last.TS <= p.TS {
			m.last[telePlace{did, p.Key, 0}] = p
		}
	}
}

func (m *teleModel) purge(t *rapid.T) {
	m.floor = max(m.floor, teleHour+devices.Hour(rapid.IntRange(0, 3).Draw(t, "floor")))
	m.minute = max(m.minute, min(m.floor, teleHour+devices.Hour(rapid.IntRange(0, 2).Draw(t, "minute"))))
	_, err := m.telemetry().RaiseFloor(m.ctx(), m.floor)
	m.ok("raise the floor", err)
	m.sealAll(m.floor)
	m.ok("purge", m.telemetry().PurgePoints(m.ctx(), m.minute))
	for at, p := range m.points {
		if devices.HourOf(p.TS) < m.floor {
			m.frozen[at.did] = append(m.frozen[at.did], p)
			delete(m.points, at)
		}
	}
}

func (m *teleModel) forget(t *rapid.T) {
	did := m.did(t)
	m.ok("forget", m.telemetry().ForgetPoints(m.ctx(), did))
	delete(m.frozen, did)
	maps.DeleteFunc(m.points, func(at telePlace, _ devices.Point) bool { return at.did == did })
	maps.DeleteFunc(m.last, func(at telePlace, _ devices.Point) bool { return at.did == did })
}

// of gives the points of a device, sorted.
func (m *teleModel) of(did accounts.Name, from map[telePlace]devices.Point) (all []devices.Point) {
	for at, p := range from {
		if at.did == did {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b devices.Point) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.TS, b.TS)) })
	return all
}

func (m *teleModel) check() {
	m.Helper()
	for _, did := range []accounts.Name{"a", "lamp"} {
		points := m.of(did, m.points)
		same(m.kit, "points", m.kit.points(did, nil), points)
		last, err := m.telemetry().LastPoints(m.ctx(), did)
		m.ok("last points", err)
		same(m.kit, "last points", last, m.of(did, m.last))
		ever := slices.Concat(m.frozen[did], points)
		slices.SortFunc(ever, func(a, b devices.Point) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.TS, b.TS)) })
		same(m.kit, "hours", m.rollups(did, devices.SpanHour, "t", "u", "v"), devices.RollUp(ever, devices.SpanHour))
		ever = slices.DeleteFunc(ever, func(p devices.Point) bool { return devices.HourOf(p.TS) < m.minute })
		same(m.kit, "minutes", m.rollups(did, devices.SpanMinute, "t", "u", "v"), devices.RollUp(ever, devices.SpanMinute))
	}
}

// inhabitTelemetry makes something of everything.
func (k *kit) inhabitTelemetry() {
	k.Helper()
	k.measure("lamp", measured("t", at(-3_600_000), 1), measured("t", at(1), 21.5), measured("u\x00", at(2), 1.0/3))
	k.measure("plug",
		measured("t", at(5), -1e300), devices.Point{Key: "on", TS: at(6), Kind: devices.PointTrue, Number: 1, Moved: true},
		devices.Point{Key: "off", TS: at(6), Kind: devices.PointFalse},
		devices.Point{Key: "s", TS: at(6), Kind: devices.PointText, Text: "<&> "},
		devices.Point{Key: "j", TS: at(6), Kind: devices.PointJSON, Text: `{"a":"<"}`},
	)
	for day := range int64(3) {
		k.measure("meter", measured("wh", at(day*86_400_000), float64(day)), measured("wh", at(day*86_400_000+3_600_000), 7))
	}
	k.sealAll(teleHour + 30)
	_, err := k.telemetry().RaiseFloor(k.ctx(), teleHour)
	k.ok("raise the floor", err)
	k.ok("purge", k.telemetry().PurgePoints(k.ctx(), 0))
	k.measure("lamp", measured("t", at(3), 22)) // open again
}

// allTelemetry is what the port says of what inhabitTelemetry has made.
func (k *kit) allTelemetry() (out []any) {
	k.Helper()
	floor, err := k.telemetry().RaiseFloor(k.ctx(), 0)
	k.ok("floor", err)
	open, err := k.telemetry().OpenHours(k.ctx(), devices.OpenHour{}, 100)
	k.ok("open hours", err)
	out = append(out, floor, open)
	for _, did := range []accounts.Name{"lamp", "plug", "meter"} {
		last, err := k.telemetry().LastPoints(k.ctx(), did)
		k.ok("last", err)
		keys := []string{"t", "u\x00", "on", "off", "wh", "s"}
		out = append(out, last, k.points(did, nil))
		out = append(out, k.rollups(did, devices.SpanMinute, keys...), k.rollups(did, devices.SpanHour, keys...))
	}
	return out
}
