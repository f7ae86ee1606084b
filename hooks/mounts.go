package hooks

import (
	"context"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/bridges"
	"github.com/magpie-im/magpie/broker/sessions"
)

// Mounts are the topics of homes, for who speaks there in the name of the server: bridges.Mounts.
type Mounts struct{ registry *sessions.Registry }

// NewMounts makes them.
func NewMounts(registry *sessions.Registry) Mounts { return Mounts{registry} }

// Publish implements bridges.Mounts. What is no topic of the home's own, as those that begin with dev/ or $, nobody hears.
func (m Mounts) Publish(ctx context.Context, home string, p bridges.Message) (heard bool, err error) {
	if !validTopic(p.Topic) || !free(p.Topic) {
		return false, nil
	}
	published, err := m.registry.Publish(ctx, sessions.Posting{Message: &sessions.Message{
		Topic: homeMount(home) + p.Topic, Payload: p.Payload, QoS: 1, Retain: p.Retain, Expires: p.Expires,
		Time: time.Now().Truncate(time.Millisecond),
	}})
	if err != nil {
		return false, err
	}
	if published.Commit != nil {
		if err := published.Commit.Wait(ctx); err != nil {
			return false, err
		}
	}
	published.Deliver()
	return published.Matched, nil
}

// Leave implements bridges.Mounts.
func (m Mounts) Leave(ctx context.Context, did accounts.Name) error {
	return m.registry.Leave(ctx, did)
}

var _ bridges.Mounts = Mounts{}
