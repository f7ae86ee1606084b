// Package accounts knows who is who: the users and devices of one installation, their passwords, their tokens, and
// how often somebody may try to be one of them.
//
// Users and devices share one namespace: a [Name] is one or the other, never both. A password is stored as an argon2id
// hash together with its parameters; a token is 256 random bits of which only a SHA-256 digest is stored, so that
// recognising one costs no password hash. Nothing here knows MQTT, HTTP or a database: the rooms that do call
// [Service], and the store implements [Store].
//
// # Secrets
//
// A secret is a password or a token. Tokens are "mgp_" and 43 characters of base64url; whatever has exactly this form
// is looked up as a token of that account, and never compared with a password. Passwords are 8 to 256 bytes of UTF-8
// (an upper bound, because strangers send them). They are compared byte by byte, without Unicode normalisation:
// whoever types the same accented letter as one code point here and as two there has two passwords.
//
// A device logs in with a secret, which is "mgd_" and 43 characters of base64url, or with a certificate: one that was pinned to
// it, or one of an [Authority], which says which device it is for. It has up to two secrets, so that a new one can reach it
// while the old one is good.
//
// # Attempts
//
// Guessing has to be slow, and nobody may be able to lock somebody else out. So:
//
//   - Tokens, and the secrets of devices, are not limited: nobody guesses one, and a wrong one costs one read of the store. What
//     has not their form, and is shown for a device, is an attempt as at a password.
//   - At most Config.HashWorkers passwords are compared at once and Config.HashQueue wait; beyond that ErrThrottled.
//   - An address may fail Config.FailedPerMinute times a minute, then it is refused until some of that has drained
//     away. IPv6 addresses count by their /64. Logins that succeed are not counted.
//   - An address that has logged in to an account before, by password or token, is known to it (the last 8 are). What
//     it tries on this account is counted apart: neither a neighbour behind the same router who fails at other
//     accounts nor strangers who fail at this one, from wherever, are in its way.
//   - An account at which strangers have failed Config.FailedPerAccount times within an hour is under attack. It is
//     never locked: from addresses that it does not know, each attempt waits Config.SlowDown, one at a time for each
//     address, and a failure counts fivefold for the address, which so has two tries a minute instead of ten.
//
// Whether an account exists cannot be told from any of this: names without an account are counted and slowed down like
// the others, and a hash is computed for them. All counts are in memory, bounded by Config.Remembered, and gone after a
// restart; at the bound the one not touched for longest is forgotten.
package accounts

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"
)

// Name identifies an account. Users: [a-z0-9][a-z0-9_-]{0,31}, devices: the same with up to 64 characters; "me" is
// neither, because it stands for the caller's own name in topics.
type Name string

// Longest names, in bytes.
const (
	maxUserName   = 32
	maxDeviceName = 64
)

// ParseUser checks that s may name a user; otherwise the error wraps [ErrBadName].
func ParseUser(s string) (Name, error) { return parseName(s, maxUserName) }

// ParseDevice checks that s may name a device; otherwise the error wraps [ErrBadName].
func ParseDevice(s string) (Name, error) { return parseName(s, maxDeviceName) }

func parseName(s string, longest int) (Name, error) {
	if s == "" || len(s) > longest || s == "me" {
		return "", fmt.Errorf("name %.80q: %w", s, ErrBadName)
	}
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || c != '_' && c != '-') {
			return "", fmt.Errorf("name %.80q: %w", s, ErrBadName)
		}
	}
	return Name(s), nil
}

// User is the account of a person. The zero value is no user.
type User struct {
	Name     Name
	Password string // PHC string of an argon2id hash: $argon2id$v=19$m=...,t=...,p=...$salt$hash
	Role     Role
	Created  time.Time
	Deleted  time.Time // zero: it was not; a name is never given to a second account
	Suspension
}

// Role is what an account may do besides what everybody may.
type Role string

// Roles.
const (
	RoleNone  Role = ""
	RoleAdmin Role = "admin" // may do what the administrator at the console may
)

// Suspension says that an account may not log in, by password or token. The zero value is none.
type Suspension struct {
	Disabled bool
	Reason   string    // for administrators; may be empty
	Until    time.Time // zero: until it is enabled again
}

// Suspended says whether the suspension holds at a moment.
func (s Suspension) Suspended(now time.Time) bool {
	return s.Disabled && (s.Until.IsZero() || now.Before(s.Until))
}

// Status says what there is of an account.
type Status int

// What there may be of an account.
const (
	Absent Status = iota
	Active
	Suspended // may not log in
	Deleted   // there was one
)

// Status is what there is of u at a moment.
func (u User) Status(now time.Time) Status {
	switch {
	case !u.Deleted.IsZero():
		return Deleted
	case u.Suspended(now):
		return Suspended
	}
	return Active
}

// Digest is the SHA-256 of a token, an invitation code, a device's secret: all that is stored of it. Or of a certificate.
type Digest [32]byte

// DigestOf gives the digest of a token or a code as it was given out.
func DigestOf(secret string) Digest { return sha256.Sum256([]byte(secret)) }

// ID is a name for a token or an invitation that gives nothing of it away.
func (d Digest) ID() string { return base64.RawURLEncoding.EncodeToString(d[:12]) }

// Proof is what somebody has shown of an account.
type Proof struct {
	Account Name
	Device  bool // the account is a device's
	// Token is the digest of the token that he has shown, of the secret of a device, or of its certificate (in DER); zero: it was
	// the password.
	Token Digest
	// Elsewhere: the account was not known to log in from this address. After a restart none is known.
	Elsewhere bool
}

// Token lets its owner log in until it ends or is revoked.
type Token struct {
	Digest  Digest
	Owner   Name
	Label   string // what the client called itself at login; may be empty
	Created time.Time
	Expires time.Time
}

// Invitation allows a number of registrations until it ends.
type Invitation struct {
	Digest  Digest
	Uses    int // registrations left
	Made    int // registrations that it was made for
	Label   string
	By      Name // who made it; empty: the administrator at the console
	Created time.Time
	Expires time.Time
}

// Recovery lets whoever has its code set a new password, once, until it ends.
type Recovery struct {
	Digest  Digest
	Expires time.Time
}

// Act is what an administrator did, or tried to.
type Act struct {
	ID     string // sorts as the acts began
	Time   time.Time
	By     Name   // empty: the administrator at the console
	From   string // address; empty: the console
	Method string
	Target string // whom or what it was about; may be empty
	// Outcome is "ok", or the err of docs/protocol.md; empty: it began, and nobody knows how it ended.
	Outcome string
}
