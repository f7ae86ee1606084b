package locations

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/golang/geo/s2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/records"
)

// maxAhead is how far ahead of now a time may be: beyond it, it is now.
const maxAhead = 5 * time.Minute

// tooFast is a speed, in metres per second, at which a position is believed, and crosses no fence.
const tooFast = 90

// maxPoints is how many points may be reported at once, maxOpen how many of one subject are in memory until they are written, and
// maxWaiting how many may be there while they are written.
const (
	maxPoints  = 1000
	maxOpen    = 1200
	maxWaiting = 4 * maxOpen
)

// Service knows where everything is. Make one with [New], Load it, and keep [Service.Run] running. Safe for concurrent use.
type Service struct {
	cfg    Config
	store  records.Store
	people People
	sight  Sight
	router Router
	awake  func(ctx context.Context, who accounts.Name) (bool, error) // see SetAwake
	now    func() time.Time
	log    *slog.Logger
	counts counts
	run    string // tells this run of the program from others

	sharing sharing
	fences  fences
	watches watches
	paces   paces
	tours   tours
	turns   turns
	things  grid

	mu     sync.RWMutex // guards what follows; taken after no other
	tracks map[Subject]*track
	labels map[accounts.Name][]string // of users, in order

	crossed   [crossers]*crossings
	listeners []func(c Crossing, to []accounts.Name)
	full      chan struct{} // something has as much in memory as it should
}

// track is what is known of a subject.
type track struct {
	subject Subject

	mu     sync.Mutex // guards what follows; held while others are shown it, so that they are in order
	known  bool       // there is a last position
	last   Position
	cell   s2.CellID // of which those were told who may know it roughly
	dirty  bool      // last is not stored
	open   []Position
	taken  []Position // what is being written of it
	gone   bool       // it was forgotten
	left   bool       // something is stored of what was forgotten
	epoch  uint64     // of a thing, when it was where this says; 0: it is not known
	opened time.Time  // when the first of open came
	sealed int64      // the id of the newest chunk
	inside []stay
	heard  map[accounts.Name]heard // of those who have a pace
	// watches are those in which it is near.
	watches []*watch
}

// New makes it out of its parts. cfg has been validated.
func New(
	cfg Config, store records.Store, people People, sight Sight, now func() time.Time, log *slog.Logger,
) *Service {
	s := &Service{
		cfg: cfg, store: store, people: people, sight: sight, router: nowhere{}, now: now, log: log, counts: newCounts(),
		awake:  always,
		tracks: map[Subject]*track{}, labels: map[accounts.Name][]string{},
		run: rand.Text()[:6], full: make(chan struct{}, 1),
	}
	for i := range s.crossed {
		s.crossed[i] = newCrossings()
	}
	s.sharing.init()
	s.fences.init()
	s.things.init()
	s.paces.init()
	s.tours.init()
	s.turns.init()
	return s
}

// SetRouter says who brings what is to be told. It is called once, before anything else is.
func (s *Service) SetRouter(r Router) { s.router = r }

// OnCross has f called after each crossing of a fence, with those who may know of it, in the order of those of one subject, and
// concurrently for others. It is called before Run; f may wait for a while, during which others wait for it.
func (s *Service) OnCross(f func(c Crossing, to []accounts.Name)) {
	s.listeners = append(s.listeners, f)
}

// Reported is what became of what was reported.
type Reported struct {
	Points int // that were taken
	Late   int // of these: that were not newer than what was known, and are history only
	Old    int // that were not taken: they are older than history is kept
	Moved  int // whose time was still to come: they are of now
	Odd    int // that are too far away to have got there; they cross no fence
}

// Report says where a subject was. All of it is taken, or nothing; it is not on the disk when Report returns. ErrMalformed,
// ErrTooMany.
func (s *Service) Report(ctx context.Context, subject Subject, points ...Position) (Reported, error) {
	r, err := s.report(ctx, subject, points)
	if err != nil {
		s.counts.refused.Inc()
		return Reported{}, fmt.Errorf("positions of %s: %w", subject, err)
	}
	s.counts.count(r)
	return r, nil
}

