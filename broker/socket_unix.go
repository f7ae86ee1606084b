//go:build unix

package broker

import (
	"net"
	"syscall"
)

// listenPrivate listens on a Unix socket that only this user can open, from its first moment on: the mask holds for the
// whole process for as long as that takes, and makes nothing less private.
func listenPrivate(path string) (net.Listener, error) {
	old := syscall.Umask(0o177)
	defer syscall.Umask(old)
	return net.Listen("unix", path)
}
