package main

import (
	"bytes"
	"fmt"
	"strings"
)

// markdown gives the tables of docs/benchmarks.md, in the order in which they are there.
func markdown(r *results) []byte {
	b := &page{results: r}
	b.free()
	b.peers()
	b.stored()
	b.chat()
	b.goals()
	return b.Bytes()
}

// page is what is written.
type page struct {
	bytes.Buffer
	*results
}

// number gives a median; 0 if there is none.
func (r *results) number(name, number, target string) float64 {
	for _, row := range r.Rows {
		if row.Case == name && row.Name == number {
			return row.Medians[target]
		}
	}
	return 0
}

func (r *results) has(name, number, target string) bool {
	for _, row := range r.Rows {
		if row.Case == name && row.Name == number {
			return len(row.Values[target]) > 0
		}
	}
	return false
}

// cell is a number for a table.
func (r *results) cell(name, number, target string) string {
	if !r.has(name, number, target) {
		return "-"
	}
	return short(r.number(name, number, target))
}

// against is a number of magpie's divided by that of another.
func (r *results) against(name, number, target string) float64 {
	theirs := r.number(name, number, target)
	if theirs == 0 {
		return 0
	}
	return r.number(name, number, magpieName) / theirs
}

// freeNames gives the cases with publishers and subscribers, in order.
func (r *results) freeNames() (names []string) {
	for _, row := range r.Rows {
		if strings.HasPrefix(row.Case, "free/q") && (len(names) == 0 || names[len(names)-1] != row.Case) {
			names = append(names, row.Case)
		}
	}
	return names
}

func (b *page) row(cells ...string) { fmt.Fprintf(&b.Buffer, "| %s |\n", strings.Join(cells, " | ")) }

func (b *page) head(title string, cells ...string) {
	fmt.Fprintf(&b.Buffer, "\n## %s\n\n", title)
	b.row(cells...)
	fmt.Fprintf(&b.Buffer, "|%s\n", strings.Repeat("---|", len(cells)))
}

func (b *page) free() {
	b.head("Free topics", "case", "deliveries/s", "", "server CPU, us a delivery", "", "ack, us", "arrival, us")
	for _, name := range b.freeNames() {
		cells := []string{"`" + strings.TrimPrefix(name, "free/") + "`"}
		for _, number := range []string{"deliveries", "server CPU"} {
			cells = append(cells, b.cell(name, number, magpieName)+" : "+b.cell(name, number, mosquittoName),
				fmt.Sprintf("**%.2f**", b.against(name, number, mosquittoName)))
		}
		b.row(append(cells, b.spreads(name, "ack"), b.spreads(name, "arrival"))...)
	}
	b.WriteString("\n")
	for _, name := range b.freeNames() {
		for _, bad := range append(misfortunes(), "failed") {
			for _, target := range targetNames() {
				if n := b.number(name, bad, target); n > 0 {
					fmt.Fprintf(&b.Buffer, "- `%s`: %s, %s: %s\n", name, target, bad, short(n))
				}
			}
		}
	}
	const usual = "free/q1/1-1/w64/durable"
	for _, target := range []string{mosquittoDiskName, natsName, natsSyncName} {
		fmt.Fprintf(&b.Buffer, "- `%s`: %s makes %s deliveries/s, at %s us\n", usual, target, b.cell(usual, "deliveries", target),
			b.cell(usual, "server CPU", target))
	}
}

// spreads gives percentiles of latencies, magpie's and mosquitto's.
func (b *page) spreads(name, what string) string {
	if !b.has(name, what+" p50", magpieName) {
		return ""
	}
	var both []string
	for _, target := range []string{magpieName, mosquittoName} {
		var all []string
		for _, p := range []string{" p50", " p99", " p99.9"} {
			all = append(all, b.cell(name, what+p, target))
		}
		both = append(both, strings.Join(all, " / "))
	}
	return strings.Join(both, " : ")
}

// line is one number of one case, in words.
type line struct{ text, at, number string }

