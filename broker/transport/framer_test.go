package transport

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
)

func TestFramer(t *testing.T) {
	type result struct {
		good       int
		err        error
		boundary   bool
		disconnect uint16
	}
	tests := map[string]struct {
		in   []byte
		want result
	}{
		"nothing":                    {nil, result{0, nil, true, 0}},
		"ping":                       {[]byte{0xc0, 0}, result{2, nil, true, 0}},
		"half a header":              {[]byte{0xc0}, result{1, nil, false, 0}},
		"half a packet":              {[]byte{0x30, 4, 0}, result{3, nil, false, 0}},
		"long length":                {[]byte{0x30, 0x84, 0x80, 0x80, 0, 1, 2, 3, 4}, result{9, nil, true, 0}},
		"length of five bytes":       {[]byte{0xc0, 0, 0x30, 0xff, 0xff, 0xff, 0xff, 1}, result{6, ErrMalformed, false, 0}},
		"largest allowed":            {append([]byte{0x30, 98}, make([]byte, 98)...), result{100, nil, true, 0}},
		"one byte too large":         {append([]byte{0x30, 99}, make([]byte, 99)...), result{1, ErrPacketTooLarge, false, 0}},
		"200 MB":                     {[]byte{0x30, 0x80, 0xc2, 0xd7, 0x2f, 0}, result{4, ErrPacketTooLarge, false, 0}},
		"DISCONNECT":                 {[]byte{0xe0, 0}, result{2, nil, true, 0x100}},
		"DISCONNECT with reason":     {[]byte{0xe0, 1, 4}, result{3, nil, true, 0x104}},
		"DISCONNECT with properties": {[]byte{0xe0, 2, 0x8e, 0}, result{4, nil, true, 0x18e}},
		"DISCONNECT unfinished":      {[]byte{0xe0, 2, 4}, result{3, nil, false, 0}},
		"DISCONNECT behind a ping":   {[]byte{0xc0, 0, 0xe0, 1, 4}, result{5, nil, true, 0x104}},
		"reason of something else":   {[]byte{0x30, 1, 4}, result{3, nil, true, 0}},
		"two DISCONNECTs":            {[]byte{0xe0, 1, 4, 0xe0, 0}, result{5, nil, true, 0x100}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := framer{limit: 100}
			good, err := f.feed(tt.in)
			if got := (result{good, err, f.step == atBoundary, f.disconnect}); got != tt.want {
				t.Errorf("feed(% x) = %+v, want %+v", tt.in, got, tt.want)
			}
		})
	}
}

func TestPropertiesWithoutAValueAreNoticed(t *testing.T) {
	publish := func(properties string) string {
		return string([]byte{0x30, byte(4 + len(properties))}) + "\x00\x01t" + string([]byte{byte(len(properties))}) + properties
	}
	const atOnce, later, noType, aType = "\x02\x00\x00\x00\x00", "\x02\x00\x00\x00\x01", "\x03\x00\x00", "\x03\x00\x01x"
	tests := []struct {
		packet string
		want   Blank
	}{
		{publish(atOnce + aType), Blank{Expiry: true}},
		{publish(""), Blank{}},
		{"\xc0\x00" + publish(later), Blank{}},
		{publish(noType + later), Blank{ContentType: true}},
		{publish(noType + atOnce), Blank{true, true}},
		{publish(aType), Blank{}},
	}
	f := framer{limit: 100, dialect: dialect{version: version5}}
	for i, tt := range tests {
		for _, b := range []byte(tt.packet) {
			if _, err := f.feed([]byte{b}); err != nil {
				t.Fatalf("PUBLISH %d: %v", i+1, err)
			}
		}
	}
	for i, tt := range tests {
		if got := f.blank(uint64(i + 1)); got != tt.want {
			t.Errorf("PUBLISH %d says %+v, want %+v", i+1, got, tt.want)
		}
	}
	if f.blanks != nil {
		t.Errorf("%v is kept", f.blanks)
	}
}

