package conversations

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/magpie-im/magpie/e2e/people"
)

// recording is all that was asked, answered and shown until a moment at which nothing moved.
type recording struct {
	convs   map[string]*conv
	asked   []*request
	lines   map[string][]event  // by conversation: who came and went, which retention does not take from here
	heads   []map[string]uint64 // by round: the last seqs when it was over
	usns    []map[string]uint64 // by round: the last usns
	looks   map[string]*look    // by user: what he sees now
	deleted map[string]bool     // users who are no more
}

// conv is a conversation, and what is known of it from the start.
type conv struct {
	name    string
	large   bool
	owner   string   // of a room: never leaves, deletes nothing for himself
	members []string // at the start
}

func (c *conv) room() bool { return c.name[0] == 'g' || c.name[0] == 'n' }

// request is something that one device asked for, as often as it took to get an answer.
type request struct {
	round       int
	who, device string
	do, c, mid  string
	text        string // of a send or an edit
	seq         uint64
	seqs        []uint64
	other       string
	private     bool
	value       float64 // of a mute
	answers     []answer
}

func (r *request) String() string {
	return fmt.Sprintf("round %d: %s/%s %s %s mid=%s seq=%d%v %s %q: %+v",
		r.round, r.who, r.device, r.do, r.c, r.mid, r.seq, r.seqs, r.other, r.text, r.answers)
}

// granted says whether it was done.
func (r *request) granted() bool {
	return slices.ContainsFunc(r.answers, func(a answer) bool { return a.word == "" })
}

// late says whether it was granted, and is no repeat of what was sent up to a seq.
func (r *request) late(seq uint64) bool {
	return slices.ContainsFunc(r.answers, func(a answer) bool { return a.word == "" && a.seq > seq })
}

// answer is what the server said.
type answer struct {
	word string
	seq  uint64
	rev  uint64
	ts   uint64
	id   string
}

func answerOf(fields people.M, word string) answer {
	return answer{word: word, seq: number(fields["seq"]), rev: number(fields["rev"]), ts: number(fields["ts"]),
		id: fmt.Sprint(fields["id"])}
}

// number reads what is a number in JSON and a text among the properties of an ack.
func number(v any) uint64 {
	switch v := v.(type) {
	case float64:
		return uint64(v)
	case string:
		n, _ := strconv.ParseUint(v, 10, 64)
		return n
	}
	return 0
}

// look is what somebody sees.
type look struct {
	stream  []event            // all of it, as it is now
	devices map[string][]event // what each was shown, in the order in which it came
	total   uint64
	sum     uint64          // the total that conv.list says
	unread  map[string]line // of unread.get
	list    map[string]line // of conv.list
	history map[string][]event
	floor   map[string]uint64
	denied  map[string]string // why there is no history
	changes map[string][]event
	members map[string][]string
}

// line is a conversation in a list.
type line struct {
	C                           string
	Head, Read, Unread, Mention uint64
	Mute                        int64
	Last                        struct {
		Seq  uint64
		K    string
		Text string
	}
}

// event is an event, a message of a history, or a change.
type event struct {
	Topic, T, C, ID, MID, From, By, K, Why, St, Emoji string
	USN, Seq, Rev, TS, Total, AsOf, Read, Recv, UpTo  uint64
	RecvN                                             uint64 `json:"recv_n"`
	ReadN                                             uint64 `json:"read_n"`
	Of                                                uint64
	Unread                                            *uint64
	Mute                                              *int64
	Seqs                                              []uint64
	Who                                               string
	Blocked                                           bool
	Edited                                            uint64
	React                                             []struct {
		E  string
		N  uint64
		Me bool
	}
	Body struct {
		Text, Do string
		Who      []string
	}
	raw string
}

func parse(topic, raw string) event {
	e := event{}
	if err := json.Unmarshal([]byte(raw), &e); err != nil {
		panic(fmt.Errorf("%s: %w", raw, err))
	}
	e.Topic, e.raw = topic, raw
	return e
}

// same says whether two events are the same one, whose message may have changed since.
func (e *event) same(o *event) bool {
	if e.T != o.T || e.C != o.C || e.Seq != o.Seq {
		return false
	}
	return e.Rev == o.Rev || e.T == "msg" && e.ID == o.ID
}

// silent says whether a message counts for nobody.
func (e *event) silent() bool { return e.K == "sys" }
