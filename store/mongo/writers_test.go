package mongo_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
	"github.com/magpie-im/magpie/store/mongo/wirefault"
)

// points are where a process is killed: after the commit, and after each step that follows.
var points = []string{"inserted", "followers written", "told", "closed"}

// notInTime is an answer by which the writer does not get to know that its write was carried out.
var notInTime = wirefault.Answer{Code: 262, Name: "ExceededTimeLimit", Text: "operation exceeded time limit", Done: true}

// trouble is what happens on the way to the database. Only what carries data is hit. One acknowledgement in ten is lost, one half
// of them with the connection, which costs the driver half a second each time.
func trouble() []wirefault.Rule {
	data := append([]string{"find", "getMore"}, wirefault.Writes...)
	return []wirefault.Rule{
		{Do: wirefault.DelayRequest, Commands: data, Share: 0.2, Jitter: 10 * time.Millisecond},
		{Do: wirefault.DelayReply, Commands: data, Share: 0.2, Jitter: 10 * time.Millisecond},
		{Do: wirefault.LoseReply, Commands: wirefault.Writes, Share: 0.05},
		{Do: wirefault.Refuse, Commands: wirefault.Writes, Share: 0.05, Answer: notInTime},
		{Do: wirefault.Refuse, Commands: wirefault.Writes, Share: 0.01, Answer: wirefault.NotReplicated},
		{Do: wirefault.Refuse, Commands: wirefault.Writes, Share: 0.005, Answer: wirefault.NotPrimary},
		{Do: wirefault.Refuse, Commands: wirefault.Writes, Share: 0.005, Answer: wirefault.Unknown},
		{Do: wirefault.Duplicate, Commands: data, Share: 0.1},
		{Do: wirefault.Late, Commands: wirefault.Writes, Share: 0.02, Jitter: 500 * time.Millisecond},
		{Do: wirefault.CutRequest, Commands: data, Share: 0.005},
		{Do: wirefault.TruncateRequest, Commands: data, Share: 0.005},
		{Do: wirefault.TruncateReply, Commands: data, Share: 0.005},
	}
}

// process is one of several that write, again and again the next one after it was killed.
type process struct {
	t     *testing.T
	proxy *wirefault.Proxy
	ended sync.WaitGroup

	mu      sync.Mutex
	dies    []string // where this one and the next ones die
	stdin   io.WriteCloser
	waiting map[int]chan outcome // jobs that were given
	next    int
	closing bool           // nobody takes its place
	killed  map[string]int // by point
}

var errKilled = errors.New("the process has ended")

// start starts a process. mu is held.
func (p *process) startLocked() {
	cmd := exec.Command(os.Args[0], "-test.run=^TestWriter$")
	cmd.Env = append(os.Environ(), writerURI+"="+p.proxy.URI())
	dies := ""
	if len(p.dies) > 0 {
		dies, p.dies = p.dies[0], p.dies[1:]
		cmd.Env = append(cmd.Env, writerDies+"="+dies)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.stdin, p.waiting = stdin, map[int]chan outcome{}
	p.ended.Go(func() {
		said := p.listen(stdout)
		_ = stdin.Close()
		p.end(dies, cmd.Wait(), said)
	})
}

// listen hands out what a process says, until it ends, and gives what else it has said.
func (p *process) listen(stdout io.Reader) (said string) {
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var o outcome
		if line := lines.Bytes(); !bytes.HasPrefix(line, []byte("{")) || json.Unmarshal(line, &o) != nil {
			said += lines.Text() + "\n"
			continue
		}
		p.mu.Lock()
		waiting := p.waiting[o.ID]
		delete(p.waiting, o.ID)
		p.mu.Unlock()
		waiting <- o
	}
	return said
}

// end sees to it that another process takes the place of one that was killed.
func (p *process) end(dies string, err error, said string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, waiting := range p.waiting {
		close(waiting)
	}
	p.waiting = nil
	var exit *exec.ExitError
	switch {
	case err == nil && p.closing:
		return
	case errors.As(err, &exit) && exit.ExitCode() == -1 && dies != "":
		point, _, _ := strings.Cut(dies, ":")
		p.killed[point]++
	default:
		p.t.Errorf("a process ended with %v:\n%s", err, said)
	}
	if !p.closing && !p.t.Failed() {
		p.startLocked()
	}
}

// do has the process do something.
func (p *process) do(j job) (outcome, error) {
	p.mu.Lock()
	if p.waiting == nil {
		p.mu.Unlock()
		return outcome{}, errKilled
	}
	p.next++
	j.ID = p.next
	waiting := make(chan outcome, 1)
	p.waiting[j.ID] = waiting
	stdin := p.stdin
	p.mu.Unlock()
	line, err := json.Marshal(j)
	if err != nil {
		return outcome{}, err
	}
	_, _ = stdin.Write(append(line, '\n')) // if that fails it has ended
	o, ok := <-waiting
	if !ok {
		return outcome{}, errKilled
	}
	return o, nil
}

