package hooks

import (
	"context"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
)

// patient are bridges that wait until there is room.
type patient struct {
	Bridges
	heard chan string
}

func (p patient) Hear(ctx context.Context, _ accounts.Name, _, topic string, _ []byte) {
	select {
	case p.heard <- topic:
	default:
		<-ctx.Done()
	}
}

// Wills are published one after the other.
func TestTheWillOfABridgeThatSaysMuchHoldsUpNoOther(t *testing.T) {
	room := patient{heard: make(chan string, 1)}
	g := &Gateway{rooms: Rooms{Bridges: room}}
	c := &connection{account: "hub", home: "h.1", will: &sessions.Will{}}
	for range 2 {
		g.hear(context.Background(), c, "gone", nil)
	}
	if got := <-room.heard; got != "gone" {
		t.Errorf("heard %q", got)
	}
}
