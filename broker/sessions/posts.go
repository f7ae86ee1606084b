package sessions

import (
	"errors"
	"slices"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// A post is what somebody else keeps for an account until one of its connections has taken it, as a command for a device.
// It dies with the link; whoever posted it hears of that, and decides what to do.

// PostOptions say until when a post is worth writing, and who hears what becomes of it. Of one post they are called one
// after the other, Written first, and either Acked or Lost last; of one link in the order in which it happened. They are
// called outside of locks and may use the registry, but hold up what else is to be told of the link, and its end.
type PostOptions struct {
	Expires time.Time // it is not written then or later, and MQTT 5 says what is left; zero: never
	Written func()    // it is on the wire; at most once
	Acked   func()    // the PUBACK came; at most once
	Lost    func()    // the link ended before that, or gave it up; at most once, and not after Acked
}

// Why a post is not taken. Nothing of its options is called then.
var (
	// ErrUnheard means that no link listens.
	ErrUnheard = errors.New("nobody listens")
	// ErrPostsFull means that too much waits on the link; what becomes of that says when there is room.
	ErrPostsFull = errors.New("too many posts wait")
	// ErrUnfit means that it is not for this client: it has expired, or is larger than the client takes.
	ErrUnfit = errors.New("expired, or larger than the client takes")
)

// Bounds of one link.
const (
	maxPosts   = 64      // that wait for room in the window or on the wire
	maxUnsure  = 16 * 64 // with QoS 0, of which nothing is known until the link ends; then the oldest counts as lost
	maxTidings = 4 * 64  // what is to be told; then nothing more is posted
)

type posts struct {
	waiting  []post
	inFlight []post   // their ids are also in replies.inFlight
	unsure   []func() // what is Lost of those that were sent with QoS 0
	tidings  []func()
	telling  bool // a goroutine tells them
}

type post struct {
	Publish
	PostOptions
}

func (p post) expired() bool { return !p.Expires.IsZero() && !time.Now().Before(p.Expires) }

// Post sends p on the newest started link of an account that has a subscription for its topic, with QoS 1 if that was
// granted, before what comes from the queue and the stream. p.Dup is kept. Posts of a link keep their order.
//
// It gives nil if the link takes it; otherwise ErrUnheard, ErrPostsFull or ErrUnfit. When a newer link asks for what its topics
// say (Current), those that have not been written on an older one are lost before that.
func (r *Registry) Post(account accounts.Name, p Publish, o PostOptions) error {
	unlock, ok := r.lockPosts(account)
	if !ok {
		return ErrUnheard
	}
	defer unlock()
	for _, l := range slices.Backward(r.linksOf(account)) {
		if err := l.post(post{p, o}); !errors.Is(err, ErrUnheard) {
			return err
		}
	}
	return ErrUnheard
}

// lockPosts locks the posts of an account, if it has a connection.
func (r *Registry) lockPosts(name accounts.Name) (unlock func(), ok bool) {
	r.mu.RLock()
	a := r.accounts[name]
	r.mu.RUnlock()
	if a == nil {
		return nil, false
	}
	a.posting.Lock()
	return a.posting.Unlock, true
}

// post takes a post, if the link is one for its topic.
func (l *Link) post(p post) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	route := l.subs.route(p.Topic)
	if !l.started || l.closed || l.draining || !route.ok {
		return ErrUnheard
	}
	q := &l.posts
	l.dropPostsLocked(post.expired)
	switch {
	case p.expired() || !l.fitsPostLocked(p, route):
		return ErrUnfit
	case len(q.waiting) >= maxPosts || len(q.tidings) >= maxTidings:
		return ErrPostsFull
	}
	q.waiting = append(q.waiting, p)
	l.moveLocked()
	return nil
}

// fitsPostLocked says whether the client takes a packet of this size. It is asked first, or it would be posted again and again.
func (l *Link) fitsPostLocked(p post, route route) bool {
	size := packetRoom + len(route.topic) + idRoom*len(route.ids) + len(p.Payload) +
		len(p.ContentType) + len(p.ResponseTopic) + len(p.Correlation)
	for _, u := range p.User {
		size += idRoom + len(u.Name) + len(u.Value)
	}
	return l.packet == 0 || size <= int(l.packet)
}

// takePosts gives up what waits on older links than l for the topics of a filter that l subscribes to.
func (r *Registry) takePosts(l *Link, filter string) {
	if !perViewer(filter) {
		return
	}
	unlock, ok := r.lockPosts(l.key.Account)
	if !ok {
		return
	}
	var lost []func()
	for _, older := range r.linksOf(l.key.Account) {
		if older == l {
			break
		}
		lost = append(lost, older.giveUpPosts(filter)...)
	}
	unlock()
	for _, f := range lost {
		f()
	}
}

