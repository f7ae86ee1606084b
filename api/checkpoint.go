package api

import (
	"context"

	"github.com/magpie-im/magpie/chat"
)

// Checkpointer makes copies of the store at a moment.
type Checkpointer interface {
	// Checkpoint makes one, with everything that was acknowledged, and gives its name among the checkpoints of the data
	// directory. Whoever asked for it removes it there.
	Checkpoint(ctx context.Context) (name string, err error)
}

type checkpointOutput struct {
	Name string `json:"name"`
}

func checkpointRows(store Checkpointer) []*Operation {
	return []*Operation{
		// It is not noted: nothing changes, and who may do it can read everything as it is.
		read("store.checkpoint", Admin,
			"Makes a copy of the store as it is now, for magpie backup and magpie export, which remove it again.",
			func(ctx context.Context, c Caller, _ nothing) (checkpointOutput, error) {
				if c.Account != "" { // only who is at the console can get at it
					return checkpointOutput{}, chat.ErrNoRight
				}
				name, err := store.Checkpoint(ctx)
				return checkpointOutput{name}, err
			}),
	}
}
