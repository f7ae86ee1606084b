package hooks

import (
	"errors"
	"fmt"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func TestReasonOf(t *testing.T) {
	tests := map[string]struct {
		err     error
		wantErr string
		reason  byte
	}{
		"stranger":       {chat.ErrNotMember, "not_member", 0x87},
		"no contact":     {fmt.Errorf("send to bob: %w", chat.ErrNoRight), "no_right", 0x87},
		"unknown":        {fmt.Errorf("send to nobody: %w", chat.ErrNoConversation), "no_conv", 0x90},
		"malformed":      {chat.ErrMalformed, "bad", 0x99},
		"too large":      {fmt.Errorf("send to d.a.b: %w", chat.ErrTooLarge), "too_big", 0x99},
		"conflict":       {chat.ErrConflict, "mid_conflict", 0x83},
		"foreign topic":  {errNoTopic, "no_right", 0x87},
		"throttled":      {accounts.ErrThrottled, "throttled", 0x97},
		"something else": {accounts.ErrTaken, "taken", 0x83},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f, ok := faultOf(tt.err)
			if !ok || f.Err != tt.wantErr || reasonOf(f) != tt.reason {
				t.Errorf("%v becomes %q, %#x, final %v, want %q, %#x, final", tt.err, f.Err, reasonOf(f), ok, tt.wantErr, tt.reason)
			}
		})
	}
}

func TestNothingIsDecidedWhenTheStoreIsAway(t *testing.T) {
	for _, err := range []error{chat.ErrUnavailable, fmt.Errorf("append: %w", chat.ErrUnavailable), errors.New("a bug")} {
		if f, ok := faultOf(err); ok {
			t.Errorf("%v becomes the final answer %+v", err, f)
		}
	}
}
