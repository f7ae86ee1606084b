package api

import (
	"context"
	"errors"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/automations"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/jobs"
	"github.com/magpie-im/magpie/locations"
)

// Fault is what a client is told when its request is refused.
type Fault struct {
	Err        string        // docs/protocol.md, section 3: a word for programs
	Text       string        // a sentence for people, never our internal text
	RetryAfter time.Duration // more than 0: the same request may succeed then; 0: the refusal is final
}

var faults = []struct {
	is    error
	fault Fault
}{
	{chat.ErrNotMember, Fault{Err: "not_member", Text: "You are not in this conversation."}},
	{chat.ErrNoRight, Fault{Err: "no_right", Text: "You may not do this."}},
	{chat.ErrNoConversation, Fault{Err: "no_conv", Text: "There is no such conversation or account."}},
	{chat.ErrEnded, Fault{Err: "gone", Text: "This room was dissolved."}},
	{chat.ErrBanned, Fault{Err: "banned", Text: "You were banned from this room."}},
	{chat.ErrFull, Fault{Err: "full", Text: "The room has as many members as it may have."}},
	{chat.ErrLastOwner, Fault{Err: "last_owner", Text: "The owner has to transfer the room first."}},
	{chat.ErrMuted, Fault{Err: "muted", Text: "You may read here and not write."}},
	{chat.ErrSlow, Fault{Err: "slow", Text: "You have written here not long ago."}},
	{chat.ErrNoMessage, Fault{Err: "no_msg", Text: "There is no such message, or it is gone."}},
	{chat.ErrLate, Fault{Err: "late", Text: "It is too late to change this message."}},
	{chat.ErrGone, Fault{Err: "gone", Text: "This account was deleted."}},
	{chat.ErrBlocked, Fault{Err: "blocked", Text: "One of you has blocked the other."}},
	{chat.ErrAwaitReply, Fault{Err: "await_reply", Text: "Your first message has not been answered yet."}},
	{chat.ErrQuota, Fault{Err: "quota", Text: "You have done this as often as you may."}},
	{chat.ErrTaken, Fault{Err: "taken", Text: "Somebody else has this phone number or e-mail address."}},
	{chat.ErrNoRequest, Fault{Err: "no_request", Text: "There is no open request."}},
	{chat.ErrMalformed, Fault{Err: "bad", Text: "The request is malformed."}},
	{chat.ErrTooLarge, Fault{Err: "too_big", Text: "The request is too large."}},
	{chat.ErrConflict, Fault{Err: "mid_conflict", Text: "This mid was used before with other content."}},

	{accounts.ErrBadName, Fault{Err: "bad", Text: "This is not a name that an account can have."}},
	{accounts.ErrTaken, Fault{Err: "taken", Text: "This name is taken."}},
	{accounts.ErrUnknown, Fault{Err: "gone", Text: "There is no such account or invitation."}},
	{sessions.ErrNoSession, Fault{Err: "gone", Text: "There is no such session."}},
	{accounts.ErrWeakPassword, Fault{Err: "weak_password", Text: "The password is too short or too long."}},
	{accounts.ErrDisabled, Fault{Err: "disabled", Text: "This account is disabled."}},
	{accounts.ErrCredentials, Fault{Err: "credentials", Text: "Wrong name or password, or the token has ended."}},
	{accounts.ErrThrottled, Fault{Err: "throttled", Text: "Too many attempts.", RetryAfter: time.Second}},
	{accounts.ErrTooMany, Fault{Err: "too_many", Text: "There are as many as there may be."}},
	{accounts.ErrRegistrationClosed, Fault{Err: "closed", Text: "This installation does not register strangers."}},
	{accounts.ErrInvitation, Fault{Err: "invitation", Text: "The invitation is missing or not valid any more."}},

	{devices.ErrNoBatch, Fault{Err: "gone", Text: "There is no such batch."}},
	{devices.ErrOwned, Fault{Err: "taken", Text: "The device is somebody else's."}},
	{devices.ErrTries, Fault{Err: "throttled", Text: "Too many attempts.", RetryAfter: time.Minute}},
	{devices.ErrUnknown, Fault{Err: "no_device", Text: "There is no such device, or you may not see it."}},
	{devices.ErrNoRight, Fault{Err: "no_right", Text: "You may not do this with the device."}},
	{devices.ErrTooMany, Fault{Err: "too_many", Text: "There are as many as there may be."}},
	{devices.ErrTooLarge, Fault{Err: "too_big", Text: "The request is too large."}},
	{devices.ErrMIDConflict, Fault{Err: "mid_conflict", Text: "This mid was used before for another command."}},
	{devices.ErrTooLate, Fault{Err: "late", Text: "It has come too far for this."}},
	{devices.ErrNotSent, Fault{Err: "bad", Text: "The device was not given this command."}},
	{devices.ErrVersion, Fault{Err: "version_conflict", Text: "The shadow has another version."}},
	{devices.ErrNoShadow, Fault{Err: "no_shadow", Text: "There is no such shadow."}},
	{accounts.ErrTooMany, Fault{Err: "too_many", Text: "There are as many as there may be."}},
	{devices.ErrMalformed, Fault{Err: "bad", Text: "The request is malformed."}},

	{jobs.ErrUnknown, Fault{Err: "no_job", Text: "There is no such job, or you may not see it."}},
	{jobs.ErrNoTargets, Fault{Err: "no_device", Text: "You manage no device that is like this."}},
	{jobs.ErrRunning, Fault{Err: "running", Text: "The job is not over on all devices."}},
	{jobs.ErrEnded, Fault{Err: "late", Text: "The job is over, or was canceled."}},
	{jobs.ErrSignature, Fault{Err: "signature", Text: "A file is not signed with the key that it has to be signed with."}},
	{jobs.ErrNoFile, Fault{Err: "no_file", Text: "There is no such file."}},
	{jobs.ErrSum, Fault{Err: "bad", Text: "The file has another SHA-256."}},
	{jobs.ErrTooMany, Fault{Err: "too_many", Text: "There are as many as there may be."}},
	{jobs.ErrTooLarge, Fault{Err: "too_big", Text: "The request is too large."}},
	{jobs.ErrMalformed, Fault{Err: "bad", Text: "The request is malformed."}},
	{automations.ErrNoHome, Fault{Err: "no_conv", Text: "There is no such home, or you are not in it."}},
	{automations.ErrUnknown, Fault{Err: "no_automation", Text: "There is no such scene or automation."}},
	{automations.ErrNoRight, Fault{Err: "no_right", Text: "You may not do this in the home."}},
	{automations.ErrTooMany, Fault{Err: "too_many", Text: "There are as many as there may be."}},
	{automations.ErrMalformed, Fault{Err: "bad", Text: "The request is malformed."}},
	{locations.ErrMalformed, Fault{Err: "bad", Text: "The request is malformed."}},
	{locations.ErrTooMany, Fault{Err: "too_many", Text: "There are as many as there may be."}},
	{locations.ErrNotContact, Fault{Err: "no_right", Text: "You may share this with contacts only."}},
	{locations.ErrNone, Fault{Err: "no_place", Text: "There is nothing of this, or it is not for you to know."}},

	{ErrNoMethod, Fault{Err: "no_method", Text: "There is no such method."}},
	{ErrNoAccount, Fault{Err: "credentials", Text: "This method is for users who have logged in."}},
	{ErrTooLarge, Fault{Err: "too_big", Text: "The request is too large."}},
	{ErrRepeatConflict, Fault{Err: "rid_conflict", Text: "This rid was used before with other input."}},
}

