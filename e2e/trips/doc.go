// Package trips counts the round trips to MongoDB that a whole node needs for what clients do: connecting, sending, reading. Its
// test holds a bound of each, and the table of docs/storage.md to these.
package trips
