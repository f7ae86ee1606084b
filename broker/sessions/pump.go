package sessions

import (
	"context"
	"time"
)

// chunk is how many deliveries are read from the source at once.
const chunk = 64

// aheadBytes is how much of what was read and does not fit the window is kept.
const aheadBytes = 64 << 10

// maxUntold is how many positions of its stream a client may have acknowledged without the source being told: it keeps
// something of each until then.
const maxUntold = 2048

// advanceEvery is the least time between two writes of the cursor, as long as there are few flights to be forgotten.
const advanceEvery = time.Second

// step is one piece of work of the pump, done without the lock. An error means that the store does not serve.
type step func(context.Context) error

// moveLocked sends what can be sent at once, and starts the pump if there is something for it to do.
func (l *Link) moveLocked() {
	l.flushLocked(!l.pumping)
	l.pumpLocked()
}

// pumpLocked starts the pump if there is something for it to do.
func (l *Link) pumpLocked() {
	if l.pumping || l.nextLocked() == nil {
		return
	}
	l.pumping = true
	l.running.Add(1)
	ctx, cancel := context.WithCancel(context.Background())
	l.stop = cancel
	go l.pump(ctx)
}

// pump reads from the source and writes to the store for the session until there is nothing to do. While it runs, it alone
// sends from the stream.
func (l *Link) pump(ctx context.Context) {
	defer l.running.Done()
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		l.flushLocked(true)
		next := l.nextLocked()
		if next == nil {
			break
		}
		l.mu.Unlock()
		err := next(ctx)
		if err != nil && ctx.Err() == nil {
			_ = l.cannotStore(ctx, "serve stream", err)
		}
		l.mu.Lock()
	}
	l.pumping = false
	l.stop()
	l.stop = nil
}

// nextLocked gives the pump its next step; nil: there is none.
func (l *Link) nextLocked() step {
	if !l.started || l.closed {
		return nil
	}
	feeds := l.feeds()
	for i := range feeds {
		s := feeds[(i+l.turn)%len(feeds)] // in turn, as they are sent from
		if next := l.nextOfLocked(s); next != nil {
			return func(ctx context.Context) error { return next(ctx, s) }
		}
	}
	l.restoreLocked()
	switch {
	case len(l.moves) > 0:
		return l.storeMoves
	case l.mustReplayLocked():
		return l.replay
	}
	return nil
}

// nextOfLocked gives the next step for a feed.
func (l *Link) nextOfLocked(s *feed) func(context.Context, *feed) error {
	switch {
	case l.advanceDueLocked(s):
		return l.advance
	case len(s.records) > 0 || l.mustStoreLocked(s) && !l.fullLocked():
		return l.storeFlights
	case s.on && s.live() && (s.behind || len(s.ahead) > 0) && l.fullLocked():
		return l.skipToHead
	case l.mustReadLocked(s) && !l.fullLocked():
		return l.readSource
	}
	return nil
}

// mustReadLocked says whether something of the feed may be sent, and the pump has to look what.
func (l *Link) mustReadLocked(s *feed) bool {
	if !s.on || !s.behind || len(s.ahead) > 0 && !s.torn() || !s.live() && !l.roomLocked(s) {
		return false
	}
	return !s.queued || !l.tail.covers(s.read)
}

// mustStoreLocked says whether the next delivery is a new one of QoS 2, which the pump has to store before it is sent, and
// may be sent now.
func (l *Link) mustStoreLocked(s *feed) bool {
	if !l.persistent || len(s.ahead) == 0 || !l.roomLocked(s) || l.waitsLocked(s) {
		return false
	}
	again, d := s.front()
	return again == nil && d != nil && s.qos(d) == 2 && !d.unwanted()
}

