package mongo_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/mongo"
)

// job is something that a process is to do: a line of its standard input.
type job struct {
	ID           int
	Conversation chat.Conversation
	Who          accounts.Name
	MID, Body    string     // of a message, or
	Marks        chat.Marks // marks, if there is no mid
}

// outcome is what became of a job: a line of the standard output.
type outcome struct {
	ID          int
	Sent        sent
	Marks       chat.Marks
	Dup         bool
	Unavailable string // it may have happened or not
	Failed      string // it should not have failed so
}

const (
	writerURI  = "MAGPIE_TEST_WRITER"
	writerDies = "MAGPIE_TEST_WRITER_DIES" // point:how often it is passed
)

// TestWriter is a process of its own that does jobs: one of those of TestManyProcessesWrite.
func TestWriter(t *testing.T) {
	uri := os.Getenv(writerURI)
	if uri == "" {
		t.Skip("only for TestManyProcessesWrite")
	}
	hook := dieAt(os.Getenv(writerDies))
	store, err := mongo.Open(t.Context(), mongo.Config{URI: uri, Hook: hook}, quiet)
	for range 10 { // as whoever supervises it would
		if err != nil {
			store, err = mongo.Open(t.Context(), mongo.Config{URI: uri, Hook: hook}, quiet)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	var jobs sync.WaitGroup
	var mu sync.Mutex
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var j job
		if err := json.Unmarshal(lines.Bytes(), &j); err != nil {
			t.Fatal(err)
		}
		jobs.Go(func() {
			line, err := json.Marshal(j.do(t.Context(), store.Chat()))
			if err != nil {
				panic(err)
			}
			mu.Lock()
			defer mu.Unlock()
			_, _ = fmt.Fprintf(os.Stdout, "\n%s\n", line)
		})
	}
	jobs.Wait()
	if err := store.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// dieAt gives a hook that kills the process when it passes a point for the nth time.
func dieAt(where string) func(string) {
	point, times, _ := strings.Cut(where, ":")
	n, err := strconv.ParseInt(times, 10, 64)
	if err != nil {
		return nil
	}
	var passed atomic.Int64
	return func(at string) {
		if at != point || passed.Add(1) != n {
			return
		}
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = self.Kill()
		}
		if err != nil {
			panic(err)
		}
		select {} // it goes no further
	}
}

var processID = fmt.Sprint(os.Getpid())

var tries atomic.Int64

// do does a job.
func (j job) do(ctx context.Context, s chat.Store) (o outcome) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	o.ID = j.ID
	var commit chat.Commit
	var err error
	if j.MID != "" {
		d := chat.Draft{
			Conversation: j.Conversation, From: j.Who, MID: j.MID, Kind: "text", Body: []byte(j.Body),
			ID: fmt.Sprintf("%s-%d", processID, tries.Add(1)), // each try has an id of its own
		}
		copy(d.Fingerprint[:], j.Body)
		var a chat.Appended
		a, commit, err = s.Append(ctx, d)
		m := a.Message
		o.Dup = a.Dup
		o.Sent = sent{
			Conversation: j.Conversation, From: j.Who, MID: j.MID, Body: string(m.Body), Seq: m.Seq, ID: m.ID, TS: m.TS,
		}
	} else {
		var m chat.Marked
		m, commit, err = s.Mark(ctx, j.Conversation, j.Who, j.Marks, nil)
		o.Marks = m.Marks
	}
	if err == nil && commit != nil {
		err = commit.Wait(ctx)
	}
	switch {
	case errors.Is(err, accounts.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded):
		o.Unavailable = err.Error()
	case err != nil:
		o.Failed = err.Error()
	}
	return o
}
