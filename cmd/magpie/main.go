// Command magpie is the server and what its administrator types. It only wires: it reads the configuration, opens the
// store, runs a node of package broker on it, and says in one line and an exit code what went wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/backup"
	"github.com/magpie-im/magpie/store/mongo"
	"github.com/magpie-im/magpie/store/pebble"
	"github.com/magpie-im/magpie/transfer"
)

// Exit codes; docs/operations.md explains them.
const (
	exitOK      = 0
	exitError   = 1 // anything that has no code of its own
	exitUsage   = 2 // command line or configuration
	exitInUse   = 3 // the data directory, or the database, belongs to another process
	exitDamaged = 4 // the store cannot be read as it is
	exitNewer   = 5 // the store was written by a newer magpie
	exitStore   = 6 // the disk is full, or the store cannot be written or failed while running
	exitAddress = 7 // an address to listen on is taken
	exitPartial = 8 // an import or a restore has to be finished first
)

var (
	// errConfig means that the configuration cannot be used.
	errConfig = errors.New("configuration")
	// errUsage means that a command was called in a way that cannot work.
	errUsage = errors.New("usage")
	// errStore means that the store stopped working under a running server.
	errStore = errors.New("store")
)

// exitCode says how to end with err.
func exitCode(err error) int {
	is := func(targets ...error) bool {
		return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
	}
	var parse *kong.ParseError
	switch {
	case err == nil:
		return exitOK
	case is(errConfig, errUsage, mongo.ErrConfig, mongo.ErrRefused), errors.As(err, &parse):
		return exitUsage
	case inUse(err):
		return exitInUse
	case is(pebble.ErrDamaged, mongo.ErrDamaged, backup.ErrDamaged, backup.ErrIncomplete):
		return exitDamaged
	case is(pebble.ErrNewer, mongo.ErrNewer, backup.ErrNewer):
		return exitNewer
	case is(pebble.ErrUnfinished, mongo.ErrUnfinished, backup.ErrOther, transfer.ErrOther):
		return exitPartial
	case is(pebble.ErrFull, errStore, accounts.ErrUnavailable, syscall.ENOSPC):
		return exitStore
	case is(syscall.EADDRINUSE):
		return exitAddress
	}
	return exitError
}

// version is set by the linker (see Makefile).
var version string

// console is what a command may use of the world.
type console struct {
	ctx     context.Context
	args    []string
	environ []string
	in      io.Reader
	out     io.Writer
	err     io.Writer
}

type commands struct {
	Serve   serveCommand    `cmd:"" help:"Run the server."`
	User    userCommands    `cmd:"" help:"Add and change accounts, on a running server or a stopped one."`
	Device  deviceCommands  `cmd:"" help:"Add and change devices, and let them make themselves known."`
	Session sessionCommands `cmd:"" help:"List, show and drop sessions, on a running server or a stopped one."`
	Invite  inviteCommands  `cmd:"" help:"Make, list and take back invitations to register with."`
	CA      caCommands      `cmd:"" name:"ca" help:"Be an authority that makes and revokes certificates of devices."`
	Audit   auditCommand    `cmd:"" help:"List what administrators did, the newest first."`
	Backup  backupCommand   `cmd:"" help:"Copy the data of a running server, or of a stopped one."`
	Restore restoreCommand  `cmd:"" help:"Put a backup into an empty data directory."`
	Export  exportCommand   `cmd:"" help:"Write everything there is of people and conversations to a file, for any store."`
	Import  importCommand   `cmd:"" help:"Read the file of an export into an empty store."`
	Verify  verifyCommand   `cmd:"" help:"See whether a backup or the data directory is as it has to be."`
	Check   checkCommand    `cmd:"" help:"Print the configuration that is in force, or what is wrong with it."`
	Version versionCommand  `cmd:"" help:"Print the version."`
}

func main() {
	os.Exit(run(&console{
		ctx: context.Background(), args: os.Args, environ: os.Environ(), in: os.Stdin, out: os.Stdout, err: os.Stderr,
	}))
}

func run(c *console) int {
	code, err := command(c)
	if err != nil {
		_, _ = fmt.Fprintf(c.err, "magpie: %v\n", err) // where else
		return exitCode(err)
	}
	return code
}

// command runs what the arguments say. Where kong has already answered (--help), there is no error and a code.
func command(c *console) (code int, err error) {
	exited := errors.New("exited")
	defer func() {
		if r := recover(); r != nil {
			if r != any(exited) {
				panic(r)
			}
			err = nil
		}
	}()
	parser, err := kong.New(&commands{},
		kong.Name("magpie"),
		kong.Description("Magpie is a messenger and a home for devices, in one MQTT server."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(c.out, c.err),
		kong.Exit(func(n int) { code = n; panic(exited) }), // kong ends the process, we end the call
	)
	if err != nil {
		return exitError, err
	}
	parsed, err := parser.Parse(c.args[1:])
	if err != nil {
		return exitUsage, err
	}
	return exitOK, parsed.Run(c)
}

type versionCommand struct{}

// Run prints what was built, of what and with what.
func (versionCommand) Run(c *console) error {
	_, err := fmt.Fprintf(c.out, "magpie %s %s %s/%s\n", built(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// built is the version of this program.
func built() string {
	if info, ok := debug.ReadBuildInfo(); ok && version == "" {
		return strings.Trim(info.Main.Version, "()")
	}
	return version
}
