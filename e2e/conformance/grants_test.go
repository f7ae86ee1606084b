package conformance

import "github.com/magpie-im/magpie/broker"

// grants lets everybody do everything that can be granted.
func grants(cfg *broker.Config) {
	cfg.ACL = append(cfg.ACL,
		broker.ACLConfig{Topic: "#", Who: "all", Allow: []string{"pub", "sub"}},
		broker.ACLConfig{Topic: "$SYS/#", Who: "all", Allow: []string{"sub"}})
}
