package locations_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/magpie-im/magpie/locations"
)

func (h *town) card(s locations.Subject, card string) error {
	return h.SetCard(h.t.Context(), s, []byte(card))
}

func TestACardIsThereAfterARestart(t *testing.T) {
	h := newTown(t)
	h.share("alice", "bob", locations.LevelExact, 0)
	watch := locations.Subject{Who: "alice", Label: "watch"}
	for _, s := range []locations.Subject{phone, watch} {
		if err := h.card(s, `{"name":"Alice"}`); err != nil {
			t.Fatal(err)
		}
	}
	h.goes(0, 7) // the phone has been somewhere, the watch has not
	h.restart()
	if all := h.Visible("bob"); !slices.Equal(all, []locations.Subject{phone, watch}) {
		t.Errorf("bob may know of %v", all)
	}
	for _, s := range h.Visible("bob") {
		if card, err := h.Card(t.Context(), s); err != nil || string(card) != `{"name":"Alice"}` {
			t.Errorf("card of %s: %s, %v", s, card, err)
		}
	}
	if _, err := h.Last(t.Context(), "bob", watch); !errors.Is(err, locations.ErrNone) {
		t.Errorf("where the watch is: %v", err)
	}
	if p, err := h.Last(t.Context(), "bob", phone); err != nil || p.Lat < 52.5 {
		t.Errorf("where the phone is: %+v, %v", p, err)
	}
	for i := range 15 { // they are counted: there are two
		err := h.card(locations.Subject{Who: "alice", Label: fmt.Sprint("x", i)}, `{}`)
		if (i == 14) != errors.Is(err, locations.ErrTooMany) {
			t.Errorf("card %d: %v", i, err)
		}
	}
	for i := range 14 {
		if err := h.card(locations.Subject{Who: "alice", Label: fmt.Sprint("x", i)}, ``); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []locations.Subject{phone, watch} {
		if err := h.card(s, ``); err != nil {
			t.Fatal(err)
		}
	}
	if all := h.Visible("bob"); !slices.Equal(all, []locations.Subject{phone}) {
		t.Errorf("after the cards were taken away bob may know of %v", all)
	}
	h.restart()
	if all := h.Visible("bob"); !slices.Equal(all, []locations.Subject{phone}) || len(h.stored("loc.card")) > 0 {
		t.Errorf("and after a restart of %v", all)
	}
	if err := h.card(locations.Subject{Who: "alice", Label: "never"}, ``); err != nil || len(h.Visible("alice")) != 1 {
		t.Errorf("a card that was none is taken away: %v, %v", err, h.Visible("alice"))
	}
}
