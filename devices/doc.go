// Package devices knows things: who they are, what they are and should be (their shadow), what they are told to do, and what they
// measure. It knows nothing of MQTT, of conversations and of databases.
package devices