// giveUpPosts gives what is to be called for that.
func (l *Link) giveUpPosts(filter string) (lost []func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.posts.waiting = slices.DeleteFunc(l.posts.waiting, func(p post) bool {
		taken := matches(filter, p.Topic)
		if taken && p.Lost != nil {
			lost = append(lost, p.Lost)
		}
		return taken
	})
	return lost
}

// dropPostsLocked gives up those that wait and are to be dropped.
func (l *Link) dropPostsLocked(drop func(post) bool) {
	l.posts.waiting = slices.DeleteFunc(l.posts.waiting, func(p post) bool {
		gone := drop(p)
		if gone {
			l.registry.metrics.dropped(dropExpired, 1)
			l.tellLocked(p.Lost)
		}
		return gone
	})
}

// sendPostLocked writes the post that waits longest, or gives it up. It says whether it could.
func (l *Link) sendPostLocked() bool {
	q := &l.posts
	if len(q.waiting) == 0 {
		return false
	}
	p := q.waiting[0]
	route := l.subs.route(p.Topic)
	qos := min(route.qos, 1)
	switch {
	case !route.ok: // it was unsubscribed
	case p.expired():
		l.registry.metrics.dropped(dropExpired, 1)
	case qos > 0 && !l.replyRoomLocked():
		return false
	default:
		q.waiting = slices.Delete(q.waiting, 0, 1)
		l.writePostLocked(p, route, qos)
		return true
	}
	q.waiting = slices.Delete(q.waiting, 0, 1)
	l.tellLocked(p.Lost)
	return true
}

func (l *Link) writePostLocked(p post, route route, qos byte) {
	out := route.publish(p.Publish, qos)
	out.Dup, out.Retain, out.Expiry = p.Dup && qos > 0, false, secondsUntil(p.Expires)
	if qos > 0 {
		out.ID = l.newIDLocked()
	}
	if l.writePublishLocked(out) != nil {
		l.tellLocked(p.Lost)
		return
	}
	l.tellLocked(p.Written)
	q := &l.posts
	switch {
	case qos > 0:
		p.Publish = Publish{ID: out.ID}
		q.inFlight = append(q.inFlight, p)
		l.replies.inFlight = append(l.replies.inFlight, out.ID)
		l.countLocked(1)
	case p.Lost != nil:
		if len(q.unsure) == maxUnsure {
			l.tellLocked(q.unsure[0])
			q.unsure = slices.Delete(q.unsure, 0, 1)
		}
		q.unsure = append(q.unsure, p.Lost)
	}
}

// postAckedLocked tells of the PUBACK of a post, if the id is that of one. A client that refuses it has it all the same, and
// must not be sent it again (MQTT 5, 4.4).
func (l *Link) postAckedLocked(id uint16, reason byte) {
	q := &l.posts
	i := slices.IndexFunc(q.inFlight, func(p post) bool { return p.ID == id })
	if i < 0 {
		return
	}
	if reason >= firstFailure {
		l.registry.metrics.dropped(dropRefused, 1)
	}
	l.tellLocked(q.inFlight[i].Acked)
	q.inFlight = slices.Delete(q.inFlight, i, i+1)
}

// tellLocked has f called, after all that is to be called before, without the lock.
func (l *Link) tellLocked(f func()) {
	if f == nil {
		return
	}
	q := &l.posts
	q.tidings = append(q.tidings, f)
	if !q.telling && !l.closed { // otherwise End does it
		q.telling = true
		l.running.Add(1)
		go l.tell()
	}
}

func (l *Link) tell() {
	defer l.running.Done()
	l.mu.Lock()
	defer l.mu.Unlock()
	q := &l.posts
	for len(q.tidings) > 0 {
		f := q.tidings[0]
		q.tidings = slices.Delete(q.tidings, 0, 1)
		l.mu.Unlock()
		f()
		l.mu.Lock()
	}
	q.telling = false
}

// endPosts tells what is still to be told, and that the others are lost. Nothing is sent any more.
func (l *Link) endPosts() {
	l.mu.Lock()
	q := l.posts
	l.posts = posts{}
	l.mu.Unlock()
	all := slices.Concat(q.tidings, q.unsure)
	for _, p := range slices.Concat(q.inFlight, q.waiting) {
		if p.Lost != nil {
			all = append(all, p.Lost)
		}
	}
	for _, f := range all {
		f()
	}
}