// close lets the process end by itself.
func (p *process) close() {
	p.mu.Lock()
	p.closing = true
	_ = p.stdin.Close()
	p.mu.Unlock()
	p.ended.Wait()
}

// last starts a process that dies when it has written something, and in whose place there comes none.
func (p *process) last(point string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dies = []string{point + ":1"}
	p.startLocked()
}

// crowd are the processes, and what they have acknowledged.
type crowd struct {
	t         *testing.T
	processes []*process
	deadline  time.Time

	mu      sync.Mutex
	answers []sent
	marked  []marked
	head    map[chat.Conversation]uint64 // the last seq that was acknowledged
	dups    int
	again   int // jobs that had to be given to another process
}

// do has a job done, by the first process that can, and remembers the answer.
func (c *crowd) do(j job, first int) {
	for i := first; ; i++ {
		o, err := c.processes[i%len(c.processes)].do(j)
		switch {
		case c.t.Failed():
			return
		case time.Now().After(c.deadline):
			c.t.Errorf("%+v is not done in time: %v %s", j, err, o.Unavailable)
			return
		case o.Failed != "":
			c.t.Errorf("%+v failed: %s", j, o.Failed)
			return
		}
		c.mu.Lock()
		if err != nil || o.Unavailable != "" {
			c.again++
			c.mu.Unlock()
			time.Sleep(2 * time.Millisecond)
			continue
		}
		defer c.mu.Unlock()
		if j.MID == "" {
			c.marked = append(c.marked, marked{chat.Member{Conversation: j.Conversation, Who: j.Who}, o.Marks})
			return
		}
		c.answers = append(c.answers, o.Sent)
		c.head[j.Conversation] = max(c.head[j.Conversation], o.Sent.Seq)
		if o.Dup {
			c.dups++
		}
		return
	}
}

// task is something to do, by processes by their numbers.
type task struct {
	job
	first  int
	race   int // another one that is given it at the same time; -1: none
	resend int // one that is given it again afterwards; -1: none
}

func (c *crowd) perform(k task) {
	if k.MID == "" {
		c.mu.Lock()
		head := c.head[k.Conversation]
		c.mu.Unlock()
		k.Marks = chat.Marks{Recv: head, Read: head - min(head, k.Marks.Read)}
	}
	var racing sync.WaitGroup
	if k.race >= 0 {
		racing.Go(func() { c.do(k.job, k.race) })
	}
	c.do(k.job, k.first)
	racing.Wait()
	if k.resend >= 0 {
		c.do(k.job, k.resend)
	}
}

// tasks makes up what is to be done.
func tasks(dice *rand.Rand, members map[chat.Conversation][]accounts.Name, order []chat.Conversation, n, processes int) []task {
	list := make([]task, n)
	for i := range list {
		c := order[dice.IntN(len(order))]
		k := task{first: dice.IntN(processes), race: -1, resend: -1}
		k.Conversation, k.Who = c, members[c][dice.IntN(len(members[c]))]
		if dice.IntN(5) == 0 {
			k.Marks.Read = dice.Uint64N(4) // less than all
			list[i] = k
			continue
		}
		k.MID, k.Body = fmt.Sprint("m", i), fmt.Sprintf(`{"text":"%d"}`, i)
		switch dice.IntN(4) {
		case 0:
			k.race = dice.IntN(processes)
		case 1, 2:
			k.resend = dice.IntN(processes)
		}
		list[i] = k
	}
	return list
}

// TestManyProcessesWrite is what Magpie promises of several nodes: they all believe that each conversation is theirs, what they
// write is lost, doubled, torn and late on its way, answers get lost, and they are killed in the middle of it; and still every
// message is there once, in one order, for everybody. MAGPIE_TEST_SEED chooses the run.
func TestManyProcessesWrite(t *testing.T) {
	seed, err := strconv.ParseUint(os.Getenv("MAGPIE_TEST_SEED"), 10, 64)
	if err != nil {
		seed = 6
	}
	rounds, err := strconv.Atoi(os.Getenv("MAGPIE_TEST_ROUNDS"))
	if err != nil {
		rounds = 1
	}
	amount := 80
	if testing.Short() {
		amount = 30
	}
	for range max(1, rounds/30) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { manyProcessesWrite(t, seed, amount) })
		seed++
	}
}

