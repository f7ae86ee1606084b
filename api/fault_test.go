package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
)

func TestFaultOf(t *testing.T) {
	tests := map[string]struct {
		err  error
		want string // empty: none
	}{
		"stranger":           {chat.ErrNotMember, "not_member"},
		"no contact":         {chat.ErrNoRight, "no_right"},
		"no conversation":    {chat.ErrNoConversation, "no_conv"},
		"no request":         {chat.ErrNoRequest, "no_request"},
		"malformed":          {chat.ErrMalformed, "bad"},
		"too large":          {chat.ErrTooLarge, "too_big"},
		"conflict":           {chat.ErrConflict, "mid_conflict"},
		"bad name":           {accounts.ErrBadName, "bad"},
		"taken":              {accounts.ErrTaken, "taken"},
		"unknown":            {accounts.ErrUnknown, "gone"},
		"weak":               {accounts.ErrWeakPassword, "weak_password"},
		"credentials":        {accounts.ErrCredentials, "credentials"},
		"disabled":           {accounts.ErrDisabled, "disabled"},
		"throttled":          {accounts.ErrThrottled, "throttled"},
		"closed":             {accounts.ErrRegistrationClosed, "closed"},
		"invitation":         {accounts.ErrInvitation, "invitation"},
		"no device":          {devices.ErrUnknown, "no_device"},
		"no right over it":   {devices.ErrNoRight, "no_right"},
		"too many":           {devices.ErrTooMany, "too_many"},
		"malformed thing":    {devices.ErrMalformed, "bad"},
		"no method":          {ErrNoMethod, "no_method"},
		"no account":         {ErrNoAccount, "credentials"},
		"body":               {ErrTooLarge, "too_big"},
		"repeat":             {ErrRepeatConflict, "rid_conflict"},
		"request":            {malformed("field %q", "x"), "bad"},
		"nothing":            {nil, ""},
		"unavailable":        {chat.ErrUnavailable, ""},
		"unavailable, too":   {errors.Join(accounts.ErrCredentials, accounts.ErrUnavailable), ""},
		"time is over":       {context.DeadlineExceeded, ""},
		"the client is gone": {context.Canceled, ""},
		"unforeseen":         {errors.New("disk /dev/sda1 is on fire"), ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := tt.err
			if err != nil {
				err = fmt.Errorf("secret detail: %w", err)
			}
			f, ok := FaultOf(err)
			if f.Err != tt.want || ok != (tt.want != "") {
				t.Errorf("FaultOf(%v) = %+v, %v, want %q", err, f, ok, tt.want)
			}
			if strings.Contains(f.Text, "secret detail") || ok && f.Text == "" {
				t.Errorf("FaultOf(%v) says %q", err, f.Text)
			}
		})
	}
}

func TestAThrottledCallerIsToldForHowLong(t *testing.T) {
	f, _ := FaultOf(fmt.Errorf("log in: %w", &accounts.ThrottledError{RetryAfter: 42 * time.Second}))
	if f.Err != "throttled" || f.RetryAfter != 42*time.Second {
		t.Errorf("got %+v", f)
	}
	if f, _ := FaultOf(accounts.ErrThrottled); f.RetryAfter <= 0 {
		t.Errorf("without a time: got %+v", f)
	}
}
