// Package automations knows what a home does by itself, and at a word. A [Scene] is a list of what devices are to be and to do, which
// somebody runs. An automation is a [Definition]: what sets it off, a condition, and what is done then, with the rights of the person
// who has saved it last.
//
// # What happens when
//
// Something happens (a device says something, a time comes, somebody writes a line), and a run begins: it is stored, and then its
// steps are done, one after the other. What sets a run off gives it its name, so the same event, the same moment and the same line
// are the same run, however often they are heard of. What is stored of a run is the step at which it is: before the first one, when
// it waits, and when it has decided something.
//
// After a crash a run goes on with the step that is stored. So what comes between that and the crash is done again: a command
// and a message under the name that they had (a mid, made of the run's and the step's), so that they are the same command and the same
// message; a desired state is set again. Nothing is done never that was begun. A trigger that was in memory only when the process
// ended (a change of a state, a line) is lost, unless whoever has caused it says it again.
//
// # Order and bounds
//
// What concerns one home is taken in its order, by one goroutine of a few; runs have goroutines of their own, as long as they do not
// wait. Everything has a bound: see [Config], and the constants beside what they bound.
package automations
