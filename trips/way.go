package trips

import (
	"context"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/locations"
)

// measure finds out which way was driven: that of the driver's device with the most to say, and if there is none, of the rider's.
// Those who are contacts no more see nothing of each other, and not here either.
func (s *Service) measure(ctx context.Context, t *Trip) error {
	if contacts, err := s.people.Close(ctx, t.Rider, t.Driver); err != nil || !contacts {
		return err
	}
	for _, who := range []accounts.Name{t.Driver, t.Rider} {
		var way []locations.Position
		for _, subject := range s.places.Visible(who) {
			if subject.Who != who {
				continue
			}
			points, err := s.way(ctx, subject, t.Begun, t.Over+1)
			if err != nil {
				return err
			}
			if len(points) > len(way) {
				way = points
			}
		}
		if len(way) > 1 {
			t.Metres, t.Waypoint = length(way), thin(way)
			return nil
		}
	}
	return nil
}

// maxWay is how many points of a way are looked at: in the longest trip two in a second.
const maxWay = 86_400

// way gives where a device was from a time on, before another.
func (s *Service) way(ctx context.Context, subject locations.Subject, from, to int64) ([]locations.Position, error) {
	var all []locations.Position
	for {
		track, err := s.places.History(ctx, subject.Who, subject, from, to, 10_000)
		if err != nil {
			return nil, err
		}
		all = append(all, track.Points...)
		if from = track.Next; from == 0 || len(all) >= maxWay {
			return all, nil
		}
	}
}

// length is how long a way is, in metres. What is nearer than it is exact is no way.
func length(way []locations.Position) (metres float64) {
	last := way[0]
	for _, p := range way[1:] {
		if d := locations.Distance(last, p); d > max(10, min(p.Acc, 100)) {
			metres, last = metres+d, p
		}
	}
	return metres
}

// thin leaves so many points of a way as a summary has, the first and the last among them.
func thin(way []locations.Position) []Place {
	n := min(len(way), maxWaypoint)
	out := make([]Place, n)
	for i := range out {
		p := way[i*(len(way)-1)/(n-1)]
		out[i] = Place{Lat: p.Lat, Lon: p.Lon}
	}
	return out
}
