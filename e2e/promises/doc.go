// Package promises shows, row by row, what Magpie promises of messages: that they are sent, received, stored and counted as
// docs/protocol.md and docs/conversations.md say. Its tests know the server from outside, over sockets, in both versions of
// MQTT, and are named after the rows: TestPromises/7.3-4/v5.
//
// table_test.go has all rows: the question, the promise, and either what shows it or what is not there yet. From it,
// docs/promises.md is written:
//
//	go generate ./e2e/promises
//
// The page cannot fall behind: a test fails if it says anything else, if a row has neither a test nor a reason, if a test that
// a row points at does not exist, or if what a row waits for has been built and its test has not.
package promises
