package wirefault

import (
	"slices"
	"time"
)

// Fault is what is done to a message.
type Fault int

// Faults. "Cut" means that both connections, the driver's and the server's, end.
const (
	DelayRequest    Fault = 1 + iota // pass it on later; other faults may come on top
	DelayReply                       // pass its reply on later; other faults may come on top
	CutRequest                       // cut before it is passed on
	LoseReply                        // cut after the server has carried it out: a lost acknowledgement
	Late                             // cut, and have the server carry it out after the delay
	Duplicate                        // have the server carry it out twice; the reply to a write is one of both. Not of getMore
	TruncateRequest                  // cut in the middle of it
	TruncateReply                    // cut in the middle of its reply
	Swallow                          // neither pass it on nor answer
	SwallowReply                     // pass it on, and do not answer
	Hold                             // pass it on when the rules are set again
	Refuse                           // answer with an error, see Answer
	Away                             // cut all connections, and let nobody connect: of a rule with this all else is ignored
)

var faultNames = map[Fault]string{
	DelayRequest: "delay a request", DelayReply: "delay a reply", CutRequest: "cut before a request", LoseReply: "lose a reply",
	Late: "a request that comes late", Duplicate: "duplicate", TruncateRequest: "truncate a request",
	TruncateReply: "truncate a reply", Swallow: "swallow a request", SwallowReply: "swallow a reply", Hold: "hold",
	Refuse: "refuse", Away: "away",
}

func (f Fault) String() string { return faultNames[f] }

// Rule says what is done to which messages. Of several rules those of delays add up, and the first other one that hits counts.
type Rule struct {
	Do         Fault
	Commands   []string      // only these; nil: all but those by which the driver gets to know the server
	Everything bool          // also those
	Collection string        // only those that are about it; empty: any
	Share      float64       // how many of them, between 0 and 1; 0: all
	Skip       int           // the first ones that are left alone
	Times      int           // how often it hits; 0: without end
	Delay      time.Duration // of delays and of Late
	Jitter     time.Duration // the most that comes on top of Delay
	Answer     Answer        // of Refuse
}

// Writes are the commands that write documents.
var Writes = []string{"insert", "update", "delete", "findAndModify"}

// Form is where an error is in the reply.
type Form int

// Forms.
const (
	Command      Form = iota // the command has failed: ok is 0
	Write                    // the first of its writes has failed, ordered or not, and with it all others
	WriteConcern             // all was carried out, and is not where it should be: the request is passed on
)

// Answer is an error of a server.
type Answer struct {
	Code   int32
	Name   string
	Text   string
	Form   Form
	Labels []string // errorLabels
	Done   bool     // the request is passed on before it is answered so
}

// Errors as servers give them.
var (
	NotPrimary    = Answer{Code: 10107, Name: "NotWritablePrimary", Text: "not primary"}
	SteppedDown   = Answer{Code: 189, Name: "PrimarySteppedDown", Text: "primary stepped down while waiting for replication"}
	Interrupted   = Answer{Code: 11602, Name: "InterruptedDueToReplStateChange", Text: "operation was interrupted"}
	ShuttingDown  = Answer{Code: 11600, Name: "InterruptedAtShutdown", Text: "interrupted at shutdown"}
	DiskFull      = Answer{Code: 14031, Name: "OutOfDiskSpace", Text: "available disk space is less than required"}
	NotReplicated = Answer{Code: 64, Name: "WriteConcernTimeout", Text: "waiting for replication timed out", Form: WriteConcern}
	// Abandoned is of a primary that goes before others have what it has written.
	Abandoned = Answer{Code: 91, Name: "ShutdownInProgress", Text: "replication is being shut down", Form: WriteConcern}
	Unknown   = Answer{Code: 7_654_321, Name: "Location7654321", Text: "nobody knows"}
)

// handshake are the commands by which the driver gets to know the server, and tells it that it goes.
var handshake = []string{"hello", "saslStart", "saslContinue", "authenticate", "endSessions"}

// applied is a rule, and how often it could hit and has hit.
type applied struct {
	Rule
	met, hit int
}

// fits says whether a message is one that the rule is about.
func (a *applied) fits(c command) bool {
	switch {
	case a.Do == Duplicate && c.name == "getMore": // that would lose what the first one has read
		return false
	case a.Commands != nil:
		if !slices.Contains(a.Commands, c.name) {
			return false
		}
	case !a.Everything && slices.Contains(handshake, c.name):
		return false
	}
	return a.Collection == "" || a.Collection == c.collection
}

// hits throws the dice for a message that fits.
func (a *applied) hits(dice func() float64) bool {
	a.met++
	if a.met <= a.Skip || a.Times > 0 && a.hit >= a.Times || a.Share > 0 && dice() >= a.Share {
		return false
	}
	a.hit++
	return true
}
