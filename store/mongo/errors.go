package mongo

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/accounts"
)

var errClosed = fmt.Errorf("store is closed: %w", accounts.ErrUnavailable)

// failed makes an error of the driver one that the rooms above know: the database cannot serve now. nil stays nil, and what ended
// because its caller did not want it any more says so.
func failed(ctx context.Context, doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	}
	return fmt.Errorf("%s: %w: %w", doing, accounts.ErrUnavailable, err)
}

// asBulk gives the error of an insert of several documents, or of a bulk.
func asBulk(err error) (bulk mongo.BulkWriteException, is bool) {
	is = errors.As(err, &bulk)
	return bulk, is
}

// none says whether an error is that no document was found.
func none(err error) bool { return errors.Is(err, mongo.ErrNoDocuments) }
