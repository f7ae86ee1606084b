package chat

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// runStages serves stages until ctx ends.
func (s *Service) runStages(ctx context.Context) { s.stages.waiting.run(ctx, s.serve) }

// serve gives a stage its turn.
func (s *Service) serve(ctx context.Context, st *stage) {
	st.mu.Lock()
	st.waiting, st.working = false, true
	st.mu.Unlock()
	more, err := s.step(ctx, st)
	if err != nil && ctx.Err() == nil {
		s.log.Warn("conversation not shown to those who watch it", "conversation", st.c, "err", err)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.working = false
	switch {
	case err != nil:
		st.waiting = false
		st.remindLocked(time.Now().Add(time.Second))
	case more || st.waiting:
		st.waiting = true
		s.stages.waiting.add(st)
	default:
		s.restLocked(st)
	}
}

// restLocked has the stage called again when something is due, or forgets it if nobody wants anything of it.
func (s *Service) restLocked(st *stage) {
	next := st.pulse.due
	if at := st.places.due(); !at.IsZero() && (next.IsZero() || at.Before(next)) {
		next = at
	}
	idle := len(st.seats) == 0 && len(st.places.by) == 0
	if idle && st.c.isLive() && time.Since(st.used) < stageIdle {
		next, idle = st.used.Add(stageIdle), false
	}
	if idle {
		st.dropLocked()
		return
	}
	if !next.IsZero() {
		st.remindLocked(next)
	}
}

// dropLocked forgets a stage.
func (st *stage) dropLocked() {
	st.ended = true
	if st.alarm != nil {
		st.alarm.Stop()
	}
	st.all.mu.Lock()
	defer st.all.mu.Unlock()
	delete(st.all.by, st.c)
	st.all.count.Add(-1)
}

// step does some of what there is to do, and says whether there is more. After an error it is done again.
func (s *Service) step(ctx context.Context, st *stage) (more bool, err error) {
	if !st.loaded {
		if more, err := s.loadStage(ctx, st); more || err != nil {
			return true, err
		}
	}
	// Whoever may not see the last of these messages and changes any more is found out after they were read.
	page, changes, more, err := s.readStage(ctx, st)
	if err != nil {
		return false, err
	}
	defer func() {
		if err != nil {
			st.putBack(changes)
		}
	}()
	st.used = time.Now()
	version, err := s.partings(ctx, st.c)
	if err == nil && version != st.checked {
		err = s.recheck(ctx, st)
	}
	if err != nil {
		return false, err
	}
	came, late, err := s.admit(ctx, st)
	if err != nil {
		return false, err
	}
	hide := make([][]Viewer, len(changes.lines)) // from whom what a message says now is hidden
	for i, line := range changes.lines {
		if hide[i], err = s.hiders(ctx, st.list, line); err != nil {
			return false, err
		}
	}
	st.checked = version
	lines := st.show(page)
	if st.far {
		lines = slices.DeleteFunc(lines, func(l *Line) bool { return l.Class != LineGift })
	}
	s.play(ctx, st, st.list, lines)
	for i, line := range changes.lines { // behind the messages that they are about
		s.playChange(ctx, st, line, hide[i])
	}
	changes = stageChanges{}
	s.showPlaces(ctx, st)
	s.welcome(ctx, st, came, lines)
	st.list = append(st.list, came...)
	if err := s.beat(ctx, st, came); err != nil {
		return false, err
	}
	return more || late, s.trim(ctx, st)
}

// loadStage finds out where to begin. more: there is more to be read for that.
func (s *Service) loadStage(ctx context.Context, st *stage) (more bool, err error) {
	if st.c.isLive() {
		if st.ring == nil {
			st.ring = &ring{most: s.cfg.LiveRing}
		}
		page, err := s.store.Messages(ctx, st.c, st.cursor, 0, stagePage)
		if err != nil {
			return false, fmt.Errorf("messages of %s: %w", st.c, err)
		}
		st.show(page.Messages)
		st.loaded = len(page.Messages) == 0 || st.cursor == page.Head
		return !st.loaded, nil
	}
	page, err := s.store.Messages(ctx, st.c, 0, newest, 1)
	if err != nil {
		return false, fmt.Errorf("head of %s: %w", st.c, err)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.cursor, st.base = page.Head, page.Head
	st.rewindLocked()
	st.loaded = true
	return false, nil
}

// rewindLocked has the stage begin with the first message that was posted since it is there: whoever came before that was written
// is to see it, and it may have been found before it was known of.
func (st *stage) rewindLocked() {
	if st.first != 0 && st.base != 0 && st.cursor == st.base {
		st.cursor, st.base = min(st.cursor, st.first-1), 0
	}
}

// readStage gives the next messages, if there are any, and, unless there are more, the changes that come behind them.
func (s *Service) readStage(ctx context.Context, st *stage) (page []Message, changes stageChanges, more bool, err error) {
	st.mu.Lock()
	changes = stageChanges{made: st.changes, stale: st.stale}
	st.changes, st.stale = nil, false
	posted := st.posted
	st.rewindLocked()
	st.mu.Unlock()
	for _, x := range changes.made {
		posted = max(posted, x.Seq)
	}
	if page, more, err = s.readMessages(ctx, st, posted); err == nil && !more {
		err = s.readChanges(ctx, st, &changes)
	}
	if err != nil || more {
		st.putBack(changes)
		changes = stageChanges{}
	}
	return page, changes, more, err
}

// readMessages gives the next messages up to one that is known of, or more.
func (s *Service) readMessages(ctx context.Context, st *stage, posted uint64) (page []Message, more bool, err error) {
	if posted <= st.cursor {
		return nil, false, nil
	}
	read, err := s.store.Messages(ctx, st.c, st.cursor, 0, stagePage)
	if err != nil {
		return nil, false, fmt.Errorf("messages of %s: %w", st.c, err)
	}
	if len(read.Messages) == 0 {
		st.cursor = max(st.cursor, posted) // they are gone already
		return nil, false, nil
	}
	all := make([]*Message, len(read.Messages))
	for i := range read.Messages {
		all[i] = &read.Messages[i]
	}
	if err := s.quote(ctx, "", all...); err != nil {
		return nil, false, err
	}
	last := read.Messages[len(read.Messages)-1].Seq
	st.far = st.ring != nil && read.Head-last > uint64(stageFar*st.ring.most)
	return read.Messages, last < max(posted, read.Head), nil
}

// show makes lines of messages, and has them behind it.
func (st *stage) show(page []Message) []*Line {
	lines := make([]*Line, 0, len(page))
	for i := range page {
		m := &page[i]
		line := messageLine(*m)
		if st.ring != nil {
			st.ring.add(m.Seq, line)
		}
		lines = append(lines, line)
		st.cursor = max(st.cursor, m.Seq)
	}
	return lines
}

// stageChanges are changes of messages that are about to be shown.
type stageChanges struct {
	made  []madeChange
	stale bool // messages that a live room keeps say something else now
	lines []*Line
}

// putBack has changes be shown at the next turn, if they were not.
func (st *stage) putBack(changes stageChanges) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.changes, st.stale = append(changes.made, st.changes...), st.stale || changes.stale
}

// readChanges makes lines of changes, and reads again what a live room keeps.
func (s *Service) readChanges(ctx context.Context, st *stage, changes *stageChanges) error {
	for _, x := range changes.made {
		line, err := s.changeLine(ctx, x)
		if err != nil {
			return err
		}
		changes.lines = append(changes.lines, line)
	}
	if changes.stale && st.ring != nil {
		return s.readRing(ctx, st)
	}
	return nil
}

// playChange shows a change to all viewers, but nothing of what the message says to those from whom it is hidden.
func (s *Service) playChange(ctx context.Context, st *stage, line *Line, hide []Viewer) {
	to := st.list
	if len(hide) > 0 {
		to = slices.DeleteFunc(slices.Clone(to), func(v Viewer) bool { return slices.Contains(hide, v) })
		s.play(ctx, st, hide, []*Line{{Event: line.Event.bare(), Class: line.Class, Seq: line.Seq}})
	}
	s.play(ctx, st, to, []*Line{line})
}

// hiders gives those of viewers who have deleted the message of an edit for themselves.
func (s *Service) hiders(ctx context.Context, viewers []Viewer, line *Line) (those []Viewer, err error) {
	e := &line.Event
	if e.Type != EntryEdit || e.Change.Message.Kind == KindGone {
		return nil, nil
	}
	for part := range slices.Chunk(viewers, stageSlice) {
		names := make([]accounts.Name, len(part))
		for i, v := range part {
			names[i] = v.Account()
		}
		hides, err := s.store.Hidden(ctx, e.Conversation, line.Seq, names)
		if err != nil {
			return nil, fmt.Errorf("who has hidden message %d of %s: %w", line.Seq, e.Conversation, err)
		}
		for i, v := range part {
			if hides[i] {
				those = append(those, v)
			}
		}
	}
	return those, nil
}

// edited adds to an edit what the message says now.
func (s *Service) edited(ctx context.Context, r *Revision) error {
	if r.Op != OpEdit {
		return nil
	}
	m, found, err := s.message(ctx, Source{r.Conversation, r.Seq})
	if r.Message = m; !found {
		r.Message.Kind = KindGone
	}
	return err
}

// changeLine waits until a change is durable, and makes a line of it.
func (s *Service) changeLine(ctx context.Context, x madeChange) (*Line, error) {
	if x.commit != nil {
		if err := x.commit.Wait(ctx); err != nil {
			return nil, fmt.Errorf("change %d of %s: %w", x.Rev, x.Conversation, err)
		}
	}
	line := &Line{Class: LineGift, Seq: x.Seq}
	switch x.Op {
	case OpReact, OpUnreact:
		line.Class = LineChat
	case OpEdit:
		if err := s.edited(ctx, &x.Revision); err != nil {
			return nil, err
		}
	}
	line.Event = Event{Live: true, Entry: Entry{
		Type: EntryType(x.Op), TS: x.TS, Conversation: x.Conversation, Change: x.Revision,
	}}
	return line, nil
}

// readRing reads the messages that a live room keeps as they are now.
func (s *Service) readRing(ctx context.Context, st *stage) error {
	kept := map[uint64]*Line{}
	for _, x := range st.ring.list {
		kept[x.seq] = nil
	}
	for after := uint64(0); after < st.cursor; {
		page, err := s.store.Messages(ctx, st.c, after, 0, stagePage)
		if err != nil {
			return fmt.Errorf("messages of %s: %w", st.c, err)
		}
		if len(page.Messages) == 0 {
			break
		}
		for _, m := range page.Messages {
			after = m.Seq
			if _, is := kept[m.Seq]; is {
				kept[m.Seq] = messageLine(m)
			}
		}
	}
	for i, x := range st.ring.list {
		if line := kept[x.seq]; line != nil {
			st.ring.list[i].line = line
			st.ring.bytes += line.Event.Message.size() - x.line.Event.Message.size()
		}
	}
	return nil
}

// recheck ends it for those who may not watch any more, and drops where they are.
func (s *Service) recheck(ctx context.Context, st *stage) error {
	st.tidy()
	list := st.list
	st.list = nil
	for part := range slices.Chunk(list, stageSlice) {
		stay, err := s.sift(ctx, st, part)
		if err != nil {
			st.list = list // all of it again
			return err
		}
		st.list = append(st.list, stay...)
	}
	return s.recheckPlaces(ctx, st)
}

// admit gives those of the next who have come that may watch. late: there are more.
func (s *Service) admit(ctx context.Context, st *stage) (came []Viewer, late bool, err error) {
	st.tidy()
	st.mu.Lock()
	came = slices.DeleteFunc(slices.Clone(st.came), func(v Viewer) bool { return st.seats[v] == nil })
	st.mu.Unlock()
	came = came[:min(len(came), stageSlice)]
	may, err := s.sift(ctx, st, came)
	if err != nil {
		return nil, false, err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	done := map[Viewer]bool{}
	for _, v := range came {
		done[v] = true
	}
	st.came = slices.DeleteFunc(st.came, func(v Viewer) bool { return done[v] || st.seats[v] == nil })
	if len(st.came) == 0 {
		st.came = nil
	}
	return may, len(st.came) > 0, nil
}

// tidy takes those out of list who have left.
func (st *stage) tidy() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.moved {
		st.moved = false
		st.list = slices.DeleteFunc(st.list, func(v Viewer) bool { return st.seats[v] == nil })
	}
}

// sift gives those of viewers who may watch. For the others it ends.
func (s *Service) sift(ctx context.Context, st *stage, viewers []Viewer) ([]Viewer, error) {
	if len(viewers) == 0 {
		return nil, nil
	}
	names := make([]accounts.Name, len(viewers))
	for i, v := range viewers {
		names[i] = v.Account()
	}
	from, err := s.hearers(ctx, st.c, names)
	if err != nil {
		return nil, err
	}
	stay := make([]Viewer, 0, len(viewers))
	for i, v := range viewers {
		if from[i] != 0 {
			stay = append(stay, v)
			st.mu.Lock()
			if seat := st.seats[v]; seat != nil {
				if seat.from = from[i]; !seat.in {
					seat.in = true
					st.watch.add(v.Account(), 1)
				}
			}
			st.late = st.late || from[i] > 1
			st.mu.Unlock()
			continue
		}
		v.End() // which may call UnwatchLive
		s.UnwatchLive(st.c, v)
	}
	return stay, nil
}

// play shows lines to viewers, to some at a time.
func (s *Service) play(ctx context.Context, st *stage, to []Viewer, lines []*Line) {
	if len(lines) == 0 || len(to) == 0 || s.stages.announcer == nil {
		return
	}
	if st.late {
		to = s.playLate(ctx, st, to, lines)
	}
	to = s.unveiled(ctx, to, lines)
	for part := range slices.Chunk(to, stageSlice) {
		s.stages.announcer.Announce(part, lines)
		runtime.Gosched()
	}
}

// playLate shows each of those who may not see all of the lines what he may. It gives the others.
func (s *Service) playLate(ctx context.Context, st *stage, to []Viewer, lines []*Line) (rest []Viewer) {
	var few []Viewer
	var from []uint64
	st.mu.Lock()
	for _, v := range to {
		switch seat := st.seats[v]; {
		case seat == nil:
		case lines[0].Seq != 0 && seat.from > lines[0].Seq:
			few, from = append(few, v), append(from, seat.from)
		default:
			rest = append(rest, v)
		}
	}
	st.mu.Unlock()
	for i, v := range few {
		own := slices.DeleteFunc(slices.Clone(lines), func(l *Line) bool {
			return l.Seq != 0 && l.Seq < from[i]
		})
		if len(own) > 0 && len(s.unveiled(ctx, []Viewer{v}, own)) > 0 {
			s.stages.announcer.Announce([]Viewer{v}, own)
		}
	}
	return rest
}

// welcome shows newcomers what they want to know.
func (s *Service) welcome(ctx context.Context, st *stage, came []Viewer, lines []*Line) {
	var plain, current []Viewer
	st.mu.Lock()
	for _, v := range came {
		if seat := st.seats[v]; seat != nil && seat.current {
			current = append(current, v)
		} else {
			plain = append(plain, v)
		}
	}
	st.mu.Unlock()
	s.play(ctx, st, plain, lines)
	if len(current) == 0 {
		return
	}
	if st.ring != nil {
		lines = st.ring.all(s.now().UnixMilli())
	}
	s.play(ctx, st, current, lines)
	s.showAllPlaces(ctx, st, current)
}

// messageLine is a message as those who watch see it.
func messageLine(m Message) *Line {
	e := Event{Entry: Entry{Type: EntryMessage, TS: m.TS, Conversation: m.Conversation, Message: m}, Live: true}
	line := &Line{Event: e, Seq: m.Seq}
	if m.Conversation.isLive() && isGift(m.Body) {
		line.Class = LineGift
	}
	return line
}
