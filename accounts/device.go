package accounts

import (
	"slices"
	"time"
)

// Device is the account of a thing: how it logs in, and nothing of what it is. The zero value is no device.
type Device struct {
	Name    Name     // "did"
	Owner   Name     // a user; empty: nobody has claimed it
	Secrets []Secret // at most two, the newest first
	Pins    []Digest // SHA-256 of certificates that are its own, at most MaxPins; none is another device's as well
	Created time.Time
	Deleted time.Time // zero: it was not; a name is never given to a second account
	Suspension
	Rev uint64 // grows with each change; 0: it is not stored
}

// Secret is what a device logs in with; it is never stored itself.
type Secret struct {
	Digest  Digest
	Created time.Time
}

// maxSecrets is how many secrets are good at a time, so that one can be replaced while the device still has the other.
const maxSecrets = 2

// MaxPins bounds the certificates that one device may log in with.
const MaxPins = 8

// Status is what there is of d at a moment.
func (d Device) Status(now time.Time) Status {
	switch {
	case !d.Deleted.IsZero():
		return Deleted
	case d.Suspended(now):
		return Suspended
	}
	return Active
}

// Has says whether a secret is one of the device's.
func (d Device) Has(secret Digest) bool {
	return slices.ContainsFunc(d.Secrets, func(s Secret) bool { return s.Digest == secret })
}

// ReasonOrphaned is the Reason for which a device is suspended whose owner has deleted his account. A new owner ends that.
const ReasonOrphaned = "its owner has deleted his account"
