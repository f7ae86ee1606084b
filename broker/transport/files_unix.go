//go:build unix

package transport

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// RaiseFileLimit lets the process open as many files, and so connections, as the system allows it, and gives that
// number.
func RaiseFileLimit() (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("get limit of open files: %w", err)
	}
	if limit.Cur < limit.Max {
		limit.Cur = limit.Max
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return 0, fmt.Errorf("raise limit of open files: %w", err)
		}
	}
	return uint64(limit.Cur), nil //nolint:unconvert // an int64 on FreeBSD
}
