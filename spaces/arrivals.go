package spaces

import (
	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/automations"
	"github.com/magpie-im/magpie/locations"
)

// Arrivals has homes do something when somebody comes to a place, stays there, or leaves it. It is called once, before
// either runs.
func Arrivals(places *locations.Service, homes *automations.Service) {
	places.OnCross(func(c locations.Crossing, to []accounts.Name) {
		homes.Crossed(automations.Crossing{
			Who: c.Who, Home: c.Fence.Home, Fence: c.Fence.ID, To: to, Does: string(c.What), At: c.At,
		})
	})
}
