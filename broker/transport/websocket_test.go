package transport

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// web serves WebSocket connections, with or without TLS, and gives the URL.
func web(t *testing.T, secure bool, change func(*Config), serve func(*Conn)) (*Server, *httptest.Server) {
	t.Helper()
	s := newServer(t, change, serve)
	h := httptest.NewUnstartedServer(s.WebSocket())
	if secure {
		h.StartTLS()
	} else {
		h.Start()
	}
	t.Cleanup(h.Close)
	return s, h
}

// echo gives back every byte that comes after the CONNECT.
func echo(t *testing.T) func(*Conn) {
	return func(c *Conn) {
		if admitted(t, c) {
			_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
		}
	}
}

// dialWeb connects as a client does, and gives the status if it is refused.
func dialWeb(t *testing.T, h *httptest.Server) (conn *websocket.Conn, status int, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, response, err := websocket.Dial(ctx, h.URL+"/mqtt", &websocket.DialOptions{
		HTTPClient: h.Client(), Subprotocols: []string{"mqtt"},
	})
	if err != nil {
		if response == nil {
			return nil, 0, err
		}
		return nil, response.StatusCode, errors.Join(err, response.Body.Close())
	}
	conn.SetReadLimit(-1)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return conn, response.StatusCode, nil
}

func TestWebSocketCarriesAnyMixOfPacketsAndMessages(t *testing.T) {
	for _, secure := range []bool{false, true} {
		_, h := web(t, secure, nil, echo(t))
		conn, _, err := dialWeb(t, h)
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.Subprotocol(); got != "mqtt" {
			t.Errorf("subprotocol %q, want mqtt", got)
		}
		random := rand.New(rand.NewPCG(1, 2))
		var want []byte
		for _, size := range []int{3, 10, 125, 126, 127, 1000, 65_535, 65_536, 200_000, 1_000_000} {
			packet := publish(size, 'x')
			for i := 10; i < len(packet); i++ {
				packet[i] = byte(random.Uint32())
			}
			want = append(want, packet...)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		go func() {
			// Messages cut without regard to packets, and in frames of their own.
			rest := slices.Concat(connect, want)
			for len(rest) > 0 {
				w, err := conn.Writer(ctx, websocket.MessageBinary)
				for range 1 + random.IntN(4) {
					n := min(len(rest), 1+random.IntN(1<<(3+random.IntN(15))))
					if err == nil {
						_, err = w.Write(rest[:n])
					}
					rest = rest[n:]
				}
				if err == nil {
					err = w.Close()
				}
				if err != nil {
					t.Errorf("write: %v", err)
					return
				}
			}
		}()
		var got []byte
		for len(got) < len(want) {
			kind, p, err := conn.Read(ctx)
			if err != nil || kind != websocket.MessageBinary {
				t.Fatalf("after %d bytes: %v, %v", len(got), kind, err)
			}
			if len(p) > piece {
				t.Errorf("message of %d bytes", len(p))
			}
			got = append(got, p...)
		}
		if !bytes.Equal(got, want) {
			t.Error("something else came back")
		}
		if err := conn.Ping(ctxReading(ctx, conn)); err != nil {
			t.Errorf("Ping: %v", err)
		}
		if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

// ctxReading reads in the background, because pongs are only seen by who reads.
func ctxReading(ctx context.Context, conn *websocket.Conn) context.Context {
	conn.CloseRead(ctx)
	return ctx
}

func TestWebSocketRefusals(t *testing.T) {
	s, h := web(t, false, func(c *Config) { c.MaxConnections = 1; c.Origins = []string{"*.example.org"} }, echo(t))
	key := "dGhlIHNhbXBsZSBub25jZQ=="
	base := map[string]string{
		"Connection": "keep-alive, Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": key, "Sec-WebSocket-Protocol": "mqttv3.1, mqtt",
	}
	for name, tt := range map[string]struct {
		method string
		change map[string]string
		want   int
	}{
		"POST":             {"POST", nil, http.StatusMethodNotAllowed},
		"a browser's look": {"GET", map[string]string{"Connection": "keep-alive", "Upgrade": ""}, http.StatusUpgradeRequired},
		"version 8":        {"GET", map[string]string{"Sec-WebSocket-Version": "8"}, http.StatusUpgradeRequired},
		"no key":           {"GET", map[string]string{"Sec-WebSocket-Key": ""}, http.StatusBadRequest},
		"a short key":      {"GET", map[string]string{"Sec-WebSocket-Key": "c2hvcnQ="}, http.StatusBadRequest},
		"no subprotocol":   {"GET", map[string]string{"Sec-WebSocket-Protocol": ""}, http.StatusBadRequest},
		"other protocol":   {"GET", map[string]string{"Sec-WebSocket-Protocol": "wamp"}, http.StatusBadRequest},
		"foreign page":     {"GET", map[string]string{"Origin": "https://evil.example"}, http.StatusForbidden},
		"no origin":        {"GET", map[string]string{"Origin": "null"}, http.StatusForbidden},
		"friendly page":    {"GET", map[string]string{"Origin": "https://chat.example.org"}, http.StatusSwitchingProtocols},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), tt.method, h.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range base {
				request.Header.Set(k, v)
			}
			for k, v := range tt.change {
				if request.Header.Set(k, v); v == "" {
					request.Header.Del(k)
				}
			}
			response, err := h.Client().Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.StatusCode != tt.want {
				t.Errorf("%s, want %d", response.Status, tt.want)
			}
			if tt.want == http.StatusSwitchingProtocols {
				const want = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" // RFC 6455, 1.3
				if got := response.Header.Get("Sec-WebSocket-Accept"); got != want {
					t.Errorf("Sec-WebSocket-Accept: %s, want %s", got, want)
				}
			}
		})
	}
	eventually(t, "all are gone", func() bool { return sum(s) == 0 })
	if _, _, err := dialWeb(t, h); err != nil {
		t.Fatal(err)
	}
	if _, status, err := dialWeb(t, h); err == nil || status != http.StatusServiceUnavailable {
		t.Errorf("one too many: status %d, %v", status, err)
	}
	if n := refused(s, "connections"); n != 1 {
		t.Errorf("counted %d refusals, want 1", n)
	}
}

