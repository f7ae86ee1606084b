// Mongotest is a server for tests that speaks MongoDB's protocol: FerretDB v1 with SQLite, in this process, behind a proxy that
// lets one message at a time through. FerretDB v1 reads and then writes when it updates a document, and isolates nothing:
// the proxy makes up for that, so that an operation on one document is as atomic as MongoDB's is.
//
// It is no MongoDB: it has no replica set, transactions, retryable writes, TTL and geo indexes, sharding and query plans. What
// passes here has the right shapes of commands and documents, and relies on unique indexes in the right way.
//
// It prints its URI, and ends when its standard input does: it does not outlive the test that has started it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:0", "address to listen on")
	dir := flag.String("dir", "", "where SQLite keeps its files (empty: in a directory that is removed at the end)")
	flag.Parse()
	debug.SetGCPercent(400) // it makes much garbage, and has little else
	if err := run(*addr, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "mongotest:", err)
		os.Exit(1)
	}
}

// memory is a file system in memory, where there is one: each write is synced, and nothing has to outlive this process.
func memory() string {
	const shm = "/dev/shm"
	if dir, err := os.MkdirTemp(shm, "mongotest"); err != nil || os.Remove(dir) != nil {
		return ""
	}
	return shm
}

// run serves until the standard input ends, or a signal comes.
func run(addr, dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	go func() {
		defer stop()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	own, err := os.MkdirTemp(memory(), "mongotest")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(own) }()
	if dir == "" {
		dir = own
	}
	inner := filepath.Join(own, "socket")
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{Unix: inner},
		Handler:   "sqlite",
		SQLiteURL: "file:" + dir + "/",
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return fmt.Errorf("start FerretDB: %w", err)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	p := &proxy{inner: inner}
	go p.serve(listener)
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	if err := p.reach(ctx); err != nil {
		return err
	}
	fmt.Printf("mongodb://%s/\n", listener.Addr())
	err = <-ended
	_ = listener.Close()
	if ctx.Err() != nil {
		return nil
	}
	return err
}