func (b *page) peers() {
	b.head("The rest", "", "Magpie", "mosquitto", "NATS JetStream")
	for _, l := range []line{
		{"1,000 messages/s, QoS 1, durable: ack p50, us", "free/rate", "ack p50"},
		{"ack p99, us", "free/rate", "ack p99"},
		{"server CPU, us a message", "free/rate", "server CPU"},
		{"20,000 messages drained by a session that was offline, messages/s", "free/offline", "messages"},
		{"lost in that drain", "free/offline", "lost"},
		{"out of order", "free/offline", "out of order"},
		{"one of two subscribers is stalled, durable: messages/s, % of those when both read", "free/stalled/durable",
			"messages, one is stalled, of that"},
		{"ack p99, % of that", "free/stalled/durable", "ack p99, of that with both"},
		{"one of two subscribers is stalled, volatile: messages/s, % of those when both read", "free/stalled/volatile",
			"messages, one is stalled, of that"},
		{"ack p99, % of that", "free/stalled/volatile", "ack p99, of that with both"},
		{"5,000 logins at once (mosquitto: anonymous), connects/s", "storm/login", "connects"},
		{"CONNACK p99, us", "storm/login", "CONNACK p99"},
		{"server CPU, us a CONNECT", "storm/login", "server CPU"},
		{"5,000 persistent sessions resumed at once, connects/s", "storm/resume", "connects"},
		{"CONNACK p99, us", "storm/resume", "CONNACK p99"},
		{"server CPU, us a CONNECT", "storm/resume", "server CPU"},
		{"10,000 idle connections with a subscription: memory (RSS), bytes each", "idle", "memory"},
	} {
		b.row(l.text, b.cell(l.at, l.number, magpieName), b.cell(l.at, l.number, mosquittoName), b.cell(l.at, l.number, natsName))
	}
}

func (b *page) stored() {
	b.head("Sessions that are offline", "stored sessions", "1,000", "10,000", "100,000")
	for _, l := range []line{
		{"start until ready, ms", "offline", "start until ready"},
		{"reading the subscriptions (measured by itself), ms", "offline", "reading subscriptions"},
		{"index of subscriptions, bytes a session", "offline", "index"},
		{"heap after a collection, MiB", "offline", "heap after GC"},
		{"RSS after it, MiB", "offline", "RSS"},
		{"one resumes: until CONNACK, p50, us", "offline", "resume, until CONNACK p50"},
		{"until its 5th message, p50, us", "offline", "resume, until the 5th message p50"},
		{"`q1/1-1/w64/durable` beside them, deliveries/s", "offline", "1-1/w64 beside: deliveries"},
		{"server CPU, us a delivery", "offline", "1-1/w64 beside: server CPU"},
		{"all subscribe to one topic: a publish until its ack, ms", "everyone", "publish until ack"},
		{"server CPU, us a subscriber", "everyone", "server CPU"},
		{"heap after 5 of these, MiB", "everyone", "heap after GC"},
	} {
		cells := []string{l.text}
		for _, n := range storedSessions {
			cells = append(cells, b.cell(fmt.Sprintf("%s/%d", l.at, n), l.number, magpieName))
		}
		b.row(cells...)
	}
}

func (b *page) chat() {
	b.head("Chat", "", "chat message", "durable message on a free topic")
	for _, l := range []struct{ text, at, number, free, freeNumber string }{
		{"1:1, window 1: messages/s", "chat/1-1/w1", "messages", "free/q1/1-1/w1/durable", "deliveries"},
		{"ack p50, us", "chat/1-1/w1", "ack p50", "free/q1/1-1/w1/durable", "ack p50"},
		{"1:1, window 64: messages/s", "chat/1-1/w64", "messages", "free/q1/1-1/w64/durable", "deliveries"},
		{"ack p50, us", "chat/1-1/w64", "ack p50", "free/q1/1-1/w64/durable", "ack p50"},
		{"ack p99, us", "chat/1-1/w64", "ack p99", "free/q1/1-1/w64/durable", "ack p99"},
		{"server CPU, us a message", "chat/1-1/w64", "server CPU", "free/q1/1-1/w64/durable", "server CPU"},
		{"1:1, window 1000: messages/s", "chat/1-1/w1000", "messages", "free/q1/1-1/w1000/durable", "deliveries"},
		{"server CPU, us a message", "chat/1-1/w1000", "server CPU", "free/q1/1-1/w1000/durable", "server CPU"},
		{"4 pairs, window 64 each: messages/s", "chat/pairs/w64", "messages", "", ""},
		{"1,000 messages/s: ack p99, us", "chat/rate", "ack p99", "free/rate", "ack p99"},
		{"drain of 20,000 by an offline session, messages/s", "chat/offline", "messages", "free/offline", "messages"},
		{"beside a stalled subscriber: messages/s, % of those alone", "chat/stalled", "throughput, of that alone", "", ""},
		{"ack p99, % of that alone", "chat/stalled", "ack p99, of that alone", "", ""},
	} {
		b.row(l.text, b.cell(l.at, l.number, magpieName), b.cell(l.free, l.freeNumber, magpieName))
	}
}

