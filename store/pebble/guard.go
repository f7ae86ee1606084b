package pebble

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guard is the file system as the engine sees it. Errors of writing the log or the directory never reach the engine: it
// would go on after some, and end the process in a panic after others. Instead the store fails, and the goroutine that had
// the error goes no further.
type guard struct {
	vfs.FS
	health *health
	dir    string
}

func (g guard) Unwrap() vfs.FS { return g.FS }

func (g guard) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.Create(name, category)
	return g.file(name, f, err)
}

func (g guard) ReuseForWrite(was, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.ReuseForWrite(was, name, category)
	return g.file(name, f, err)
}

func (g guard) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil || name != g.dir {
		return f, err
	}
	return guardedFile{f, g, name}, nil
}

func (g guard) file(name string, f vfs.File, err error) (vfs.File, error) {
	if !strings.HasSuffix(name, ".log") || g.PathDir(name) != g.dir { // checkpoints have logs too
		return f, err
	}
	g.check(name, err)
	return guardedFile{f, g, name}, nil
}

// check does not return if there is an error.
func (g guard) check(name string, err error) {
	if err == nil {
		return
	}
	err = fmt.Errorf("write %s: %w", name, err)
	if name == g.dir && !applying() {
		g.health.quit(err) // flushes, compactions
	}
	g.health.freeze(err) // the writer of the log, and we ourselves where the engine begins a new log
}

type guardedFile struct {
	vfs.File
	guard guard
	name  string
}

func (f guardedFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.guard.check(f.name, err)
	return n, nil
}

func (f guardedFile) WriteAt(p []byte, at int64) (int, error) {
	n, err := f.File.WriteAt(p, at)
	f.guard.check(f.name, err)
	return n, nil
}

func (f guardedFile) Sync() error {
	f.guard.check(f.name, f.File.Sync())
	return nil
}

func (f guardedFile) SyncData() error {
	f.guard.check(f.name, f.File.SyncData())
	return nil
}

func (f guardedFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	f.guard.check(f.name, err)
	return full, nil
}
