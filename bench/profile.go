package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// profile collects a CPU profile and the allocations of the server while it is measured, if they are asked for and it has
// any. The channel gives one error, or nil, once they are written.
func (srv *instance) profile(s settings, name string) <-chan error {
	done := make(chan error, 1)
	if s.pprof == "" || srv.admin == "" {
		done <- nil
		return done
	}
	file := s.pprof + "-" + strings.ReplaceAll(name, "/", "-")
	go func() {
		seconds := max(1, int(s.duration/time.Second))
		allocs := make(chan error, 1)
		go func() { allocs <- save(srv.admin, fmt.Sprintf("allocs?seconds=%d", seconds), file+".allocs") }()
		err := save(srv.admin, fmt.Sprintf("profile?seconds=%d", seconds), file+".cpu")
		done <- errors.Join(err, <-allocs)
	}()
	return done
}

// save writes a profile into a file.
func save(dir, profile, file string) error {
	text, err := fetch(dir, profile)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}

// fetch gives what an admin socket says about a profile.
func fetch(dir, profile string) ([]byte, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		socket := filepath.Join(dir, "admin.sock")
		if text, err := os.ReadFile(socket + ".path"); err == nil {
			socket = strings.TrimSpace(string(text))
		}
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial}}
	defer client.CloseIdleConnections()
	answer, err := client.Get("http://admin/debug/pprof/" + profile)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(answer.Body)
	err = errors.Join(err, answer.Body.Close())
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("profile %s: %s: %s", profile, answer.Status, text)
	}
	return text, err
}
