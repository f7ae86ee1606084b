package sessions

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// hall is the audience of topics like im/c/l.a/live.
type hall struct {
	mu    sync.Mutex
	seats []*Seat
	asked []bool // for what has been, of each Join
}

func (h *hall) Has(filter string) bool { return strings.HasSuffix(filter, "/live") }

func (h *hall) Join(_ string, s *Seat, current bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seats, h.asked = append(h.seats, s), append(h.asked, current)
}

func (h *hall) Leave(_ string, s *Seat) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seats = slices.DeleteFunc(h.seats, func(x *Seat) bool { return x == s })
}

func (h *hall) seated() []*Seat {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.seats)
}

func (h *hall) say(lines ...*Line) {
	for _, s := range h.seated() {
		s.Offer(lines...)
	}
}

const liveTopic = "im/c/l.a/live"

func line(text string, class Class) *Line {
	qos := byte(0)
	if class == LineSure {
		qos = 1
	}
	return NewLine(Publish{Topic: liveTopic, Payload: []byte(text), QoS: qos}, class, text[:1])
}

// startHall starts a registry with an audience, and a session in it.
func startHall(t *testing.T, qos byte, change ...func(*Config)) (*hall, *Registry, *conn) {
	t.Helper()
	r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{}, change...)
	h := &hall{}
	r.SetAudiences(h)
	x := open(t, r, persistent("phone", 5))
	x.subscribe(1, Subscription{Filter: liveTopic, QoS: qos})
	wants(t, x, fmt.Sprintf("suback 1 %02x", qos))
	return h, r, x
}

func TestAnAudienceIsToldTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, r, x := startHall(t, 1)
		y := open(t, r, Connect{Key: Key{Account: "bob", Client: "b"}, Version: 4})
		y.subscribe(1, Subscription{Filter: liveTopic})
		wants(t, y, "suback 1 00")
		h.say(line("a", LineChat), line("gift", LineSure), line("b", LineChat), line("n", LineState))
		got := wants(t, x, "publish a q0, publish gift q1, publish b q0, publish n q0")
		wants(t, y, "publish a q0, publish gift q0, publish b q0, publish n q0")
		x.send(func(l *Link) { l.Puback(got[1].publish.ID, 0) })
		x.send(func(l *Link) { _ = l.Unsubscribe(context.Background(), 2, []string{liveTopic}) })
		wants(t, x, "unsuback 2 00")
		y.close()
		if left := h.seated(); len(left) != 0 {
			t.Errorf("%d are still there", len(left))
		}
		x.close()
	})
}

func TestNothingComesBeforeTheSubackOfAnAudience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		h := &hall{}
		r.SetAudiences(h)
		x := open(t, r, persistent("phone", 5))
		store.hold = true
		x.subscribe(1, Subscription{Filter: liveTopic})
		synctest.Wait()
		h.say(line("a", LineChat))
		synctest.Wait()
		if got := x.w.take(); len(got) != 0 {
			t.Errorf("got %v before the SUBACK", got)
		}
		store.release()
		wants(t, x, "suback 1 00, publish a q0")
		x.close()
	})
}

func TestWhoDoesNotKeepUpLosesChatAndNoGift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, x := startHall(t, 0, func(c *Config) { c.HighWater = 100 })
		x.w.stall(true)
		var gifts, chats int
		for i := range 2000 {
			if i%4 == 0 {
				h.say(line(fmt.Sprintf("gift %d", i), LineSure))
				gifts++
			} else {
				h.say(line(fmt.Sprintf("chat %d", i), LineChat), line(fmt.Sprintf("now %d", i), LineState))
			}
		}
		last := ""
		for range 2000 {
			x.w.stall(false)
			x.w.stall(true)
			synctest.Wait()
			for _, p := range x.w.take() {
				switch text := string(p.publish.Payload); text[0] {
				case 'g':
					gifts--
				case 'c':
					chats++
				default:
					last = text
				}
			}
		}
		if gifts != 0 || chats < seatLines || chats > seatLines+20 || last != "now 1999" {
			t.Errorf("%d gifts are missing, %d chats came, at last %q; want 0, %d or a few more, now 1999", gifts, chats, last,
				seatLines)
		}
		x.close()
	})
}

func TestWhoTakesNoGiftsIsDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, x := startHall(t, 1)
		for i := range seatSure + 64 { // the window
			h.say(line(fmt.Sprint("gift ", i), LineSure))
		}
		synctest.Wait()
		if x.w.isGone() {
			t.Error("disconnected, though there was room")
		}
		h.say(line("gift", LineSure))
		synctest.Wait()
		got := x.w.take()
		if last := got[len(got)-1]; last.kind != "disconnect" || last.reason != reasonQuotaExceeded {
			t.Errorf("got %+v, want a disconnect with %#x", last, reasonQuotaExceeded)
		}
		x.close()
	})
}

func TestWhoSubscribesAgainAfterHisSeatWasTakenIsShownWhatHasBeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, x := startHall(t, 0)
		again := Subscription{Filter: liveTopic, RetainHandling: 1}
		x.subscribe(2, again)
		wants(t, x, "suback 2 00")
		h.seated()[0].End()
		x.subscribe(3, again)
		wants(t, x, "suback 3 00")
		if want := []bool{true, true}; !slices.Equal(h.asked, want) {
			t.Errorf("asked for what has been: %v, want %v", h.asked, want)
		}
		x.close()
	})
}

// However many topics a session watches, and whatever is told there: it does not keep more than some of it.
func TestWhatWaitsInAllSeatsOfASessionHasABound(t *testing.T) {
	for name, class := range map[string]Class{"chat": LineChat, "state": LineState, "gifts": LineSure} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, _, x := startHall(t, 0, func(c *Config) { c.HighWater = 10 })
				for i := range 40 {
					x.subscribe(uint16(i+2), Subscription{Filter: fmt.Sprintf("im/c/l.%d/live", i)})
				}
				time.Sleep(100 * syncTime) // for the SUBACKs
				synctest.Wait()
				x.w.stall(true)
				text := strings.Repeat("x", 1<<19)
				for i := range 4 {
					h.say(line(fmt.Sprint(i, text), class))
				}
				x.link.mu.Lock()
				bytes, counted := 0, x.link.lineBytes
				for _, s := range x.link.seats {
					for _, q := range s.lines {
						for _, waits := range q.all() {
							bytes += waits.line.size()
						}
					}
				}
				x.link.mu.Unlock()
				if bytes > linkBytes || bytes != counted || class != LineSure && bytes < linkBytes/2 {
					t.Errorf("%d bytes wait, counted as %d; want at most %d", bytes, counted, linkBytes)
				}
				synctest.Wait()
				if gone := x.w.isGone(); gone != (class == LineSure) {
					t.Errorf("disconnected: %t", gone)
				}
				x.w.stall(false)
				synctest.Wait()
				if class != LineSure && x.link.lines+x.link.lineBytes != 0 {
					t.Errorf("%d lines, %d bytes wait when all was taken", x.link.lines, x.link.lineBytes)
				}
				x.close()
			})
		})
	}
}

func TestASeatThatIsTakenAwayGetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, r, x := startHall(t, 0, func(c *Config) { c.HighWater = 10 })
		x.w.stall(true)
		h.say(line("this is sent", LineChat), line("waits", LineChat), line("gift", LineSure))
		s := h.seated()[0]
		s.End()
		s.Offer(line("late", LineChat))
		x.w.stall(false)
		wants(t, x, "publish this is sent q0")
		x.close()

		x = open(t, r, persistent("phone", 5))
		time.Sleep(2 * syncTime)
		if !x.link.Present() || len(h.seated()) != 0 {
			t.Errorf("the subscription came back: %d seats", len(h.seated()))
		}
		x.subscribe(2, Subscription{Filter: liveTopic, RetainHandling: 2})
		wants(t, x, "suback 2 00")
		h.say(line("a", LineChat))
		wants(t, x, "publish a q0")
		x.close()
		x = open(t, r, persistent("phone", 5))
		h.say(line("b", LineChat))
		wants(t, x, "publish b q0")
		if want := []bool{true, false, true}; !slices.Equal(h.asked, want) {
			t.Errorf("asked for what has been: %v, want %v", h.asked, want)
		}
		x.close()
	})
}
