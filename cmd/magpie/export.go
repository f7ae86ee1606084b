package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/magpie-im/magpie/backup"
	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/store/pebble"
	"github.com/magpie-im/magpie/transfer"
)

type exportCommand struct {
	configFlags
	File string `arg:"" help:"File to write. It has the hashes of passwords in it: keep it as safe as the server."`
	From string `help:"A backup to export, in place of the data directory." type:"existingdir" placeholder:"DIR"`
	Bare bool   `name:"without-files" help:"Leave out the files that were stored for devices."`
}

// Run exports a checkpoint, a backup, or a database that nobody else uses. As long as it is not done, there is FILE.part, and
// FILE.from that says of what.
func (f exportCommand) Run(c *console) error {
	if _, err := os.Lstat(f.File); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s is there already", errUsage, f.File)
	}
	cfg, err := f.load(c.environ)
	if err != nil && f.From == "" {
		return err
	}
	var summary transfer.Summary
	if f.From == "" && inMongo(cfg) {
		summary, err = f.database(c, cfg)
	} else {
		summary, err = f.directory(c)
	}
	if err != nil {
		return err
	}
	return printCounts(c, "exported", summary.Counts)
}

// directory exports a copy of an embedded store, and removes it if it was made for that.
func (f exportCommand) directory(c *console) (summary transfer.Summary, err error) {
	from, err := f.source(c)
	if err != nil {
		return summary, err
	}
	store, err := openCopy(from)
	if err != nil {
		return summary, err
	}
	summary, err = exportTo(c.ctx, f.filed(store, from), f.File+".part")
	if err := errors.Join(err, store.Close()); err != nil {
		return summary, err
	}
	if err := os.Rename(f.File+".part", f.File); err != nil {
		return summary, err
	}
	if f.From == "" {
		err = os.RemoveAll(from)
	}
	return summary, errors.Join(err, os.Remove(f.File+".from"))
}

// database exports what is in MongoDB. It goes on with a part if nobody has opened the database since that was written.
func (f exportCommand) database(c *console, cfg broker.Config) (summary transfer.Summary, err error) {
	defer c.untilInterrupted()()
	d, err := openDatabase(c.ctx, cfg, false, slog.New(slog.DiscardHandler)) // what matters comes back as an error
	if err != nil {
		return summary, err
	}
	defer func() { err = errors.Join(err, closeStore(d)) }()
	is := exportSource{ID: d.ID(), Epoch: d.Epoch(), Bare: f.Bare}
	if was := f.begun(); was.ID == is.ID && was.Epoch == is.Epoch-1 && was.Bare == is.Bare {
		err = f.goOn(is)
	} else {
		err = f.begin(is)
	}
	if err != nil {
		return summary, err
	}
	if summary, err = exportTo(c.ctx, f.filed(d.Transfer(), cfg.Data), f.File+".part"); err != nil {
		return summary, err
	}
	return summary, errors.Join(os.Rename(f.File+".part", f.File), os.Remove(f.File+".from"))
}

// filed is a store with the files beside it in a directory, unless they are to be left out.
func (f exportCommand) filed(store transfer.Source, dir string) transfer.Source {
	if f.Bare {
		return store
	}
	return transfer.WithFiles(store, filesIn(dir))
}

// exportSource is what FILE.from says.
type exportSource struct {
	Dir   string `json:"dir,omitempty"`
	ID    string `json:"id,omitempty"`    // of a backup or a database; empty: it is a checkpoint
	Epoch int64  `json:"epoch,omitempty"` // of a database
	Bare  bool   `json:"without_files,omitempty"`
}

// source gives the copy of a store that is to be exported: the one of which a part is written, as long as it is there, or a new
// one.
func (f exportCommand) source(c *console) (dir string, err error) {
	was := f.begun()
	if f.From != "" {
		is, err := backupSource(c.ctx, f.From)
		is.Bare = f.Bare
		if err != nil || is == was {
			return is.Dir, err
		}
		return is.Dir, f.begin(is)
	}
	cfg, err := f.load(c.environ)
	if err == nil {
		err = needStore(cfg)
	}
	if err != nil {
		return "", err
	}
	own, err := filepath.Abs(filepath.Join(cfg.Data, broker.CheckpointsDir))
	if err != nil {
		return "", err
	}
	// What the file says is removed in the end: it has to be a checkpoint, and of the same store.
	if was.ID == "" && was.Bare == f.Bare && was.Dir == filepath.Join(own, filepath.Base(was.Dir)) {
		if _, err := os.Stat(was.Dir); err == nil {
			return was.Dir, nil
		}
	}
	if err := f.begin(exportSource{}); err != nil { // before there is a checkpoint that nobody would remove
		return "", err
	}
	made, err := f.checkpoint(c)
	if err != nil {
		return "", errors.Join(err, os.Remove(f.File+".from"))
	}
	is := exportSource{Dir: filepath.Join(own, filepath.Base(made)), Bare: f.Bare}
	if err := f.begin(is); err != nil {
		return "", errors.Join(err, os.RemoveAll(is.Dir))
	}
	return is.Dir, nil
}

// begun reads FILE.from. If there is none, or only a part of one, nothing was begun.
func (f exportCommand) begun() (was exportSource) {
	text, err := os.ReadFile(f.File + ".from")
	if err != nil || json.Unmarshal(text, &was) != nil {
		return exportSource{}
	}
	return was
}

// begin writes FILE.from. What there is of a part of another source is worth nothing.
func (f exportCommand) begin(is exportSource) error {
	if err := os.Remove(f.File + ".part"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return f.goOn(is)
}

// goOn writes FILE.from, and leaves the part as it is.
func (f exportCommand) goOn(is exportSource) error {
	text, err := json.Marshal(is)
	if err != nil {
		return err
	}
	return os.WriteFile(f.File+".from", append(text, '\n'), 0o600)
}

func backupSource(ctx context.Context, dir string) (is exportSource, err error) {
	if is.Dir, err = filepath.Abs(dir); err != nil {
		return is, err
	}
	m, err := backup.Verify(ctx, dir)
	if err != nil {
		return is, err
	}
	is.ID = m.ID()
	return is, nil
}

// exportTo writes a part, or goes on with it.
func exportTo(ctx context.Context, from transfer.Source, part string) (s transfer.Summary, err error) {
	file, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return transfer.Export(ctx, from, file)
}

type importCommand struct {
	configFlags
	File  string `arg:"" help:"The file of an export." type:"existingfile"`
	Force bool   `help:"Let the store be used though what is in it does not fit together."`
}

// Run imports, or goes on with it.
func (f importCommand) Run(c *console) (err error) {
	cfg, err := f.load(c.environ)
	if err != nil {
		return err
	}
	file, err := os.Open(f.File)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	store, err := openUnfinished(c.ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStore(store)) }()
	to := transfer.IntoFiles(store.Transfer(), filesIn(cfg.Data))
	summary, err := transfer.Import(c.ctx, to, file, func(ctx context.Context) error {
		report, err := store.Check(ctx)
		if err == nil {
			err = problems(c, f.File, report)
		}
		if f.Force && errors.Is(err, pebble.ErrDamaged) {
			return nil
		}
		return err
	})
	switch {
	case errors.Is(err, transfer.ErrNotEmpty):
		return fmt.Errorf("%s: %w", storeName(cfg), err)
	case err != nil:
		return err
	}
	return printCounts(c, "imported", summary.Counts)
}
