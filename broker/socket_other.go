//go:build !unix

package broker

import "net"

// listenPrivate listens on a Unix socket. Who may open it is a matter of the directory.
func listenPrivate(path string) (net.Listener, error) { return net.Listen("unix", path) }
