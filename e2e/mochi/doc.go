// Package mochi shows that Magpie does not lose what the MQTT library under it loses. Magpie takes codec, handshake and
// keep-alive from mochi-mqtt, and does everything else itself, because a broker that is mochi alone loses acknowledged
// messages in a dozen ways, freezes, doubles connections, and forgets what a will was to say. The tests of this package
// are those ways. Each is a scenario in raw packets that takes the address of a broker and looks for the loss.
//
// A scenario runs against a node of ours, and must find nothing. With MAGPIE_TEST_BARE=1 it runs against a bare mochi
// server in the test process instead, with its default capabilities unless the test says otherwise and a hook that
// allows everything, and must find the loss: a scenario that finds nothing has to be one that could. What was seen then,
// with mochi v2.7.9, is in the comment of each test. Those of which the outcome is quick and sure run against both,
// always.
package mochi