func (s *Service) report(ctx context.Context, subject Subject, points []Position) (r Reported, err error) {
	if len(points) > maxPoints {
		return r, fmt.Errorf("%d points: %w", len(points), ErrTooMany)
	}
	now := s.now()
	points = slices.Clone(points)
	for i := range points {
		if err := points[i].check(); err != nil {
			return r, err
		}
		switch at := points[i].At; {
		case at == 0:
			points[i].At = now.UnixMilli()
		case at > now.Add(maxAhead).UnixMilli():
			points[i].At = now.UnixMilli()
			r.Moved++
		}
	}
	old := now.Add(-s.cfg.Keep).UnixMilli()
	taken := slices.DeleteFunc(points, func(p Position) bool { return p.At < old })
	r.Old = len(points) - len(taken)
	if r.Points = len(taken); r.Points == 0 {
		return r, nil
	}
	slices.SortStableFunc(taken, byTime)
	for {
		t, err := s.track(subject)
		if err != nil {
			return r, err
		}
		if err := s.finish(ctx, t); err != nil {
			return r, err
		}
		a, err := s.audience(ctx, subject)
		if err != nil {
			return r, err
		}
		if t.isPast(a.epoch) {
			if err := s.Forget(ctx, subject); err != nil {
				return r, err
			}
			continue
		}
		if done, err := s.apply(t, a, taken, now, &r); done || err != nil {
			return r, err
		}
	}
}

// track gives what is known of a subject, which is made if there is room.
func (s *Service) track(subject Subject) (*track, error) {
	if t := s.find(subject); t != nil {
		return t, nil
	}
	if !subject.IsThing() {
		if err := CheckLabel(subject.Label); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tracks[subject]; t != nil {
		return t, nil
	}
	labels := s.labels[subject.Who]
	if len(s.tracks) >= s.cfg.Subjects || !subject.IsThing() && len(labels) >= s.cfg.Labels {
		return nil, ErrTooMany
	}
	return s.addLocked(subject), nil
}

func (s *Service) addLocked(subject Subject) *track {
	t := &track{subject: subject}
	s.tracks[subject] = t
	if !subject.IsThing() {
		labels := s.labels[subject.Who]
		i, _ := slices.BinarySearch(labels, subject.Label)
		s.labels[subject.Who] = slices.Insert(slices.Clone(labels), i, subject.Label) // who has read it goes on with what it was
	}
	return t
}

// find gives what is known of a subject; nil: nothing.
func (s *Service) find(subject Subject) *track {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.tracks[subject]
}

// devicesOf gives what there is of a user's devices.
func (s *Service) devicesOf(who accounts.Name) []*track {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]*track, 0, len(s.labels[who]))
	for _, label := range s.labels[who] {
		all = append(all, s.tracks[Subject{who, label}])
	}
	return all
}

// apply takes points, which are in the order of their times, and tells the audience. It says whether it did: not, if others may
// know of it by now. ErrTooMany: more come than can be written.
func (s *Service) apply(t *track, a audience, points []Position, now time.Time, r *Reported) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone || !s.stillFor(a, t.subject, now) {
		return false, nil
	}
	switch n := len(t.open) + len(points); {
	case n > maxWaiting:
		return false, fmt.Errorf("%d wait to be written: %w", len(t.open), ErrTooMany)
	case n > maxOpen:
		select {
		case s.full <- struct{}{}:
		default:
		}
	}
	if t.epoch == 0 {
		t.epoch = a.epoch
	}
	news := false
	for _, p := range points {
		if t.known && p.At <= t.last.At {
			r.Late++
		} else {
			odd := t.known && isOdd(t.last, p)
			if odd {
				r.Odd++
			}
			t.last, t.known, news = p, true, true
			if !odd && p.Acc <= s.cfg.FenceAcc {
				s.cross(t, a)
			}
		}
		p.Note = nil
		t.open = append(t.open, p)
	}
	if t.opened.IsZero() {
		t.opened = now
	}
	if news {
		t.dirty = true
		s.moved(t)
		s.show(t, a)
		s.tellWatches(t, a)
	}
	return true, nil
}

// isOdd says whether something was hardly at a and then at b.
func isOdd(a, b Position) bool {
	far := Distance(a, b) - a.Acc - b.Acc
	return far > 1000 && far > tooFast*float64(b.At-a.At)/1000
}

// moved keeps where things are up to date for who looks for those that are near.
func (s *Service) moved(t *track) {
	if t.subject.IsThing() {
		s.things.put(t.subject.Who, t.last)
	}
}

