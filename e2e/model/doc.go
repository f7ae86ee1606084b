// Package model runs random schedules of sessions against a whole node, and says what each session has to have received.
//
// A run is a number of rounds. In the quiet part of a round sessions come, go, are taken over, subscribe and unsubscribe,
// one thing at a time, so that it is known who subscribes to what. Then publishers publish all at once, while connections
// are cut, acks are withheld and, now and then, the node is restarted. At the end all sessions are connected and read
// until the oracle has nothing to wait for; what a session got besides, twice, or in another order fails the test.
//
// What MQTT leaves open, the oracle leaves open: messages of QoS 0 come once or never, and so do those for a session that
// has ended; what a publisher had to send again with QoS 1 may come as often as it was sent.
package model
