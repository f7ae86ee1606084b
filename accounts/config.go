package accounts

import (
	"fmt"
	"runtime"
	"time"
)

// Who may register without an administrator: values of [Config].Registration.
const (
	RegistrationClosed = "closed" // nobody
	RegistrationOpen   = "open"   // everybody
	RegistrationInvite = "invite" // who has an invitation
)

// Config says how accounts are kept. [DefaultConfig] has the defaults, which a laptop bears.
type Config struct {
	// Registration is "closed" (default: an installation belongs to those whom its owner added), "open" or "invite".
	Registration string `koanf:"registration"`
	// RegistrationsPerHour is how many registrations one address may try in an hour (an IPv6 address counts by its /64).
	// Default 20, so that a family or a class behind one router can start together. 0: no limit.
	RegistrationsPerHour int `koanf:"registrations_per_hour"`

	// MinPassword is the least length of a new password in bytes. Default 8; at least 1, at most 64.
	MinPassword int `koanf:"min_password"`

	// TokenLife is how long a token lets its owner in. Default 90 days: a device that is used now and then in that time
	// asks for the password four times a year.
	TokenLife time.Duration `koanf:"token_life"`
	// MaxTokens is how many tokens one account may have; a login beyond it revokes the oldest one. Default 100.
	MaxTokens int `koanf:"max_tokens"`

	// AuditLife is how long it is known what administrators did. Default 400 days: a year, and time to ask about it. 0: for
	// ever.
	AuditLife time.Duration `koanf:"audit_life"`

	// HashMemory is what one argon2id hash takes, in KiB. The defaults (19456, 2, 1) are OWASP's minimum and cost about
	// 20 ms of one core. Passwords that were hashed with other values verify, and are hashed anew at their next login.
	HashMemory uint32 `koanf:"hash_memory"`
	// HashTime is the number of passes over that memory. Default 2.
	HashTime uint32 `koanf:"hash_time"`
	// HashThreads is the number of lanes of one hash. Default 1.
	HashThreads uint8 `koanf:"hash_threads"`
	// HashWorkers is how many hashes are computed at once: HashMemory times this is what passwords may ever take.
	// Default 0: half the cores, at least 2 and at most 8, so that messages go on while people log in.
	HashWorkers int `koanf:"hash_workers"`
	// HashQueue is how many may wait for a worker; beyond it a password is refused with ErrThrottled. Default 512, which
	// two workers get through in about five seconds.
	HashQueue int `koanf:"hash_queue"`

	// FailedPerMinute is how many wrong passwords one address may try in a minute (an IPv6 address counts by its /64).
	// Default 10. 0: no limit.
	FailedPerMinute int `koanf:"failed_per_minute"`
	// FailedPerAccount is how many wrong passwords strangers may try on one account in an hour before addresses that it
	// does not know are slowed down. Default 20. 0: they never are.
	FailedPerAccount int `koanf:"failed_per_account"`
	// SlowDown is how long an attempt from such an address waits. Default 3 s: less than the CONNECT deadline.
	SlowDown time.Duration `koanf:"slow_down"`
	// Remembered bounds how many addresses, and how many accounts, the limits above keep in mind; the one not seen for
	// longest is forgotten first. Default 32768, about 30 MiB when all are full.
	Remembered int `koanf:"remembered"`
}

// DefaultConfig is what is in force when nothing is said.
func DefaultConfig() Config {
	return Config{
		Registration:         RegistrationClosed,
		RegistrationsPerHour: 20,
		MinPassword:          8,
		TokenLife:            90 * 24 * time.Hour,
		MaxTokens:            100,
		AuditLife:            400 * 24 * time.Hour,
		HashMemory:           19 * 1024,
		HashTime:             2,
		HashThreads:          1,
		HashWorkers:          0,
		HashQueue:            512,
		FailedPerMinute:      10,
		FailedPerAccount:     20,
		SlowDown:             3 * time.Second,
		Remembered:           1 << 15,
	}
}

// Validate says what is wrong with c, naming the field.
func (c Config) Validate() error {
	switch c.Registration {
	case RegistrationClosed, RegistrationOpen, RegistrationInvite:
	default:
		return fmt.Errorf("registration: %q is not closed, open or invite", c.Registration)
	}
	for _, f := range []struct {
		name               string
		value, least, most int64
	}{
		{"registrations_per_hour", int64(c.RegistrationsPerHour), 0, 1e6},
		{"min_password", int64(c.MinPassword), 1, 64},
		{"max_tokens", int64(c.MaxTokens), 1, 10_000},
		{"hash_memory", int64(c.HashMemory), int64(8 * max(c.HashThreads, 1)), maxHashMemory},
		{"hash_time", int64(c.HashTime), 1, maxHashTime},
		{"hash_threads", int64(c.HashThreads), 1, maxHashThreads},
		{"hash_workers", int64(c.HashWorkers), 0, 1024},
		{"hash_queue", int64(c.HashQueue), 0, 1e6},
		{"failed_per_minute", int64(c.FailedPerMinute), 0, 1e6},
		{"failed_per_account", int64(c.FailedPerAccount), 0, 1e6},
		{"remembered", int64(c.Remembered), 1, 1 << 24},
	} {
		if f.value < f.least || f.value > f.most {
			return fmt.Errorf("%s: %d is not between %d and %d", f.name, f.value, f.least, f.most)
		}
	}
	if c.TokenLife < time.Minute {
		return fmt.Errorf("token_life: %v is less than a minute", c.TokenLife)
	}
	if c.AuditLife != 0 && c.AuditLife < time.Hour {
		return fmt.Errorf("audit_life: %v is less than an hour", c.AuditLife)
	}
	if c.SlowDown < 0 || c.SlowDown > time.Minute {
		return fmt.Errorf("slow_down: %v is not between 0 and a minute", c.SlowDown)
	}
	return nil
}

func (c Config) hashWorkers() int {
	if c.HashWorkers > 0 {
		return c.HashWorkers
	}
	return min(max(runtime.GOMAXPROCS(0)/2, 2), 8)
}
