package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/magpie-im/magpie/store/mongo/mongotest"
)

// Password is the password of every user that AddUsers makes.
const Password = "correct horse battery"

// users are the accounts of a server, and a token of each.
type users struct {
	s *Server

	mu     sync.Mutex
	tokens map[string]string
}

func (u *users) init(s *Server) { u.s, u.tokens = s, map[string]string{} }

// AddUsers makes accounts, each with Password, on the running server or the stopped one.
func (s *Server) AddUsers(names ...string) {
	s.t.Helper()
	for _, name := range names {
		if _, err := s.Magpie(Password+"\n", "user", "add", name, "--password-stdin"); err != nil {
			s.t.Fatal(err)
		}
	}
}

// Befriend makes two users contacts.
func (s *Server) Befriend(a, b string) {
	s.t.Helper()
	s.Call(a, "contact.request", map[string]any{"to": b}, nil)
	s.Call(b, "contact.accept", map[string]any{"from": a}, nil)
}

// Token gives a token of a user, good as a password and for HTTP. There is one for each user, and a log-in for each is
// made at the first call.
func (s *Server) Token(user string) string {
	s.users.mu.Lock()
	defer s.users.mu.Unlock()
	if t := s.users.tokens[user]; t != "" {
		return t
	}
	var out struct {
		Token string `json:"token"`
	}
	if err := s.post("", "login", map[string]any{"uid": user, "password": Password}, &out); err != nil {
		s.t.Fatalf("log %s in: %v", user, err)
	}
	s.users.tokens[user] = out.Token
	return out.Token
}

// Call calls a method of the HTTP API as user, and reads the answer into out.
func (s *Server) Call(user, method string, in, out any) {
	s.t.Helper()
	if err := s.TryCall(user, method, in, out); err != nil {
		s.t.Fatal(err)
	}
}

// TryCall is Call for what may be refused; the error wraps a *RefusalError then. It may be called while the server is
// killed.
func (s *Server) TryCall(user, method string, in, out any) error {
	s.t.Helper()
	return s.post(s.Token(user), method, in, out)
}

// RefusalError is a refusal by the HTTP API.
type RefusalError struct {
	Status int
	Err    string `json:"err"`
	body   string
}

func (p *RefusalError) Error() string { return fmt.Sprintf("status %d: %s", p.Status, p.body) }

// http gives the address for HTTP, or an error if the server is not running just now.
func (s *Server) http() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return "", errors.New("the server is not running")
	}
	return s.proc.addr.HTTP, nil
}

var client = &http.Client{Timeout: Deadline}

func (s *Server) post(token, method string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	addr, err := s.http()
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+addr+"/api/v1/"+method, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("call %s: %w", method, err)
	}
	text, err := io.ReadAll(answer.Body)
	if err := answer.Body.Close(); err != nil {
		return err
	}
	if err != nil {
		return fmt.Errorf("call %s: %w", method, err)
	}
	if answer.StatusCode != http.StatusOK {
		p := &RefusalError{Status: answer.StatusCode, body: string(text)}
		_ = json.Unmarshal(text, p)
		return fmt.Errorf("call %s: %w", method, p)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("call %s: %w: %s", method, err, text)
	}
	return nil
}

// Get reads a page of the HTTP server, /metrics for example.
func (s *Server) Get(path string) (status int, body string) {
	s.t.Helper()
	answer, err := client.Get("http://" + s.HTTP() + path)
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	if err == nil {
		err = answer.Body.Close()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// History gives the messages of a conversation as user sees them, each as it came, and the last seq.
func (s *Server) History(user, conversation string) (messages []json.RawMessage, head uint64) {
	s.t.Helper()
	const limit = 100
	for after := uint64(0); ; {
		var page struct {
			Msgs []json.RawMessage `json:"msgs"`
			Head uint64            `json:"head"`
		}
		s.Call(user, "history", map[string]any{"c": conversation, "after": after, "limit": limit}, &page)
		messages = append(messages, page.Msgs...)
		if len(page.Msgs) == 0 {
			return messages, page.Head
		}
		var last struct {
			Seq uint64 `json:"seq"`
		}
		if err := json.Unmarshal(page.Msgs[len(page.Msgs)-1], &last); err != nil || last.Seq <= after {
			s.t.Fatalf("history of %s: after %d came %s", conversation, after, page.Msgs[len(page.Msgs)-1])
		}
		after = last.Seq
	}
}

// Stream gives a user's stream, each event as it came, and the last usn.
func (s *Server) Stream(user string) (events []json.RawMessage, head uint64) {
	s.t.Helper()
	head = s.follow(user, 0, func(e []json.RawMessage) { events = append(events, e...) })
	return events, head
}

// follow reads a user's stream from after usn to its end, and gives the last usn.
func (s *Server) follow(user string, usn uint64, each func([]json.RawMessage)) uint64 {
	s.t.Helper()
	for {
		var page struct {
			USN    uint64            `json:"usn"`
			More   bool              `json:"more"`
			Reset  bool              `json:"reset"`
			Events []json.RawMessage `json:"events"`
		}
		s.Call(user, "sync", map[string]any{"usn": usn, "limit": 200}, &page)
		if page.Reset || page.More && page.USN <= usn {
			s.t.Fatalf("sync of %s after %d: reset %t, more %t, usn %d", user, usn, page.Reset, page.More, page.USN)
		}
		each(page.Events)
		if usn = page.USN; !page.More {
			return usn
		}
	}
}

// Unread gives a user's unread numbers: in all, and of each conversation with any.
func (s *Server) Unread(user string) (total int, counts map[string]int) {
	s.t.Helper()
	var out struct {
		Total int `json:"total"`
		Convs []struct {
			C      string `json:"c"`
			Unread int    `json:"unread"`
		} `json:"convs"`
	}
	s.Call(user, "unread.get", map[string]any{}, &out)
	counts = map[string]int{}
	for _, c := range out.Convs {
		counts[c.C] = c.Unread
	}
	return out.Total, counts
}

// quiet is how long a stream has to stay as it is before it counts as finished: more than twice what protocol.md allows
// between two receipts, which are the last thing to come when nobody sends. A small server is slow to write them.
func quiet() time.Duration {
	if mongotest.Wanted() && mongotest.Small() {
		return 10 * time.Second
	}
	return 2500 * time.Millisecond
}

// Settled waits until the streams of these users do not grow any more.
func (s *Server) Settled(names ...string) {
	s.t.Helper()
	heads, since := make([]uint64, len(names)), time.Now()
	Eventually(s.t, "the streams are quiet", func() bool {
		for i, name := range names {
			head := s.follow(name, heads[i], func([]json.RawMessage) {})
			if head != heads[i] {
				heads[i], since = head, time.Now()
			}
		}
		return time.Since(since) > quiet()
	})
}
