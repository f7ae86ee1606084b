package accounts

import (
	"context"
	"time"
)

// Store keeps accounts, tokens, invitations and what administrators did. When a writing method returns nil, what it wrote
// survives a crash. Every method is safe for concurrent use and fails with an error that wraps [ErrUnavailable] when the
// store cannot serve.
type Store interface {
	// CreateUser adds u, or fails with ErrTaken if the name belongs to any account, a device's too.
	CreateUser(ctx context.Context, u User) error
	// User gives an account, also one that was deleted, or ErrUnknown, also if it is a device's.
	User(ctx context.Context, name Name) (User, error)
	// SetPassword replaces the hash old with another one; unless old is empty, it fails with ErrChanged if the hash is not
	// old. ErrUnknown, also for an account that was deleted, as all that follows.
	SetPassword(ctx context.Context, name Name, old, hash string) error
	// SetSuspension suspends the account, or lets it in again.
	SetSuspension(ctx context.Context, name Name, s Suspension) error
	// SetRole gives the account a role, or takes it away.
	SetRole(ctx context.Context, name Name, role Role) error
	// SetRecovery stores the one recovery of the account; zero: it has none any more.
	SetRecovery(ctx context.Context, name Name, r Recovery) error
	// Recover replaces the hash and forgets the recovery and every token of the account, if the recovery has this digest and has
	// not ended; otherwise ErrUnknown. It says which tokens they were. If it is cut off, none of them is left behind a new hash.
	Recover(ctx context.Context, name Name, d Digest, now time.Time, hash string) (gone []Digest, err error)
	// DeleteUser marks the account as deleted, forgets its password, role, suspension and recovery, and adds it to those of
	// Leaving, all or nothing.
	DeleteUser(ctx context.Context, name Name, now time.Time) error
	// Leaving gives up to limit deleted accounts, of users and of devices, those after after, of which something may be left.
	Leaving(ctx context.Context, after Name, limit int) ([]Name, error)
	// Left takes an account out of those of Leaving; one that is not there is no error.
	Left(ctx context.Context, name Name) error
	// Users gives up to limit accounts in the order of their names, those after the given name, deleted ones too, and no device.
	Users(ctx context.Context, after Name, limit int) ([]User, error)

	DeviceStore

	// PutToken stores t.
	PutToken(ctx context.Context, t Token) error
	// Token gives the token with this digest, ended or not, or ErrUnknown.
	Token(ctx context.Context, d Digest) (Token, error)
	// Tokens gives every token of owner, ended or not, in any order; [Config] bounds how many they are.
	Tokens(ctx context.Context, owner Name) ([]Token, error)
	// DeleteToken forgets a token; one that is not there is no error.
	DeleteToken(ctx context.Context, d Digest) error
	// SetLabel gives a token another label, or fails with ErrUnknown.
	SetLabel(ctx context.Context, d Digest, label string) error
	// DeleteTokens forgets every token of owner but keep (zero: none is kept), and says which they were.
	DeleteTokens(ctx context.Context, owner Name, keep Digest) ([]Digest, error)
	// PurgeTokens forgets up to limit tokens and invitations that ended before now and says how many they were.
	PurgeTokens(ctx context.Context, now time.Time, limit int) (int, error)

	// PutInvitation stores i.
	PutInvitation(ctx context.Context, i Invitation) error
	// Invitation gives the invitation with this digest, ended or not, or ErrUnknown.
	Invitation(ctx context.Context, d Digest) (Invitation, error)
	// TakeInvitation uses one registration of an invitation up, or fails with ErrInvitation. Concurrent calls never take
	// more than there are.
	TakeInvitation(ctx context.Context, d Digest, now time.Time) error
	// Invitations gives up to limit invitations in the order of their digests, those after after.
	Invitations(ctx context.Context, after Digest, limit int) ([]Invitation, error)
	// DeleteInvitation forgets an invitation, or fails with ErrUnknown.
	DeleteInvitation(ctx context.Context, d Digest) error

	// PutAct stores an act, or replaces the one with its ID.
	PutAct(ctx context.Context, a Act) error
	// Acts gives up to limit acts, the newest first, those before before (empty: from the newest).
	Acts(ctx context.Context, before string, limit int) ([]Act, error)
	// PurgeActs forgets up to limit of the acts before before, and says how many they were.
	PurgeActs(ctx context.Context, before string, limit int) (int, error)
}

// DeviceStore keeps the accounts of devices. Their names and those of users are one namespace.
type DeviceStore interface {
	// CreateDevice adds d, whose Rev is 1, or fails with ErrTaken if the name belongs to any account, also a deleted one, or a
	// pin to another device.
	CreateDevice(ctx context.Context, d Device) error
	// Device gives a device, also one that was deleted, or ErrUnknown.
	Device(ctx context.Context, name Name) (Device, error)
	// DeviceBySecret gives the device that has a secret with this digest, or ErrUnknown.
	DeviceBySecret(ctx context.Context, secret Digest) (Device, error)
	// DeviceByPin gives the device that has a pin, or ErrUnknown.
	DeviceByPin(ctx context.Context, pin Digest) (Device, error)
	// PutDevice replaces a device, if the Rev of d is one higher than what is stored; otherwise ErrChanged, also if there is
	// none. ErrTaken: a pin is another device's. One that is Deleted it adds to those of Leaving, all or nothing.
	PutDevice(ctx context.Context, d Device) error
	// DevicesOf gives up to limit devices of an owner in the order of their names, those after after. Those that were deleted
	// have no owner.
	DevicesOf(ctx context.Context, owner, after Name, limit int) ([]Device, error)
	// Devices gives up to limit devices in the order of their names, those after after, deleted ones too.
	Devices(ctx context.Context, after Name, limit int) ([]Device, error)
}
