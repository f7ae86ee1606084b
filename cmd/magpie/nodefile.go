package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// nodeFileName is where a data directory says which node it is of those that could have a database. A node that starts again
// after a crash takes its database at once; another one waits until it is clear that it is gone.
const nodeFileName = "node"

// errNodeRuns means that another process is this node.
var errNodeRuns = errors.New("data directory is in use")

// nodeFile is that file, for nobody else to be the same node at the same time.
type nodeFile struct {
	*os.File
	id string
}

func openNodeFile(dir string) (*nodeFile, error) {
	file, err := os.OpenFile(filepath.Join(dir, nodeFileName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	f := &nodeFile{File: file}
	if err := lockFile(file); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), file.Close())
	}
	if err := f.name(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", file.Name(), err), file.Close())
	}
	return f, nil
}

// name reads the name of the node, and gives it one if it has none.
func (f *nodeFile) name() error {
	text, err := io.ReadAll(io.LimitReader(f, 128))
	if f.id = strings.TrimSpace(string(text)); err != nil || f.id != "" {
		return err
	}
	f.id = rand.Text()
	_, err = f.WriteString(f.id + "\n")
	return errors.Join(err, f.Sync())
}
