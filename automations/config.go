package automations

import (
	"fmt"
	"time"
)

// Config bounds what homes may do by themselves. [DefaultConfig] has the defaults.
type Config struct {
	// PerHome is how many automations, and how many scenes, a home may have. Default 200. 1 to 10,000.
	PerHome int
	// PerMinute is how often an automation may be set off in a minute: one that is more often sets itself off, or is set off by
	// something that is broken, and is disabled. Default 60. 1 to 10,000.
	PerMinute int
	// Depth is how long a chain of automations may be of which each sets off the next one; whichever would make it longer is
	// disabled. Default 8. 1 to 100.
	Depth int
	// LongestDelay is how long a run, or the state that sets one off, may wait. Default 30 days. 1 minute to 366 days.
	LongestDelay time.Duration
}

// DefaultConfig is what is in force when nothing is said.
func DefaultConfig() Config {
	return Config{PerHome: 200, PerMinute: 60, Depth: 8, LongestDelay: 30 * 24 * time.Hour}
}

// Validate says what is wrong with c, naming the field.
func (c Config) Validate() error {
	for name, bound := range map[string][3]int{
		"PerHome": {c.PerHome, 1, 10_000}, "PerMinute": {c.PerMinute, 1, 10_000}, "Depth": {c.Depth, 1, 100},
	} {
		if bound[0] < bound[1] || bound[0] > bound[2] {
			return fmt.Errorf("automations: %s: %d is not between %d and %d", name, bound[0], bound[1], bound[2])
		}
	}
	if c.LongestDelay < time.Minute || c.LongestDelay > 366*24*time.Hour {
		return fmt.Errorf("automations: LongestDelay: %s is not between a minute and 366 days", c.LongestDelay)
	}
	return nil
}