// FaultOf says what a client is told of err; the words are those of docs/protocol.md, section 3, and of the methods. ok is
// false if err is not the client's doing: the store cannot serve, the time was over, or something that nobody foresaw. Then
// nothing was decided as far as the client is told, and none of err may be shown.
func FaultOf(err error) (f Fault, ok bool) {
	if err == nil || transient(err) {
		return Fault{}, false
	}
	var request *requestError
	if errors.As(err, &request) {
		return Fault{Err: "bad", Text: request.text}, true
	}
	var written *automations.Fault
	if errors.As(err, &written) {
		return Fault{Err: "bad", Text: written.Sentence()}, true
	}
	for _, row := range faults {
		if !errors.Is(err, row.is) {
			continue
		}
		f = row.fault
		var throttled *accounts.ThrottledError
		if errors.As(err, &throttled) {
			f.RetryAfter = throttled.RetryAfter
		}
		var quota *chat.QuotaError
		if errors.As(err, &quota) {
			f.RetryAfter = quota.RetryAfter
		}
		var muted *chat.MutedError
		if errors.As(err, &muted) {
			f.RetryAfter = muted.RetryAfter
		}
		var slow *chat.SlowError
		if errors.As(err, &slow) {
			f.RetryAfter = slow.RetryAfter
		}
		return f, true
	}
	return Fault{}, false
}

// Faults gives one of every kind that FaultOf can give, for those who translate them further.
func Faults() []Fault {
	all := make([]Fault, 0, len(faults))
	for _, row := range faults {
		all = append(all, row.fault)
	}
	return all
}

// transient says whether err is about this moment, not about the request.
func transient(err error) bool {
	return errors.Is(err, accounts.ErrUnavailable) || errors.Is(err, chat.ErrUnavailable) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// final says whether the same request would get the same answer again.
func (a Answer) final() bool {
	if a.Err == nil {
		return true
	}
	f, ok := FaultOf(a.Err)
	return ok && f.RetryAfter == 0
}
