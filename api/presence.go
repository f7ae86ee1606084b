package api

import (
	"context"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

type presencesInput struct {
	Who []string `json:"who" doc:"users" max:"200" example:"[\"bob\"]"`
}

// presence is what the caller sees of whether somebody is there.
type presence struct {
	Who     accounts.Name `json:"who"`
	On      *bool         `json:"on,omitempty" doc:"absent: the caller may not know, or there is nobody"`
	State   chat.Activity `json:"state,omitempty" doc:"the first of fg, bg and away that one of his connections has"`
	Devices int           `json:"dev,omitempty"`
	Seen    int64         `json:"seen,omitempty" doc:"when he was there last, in Unix milliseconds; absent: is there"`
}

type presencesOutput struct {
	Presence []presence `json:"presence"`
}

// presenceRows are who is there.
func presenceRows(r Rooms) []*Operation {
	return []*Operation{
		read("presence.get", User, "Tells of up to 200 users whether they are there.",
			func(ctx context.Context, c Caller, in presencesInput) (presencesOutput, error) {
				who := make([]accounts.Name, len(in.Who))
				for i, name := range in.Who {
					var err error
					if who[i], err = userField("who", name); err != nil {
						return presencesOutput{}, err
					}
				}
				seen, err := r.Chat.Presences(ctx, c.Account, who)
				if err != nil {
					return presencesOutput{}, err
				}
				out := presencesOutput{Presence: make([]presence, len(seen))}
				for i, p := range seen {
					out.Presence[i] = presenceOf(p)
				}
				return out, nil
			}),
	}
}

func presenceOf(p chat.Presence) presence {
	out := presence{Who: p.Who, State: p.State, Devices: p.Devices}
	if p.Known {
		out.On = &p.On
	}
	if !p.Seen.IsZero() {
		out.Seen = p.Seen.UnixMilli()
	}
	return out
}
