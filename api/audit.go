package api

import (
	"context"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

const (
	usualActs = 100
	maxActs   = 500 // in one answer
	maxTarget = 512 // bytes: the name of an account and a client id fit
	// noteTime bounds how long the outcome of an act may take to be noted.
	noteTime = 5 * time.Second
)

// targeted is an input that says whom or what an administrator means. Nothing that is secret may be in it.
type targeted interface{ target() string }

// audited notes the calls of a row: that it is about to be carried out, without which it is not, and how that ended.
func (o *Operation) audited(acc *accounts.Service) {
	run := o.run
	o.run = func(ctx context.Context, c Caller, in any) Answer {
		act := accounts.Act{By: c.Account, From: c.from(), Method: o.Name}
		if t, ok := in.(targeted); ok {
			act.Target = accounts.CleanLine(t.target(), maxTarget)
		}
		act, err := acc.Begin(ctx, act)
		if err != nil {
			return Answer{Err: err}
		}
		answer := run(ctx, c, in)
		if answer.Err == nil && answer.Commit != nil {
			answer.Err = answer.Commit.Wait(ctx)
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
		defer cancel()
		if err := acc.Finish(ctx, act, outcomeOf(answer.Err)); err != nil && answer.Err == nil {
			answer = Answer{Err: err, after: answer.after} // it is done, and noted as one of which that is not known
		}
		return answer
	}
}

func outcomeOf(err error) string {
	if err == nil {
		return "ok"
	}
	if f, ok := FaultOf(err); ok {
		return f.Err
	}
	return "unavailable"
}

type auditListInput struct {
	Cursor string `json:"cursor"`
	Limit  uint64 `json:"limit"`
}

// auditAct is what an administrator did.
type auditAct struct {
	ID      string        `json:"id"`
	TS      int64         `json:"ts"` // Unix milliseconds
	By      accounts.Name `json:"by,omitempty" doc:"who did it; absent: the console"`
	From    string        `json:"addr,omitempty" doc:"where from; absent: the console"`
	Method  string        `json:"method" doc:"what he called"`
	Target  string        `json:"target,omitempty" doc:"whom or what he meant"`
	Outcome string        `json:"outcome,omitempty" doc:"ok, or why it was refused; absent: the server ended meanwhile"`
}

type auditListOutput struct {
	Acts   []auditAct `json:"acts" doc:"the newest first"`
	Cursor string     `json:"cursor,omitempty" doc:"gives the next page; absent: there is no more"`
}

func auditRows(acc *accounts.Service) []*Operation {
	return []*Operation{
		read("audit.list", Admin, "Lists what administrators did, the newest first.",
			func(ctx context.Context, _ Caller, in auditListInput) (auditListOutput, error) {
				limit := clamp(in.Limit, usualActs, maxActs)
				acts, err := acc.Acts(ctx, in.Cursor, limit)
				if err != nil {
					return auditListOutput{}, err
				}
				out := auditListOutput{Acts: make([]auditAct, len(acts))}
				for i, a := range acts {
					out.Acts[i] = auditAct{
						ID: a.ID, TS: a.Time.UnixMilli(), By: a.By, From: a.From,
						Method: a.Method, Target: a.Target, Outcome: a.Outcome,
					}
				}
				if len(acts) == limit {
					out.Cursor = acts[limit-1].ID
				}
				return out, nil
			}),
	}
}
