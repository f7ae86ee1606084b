package mongo

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"
)

// Config says where the database is. The zero value of every field but URI is its default.
type Config struct {
	// URI is a connection string as MongoDB's own programs have it, with credentials, TLS and pool sizes. The path is the name
	// of the database; without one it is "magpie".
	URI string
	// Password is that of the user in URI, which has none then.
	Password string
	// StartTimeout is how long Open waits for the database. Default 10 s.
	StartTimeout time.Duration
	// Timeout bounds each operation; what has no result by then may have happened or not. Default 10 s.
	Timeout time.Duration
	// Alone means that no other process writes to the database: what is in memory need not be compared with what is there. It
	// is seen to: Open fails with ErrInUse if another store has the database alone, and Failed is closed when one has taken it.
	// Stores without are right as well, with any number of others that are not alone.
	Alone bool
	// Node is who this is, among those that want to be alone: who has the same takes over at once what a crash has left. Others
	// wait for Lease first. Only one process at a time may be it. Default: nobody that ever was.
	Node string
	// Lease is for how long a node that does not say anything is believed to be there. Default 15 s.
	Lease time.Duration
	// QueueAge is the age at which entries of queues are removed. 0: at none.
	QueueAge time.Duration
	// Unfinished opens a store into which an import is under way, too. Nothing but that import may use it.
	Unfinished bool
	// Clock tells the time; nil: time.Now.
	Clock func() time.Time
	// Conversations is how many are kept in memory, about; large ones count as several. Default 10,000.
	Conversations int
	// Hook is called at named points between the steps of a change; nil: nobody is. Tests end the process there.
	Hook func(point string)
	// Watch is told each command before it is sent; nil: nobody is. Tests see there what is asked.
	Watch func(command bson.Raw)
}

const defaultDatabase = "magpie"

func (c Config) withDefaults() Config {
	c.StartTimeout = cmp.Or(c.StartTimeout, 10*time.Second)
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	c.Lease = cmp.Or(c.Lease, 15*time.Second)
	if c.Node == "" {
		c.Node = rand.Text()
	}
	if c.Conversations == 0 {
		c.Conversations = 10_000
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return c
}

// Validate says what is wrong with the address of the database. A mongodb+srv:// one has to be looked up for that. Its errors are
// ErrConfig, and have no password in them.
func (c Config) Validate() error {
	_, _, err := c.withDefaults().client()
	return err
}

// client gives what the driver is told, and the name of the database. What the promises rest on cannot be set from outside: what
// is written is in the journals of a majority, and what is read is read where it is written.
func (c Config) client() (*options.ClientOptions, string, error) {
	uri, err := c.uri()
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrConfig, err)
	}
	parsed, err := connstring.ParseAndValidate(uri)
	if err == nil {
		err = ours(parsed)
	}
	if lookup := (*net.DNSError)(nil); errors.As(err, &lookup) {
		return nil, "", unavailable("look up the address of the database", lookup)
	}
	if err != nil {
		text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "error parsing uri: "), "error validating uri: ")
		return nil, "", fmt.Errorf("%w: %s", ErrConfig, text)
	}
	journaled := true
	o := options.Client().ApplyURI(uri).
		SetAppName("magpie").
		SetRegistry(registry).
		SetServerSelectionTimeout(c.StartTimeout).
		SetTimeout(c.Timeout).
		SetWriteConcern(&writeconcern.WriteConcern{W: "majority", Journal: &journaled}).
		SetReadConcern(readconcern.Majority()).
		SetReadPreference(readpref.Primary())
	if !parsed.ConnectTimeoutSet { // the driver's 30 s pass before it gives up a server that says nothing, and looks again
		o.SetConnectTimeout(c.Timeout / 2)
	}
	if err := o.Validate(); err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return o, cmp.Or(parsed.Database, defaultDatabase), nil
}

// uri gives the whole address. What the parser might quote of a password is refused before it can.
func (c Config) uri() (string, error) {
	scheme, rest, found := strings.Cut(c.URI, "://")
	if !found || scheme != connstring.SchemeMongoDB && scheme != connstring.SchemeMongoDBSRV {
		return "", errors.New("it begins neither with mongodb:// nor with mongodb+srv://")
	}
	user, hosts := "", rest
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		user, hosts = rest[:at], rest[at+1:]
	}
	name, password, has := strings.Cut(user, ":")
	_, err := url.PathUnescape(password)
	switch {
	case strings.ContainsAny(name+password, "/?#[]@: ") || err != nil:
		return "", errors.New("in the name and password of the user / ? # [ ] @ : % and spaces are written as %2F and so on")
	case c.Password == "":
		return c.URI, nil
	case has:
		return "", errors.New("there are two passwords, one of them in the address")
	case name == "":
		return "", errors.New("there is a password, and no user in the address")
	}
	return scheme + "://" + name + ":" + strings.ReplaceAll(url.QueryEscape(c.Password), "+", "%20") + "@" + hosts, nil
}

// ours refuses options that would have it otherwise than is promised, rather than not do what they say.
func ours(c *connstring.ConnString) error {
	switch {
	case c.WNumberSet || c.WString != "" && c.WString != "majority" || c.JSet && !c.J:
		return errors.New("w and journal cannot be set: what is acknowledged is in the journals of a majority")
	case c.ReadConcernLevel != "" && c.ReadConcernLevel != "majority":
		return errors.New("readConcernLevel cannot be set: what is read was acknowledged by a majority")
	case c.ReadPreference != "" && !strings.EqualFold(c.ReadPreference, "primary"):
		return errors.New("readPreference cannot be set: what is read is read from the primary")
	case c.TimeoutSet || c.SocketTimeoutSet || c.ServerSelectionTimeoutSet:
		return errors.New("timeouts are set beside the address, not in it, but for connectTimeoutMS")
	case len(c.UnknownOptions) > 0:
		for name := range c.UnknownOptions {
			return fmt.Errorf("there is no option %s", name)
		}
	}
	return nil
}
