package main

import "slices"

// freeCases are those on free topics: {QoS 0, 1, 2} x {1 to 1, 1 to 50, 1 to 1,000, 1,000 to 1} x window x {sessions that
// are kept, and that are not}. Those that are not of much interest are only done when asked for.
func freeCases() []benchCase {
	var cases []benchCase
	for _, sh := range []struct {
		publishers, subscribers int
		windows, usual          []int
	}{
		{1, 1, []int{1, 16, 64, 1000}, []int{1, 16, 64, 1000}},
		{1, 50, []int{1, 16, 64, 1000}, []int{64}},
		{1, 1000, []int{1, 16, 64}, []int{16}},
		{1000, 1, []int{1, 16, 64}, []int{1}},
	} {
		for qos := range byte(3) {
			for _, window := range sh.windows {
				for _, durable := range []bool{true, false} {
					if qos == 0 && durable {
						continue // nothing of it is kept
					}
					usual := slices.Contains(sh.usual, window)
					if sh.subscribers == 1 && sh.publishers == 1 && qos != 1 {
						usual = window == 64
					}
					cases = append(cases, freeCase(shape{sh.publishers, sh.subscribers, qos, window, durable}, usual))
				}
			}
		}
	}
	return cases
}

func freeCase(sh shape, usual bool) benchCase {
	c := benchCase{
		name: sh.name(), unusual: !usual,
		targets: []string{magpieName, mosquittoName},
		measure: func(s settings, srv *instance) (values []value, err error) {
			c, forget, err := newCrowd(srv, sh)
			if err != nil {
				return nil, err
			}
			values, err = c.measure(s, srv)
			return values, errOr(err, forget())
		},
	}
	if sh.durable && sh.publishers == 1 && sh.subscribers == 1 && sh.window == 64 {
		c.targets = append(c.targets, mosquittoDiskName)
		if sh.qos == 1 {
			c.targets = append(c.targets, natsName)
		}
	}
	return c
}

// errOr gives the first of two errors: what follows from it says nothing new.
func errOr(first, second error) error {
	if first != nil {
		return first
	}
	return second
}
