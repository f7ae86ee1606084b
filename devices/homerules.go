package devices

import (
	"fmt"

	"github.com/magpie-im/magpie/accounts"
)

// HomeRules are what the admins of a home say of it besides the settings of its conversation. The zero value is what is so at
// first.
type HomeRules struct {
	Zone     string     `json:"zone,omitempty"`     // the time zone, as "Europe/Berlin"; empty: it is not known
	Escalate []HomeCall `json:"escalate,omitempty"` // who is called one after the other as long as nobody knows of an alarm
}

// HomeCall is that somebody is called for an alarm.
type HomeCall struct {
	Who   accounts.Name `json:"who"`
	After int64         `json:"after"` // seconds after the alarm, or after the call before
}

// Bounds of what is said of a home.
const (
	maxCalls     = 10
	leastAfter   = 10
	longestAfter = 7 * 24 * 3600
)

// Check says whether they may be so: ErrMalformed, ErrTooMany.
func (r HomeRules) Check() error {
	if r.Zone != "" {
		if _, err := ParseZone(r.Zone); err != nil {
			return err
		}
	}
	if len(r.Escalate) > maxCalls {
		return fmt.Errorf("%d calls: %w", len(r.Escalate), ErrTooMany)
	}
	for _, c := range r.Escalate {
		if _, err := accounts.ParseUser(string(c.Who)); err != nil {
			return fmt.Errorf("call of %.80q: %w", c.Who, ErrMalformed)
		}
		if c.After < leastAfter || c.After > longestAfter {
			return fmt.Errorf("call after %d seconds: %w", c.After, ErrMalformed)
		}
	}
	return nil
}

// HomeRulesPatch says what of the rules is to be another; nil: it stays.
type HomeRulesPatch struct {
	Zone     *string
	Escalate *[]HomeCall
}
