package mongo_test

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// server gives the URI of the server that the tests use: what MAGPIE_TEST_MONGO_URI says, or one of tools/mongotest, which is
// built and started when it is needed first, and ends with this process.
var server = sync.OnceValues(func() (string, error) {
	if uri := os.Getenv("MAGPIE_TEST_MONGO_URI"); uri != "" {
		return uri, nil
	}
	dir, err := os.MkdirTemp("", "mongotest")
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "mongotest")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = filepath.Join("..", "..", "tools", "mongotest")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build tools/mongotest: %w: %s", err, out)
	}
	run := exec.Command(program)
	run.Stderr = os.Stderr
	stdin, err := run.StdinPipe() // it ends when this is closed, at the latest with this process
	if err != nil {
		return "", err
	}
	stdout, err := run.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := run.Start(); err != nil {
		return "", err
	}
	stop = func() { _ = stdin.Close(); _ = run.Wait(); _ = os.RemoveAll(dir) }
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("tools/mongotest: %w", cmp.Or(err, io.ErrUnexpectedEOF))
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }()
	return strings.TrimSpace(line), nil
})

// stop ends the server that was started.
var stop = func() {}

func TestMain(m *testing.M) {
	code := m.Run()
	stop()
	os.Exit(code)
}

// database gives the URI of an empty database.
func database(t *testing.T) string {
	t.Helper()
	uri, err := server()
	if err != nil {
		t.Fatal(err)
	}
	path, query, found := strings.Cut(uri, "?")
	path = strings.TrimSuffix(path, "/") + "/" + fmt.Sprintf("t%d_%d", os.Getpid(), next())
	if found {
		path += "?" + query
	}
	return path
}
