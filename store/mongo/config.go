package mongo

import (
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"
)

// Config says where the database is. The zero value of every field but URI is its default.
type Config struct {
	// URI is a connection string as MongoDB's own programs have it, with credentials, TLS, pool sizes and timeouts. The path
	// is the name of the database; without one it is "magpie".
	URI string
	// StartTimeout is how long Open waits for the database. Default 10 s.
	StartTimeout time.Duration
	// Timeout bounds each operation; what has no result by then may have happened or not. Default 10 s.
	Timeout time.Duration
	// Clock tells the time; nil: time.Now.
	Clock func() time.Time
	// Alone says that no other process writes to the database: what is in memory need not be compared with what is there.
	Alone bool
	// Conversations is how many are kept in memory, about. Default 10,000.
	Conversations int
	// Hook is called at named points between the steps of a change; nil: nobody is. Tests end the process there.
	Hook func(point string)
}

const defaultDatabase = "magpie"

func (c Config) withDefaults() Config {
	if c.StartTimeout == 0 {
		c.StartTimeout = 10 * time.Second
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Conversations == 0 {
		c.Conversations = 10_000
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return c
}

// client gives what the driver is told, and the name of the database. What the promises rest on cannot be set from outside: what
// is written is in the journals of a majority, and what is read is read where it is written.
func (c Config) client() (*options.ClientOptions, string, error) {
	parsed, err := connstring.ParseAndValidate(c.URI)
	if err != nil {
		return nil, "", fmt.Errorf("the address of the database: %w", err)
	}
	database := parsed.Database
	if database == "" {
		database = defaultDatabase
	}
	journaled := true
	o := options.Client().ApplyURI(c.URI).
		SetAppName("magpie").
		SetServerSelectionTimeout(c.StartTimeout).
		SetTimeout(c.Timeout).
		SetWriteConcern(&writeconcern.WriteConcern{W: "majority", Journal: &journaled}).
		SetReadConcern(readconcern.Majority()).
		SetReadPreference(readpref.Primary())
	return o, database, o.Validate()
}
