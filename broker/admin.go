package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/magpie-im/magpie/api"
)

// adminTable is what the administrator of the node may ask for.
func (n *Node) adminTable() *api.Table {
	return api.NewAdmin(api.Rooms{
		Accounts: n.accounts, Chat: n.chat, Sessions: n.sessions, Store: checkpoints{n},
		Things: n.things, Devices: n.devices, Telemetry: n.telemeter, Claims: n.claims, Factory: n.factory, Jobs: n.jobs,
		Trips: n.trips,
	})
}

// checkpoints are copies of the store, and of the files that it knows of.
type checkpoints struct{ *Node }

// Checkpoint implements api.Checkpointer.
func (n checkpoints) Checkpoint(ctx context.Context) (name string, err error) {
	dir := ""
	err = n.shelf.Copy(ctx, func() (string, error) {
		if name, err = n.store.Checkpoint(ctx); err == nil {
			dir = filepath.Join(n.cfg.Data, CheckpointsDir, name)
		}
		return filepath.Join(dir, FilesDir), err
	})
	if err != nil && dir != "" {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return name, err
}

// Administer does what the admin socket would, in a node that is never run, and gives the answer as JSON. It is not to be
// called concurrently.
func (n *Node) Administer(ctx context.Context, method string, body []byte) ([]byte, error) {
	table := n.adminTable()
	op, ok := table.Lookup(method)
	if !ok {
		return nil, api.ErrNoMethod
	}
	if !n.loaded {
		if err := n.sessions.Load(ctx); err != nil {
			return nil, err
		}
		n.loaded = true
	}
	answer := table.Call(ctx, op, api.Caller{}, "", body)
	defer answer.Answered()
	if answer.Err == nil && answer.Commit != nil {
		answer.Err = answer.Commit.Wait(ctx)
	}
	if answer.Err != nil {
		if f, ok := api.FaultOf(answer.Err); ok {
			return nil, fmt.Errorf("%s (%s)", f.Text, f.Err)
		}
		return nil, answer.Err
	}
	return json.Marshal(answer.Body)
}
