package mongo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/auth"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/magpie-im/magpie/accounts"
)

var (
	// ErrConfig means that the address of the database cannot be one.
	ErrConfig = errors.New("address of the database")
	// ErrRefused means that the database does not let the user in, or not do what a store has to do.
	ErrRefused = errors.New("the database refuses the user")
	// ErrInUse means that another node has the database.
	ErrInUse = errors.New("database is in use")
	// ErrDamaged means that what is in the database cannot be what was put there.
	ErrDamaged = errors.New("data is damaged")
	// ErrNewer means that the data was written by a newer version and cannot be read by this one.
	ErrNewer = errors.New("data has a newer format")
	// ErrUnfinished means that an import into the store has not come to its end.
	ErrUnfinished = errors.New("data is incomplete")

	errClosed = fmt.Errorf("store is closed: %w", accounts.ErrUnavailable)
)

// failed makes an error of the driver one that the rooms above know: the database cannot serve now. nil stays nil, and what ended
// because its caller did not want it any more says so.
func failed(ctx context.Context, doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	}
	return unavailable(doing, err)
}

// unavailable says that the database cannot do something now.
func unavailable(doing string, err error) error {
	return fmt.Errorf("%s: %w: %w", doing, accounts.ErrUnavailable, err)
}

// asBulk gives the error of an insert of several documents, or of a bulk.
func asBulk(err error) (bulk mongo.BulkWriteException, is bool) {
	is = errors.As(err, &bulk)
	return bulk, is
}

// none says whether an error is that no document was found.
func none(err error) bool { return errors.Is(err, mongo.ErrNoDocuments) }

// Codes of errors of servers who do not know a user, or do not let him.
const (
	codeUnauthorized         = 13
	codeAuthenticationFailed = 18
)

// refused says whether the database does not let the user do something.
func refused(err error) bool {
	var server mongo.ServerError
	if errors.As(err, &server) && (server.HasErrorCode(codeUnauthorized) || server.HasErrorCode(codeAuthenticationFailed)) {
		return true
	}
	var login *auth.Error
	return errors.As(err, &login) && !mongo.IsNetworkError(err) && !errors.Is(err, context.DeadlineExceeded)
}

// starting makes an error of an operation at the start one that says in a line what is wrong.
func starting(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case refused(err):
		return fmt.Errorf("%s: %w: %s", doing, ErrRefused, reason(err))
	}
	return fmt.Errorf("%s: %w: %s", doing, accounts.ErrUnavailable, reason(err))
}

// reason is what an error says, in one line and without what only helps who works on the driver.
func reason(err error) string {
	var selection topology.ServerSelectionError
	if errors.As(err, &selection) {
		return nobody(selection)
	}
	var server mongo.CommandError
	if errors.As(err, &server) {
		return line(server.Message)
	}
	var dial *net.OpError
	if errors.As(err, &dial) {
		return line(dial.Error())
	}
	return line(err.Error())
}

// nobody says why no server can be asked.
func nobody(err topology.ServerSelectionError) string {
	if err.Desc.CompatibilityErr != nil {
		return line(err.Desc.CompatibilityErr.Error())
	}
	var servers []string
	for _, s := range err.Desc.Servers {
		why := strings.ToLower(s.Kind.String()) // it is there, and is not the primary
		if s.LastError != nil {
			why = cause(s.LastError)
		}
		servers = append(servers, fmt.Sprintf("%s: %s", s.Addr, why))
	}
	if len(servers) == 0 {
		return "there is no server at the address"
	}
	return "no server that can be written to: " + strings.Join(servers, "; ")
}

// cause is the innermost error: the ones around it say where in the driver it happened.
func cause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			break
		}
		err = inner
	}
	text := line(err.Error())
	if text == "EOF" || strings.Contains(text, "malformed") || strings.Contains(text, "length") {
		return "it does not answer as MongoDB does (" + text + ")"
	}
	return text
}

// line makes a text one line.
func line(text string) string { return strings.Join(strings.Fields(text), " ") }
