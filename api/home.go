package api

import (
	"context"

	"github.com/magpie-im/magpie/chat"
)

type createHomeInput struct {
	Members []string `json:"members" doc:"100 at most: contacts come in at once, as guests; others are invited"`
	roomSettings
}

func homeRows(ch *chat.Service) []*Operation {
	return []*Operation{
		change("home.create", User, "Makes a home: a conversation of its people, and the place of its devices.",
			func(ctx context.Context, c Caller, in createHomeInput) (createGroupOutput, chat.Commit, error) {
				return createRoom(ctx, ch, c, chat.KindHome, in.patch(), in.Members)
			}),
	}
}
