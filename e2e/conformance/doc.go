// Package conformance shows statement by statement that Magpie is the server that MQTT 3.1.1 and MQTT 5.0 ask for. Its
// tests speak raw packets to whole nodes over real sockets.
//
// The statements are those that the specifications number, [MQTT-x.x.x-n]. mqtt311_test.go and mqtt5_test.go have all of
// them, in our own words; a test says with shows which of them it is about. From both, docs/conformance.md is written:
//
//	go test ./e2e/conformance -update
//
// It cannot say more than is so: a run of the whole package fails if a statement that binds a server has neither a test
// that ran and passed nor a reason, if it has both, if a test names a statement that does not exist, or if the page is not
// what the run would write.
package conformance
