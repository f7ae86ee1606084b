// Package database has people and things go on using a node while its database is in trouble: it is slow, away, or silent, loses
// answers, breaks off in the middle of messages, has no primary, no majority or no room, or says what nobody understands. The
// node is the real binary, and package wirefault stands between it and the server of package mongotest.
//
// For each fault it is seen that
//
//   - what was acknowledged is there, once, in the order of its sender, and all numbers have no gaps: [journal.Check] and
//     [journal.CheckTraffic] judge what all clients did and saw, after the node was killed and started once more;
//   - who waits is told, after a bounded time, by a refusal or a disconnect with a reason;
//   - reads are answered or refused, and do not hang;
//   - /readyz says so when the database does not serve, and recovers by itself when it does again;
//   - the node does not storm the database meanwhile.
//
// MAGPIE_TEST_FAULT=60s says for how long there is trouble of each kind; then each has a node of its own. Without, all of them
// come one after the other, for a few seconds each.
package database
