// Package conversations has random people talk, and holds what they see against a simple oracle: users with several devices
// each, of MQTT 3.1.1, of MQTT 5 and over HTTP, send and send again, read on two devices, recall, edit, react, mute, hide, clear,
// are kicked and come back, and block each other, all at once, while the server is killed, restarted, or told another time.
// Whenever all is quiet, everything that was asked, answered and shown is a recording, and a judge who knows nothing of the
// server says which of ten invariants it breaks:
//
//   - I1: a total is the sum of the unread counts of what is not muted, everywhere, and these are exact.
//   - I2: a read mark never goes back, nor beyond the last message; what was read in private is told to nobody.
//   - I3: what is recalled, expired or deleted counts no more, and its content is nowhere.
//   - I4: only what others say counts.
//   - I5: one reads what was said while one was there, and sees nothing of the rest on any topic.
//   - I6: of a large conversation nothing is in a stream, and its counts are exact nevertheless.
//   - I7: seqs, and revs, are 1 to the last one; none is given twice; what was acknowledged or seen is stored.
//   - I8: a mid is one message, and all its acks say the same.
//   - I9: what a device was shown is the stream, without gaps, whatever happened to its connection.
//   - I10: once a block is acknowledged nothing of one of the two reaches the other.
//
// The judge is held to it by recordings that a doctor has put such faults into.
package conversations
