package api

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

type echo struct {
	N    int      `json:"n"`
	List []string `json:"list"`
}

// oneRow makes a table of one changing row, "do".
func oneRow(f func(ctx context.Context, c Caller, in echo) (echo, chat.Commit, error)) (*Table, *Operation) {
	t := newTable([]*Operation{change("do", User, "Does it.", f)})
	op, _ := t.Lookup("do")
	return t, op
}

var alice = Caller{Account: "alice"}

func TestARepeatGetsTheSameAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		table, op := oneRow(func(context.Context, Caller, echo) (echo, chat.Commit, error) {
			calls++
			return echo{N: calls}, nil, nil
		})
		call := func(c Caller, rid, body string) int {
			t.Helper()
			a := table.Call(t.Context(), op, c, rid, []byte(body))
			if a.Err != nil {
				t.Fatal(a.Err)
			}
			return a.Body.(echo).N
		}
		for _, tt := range []struct {
			what   string
			caller Caller
			rid    string
			body   string
			want   int
		}{
			{"first", alice, "r1", `{"n":1}`, 1},
			{"the same", alice, "r1", `{"n":1}`, 1},
			{"the same, written otherwise", alice, "r1", ` { "new":true, "n" : 1 }`, 1},
			{"another rid", alice, "r2", `{"n":1}`, 2},
			{"another account", Caller{Account: "bob"}, "r1", `{"n":1}`, 3},
			{"no rid", alice, "", `{"n":1}`, 4},
			{"no rid again", alice, "", `{"n":1}`, 5},
		} {
			if got := call(tt.caller, tt.rid, tt.body); got != tt.want {
				t.Errorf("%s: got answer %d, want %d", tt.what, got, tt.want)
			}
		}
		a := table.Call(t.Context(), op, alice, "r1", []byte(`{"n":2}`))
		if !errors.Is(a.Err, ErrRepeatConflict) {
			t.Errorf("other input: got %v, want %v", a.Err, ErrRepeatConflict)
		}
		time.Sleep(10*time.Minute - time.Second)
		if got := call(alice, "r1", `{"n":1}`); got != 1 {
			t.Errorf("nearly ten minutes later: got answer %d", got)
		}
		time.Sleep(time.Second)
		if got := call(alice, "r1", `{"n":1}`); got != 6 {
			t.Errorf("ten minutes later: got answer %d", got)
		}
	})
}

func TestARepeatWaitsForTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		release := make(chan struct{})
		table, op := oneRow(func(context.Context, Caller, echo) (echo, chat.Commit, error) {
			calls.Add(1)
			<-release
			return echo{N: 7}, nil, nil
		})
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				a := table.Call(t.Context(), op, alice, "r", nil)
				if a.Err != nil || a.Body.(echo).N != 7 {
					t.Errorf("got %+v", a)
				}
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if a := table.Call(ctx, op, alice, "r", nil); !errors.Is(a.Err, context.DeadlineExceeded) {
			t.Errorf("who does not wait long enough: got %+v", a)
		}
		close(release)
		wg.Wait()
		if calls.Load() != 1 {
			t.Errorf("done %d times", calls.Load())
		}
	})
}

func TestOnlyFinalRefusalsAreRepeated(t *testing.T) {
	tests := map[string]struct {
		err   error
		calls int // of three
	}{
		"final":              {chat.ErrNoRight, 1},
		"wrapped":            {fmt.Errorf("send: %w", chat.ErrConflict), 1},
		"bad":                {malformed("no"), 1},
		"unavailable":        {fmt.Errorf("append: %w", chat.ErrUnavailable), 3},
		"throttled":          {&accounts.ThrottledError{RetryAfter: time.Second}, 3},
		"nobody's guess":     {errors.New("bug"), 3},
		"its client is gone": {context.Canceled, 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			calls := 0
			table, op := oneRow(func(context.Context, Caller, echo) (echo, chat.Commit, error) {
				calls++
				return echo{}, nil, tt.err
			})
			for range 3 {
				if a := table.Call(t.Context(), op, alice, "r", nil); !errors.Is(a.Err, tt.err) {
					t.Errorf("got %v, want %v", a.Err, tt.err)
				}
			}
			if calls != tt.calls {
				t.Errorf("done %d times, want %d", calls, tt.calls)
			}
		})
	}
}

func TestAPanicLetsTheNextOneTry(t *testing.T) {
	calls := 0
	table, op := oneRow(func(context.Context, Caller, echo) (echo, chat.Commit, error) {
		if calls++; calls == 1 {
			panic("bug")
		}
		return echo{N: calls}, nil, nil
	})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		table.Call(t.Context(), op, alice, "r", nil)
	}()
	if a := table.Call(t.Context(), op, alice, "r", nil); a.Err != nil || a.Body.(echo).N != 2 {
		t.Errorf("got %+v", a)
	}
}

func TestStrangersAndReadersHaveNoRepeats(t *testing.T) {
	calls := 0
	count := func() echo { calls++; return echo{N: calls} }
	table := newTable([]*Operation{
		change("join", Public, "", func(context.Context, Caller, echo) (echo, chat.Commit, error) {
			return count(), nil, nil
		}),
		read("look", User, "", func(context.Context, Caller, echo) (echo, error) { return count(), nil }),
	})
	for _, name := range []string{"join", "look"} {
		op, _ := table.Lookup(name)
		a := table.Call(t.Context(), op, alice, "r", nil)
		b := table.Call(t.Context(), op, alice, "r", nil)
		if a.Body.(echo).N == b.Body.(echo).N {
			t.Errorf("%s: a repeat got the answer of the first", name)
		}
	}
}

func TestRepeatsAreBounded(t *testing.T) {
	table, op := oneRow(func(_ context.Context, _ Caller, in echo) (echo, chat.Commit, error) { return in, nil, nil })
	for i := range 2 * maxAccountRepeat {
		table.Call(t.Context(), op, alice, fmt.Sprint(i), nil)
	}
	if n := len(table.repeat.byKey); n != maxAccountRepeat {
		t.Errorf("%d answers of one account are kept, want %d", n, maxAccountRepeat)
	}
	for i := range maxRepeats + 100 {
		table.Call(t.Context(), op, Caller{Account: accounts.Name(fmt.Sprint("user", i))}, "r", nil)
	}
	r := table.repeat
	if len(r.byKey) != maxRepeats || r.all.Len() != maxRepeats || len(r.own) != maxRepeats {
		t.Errorf("%d answers in a list of %d of %d accounts are kept", len(r.byKey), r.all.Len(), len(r.own))
	}
	long := string(make([]byte, maxRID+1))
	a := table.Call(t.Context(), op, alice, long, nil)
	if f, ok := FaultOf(a.Err); !ok || f.Err != "bad" {
		t.Errorf("a rid that is too long: got %v", a.Err)
	}
}