// FuzzFramer looks for streams that mean something else when they come in other pieces. cuts are the sizes of the
// pieces, over and over.
func FuzzFramer(f *testing.F) {
	for _, version := range []byte{0, version311, version5} {
		f.Add([]byte{0xc0, 0, 0xe0, 1, 4, 0x30, 0x84, 0x80, 0}, []byte{1}, version)
		f.Add(append(connect, publish(300, 'x')...), []byte{1, 2, 3}, version)
		f.Add(publish(300, 'x'), []byte{1, 2, 3}, version)
		f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0xff, 1}, []byte{3}, version)
		f.Add([]byte{0x30, 0x80, 0xc2, 0xd7, 0x2f, 0}, []byte{2}, version)
		for _, tt := range packetTests {
			f.Add(tt.bytes(version), []byte{0, 3}, version)
		}
	}
	f.Fuzz(func(t *testing.T, in, cuts []byte, version byte) {
		fresh := func() *framer { return &framer{limit: 2000, dialect: dialect{version: version}} }
		whole := fresh()
		good, err := whole.feed(in)
		if good > len(in) || (err == nil) != (good == len(in)) {
			t.Fatalf("feed of %d bytes = %d, %v", len(in), good, err)
		}
		check := func(how string, f *framer, n int, ferr error) {
			same := f.step == whole.step && f.kind == whole.kind && f.left == whole.left && f.disconnect == whole.disconnect &&
				f.curious == whole.curious && f.publishes == whole.publishes && slices.Equal(f.blanks, whole.blanks)
			if n != good || err == nil && !same || fmt.Sprint(ferr) != fmt.Sprint(err) {
				t.Errorf("%s: %d, %v, %+v; want as in one piece: %d, %v, %+v", how, n, ferr, *f, good, err, *whole)
			}
			if f.head != nil && (err != nil || !f.curious || f.step != inContent) {
				t.Errorf("%s: %d bytes are kept for nothing", how, len(f.head.b))
			}
		}
		check("in one piece", whole, good, err)

		cut, n, ferr := fresh(), 0, error(nil)
		for i, rest := 0, in; len(rest) > 0 && ferr == nil; i++ {
			size := 1
			if len(cuts) > 0 {
				size = 1 + int(cuts[i%len(cuts)])
			}
			var part int
			size = min(size, len(rest))
			part, ferr = cut.feed(rest[:size])
			n, rest = n+part, rest[size:]
		}
		check("in pieces", cut, n, ferr)

		// As awaitConnect reads: never beyond a packet.
		ahead, n, ferr := fresh(), 0, error(nil)
		for rest := in; len(rest) > 0 && ferr == nil; {
			before := ahead.step
			size := min(ahead.ahead(), len(rest))
			var part int
			part, ferr = ahead.feed(rest[:size])
			if before == inContent && size < len(rest) && ferr == nil && ahead.step != atBoundary {
				t.Errorf("content of %d bytes did not end the packet", size)
			}
			n, rest = n+part, rest[size:]
		}
		check("packet by packet", ahead, n, ferr)
	})
}

// FuzzConnect sends bytes to a connection, as a stranger could.
func FuzzConnect(f *testing.F) {
	f.Add(slices.Concat(connect, publish(300, 'x'), []byte{0xe0, 0}))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte{0x10, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, in []byte) {
		cfg := DefaultConfig()
		cfg.ConnectPacket, cfg.PacketSize = 1000, 2000
		s := New(cfg, nil, nil)
		c := &Conn{server: s, in: bytes.NewReader(in)}
		if err := c.awaitConnect(); err != nil {
			if c.held != nil {
				t.Errorf("%v, and %d bytes are held", err, len(c.held.b))
			}
			return
		}
		if in[0] != 0x10 || len(c.held.b) > cfg.ConnectPacket || !bytes.HasPrefix(in, c.held.b) {
			t.Errorf("let through as CONNECT: % x", c.held.b)
		}
		c.authenticated.Store(true)
		var got []byte
		p := make([]byte, 100)
		for {
			n, err := c.Read(p)
			got = append(got, p[:n]...)
			if err != nil {
				break
			}
		}
		if !bytes.HasPrefix(in, got) {
			t.Errorf("read % x, which is not how % x begins", got, in)
		}
	})
}

// BenchmarkFramer follows small packets through large pieces: without a look into them, and with one.
func BenchmarkFramer(b *testing.B) {
	topic := "bench/group/0123456789"
	packets := map[string][]byte{
		"ack": {0x40, 2, 0, 1},
		"128": slices.Concat([]byte{0x32, 128, 1, 0, byte(len(topic))}, []byte(topic), []byte{0, 1, 0}, make([]byte, 128-5-len(topic))),
		"128 with properties": slices.Concat([]byte{0x32, 128, 1, 0, byte(len(topic))}, []byte(topic),
			[]byte("\x00\x01\x1d\x02\x00\x00\x00\x09\x03\x00\x09text/json\x26\x00\x03key\x00\x04text"), make([]byte, 128-5-29-len(topic))),
	}
	for name, packet := range packets {
		for _, version := range []byte{0, version5} {
			b.Run(fmt.Sprintf("%s/version %d", name, version), func(b *testing.B) {
				p := bytes.Repeat(packet, 2048/len(packet))
				f := framer{limit: 1 << 20, dialect: dialect{version: version}}
				b.ReportAllocs()
				for b.Loop() {
					if _, err := f.feed(p); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*(2048/len(packet))), "ns/packet")
			})
		}
	}
}

// BenchmarkFramerCut is about packets that the reader's buffer cuts in two.
func BenchmarkFramerCut(b *testing.B) {
	packet := append([]byte{0x32, 128, 1, 0, 20}, "bench/group/01234567\x00\x01\x00"...)
	packet = append(packet, make([]byte, 131-len(packet))...)
	f := framer{limit: 1 << 20, dialect: dialect{version: version5}}
	b.ReportAllocs()
	for b.Loop() {
		for _, part := range [][]byte{packet[:13], packet[13:]} {
			if _, err := f.feed(part); err != nil {
				b.Fatal(err)
			}
		}
	}
}