func TestWebSocketsAreRefusedWhenTheyAreTooMuch(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Config)
		reason string
	}{
		"in number": {func(c *Config) { c.MaxPerListener = 1 }, "listener"},
		"in time":   {func(c *Config) { c.ConnectRate = 1 }, "rate"},
		"in memory": {func(c *Config) {
			var asked atomic.Int32
			c.Tight = func() bool { return asked.Add(1) > 1 }
		}, "memory"},
	} {
		t.Run(name, func(t *testing.T) {
			s, h := web(t, false, tt.change, echo(t))
			if s.websocket.rate != nil {
				s.websocket.rate.SetLimit(0) // it stays at those that may come at once, however long the test takes
			}
			if _, _, err := dialWeb(t, h); err != nil {
				t.Fatal(err)
			}
			if _, status, err := dialWeb(t, h); err == nil || status != http.StatusServiceUnavailable {
				t.Errorf("one too many: status %d, %v", status, err)
			}
			if n := refused(s, tt.reason); n != 1 {
				t.Errorf("counted %d refusals, want 1", n)
			}
		})
	}
}

func TestOrigins(t *testing.T) {
	const host = "chat.example.org:8080"
	tests := []struct {
		allowed string
		origin  []string
		want    bool
	}{
		{"", nil, true},
		{"", []string{"http://chat.example.org:8080"}, true},
		{"", []string{"https://CHAT.example.org:8080"}, true},
		{"", []string{"http://chat.example.org"}, false},
		{"", []string{"http://chat.example.org:8080.evil.example"}, false},
		{"", []string{"null"}, false},
		{"", []string{""}, false},
		{"", []string{"%"}, false},
		{"", []string{"http://chat.example.org:8080", "http://chat.example.org:8080"}, false},
		{"other.example", []string{"https://other.example"}, true},
		{"other.example", []string{"https://sub.other.example"}, false},
		{"*.other.example", []string{"https://sub.other.example"}, true},
		{"*.other.example", []string{"https://a.b.other.example"}, true},
		{"*.other.example", []string{"https://other.example"}, false},
		{"*.other.example", []string{"https://another.example"}, false},
		{"localhost:5173", []string{"http://localhost:5173"}, true},
		{"localhost:5173", []string{"http://localhost"}, false},
		{"*", []string{"null"}, true},
		{"*", []string{"https://evil.example"}, true},
	}
	for _, tt := range tests {
		cfg := DefaultConfig()
		if tt.allowed != "" {
			cfg.Origins = []string{tt.allowed}
		}
		if err := cfg.Validate(); err != nil {
			t.Errorf("Validate with origin %q: %v", tt.allowed, err)
		}
		if got := New(cfg, nil, nil).allows(tt.origin, host); got != tt.want {
			t.Errorf("with %q allowed, %q may connect to %s: %v, want %v", tt.allowed, tt.origin, host, got, tt.want)
		}
	}
}

