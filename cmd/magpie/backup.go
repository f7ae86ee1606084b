package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/magpie-im/magpie/backup"
	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/files"
	"github.com/magpie-im/magpie/store/pebble"
	"github.com/magpie-im/magpie/transfer"
)

// checkpoint makes one, with the running server or on its store, and gives where it is.
func (f configFlags) checkpoint(c *console) (dir string, err error) {
	cfg, err := f.load(c.environ)
	if err != nil {
		return "", err
	}
	var made struct {
		Name string `json:"name"`
	}
	err = f.call(c, func(ctx context.Context, server caller) error {
		return server.call(ctx, "store.checkpoint", map[string]any{}, &made)
	})
	if err != nil {
		return "", fmt.Errorf("make a copy of the store in %s: %w", filepath.Join(cfg.Data, broker.CheckpointsDir), err)
	}
	if made.Name == "" || !filepath.IsLocal(made.Name) {
		return "", fmt.Errorf("the running server answered that a checkpoint is called %q", made.Name)
	}
	return filepath.Join(cfg.Data, broker.CheckpointsDir, made.Name), nil
}

// untilInterrupted lets what runs clean up when it is interrupted. What it gives has to be called.
func (c *console) untilInterrupted() (stop func()) {
	ctx, stop := signal.NotifyContext(c.ctx, syscall.SIGINT, syscall.SIGTERM)
	c.ctx = ctx
	return stop
}

// embeddedOnly refuses what only the embedded store can do.
func embeddedOnly(cfg broker.Config) error {
	if inMongo(cfg) {
		return fmt.Errorf("%w: backup and restore are for the embedded store; "+
			"MongoDB is backed up with its own tools, or by magpie export",
			errUsage)
	}
	return nil
}

// needStore sees that there is something to be copied, so that nothing is made by the attempt.
func needStore(cfg broker.Config) error {
	if inMongo(cfg) {
		return nil
	}
	if _, err := os.Stat(cfg.Data); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

// openCopy opens a copy of a store for reading.
func openCopy(dir string) (*pebble.Copy, error) {
	return pebble.OpenCopy(pebble.Config{Dir: dir}, slog.New(slog.DiscardHandler)) // what matters comes back as an error
}

// checkCopy looks at everything in a copy of a store; uploads: also for files that are named in it, and not there.
func checkCopy(ctx context.Context, dir string, uploads bool) (report transfer.Report, err error) {
	store, err := openCopy(dir)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if report, err = store.Check(ctx); err != nil {
		return report, err
	}
	err = transfer.CheckFiles(ctx, filesIn(dir), &report)
	if err == nil && uploads {
		err = transfer.CheckUploads(ctx, store, filesIn(dir), &report)
	}
	return report, err
}

// filesIn gives the files that were stored for devices, in a data directory or a copy of one.
func filesIn(dir string) *files.Dir { return files.In(filepath.Join(dir, broker.FilesDir)) }

// problems makes an error of what a check has found.
func problems(c *console, what string, report transfer.Report) error {
	for _, p := range report.Problems {
		if _, err := fmt.Fprintln(c.err, p); err != nil {
			return err
		}
	}
	if report.Found > 0 {
		return fmt.Errorf("%s: %d problems: %w", what, report.Found, pebble.ErrDamaged)
	}
	return nil
}

type backupCommand struct {
	configFlags
	Dir string `arg:"" help:"Directory to make; if it is there, it has to be empty."`
}

// Run copies a checkpoint, checks the copy and writes its manifest.
func (f backupCommand) Run(c *console) (err error) {
	defer c.untilInterrupted()()
	cfg, err := f.load(c.environ)
	if err != nil {
		return err
	}
	err = embeddedOnly(cfg)
	if err == nil {
		err = needStore(cfg)
	}
	if err != nil {
		return err
	}
	if within(f.Dir, cfg.Data) { // in checkpoints/ it would be removed a day later
		return fmt.Errorf("%w: %s is in the data directory: a backup has to be elsewhere", errUsage, f.Dir)
	}
	from, err := f.checkpoint(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(from)) }()
	manifest, err := backup.Copy(c.ctx, from, f.Dir)
	if err != nil {
		return err
	}
	report, err := checkCopy(c.ctx, f.Dir, false) // what is not there is known, or found by verify
	if err != nil {
		return err
	}
	manifest.Made, manifest.By, manifest.Counts = time.Now().UTC().Truncate(time.Second), built(), counts(report.Counts)
	if err := backup.Seal(f.Dir, manifest); err != nil {
		return err
	}
	if err := printCounts(c, "backed up", report.Counts); err != nil {
		return err
	}
	return problems(c, "the backup is complete, and what was backed up is damaged", report)
}

