// Package e2e shows that Magpie keeps its promises, from outside: its tests run the real binary, talk to it with raw
// packets and with clients that others wrote, kill it, and compare what everybody saw. The tools they do that with are
// in the packages below this one.
package e2e