// show tells those who may know where a subject is, whose track is locked, each at his pace. Those who may know it roughly are
// told when that changes.
func (s *Service) show(t *track, a audience) {
	for who := range t.heard {
		if a.level(who) == LevelNone {
			s.unheard(t, who)
		}
	}
	if to := s.inTime(t, a.exact, t.last); len(to) > 0 {
		s.router.Show(to, t.subject, t.last)
	}
	cell := t.last.cell()
	if len(a.rough) > 0 && cell != t.cell {
		p := t.last.roughly()
		if to := s.inTime(t, a.rough, p); len(to) > 0 {
			s.router.Show(to, t.subject, p)
		}
	}
	t.cell = cell
}

// Last gives where a subject was last as somebody may know it. ErrNone also if he may not.
func (s *Service) Last(ctx context.Context, viewer accounts.Name, subject Subject) (Position, error) {
	var last Position
	given := false
	_, err := s.Now(ctx, viewer, subject, func(p Position) bool {
		last, given = p, true
		return true
	})
	if err == nil && !given {
		err = ErrNone
	}
	if err != nil {
		return Position{}, fmt.Errorf("position of %s: %w", subject, err)
	}
	return last, nil
}

// Now calls give with where a subject is, if somebody may know it and it is known. give must not wait: nothing is shown of the
// subject between the question where it is and give. It says what give has said; true if it was not called.
func (s *Service) Now(
	ctx context.Context, viewer accounts.Name, subject Subject, give func(Position) (more bool),
) (more bool, err error) {
	t := s.find(subject)
	if t == nil {
		return true, nil
	}
	for {
		a, err := s.audience(ctx, subject)
		if err != nil {
			return true, err
		}
		if more, done := s.give(t, a, viewer, give); done {
			return more, nil
		}
	}
}

func (s *Service) give(t *track, a audience, viewer accounts.Name, give func(Position) bool) (more, done bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !s.stillFor(a, t.subject, s.now()) {
		return true, false
	}
	level := a.level(viewer)
	if level == LevelNone || !t.known || t.isPastLocked(a.epoch) {
		return true, true
	}
	return give(t.last.at(level)), true
}

// ShowAgain tells all who may know where a subject is, because others may know it than before.
func (s *Service) ShowAgain(ctx context.Context, subject Subject) error {
	t := s.find(subject)
	if t == nil {
		return nil
	}
	a, err := s.audience(ctx, subject)
	if err != nil {
		return fmt.Errorf("show %s again: %w", subject, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known && s.stillFor(a, subject, s.now()) && !t.isPastLocked(a.epoch) {
		t.cell = 0
		s.show(t, a)
		s.tellWatches(t, a)
	}
	return nil
}

// counts are the metrics of positions.
type counts struct {
	points, late, old, moved, odd, refused, crossed, uncrossed prometheus.Counter
	bytes                                                      prometheus.Counter
}

func newCounts() counts {
	one := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "magpie_positions_" + name + "_total", Help: help})
	}
	return counts{
		points:    one("taken", "Positions that were taken."),
		late:      one("late", "Positions that were not newer than what was known, and are history only."),
		old:       one("old", "Positions that were left out: they are older than history is kept."),
		moved:     one("moved", "Positions whose time was still to come."),
		odd:       one("odd", "Positions that are too far away to have got there."),
		refused:   one("refused", "Reports of positions that were refused."),
		crossed:   one("crossed", "Fences that were entered or left, or stayed in."),
		uncrossed: one("crossings_lost", "Crossings of fences of which nobody was told, because too many newer ones came."),
		bytes:     one("written_bytes", "Bytes of the records of positions."),
	}
}

func (c counts) count(r Reported) {
	c.points.Add(float64(r.Points))
	c.late.Add(float64(r.Late))
	c.old.Add(float64(r.Old))
	c.moved.Add(float64(r.Moved))
	c.odd.Add(float64(r.Odd))
}

// Collectors are the metrics of positions.
func (s *Service) Collectors() []prometheus.Collector {
	c := s.counts
	return []prometheus.Collector{
		c.points, c.late, c.old, c.moved, c.odd, c.refused, c.crossed, c.uncrossed, c.bytes,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "magpie_positions_subjects", Help: "Phones and things whose position is known.",
		}, func() float64 {
			s.mu.RLock()
			defer s.mu.RUnlock()
			return float64(len(s.tracks))
		}),
	}
}