// within says whether a path is a directory, or in it.
func within(path, dir string) bool {
	path, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return false
	}
	rest, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rest)
}

func counts(of map[transfer.Kind]uint64) map[string]uint64 {
	out := map[string]uint64{}
	for kind, n := range of {
		out[string(kind)] = n
	}
	return out
}

// printCounts says in a line what people want to know first.
func printCounts(c *console, did string, of map[transfer.Kind]uint64) error {
	_, err := fmt.Fprintf(c.out, "%s: %d accounts, %d contacts, %d conversations, %d messages, %d entries of streams\n", did,
		of[transfer.KindUser], of[transfer.KindContact], of[transfer.KindConversation], of[transfer.KindMessage],
		of[transfer.KindEntry])
	return err
}

type restoreCommand struct {
	configFlags
	Dir string `arg:"" help:"The backup." type:"existingdir"`
}

// Run puts the backup into the data directory.
func (f restoreCommand) Run(c *console) error {
	cfg, err := f.load(c.environ)
	if err != nil {
		return err
	}
	if err := embeddedOnly(cfg); err != nil {
		return err
	}
	manifest, err := backup.Restore(c.ctx, f.Dir, cfg.Data, pebble.RestoringFile)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "restored what was backed up at %s: %d bytes\n",
		manifest.Made.Format(time.RFC3339), manifest.Bytes())
	return err
}

type verifyCommand struct {
	configFlags
	Dir string `arg:"" optional:"" help:"A backup; the data directory if nothing is said." type:"existingdir"`
}

// Run reads everything.
func (f verifyCommand) Run(c *console) error {
	defer c.untilInterrupted()()
	what, report, err := f.check(c)
	if err != nil {
		return err
	}
	if err := problems(c, what, report); err != nil {
		return err
	}
	return printCounts(c, "as it has to be", report.Counts)
}

// check looks at the backup, or at a copy of the store, or at the database, which nobody else uses meanwhile.
func (f verifyCommand) check(c *console) (what string, report transfer.Report, err error) {
	if f.Dir != "" {
		if _, err := backup.Verify(c.ctx, f.Dir); err != nil {
			return "", report, err
		}
		report, err = checkCopy(c.ctx, f.Dir, true)
		return "the backup", report, err
	}
	cfg, err := f.load(c.environ)
	if err == nil {
		err = needStore(cfg)
	}
	if err != nil {
		return "", report, err
	}
	what = storeName(cfg)
	if inMongo(cfg) {
		s, err := openStore(c.ctx, cfg, slog.New(slog.DiscardHandler)) // what matters comes back as an error
		if err != nil {
			return "", report, err
		}
		report, err = s.Check(c.ctx)
		if err == nil {
			err = transfer.CheckFiles(c.ctx, filesIn(cfg.Data), &report)
		}
		if err == nil {
			err = transfer.CheckUploads(c.ctx, s.Transfer(), filesIn(cfg.Data), &report)
		}
		return what, report, errors.Join(err, closeStore(s))
	}
	dir, err := f.checkpoint(c)
	if err != nil {
		return "", report, err
	}
	report, err = checkCopy(c.ctx, dir, true)
	return what, report, errors.Join(err, os.RemoveAll(dir))
}
