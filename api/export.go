package api

import (
	"context"
	"sync"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

const (
	maxExports  = 32 // at the same time; of one account one
	exportRetry = 10 * time.Second
	exportPage  = 100
)

// exporter gives accounts all that is stored of them.
type exporter struct {
	life
	mu      sync.Mutex
	running map[accounts.Name]bool
}

func exportRows(r Rooms) []*Operation {
	x := &exporter{life: life{r.Accounts, r.Sessions, r.Chat, r.Trips}, running: map[accounts.Name]bool{}}
	return []*Operation{
		stream("account.export", "Gives all that is stored of the caller's account, one JSON object in each line.",
			func(ctx context.Context, c Caller, _ nothing, emit func(any) error) error {
				if !x.begin(c.Account) {
					return &accounts.ThrottledError{RetryAfter: exportRetry}
				}
				defer x.done(c.Account)
				return x.export(ctx, c, emit)
			}).lines(exportAccount{}, exportProfile{}, exportSettings{}, exportSession{}, exportContact{}, exportConversation{},
			exportMessage{}, exportEnd{}, brokenOff{}),
	}
}

func (x *exporter) begin(who accounts.Name) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.running[who] || len(x.running) >= maxExports {
		return false
	}
	x.running[who] = true
	return true
}

func (x *exporter) done(who accounts.Name) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.running, who)
}

// What lines of an export begin with; the rest is what the method gives that shows the same.
type (
	exportAccount struct {
		Type    string        `json:"t" enum:"account"`
		UID     accounts.Name `json:"uid"`
		Role    accounts.Role `json:"role,omitempty"`
		Created int64         `json:"created"`
		TS      int64         `json:"ts" doc:"when the export was made, in Unix milliseconds"`
	}
	exportProfile struct {
		Type string `json:"t" enum:"profile"`
		profileOutput
	}
	exportSettings struct {
		Type string `json:"t" enum:"settings"`
		settingsOutput
	}
	exportSession struct {
		Type string `json:"t" enum:"session"`
		ownSession
	}
	exportContact struct {
		Type string `json:"t" enum:"contact"`
		contact
	}
	exportConversation struct {
		Type string `json:"t" enum:"conv"`
		Box  bool   `json:"box,omitempty"`
		Hide bool   `json:"hide,omitempty"`
		overview
	}
	exportMessage struct {
		Type         string            `json:"t" enum:"msg"`
		Conversation chat.Conversation `json:"c"`
		message
	}
	exportEnd struct {
		Type  string `json:"t" enum:"end"`
		Lines int    `json:"lines" doc:"how many there were before this one"`
	}
	// brokenOff is the line that package rest ends a stream with that cannot go on.
	brokenOff struct {
		Type string `json:"t" enum:"error"`
		Err  string `json:"err"`
	}
)

func (x *exporter) export(ctx context.Context, c Caller, emit func(any) error) error {
	lines := 0
	counted := func(line any) error {
		if lines++; lines%exportPage == 0 { // the token may have been revoked meanwhile
			if err := x.acc.Good(ctx, c.Account, c.Token); err != nil {
				return err
			}
		}
		return emit(line)
	}
	for _, part := range []func(context.Context, Caller, func(any) error) error{
		x.exportSelf, x.exportSessions, x.exportContacts, x.exportConversations,
	} {
		if err := part(ctx, c, counted); err != nil {
			return err
		}
	}
	return emit(exportEnd{"end", lines})
}

func (x *exporter) exportSelf(ctx context.Context, c Caller, emit func(any) error) error {
	u, err := x.acc.User(ctx, c.Account)
	if err != nil {
		return err
	}
	view, err := x.ch.Profile(ctx, c.Account, c.Account)
	if err != nil {
		return err
	}
	settings, err := x.ch.Settings(ctx, c.Account)
	if err != nil {
		return err
	}
	for _, line := range []any{
		exportAccount{"account", u.Name, u.Role, u.Created.UnixMilli(), time.Now().UnixMilli()},
		exportProfile{"profile", viewOf(view)}, exportSettings{"settings", settingsOf(settings)},
	} {
		if err := emit(line); err != nil {
			return err
		}
	}
	return nil
}

func (x *exporter) exportSessions(ctx context.Context, c Caller, emit func(any) error) error {
	list, err := x.list(ctx, c)
	if err != nil {
		return err
	}
	for _, s := range list {
		if err := emit(exportSession{"session", s}); err != nil {
			return err
		}
	}
	return nil
}

func (x *exporter) exportContacts(ctx context.Context, c Caller, emit func(any) error) error {
	for after := accounts.Name(""); ; {
		page, err := x.ch.ListContacts(ctx, c.Account, after, exportPage)
		if err != nil {
			return err
		}
		for _, k := range page {
			after = k.Who
			if err := emit(exportContact{"contact", contactOf(k)}); err != nil {
				return err
			}
		}
		if len(page) < exportPage {
			return nil
		}
	}
}

// exportConversations looks until it finds no conversation that it has not seen: one in which something is written while it
// looks moves to where it has looked already.
func (x *exporter) exportConversations(ctx context.Context, c Caller, emit func(any) error) error {
	seen := map[chat.Conversation]bool{}
	for {
		before := len(seen)
		for _, list := range []chat.List{chat.ListAll, chat.ListBox} {
			if err := x.exportList(ctx, c, list, seen, emit); err != nil {
				return err
			}
		}
		if len(seen) == before {
			return nil
		}
	}
}

func (x *exporter) exportList(
	ctx context.Context, c Caller, list chat.List, seen map[chat.Conversation]bool, emit func(any) error,
) error {
	for cursor := ""; ; {
		page, err := x.ch.Conversations(ctx, c.Account, list, cursor, exportPage)
		if err != nil {
			return err
		}
		for _, o := range page.List {
			name := o.Tally.Conversation
			if seen[name] {
				continue
			}
			seen[name] = true
			line := exportConversation{"conv", list == chat.ListBox, o.Own.Hidden(o.Tally.Head), overviewOf(c.Account, o)}
			line.Draft = o.Own.Draft
			if err := emit(line); err != nil {
				return err
			}
			if err := x.exportMessages(ctx, c, name, emit); err != nil {
				return err
			}
		}
		if cursor = page.Cursor; cursor == "" {
			return nil
		}
	}
}

func (x *exporter) exportMessages(
	ctx context.Context, c Caller, name chat.Conversation, emit func(any) error,
) error {
	for q := (chat.HistoryQuery{Conversation: name, First: true, Limit: exportPage}); ; {
		page, err := x.ch.History(ctx, c.Account, q)
		if err != nil || len(page.Messages) == 0 {
			return err
		}
		for _, m := range page.Messages {
			q.First, q.After = false, m.Seq
			if err := emit(exportMessage{"msg", name, messageOf(m)}); err != nil {
				return err
			}
		}
	}
}
