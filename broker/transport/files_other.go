//go:build !unix

package transport

import "math"

// RaiseFileLimit does nothing here: the system has no such limit.
func RaiseFileLimit() (uint64, error) { return math.MaxInt64, nil }