// goals are those that this benchmark can measure.
func (b *page) goals() {
	b.head("Distance to the targets", "work", "target", "here")
	const durable, volatile = "free/q1/1-1/w64/durable", "free/q1/1-50/w64/volatile"
	x := func(name, number, target string) string { return fmt.Sprintf("%.2fx", b.against(name, number, target)) }
	ours := func(name, number string) float64 { return b.number(name, number, magpieName) }
	of := func(a, b float64) string { return fmt.Sprintf("%.2fx", a/max(b, 1e-9)) }
	b.row("QoS 1, 1:1, window 64, durable before the ack, against mosquitto in memory", "1x first, 3x in the end",
		x(durable, "deliveries", mosquittoName))
	nats := x(durable, "deliveries", natsSyncName)
	if !b.has(durable, "deliveries", natsSyncName) {
		nats = "not measured: Debian's version cannot (-nats-sync)"
	}
	b.row("the same against NATS JetStream that syncs each message", "20x",
		nats+"; "+x(durable, "deliveries", natsName)+" of one that syncs later")
	b.row("QoS 1, 1 to 50, volatile, against mosquitto", "3x", x(volatile, "deliveries", mosquittoName))
	b.row("the same, 1 to 500", "3x", "1 to 1,000: "+x("free/q1/1-1000/w16/volatile", "deliveries", mosquittoName))
	b.row("chat message 1:1 against our own durable QoS 1", "0.5x",
		of(ours("chat/1-1/w64", "messages"), ours(durable, "deliveries")))
	b.row("server CPU per durable QoS 1 message against mosquitto's", "1x first, 0.4x in the end",
		x(durable, "server CPU", mosquittoName)+" at window 64, "+
			x("free/q1/1-1/w1000/durable", "server CPU", mosquittoName)+" at 1000")
	b.row("one publisher, durable, window 1000 against window 1", "50x",
		of(ours("free/q1/1-1/w1000/durable", "deliveries"), ours("free/q1/1-1/w1/durable", "deliveries")))
	b.row("drain of 20,000 by an offline session against mosquitto", "2x, 0 lost, 0 reordered", fmt.Sprintf("%s, %s, %s",
		x("free/offline", "messages", mosquittoName), b.cell("free/offline", "lost", magpieName),
		b.cell("free/offline", "out of order", magpieName)))
	b.row("ack p99 at 1,000 messages/s, durable, against mosquitto's", "1.5x", x("free/rate", "ack p99", mosquittoName))
	stalled := func(kind string) string {
		return fmt.Sprintf("%s %+.0f %%, %.1fx", kind, ours("free/stalled/"+kind, "messages, one is stalled, of that")-100,
			ours("free/stalled/"+kind, "ack p99, of that with both")/100)
	}
	b.row("stalled subscriber", "others within 5 %, p99 within 2x", stalled("durable")+"; "+stalled("volatile"))
	b.row("memory per idle connection, 10,000 of them", "under 32 KiB", fmt.Sprintf("%.1f KiB", ours("idle", "memory")/1024))
	b.row("memory per offline session", "0 in the heap",
		b.cell("offline/100000", "index", magpieName)+" bytes, for its subscription")
}

// short writes a number with three digits at least, and thousands apart.
func short(v float64) string {
	if v < 100 && v != float64(int(v)) {
		return fmt.Sprintf("%.3g", v)
	}
	digits := fmt.Sprintf("%.0f", v)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