// rawWeb is a WebSocket connection on which the test writes frames by hand.
func rawWeb(t *testing.T, h *httptest.Server, behind []byte) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn := dial(t, strings.TrimPrefix(h.URL, "http://"))
	// In one piece, so that the HTTP server reads more than its own.
	send(t, conn, append([]byte("GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"+
		"Sec-WebSocket-Protocol: mqtt\r\n\r\n"),
		behind...))
	r := bufio.NewReader(conn)
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %s", response.Status)
	}
	return conn, r
}

// masked is a client's frame.
func masked(first byte, payload []byte) []byte {
	mask := []byte{1, 2, 3, 4}
	b := []byte{first}
	switch n := len(payload); {
	case n > 0xffff:
		b = binary.BigEndian.AppendUint64(append(b, maskBit|127), uint64(n))
	case n > maxControl:
		b = binary.BigEndian.AppendUint16(append(b, maskBit|126), uint16(n))
	default:
		b = append(b, maskBit|byte(n))
	}
	b = append(b, mask...)
	for i, c := range payload {
		b = append(b, c^mask[i%4])
	}
	return b
}

func TestWebSocketFramesOnTheWire(t *testing.T) {
	type answer struct {
		data, pongs string
		status      uint16
	}
	ping := []byte{0xc0, 0}
	tests := map[string]struct {
		in   [][]byte
		want answer
	}{
		"echo": {[][]byte{masked(0x82, ping), masked(0x88, nil)}, answer{"\xc0\x00", "", statusNormal}},
		"fragments": {[][]byte{masked(0x02, ping[:1]), masked(0x89, []byte("?")), masked(0x80, ping[1:]), masked(0x88, nil)},
			answer{"\xc0\x00", "?", statusNormal}},
		"empty frames": {[][]byte{masked(0x02, nil), masked(0x00, nil), masked(0x80, nil), masked(0x82, nil), masked(0x88, nil)},
			answer{"", "", statusNormal}},
		"close with a status": {[][]byte{masked(0x88, []byte{3, 0xe9})}, answer{"", "", statusNormal}},
		"empty ping":          {[][]byte{masked(0x89, nil), masked(0x88, nil)}, answer{"", "|", statusNormal}},
		"pong":                {[][]byte{masked(0x8a, []byte("hi")), masked(0x88, nil)}, answer{"", "", statusNormal}},
		"text":                {[][]byte{masked(0x81, ping)}, answer{"", "", statusType}},
		"without a mask":      {[][]byte{{0x82, 2, 0xc0, 0}}, answer{"", "", statusProtocol}},
		"reserved bit":        {[][]byte{masked(0xc2, ping)}, answer{"", "", statusProtocol}},
		"unknown opcode":      {[][]byte{masked(0x83, ping)}, answer{"", "", statusProtocol}},
		"stray continuation":  {[][]byte{masked(0x80, ping)}, answer{"", "", statusProtocol}},
		"message in message":  {[][]byte{masked(0x02, ping), masked(0x82, ping)}, answer{"\xc0\x00", "", statusProtocol}},
		"ping in parts":       {[][]byte{masked(0x09, nil)}, answer{"", "", statusProtocol}},
		"long ping":           {[][]byte{masked(0x89, make([]byte, 126))}, answer{"", "", statusProtocol}},
		"half a status":       {[][]byte{masked(0x88, []byte{3})}, answer{"", "", statusProtocol}},
		"absurd length":       {[][]byte{{0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}}, answer{"", "", statusProtocol}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, h := web(t, false, nil, echo(t))
			conn, r := rawWeb(t, h, masked(0x82, connect))
			send(t, conn, slices.Concat(tt.in...))
			var got answer
			for {
				op, payload, err := unmasked(r)
				if errors.Is(err, io.EOF) {
					break
				}
				switch {
				case err != nil || got.status != 0:
					t.Fatalf("after %+v: opcode %x, %v", got, op, err)
				case op == opBinary:
					got.data += string(payload)
				case op == opPong:
					if got.pongs += string(payload); len(payload) == 0 {
						got.pongs += "|"
					}
				case op == opClose:
					got.status = binary.BigEndian.Uint16(payload)
				}
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			want := 0
			if tt.want.status != statusNormal {
				want = 1
			}
			if n := broken(s, "websocket"); n != want {
				t.Errorf("counted %d violations, want %d", n, want)
			}
		})
	}
}

