// Package wirefault is a proxy for tests that stands between the driver and a MongoDB server and makes trouble: it reads messages
// of the wire protocol, and does to some of them what networks and servers do. They are cut off, lost, late, doubled, torn or
// answered with errors. It also counts the messages that it has passed on: round trips.
//
// A message is a frame whose command is known, so that trouble can be aimed: at inserts only, at one collection only, at one in
// ten. Frames that are compressed pass and can be hit, but not be aimed at; TLS is not understood. What the driver asks to know
// the server (hello, authentication) is left alone unless a rule says otherwise.
//
// The proxy goes to the first host that the URI names, and has the driver go there only (directConnection).
package wirefault
