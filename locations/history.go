package locations

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/records"
)

// kindTrack are the records of where something was. The scope is the subject; the id the minute, when the chunk was
// written and by which run of the program, so that what comes late has a chunk of its own beside the first one.
const kindTrack = "loc.track"

// scopeOf is the scope of what is stored of a subject. A user's name and a thing's are never the same, and no name has a slash.
func scopeOf(s Subject) string { return s.String() }

const minute = int64(time.Minute / time.Millisecond)

// hexTime gives a time with as many digits as any, so that it sorts.
func hexTime(ms int64) string { return fmt.Sprintf("%012x", ms) }

// chunks makes records of points, which are in the order of their times, one for each minute, and gives the newest id. at is more
// than that of all before.
func (s *Service) chunks(subject Subject, points []Position, at int64) []records.Record {
	var all []records.Record
	for len(points) > 0 {
		begin := points[0].At - points[0].At%minute
		n, _ := slices.BinarySearchFunc(points, begin+minute, func(p Position, at int64) int { return cmp.Compare(p.At, at) })
		all = append(all, records.Record{
			Key: records.Key{Kind: kindTrack, Scope: scopeOf(subject), ID: hexTime(begin) + "." + hexTime(at) + "." + s.run},
			Rev: 1, Due: begin + minute + s.cfg.Keep.Milliseconds(), Body: newChunk(points[:n]),
		})
		points = points[n:]
	}
	return all
}

// minuteOf gives the minute of a chunk.
func minuteOf(id string) (int64, error) {
	if len(id) < 12 {
		return 0, errChunk
	}
	return strconv.ParseInt(id[:12], 16, 64)
}

// Track is where something was.
type Track struct {
	Points []Position // in the order of their times, no two of the same
	Next   int64      // the from with which it goes on; 0: that is all
}

// maxHistory is how many points History gives at most, and pageOfChunks how many chunks it reads at once.
const (
	maxHistory   = 10_000
	pageOfChunks = 100
)

// History gives where a subject was, from from on and before to (0: now), as somebody may know it: who the device belongs to,
// whom he shares the history with, since he has done so, and who sees the thing. limit is how many points at most, 1 to 10,000,
// but that those of a last minute are all there. ErrNone: he may not know it.
func (s *Service) History(
	ctx context.Context, viewer accounts.Name, subject Subject, from, to int64, limit int,
) (Track, error) {
	level, since, err := s.mayLookBack(ctx, viewer, subject)
	if err == nil && level == LevelNone {
		err = ErrNone
	}
	t := s.find(subject)
	if err == nil && t != nil {
		err = s.finish(ctx, t)
	}
	if err == nil && subject.IsThing() {
		var seen Seen
		if seen, _, err = s.sight.Sees(ctx, viewer, subject.Who); err == nil && (t == nil || t.isPast(seen.Epoch)) {
			return Track{}, nil // what may be stored is not of his time
		}
	}
	var out Track
	if err == nil {
		now := s.now()
		if to == 0 {
			to = now.Add(maxAhead).UnixMilli()
		}
		unit := minute
		if level == LevelCity { // or it would be told when, by what is between two times
			unit = cityTime
			from -= from % unit
			to = min(to, now.Add(2*maxAhead).UnixMilli()) // there is nothing later
			to += (unit - to%unit) % unit
		}
		from = max(from, since, now.Add(-s.cfg.Keep).UnixMilli())
		out, err = s.history(ctx, subject, from, to, min(max(limit, 1), maxHistory), unit)
	}
	if err != nil {
		return Track{}, fmt.Errorf("history of %s: %w", subject, err)
	}
	if level == LevelCity {
		for i := range out.Points {
			out.Points[i] = out.Points[i].roughly()
		}
		out.Points = slices.CompactFunc(out.Points, func(a, b Position) bool { return a.Lat == b.Lat && a.Lon == b.Lon })
	}
	return out, nil
}

// mayLookBack says how exactly somebody may know where a subject was, and since when.
func (s *Service) mayLookBack(ctx context.Context, viewer accounts.Name, subject Subject) (Level, int64, error) {
	level, err := s.Level(ctx, viewer, subject)
	if err != nil || level == LevelNone || subject.IsThing() || viewer == subject.Who {
		return level, 0, err
	}
	share, _ := s.given(subject.Who, viewer)
	if !share.History || !share.holds(s.now().UnixMilli()) {
		return LevelNone, 0, nil
	}
	return share.Level, share.Since, nil // a pass is for now, and for no history
}

// history reads where a subject was. Points of one unit, which is minutes, are not parted.
func (s *Service) history(ctx context.Context, subject Subject, from, to int64, limit int, unit int64) (out Track, err error) {
	open, stored := s.openOf(subject), true
	after := hexTime(from - from%minute)
	for stored && out.Next == 0 {
		page, err := s.store.Records(ctx, kindTrack, scopeOf(subject), after, pageOfChunks)
		if err != nil {
			return Track{}, err
		}
		stored = len(page) == pageOfChunks
		for _, r := range page {
			after = r.ID
			begin, err := minuteOf(r.ID)
			if err != nil {
				return Track{}, fmt.Errorf("chunk %.80q: %w", r.ID, err)
			}
			full := len(out.Points) >= limit && begin >= nextUnit(out.Points[len(out.Points)-1].At, unit)
			if begin >= to || full {
				if stored = false; full && begin < to {
					out.Next = begin - begin%unit
				}
				break
			}
			points, err := parseChunk(r.Body)
			if err != nil {
				return Track{}, fmt.Errorf("chunk %.80q: %w", r.ID, err)
			}
			out.Points = append(out.Points, points...)
		}
	}
	end := to
	if out.Next > 0 {
		end = min(end, out.Next)
	}
	out.Points = append(out.Points, open...)
	out.Points = slices.DeleteFunc(out.Points, func(p Position) bool { return p.At < from || p.At >= end })
	slices.SortStableFunc(out.Points, byTime)
	out.Points = slices.CompactFunc(out.Points, func(a, b Position) bool { return a.At == b.At })
	out.cut(limit, unit)
	return out, nil
}

// nextUnit gives when the unit after that of a time begins.
func nextUnit(at, unit int64) int64 { return at + unit - at%unit }

// cut leaves a limit of points, and those of the unit of the last of them.
func (t *Track) cut(limit int, unit int64) {
	if len(t.Points) <= limit {
		return
	}
	end := nextUnit(t.Points[limit-1].At, unit)
	n, _ := slices.BinarySearchFunc(t.Points, end, func(p Position, at int64) int { return cmp.Compare(p.At, at) })
	if n < len(t.Points) {
		t.Points, t.Next = t.Points[:n], end
	}
}

// openOf gives what is in memory of where a subject was.
func (s *Service) openOf(subject Subject) []Position {
	t := s.find(subject)
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Concat(t.taken, t.open)
}
