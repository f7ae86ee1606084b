package api

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

const (
	defaultInvitationLife = 7 * 24 * time.Hour
	maxInvitationLife     = 366 * 24 * time.Hour
	maxInvitationUses     = 100_000
	maxInvitations        = 500 // in one answer
)

type adminInviteInput struct {
	Uses  uint64 `json:"uses" doc:"for how many accounts; 0: one" example:"1"`
	TTL   uint64 `json:"ttl" doc:"for how many seconds; 0: a week; 366 days at most"`
	Label string `json:"label" doc:"what it is for" example:"for Bob"`
}

func (i adminInviteInput) target() string { return i.Label }

type adminInviteOutput struct {
	ID      string `json:"id"`
	Code    string `json:"code"`
	Expires int64  `json:"expires"` // Unix milliseconds
}

// adminInvitation is an invitation without its code, which nobody has.
type adminInvitation struct {
	ID      string        `json:"id"`
	Uses    int           `json:"uses" doc:"how many are left"`
	Made    int           `json:"made" doc:"how many there were at first"`
	Label   string        `json:"label,omitempty" doc:"what it is for"`
	By      accounts.Name `json:"by,omitempty" doc:"who made it; absent: the console"`
	Created int64         `json:"created,omitempty"`
	Expires int64         `json:"expires"`
}

type adminInvitationsOutput struct {
	Invitations []adminInvitation `json:"invitations" doc:"one for each, without its code"`
	Cursor      string            `json:"cursor,omitempty" doc:"gives the next page; absent: there is no more"`
}

type adminIDInput struct {
	ID string `json:"id" doc:"of the invitation, or its code" required:"true"`
}

func (i adminIDInput) target() string { return accounts.InvitationID(i.ID) }

func inviteRows(acc *accounts.Service) []*Operation {
	return []*Operation{
		change("invite.add", Admin, "Makes an invitation, for installations that register whoever has one.",
			func(ctx context.Context, c Caller, in adminInviteInput) (adminInviteOutput, chat.Commit, error) {
				out, err := invite(ctx, acc, c, in)
				return out, nil, err
			}),
		read("invite.list", Admin, "Lists invitations, in no order that means something.",
			func(ctx context.Context, _ Caller, in adminListInput) (adminInvitationsOutput, error) {
				return invitations(ctx, acc, in)
			}),
		change("invite.revoke", Admin, "Takes an invitation back.",
			func(ctx context.Context, _ Caller, in adminIDInput) (nothing, chat.Commit, error) {
				return nothing{}, nil, acc.Uninvite(ctx, in.ID)
			}),
	}
}

func invite(ctx context.Context, acc *accounts.Service, c Caller, in adminInviteInput) (adminInviteOutput, error) {
	life, uses := defaultInvitationLife, max(in.Uses, 1)
	if in.TTL > uint64(maxInvitationLife/time.Second) || uses > maxInvitationUses {
		return adminInviteOutput{}, malformed("an invitation is for at most %d uses and 366 days", maxInvitationUses)
	}
	if in.TTL > 0 {
		life = time.Duration(in.TTL) * time.Second
	}
	code, made, err := acc.Invite(ctx, accounts.Invitation{Uses: int(uses), Label: in.Label, By: c.Account}, life)
	return adminInviteOutput{ID: made.Digest.ID(), Code: code, Expires: made.Expires.UnixMilli()}, err
}

func invitations(ctx context.Context, acc *accounts.Service, in adminListInput) (adminInvitationsOutput, error) {
	var after accounts.Digest
	cursor, err := hex.DecodeString(in.Cursor)
	if err != nil || len(cursor) != 0 && len(cursor) != len(after) {
		return adminInvitationsOutput{}, malformed("the cursor is none")
	}
	copy(after[:], cursor)
	limit := clamp(in.Limit, maxInvitations, maxInvitations)
	list, err := acc.Invitations(ctx, after, limit)
	if err != nil {
		return adminInvitationsOutput{}, err
	}
	out := adminInvitationsOutput{Invitations: make([]adminInvitation, len(list))}
	for n, i := range list {
		out.Invitations[n] = adminInvitation{
			ID: i.Digest.ID(), Uses: i.Uses, Made: max(i.Made, i.Uses), Label: i.Label, By: i.By,
			Created: milliseconds(i.Created), Expires: milliseconds(i.Expires),
		}
	}
	if len(list) == limit {
		out.Cursor = hex.EncodeToString(list[limit-1].Digest[:])
	}
	return out, nil
}