func manyProcessesWrite(t *testing.T, seed uint64, amount int) {
	const processes, workers = 4, 32
	uri := mongotest.Database(t)
	members, order := writersMeet(t, uri)
	c := &crowd{t: t, deadline: time.Now().Add(3 * time.Minute), head: map[chat.Conversation]uint64{}}
	dice := rand.New(rand.NewPCG(seed, seed))
	for i := range processes {
		proxy, err := wirefault.New(uri, seed+uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		defer proxy.Close()
		proxy.Set(trouble()...)
		p := &process{t: t, proxy: proxy, killed: map[string]int{}}
		for k := range points {
			p.dies = append(p.dies, fmt.Sprintf("%s:%d", points[(i+k)%len(points)], 2+dice.IntN(4)))
		}
		p.mu.Lock()
		p.startLocked()
		p.mu.Unlock()
		c.processes = append(c.processes, p)
	}
	queue := make(chan task)
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for k := range queue {
				c.perform(k)
			}
		})
	}
	for _, k := range tasks(dice, members, order, amount, processes) {
		queue <- k
	}
	close(queue)
	working.Wait()
	for _, p := range c.processes {
		p.close()
	}
	c.die(order)
	c.report()
	r := afterwards(t, uri, members)
	r.answers, r.marked = c.answers, c.marked
	r.open = openEntries(t, uri)
	for _, wrong := range r.judge() {
		t.Error(wrong)
	}
}

// die has each process write to a conversation of its own, and die at a point of its own, with nobody left to find what it has
// begun but who opens the store next.
func (c *crowd) die(order []chat.Conversation) {
	var dying sync.WaitGroup
	for i, p := range c.processes {
		p.proxy.Set()
		p.last(points[i%len(points)])
		if _, err := p.do(job{Conversation: order[0], Who: "alice"}); err != nil { // a mark that does not move: it is there
			c.t.Errorf("before it dies a process ends: %v", err)
		}
	}
	for i, p := range c.processes {
		dying.Go(func() {
			o, err := p.do(job{Conversation: order[i%len(order)], Who: "alice", MID: fmt.Sprint("last", i), Body: `"last"`})
			if err == nil {
				c.t.Errorf("a process that should die answers %+v", o)
			}
			p.close()
			_ = p.proxy.Close()
		})
	}
	dying.Wait()
}

// report says what has happened, and fails if that was not enough to mean something.
func (c *crowd) report() {
	killed, done := map[string]int{}, map[wirefault.Fault]int{}
	for _, p := range c.processes {
		for point, n := range p.killed {
			killed[point] += n
		}
		for fault, n := range p.proxy.Faults() {
			done[fault] += n
		}
	}
	for _, point := range points {
		if killed[point] == 0 {
			c.t.Errorf("no process was killed after %q", point)
		}
	}
	for _, fault := range []wirefault.Fault{wirefault.LoseReply, wirefault.Refuse, wirefault.Duplicate} {
		if done[fault] == 0 {
			c.t.Errorf("nothing of %q has happened", fault)
		}
	}
	c.t.Logf("%d answers (%d of repeats), %d marks, %d tries on another process; killed %v; trouble %v",
		len(c.answers), c.dups, len(c.marked), c.again, killed, done)
}

// afterwards reads everything by a store that has no trouble.
func afterwards(t *testing.T, uri string, members map[chat.Conversation][]accounts.Name) *record {
	t.Helper()
	store := join(t, uri)
	defer store.Close()
	return readRecord(t, store, members)
}

// openEntries counts the entries of logs from which not everything has followed.
func openEntries(t *testing.T, uri string) int {
	t.Helper()
	n, err := client(t, uri).Collection("log").CountDocuments(t.Context(), bson.D{{Key: "open", Value: bson.D{{Key: "$exists", Value: true}}}})
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

// writersMeet makes the conversations to which is written: three people who know each other, and a group of five.
func writersMeet(t *testing.T, uri string) (map[chat.Conversation][]accounts.Name, []chat.Conversation) {
	t.Helper()
	store := join(t, uri)
	defer store.Close()
	people := []accounts.Name{"alice", "bob", "carol", "dave", "erin"}
	members := map[chat.Conversation][]accounts.Name{}
	var order []chat.Conversation
	for _, pair := range [][]accounts.Name{{"alice", "bob"}, {"alice", "carol"}, {"alice", "dave"}} {
		c := chat.Direct(pair[0], pair[1])
		members[c], order = pair, append(order, c)
		know(t, store, pair[0], pair[1])
	}
	const group chat.Conversation = "g.writers"
	members[group], order = people, append(order, group, group) // most is written there
	_, commit, err := store.Chat().ChangeRoom(t.Context(), chat.RoomChange{
		Conversation: group, By: people[0], Who: people, Step: func(r *chat.Room) (chat.RoomTold, error) {
			r.Owner, r.Created, r.Info = people[0], r.Now, chat.RoomInfo{Title: "writers", History: chat.HistoryJoin}
			r.Enter(people[0], chat.RoleOwner)
			for _, who := range people[1:] {
				r.Enter(who, chat.RoleMember)
			}
			return chat.RoomTold{Line: json.RawMessage(`{"do":"create"}`)}, nil
		},
	})
	written(t, commit, err)
	return members, order
}
