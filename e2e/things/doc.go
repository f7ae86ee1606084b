// Package things tests what devices and those who use them are promised, from outside and over sockets: with clients that
// others wrote (mosquitto's tools, Paho, AWS's own SDK for devices), with raw ones that say what they must not, and with
// random schedules of absence, crashes and late answers against a small model of a command.
package things