// unmasked reads a server's frame, a short one.
func unmasked(r io.Reader) (op byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	if head[0]&0xf0 != finBit || head[1] > maxControl {
		return 0, nil, errors.New("not a short frame")
	}
	payload = make([]byte, head[1])
	_, err = io.ReadFull(r, payload)
	return head[0] & 0xf, payload, err
}

func TestWebSocketConnectMustBeCompleteInTime(t *testing.T) {
	s, h := web(t, false, func(c *Config) { c.ConnectTimeout = 50 * time.Millisecond }, unserved(t))
	_, r := rawWeb(t, h, masked(0x82, connect[:5]))
	if got, err := io.ReadAll(r); err != nil || string(got) != "\x88\x02\x03\xe8" {
		t.Errorf("got % x, %v; want a close frame", got, err)
	}
	if n := broken(s, "connect_timeout"); n != 1 {
		t.Errorf("counted %d timeouts, want 1", n)
	}
}

func TestWebSocketReadDeadlineCanBeTakenBack(t *testing.T) {
	result := make(chan error, 3)
	_, h := web(t, false, nil, func(c *Conn) {
		if !admitted(t, c) {
			return
		}
		_ = c.SetReadDeadline(time.Unix(1, 0))
		_, err := c.Read(make([]byte, 1))
		if !isTimeout(err) {
			t.Errorf("Read: %v, want a missed deadline", err)
		}
		_ = c.SetReadDeadline(time.Time{})
		send(t, c, []byte{0xd0, 0})
		_, err = io.ReadFull(c, make([]byte, 2))
		result <- err
		send(t, c, []byte{0xe0, 0})
	})
	conn, r := rawWeb(t, h, masked(0x82, connect))
	if _, err := io.ReadFull(r, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	send(t, conn, masked(0x82, []byte{0xc0, 0}))
	if err := receive(t, result); err != nil {
		t.Errorf("Read after the deadline was taken back: %v", err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "\x82\x02\xe0\x00\x88\x02\x03\xe8" {
		t.Errorf("got % x, %v; want a DISCONNECT and a close frame", got, err)
	}
}

// FuzzFrames looks for WebSocket streams that mean something else when they come in other pieces, or in other memory.
func FuzzFrames(f *testing.F) {
	f.Add(slices.Concat(masked(0x82, connect), masked(0x89, []byte("hi")), masked(0x88, []byte{3, 0xe8})), []byte{1})
	f.Add(slices.Concat(masked(0x02, publish(200, 'x')), masked(0x80, nil)), []byte{2, 9})
	f.Add([]byte{0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6, 7}, []byte{7, 100})
	f.Add(masked(0x81, []byte("text")), []byte{2})
	f.Add([]byte{0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, []byte{3})
	f.Fuzz(func(t *testing.T, in, cuts []byte) {
		read := func(size func(int) int) (out, pongs []byte, err error) {
			fr := frames{src: bytes.NewReader(in), pong: func(p []byte) { pongs = append(append(pongs, '|'), p...) }}
			for i := 0; err == nil; i++ {
				p := make([]byte, size(i))
				var n int
				n, err = fr.Read(p)
				out = append(out, p[:n]...)
			}
			return out, pongs, err
		}
		out, pongs, err := read(func(int) int { return len(in) + 1 })
		if len(out) > len(in) {
			t.Fatalf("%d bytes became %d", len(in), len(out))
		}
		out2, pongs2, err2 := read(func(i int) int {
			if len(cuts) == 0 {
				return 1
			}
			return 1 + int(cuts[i%len(cuts)])
		})
		if !bytes.Equal(out, out2) || !bytes.Equal(pongs, pongs2) || err.Error() != err2.Error() {
			t.Errorf("% x, pongs %q, %v in one piece; % x, pongs %q, %v in many", out, pongs, err, out2, pongs2, err2)
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, ErrWebSocket) {
			t.Errorf("error %v", err)
		}
	})
}

func TestFramesAreWhatTheyWere(t *testing.T) {
	for _, size := range []int{0, 1, 7, 8, 9, 125, 126, 127, 65_535, 65_536, 100_000} {
		payload := make([]byte, size)
		for i := range payload {
			payload[i] = byte(i * 7)
		}
		in := masked(0x82, payload)
		fr := frames{src: bytes.NewReader(in)}
		got, err := io.ReadAll(&fr)
		if err != nil || !bytes.Equal(got, payload) {
			t.Errorf("%d bytes: got %d, %v", size, len(got), err)
		}
		if !fr.atBoundary() {
			t.Errorf("%d bytes: not at a boundary", size)
		}
	}
}