// readSource reads the next deliveries.
func (l *Link) readSource(ctx context.Context, s *feed) error {
	l.mu.Lock()
	epoch, read := s.epoch, s.read
	s.behind = false
	source := s.source
	if s.live() { // what a source remembers for Acked would never be taken out
		source = l.registry.sources.Open(l.key, l.options)
	}
	l.mu.Unlock()
	durable := l.registry.durable.Load()
	ds, err := source.Next(ctx, read, chunk)
	if err != nil {
		return err
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	if s.epoch != epoch {
		return nil
	}
	s.ended = len(ds) == 0
	if s.ended {
		if s.queued {
			s.behind = l.tail.skip(&s.read, durable) || s.behind
		}
		return nil
	}
	if len(s.ahead) > 0 { // torn
		ds = append(s.ahead, ds...)
	}
	s.ahead, s.behind = ds, true
	s.read = ds[len(ds)-1].Pos
	l.flushLocked(true)
	s.trim()
	return nil
}

// trim forgets what is too much to be kept until the window has room for it. It is read again.
func (s *feed) trim() {
	bytes, keep := 0, uint64(0)
	if f := s.unsent(); f != nil && len(s.ahead) > 0 && f.first() <= s.ahead[0].Pos { // is sent as a whole
		keep = f.Pos
	}
	for i := range s.ahead {
		if bytes += s.ahead[i].size(); i > 0 && bytes > aheadBytes && s.ahead[i].Pos > keep {
			clear(s.ahead[i:])
			s.ahead = s.ahead[:i]
			s.read, s.behind = s.ahead[i-1].Pos, true
			return
		}
	}
}

// storeFlights makes durable what the client has received, and what it is sent next with QoS 2, and sends it then.
func (l *Link) storeFlights(ctx context.Context, s *feed) error {
	l.writing.Lock()
	l.mu.Lock()
	epoch, records := s.epoch, s.records
	s.records = nil
	plan := l.planLocked(s)
	l.mu.Unlock()
	rows := records
	for _, p := range plan {
		rows = append(rows, p.flight)
	}
	fly := l.registry.store.Fly
	if s.queued {
		fly = l.registry.store.FlyQueue
	}
	commit, err := fly(ctx, l.key, rows)
	l.writing.Unlock()
	if err == nil {
		err = wait(ctx, commit)
	}
	if err != nil {
		return err
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	if s.epoch != epoch {
		return nil
	}
	for _, r := range records {
		if f := s.byID(r.ID); f != nil && f.Pos == r.Pos && f.Stage == StageReleased {
			l.releaseLocked(f)
		}
	}
	for i := range plan {
		if l.closed {
			return nil
		}
		l.sendLocked(s, plan[i].flight.Pos, &plan[i].delivery, false)
	}
	return nil
}

// planned is a delivery of QoS 2 that is being stored.
type planned struct {
	flight   Flight
	delivery Delivery
}

// planLocked takes out of ahead what may be sent with QoS 2 now, and gives it its ids.
func (l *Link) planLocked(s *feed) []planned {
	var plan []planned
	for bytes := 0; bytes < l.registry.cfg.HighWater && !l.closed && !l.fullLocked() && l.mustStoreLocked(s); {
		f, d, n := l.nextFlightLocked(s, 2)
		bytes += d.size()
		s.insert(flight{Flight: f, counted: true, fresh: true})
		l.countLocked(1)
		plan = append(plan, planned{f, d})
		s.popAll(n)
		l.pullLocked(s)
	}
	if plan != nil {
		l.turn = turnShared
		if s == &l.stream {
			l.turn = turnQueue
		}
	}
	return plan
}

// skipToHead leaves out what cannot be sent with QoS 0 because the wire is full.
func (l *Link) skipToHead(ctx context.Context, s *feed) error {
	l.mu.Lock()
	if len(s.ahead) > 0 {
		s.read = s.ahead[0].Pos - 1
	}
	s.ahead, s.behind = nil, false
	epoch := s.epoch
	l.mu.Unlock()
	head, err := s.source.Head(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.epoch == epoch && s.live() && head > s.read {
		l.registry.metrics.dropped(dropShed, int(head-s.read))
		s.read = head
		s.pass(head, head)
	}
	return nil
}

// advanceDueLocked says whether the cursor is to be written now. If it is to be written later, a timer will ask again.
func (l *Link) advanceDueLocked(s *feed) bool {
	if s.acked <= s.advanced {
		return false
	}
	wait := advanceEvery - time.Since(s.lastAdvance)
	if wait <= 0 || s.rows >= maxRows || !s.queued && s.acked-s.advanced >= maxUntold {
		return true
	}
	if s.timer == nil {
		s.timer = time.AfterFunc(wait, func() { l.advanceLater(s) })
	}
	return false
}

func (l *Link) advanceLater(s *feed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.timer = nil
	l.moveLocked()
}

// advance tells the source and the store how far the client has come. That it fails is no reason to disconnect: it is
// tried again, and nobody waits for it.
func (l *Link) advance(ctx context.Context, s *feed) error {
	l.mu.Lock()
	epoch, acked := s.epoch, s.acked
	s.lastAdvance, s.rows = time.Now(), 0
	l.mu.Unlock()
	if s.source.Acked(ctx, acked) != nil {
		return nil
	}

	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	same, behind := s.epoch == epoch, acked <= s.saved
	l.mu.Unlock()
	if !same {
		return nil
	}
	if l.persistent && !behind && l.storeAdvance(ctx, s, acked) != nil {
		return nil
	}
	l.mu.Lock()
	s.advanced = acked
	l.mu.Unlock()
	return nil
}

func (l *Link) storeAdvance(ctx context.Context, s *feed, acked uint64) error {
	if s.queued {
		return l.registry.store.AdvanceQueue(ctx, l.key, l.number, acked)
	}
	return l.registry.store.Advance(ctx, l.key, acked)
}
