package mongo

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/chat"
)

// finishAll does what may not have followed from entries of any conversation: whoever has written them may have died.
func (s *Store) finishAll(ctx context.Context) error {
	var last chat.Conversation
	for {
		var next []logDoc
		err := s.findAll(ctx, logCollection, bson.D{{Key: "open", Value: bson.D{{Key: "$gt", Value: last}}}}, &next,
			sortedBy("open", 1), limitedTo(1), only("open"))
		if err != nil || len(next) == 0 {
			return err
		}
		last = next[0].Open
		if _, err := s.finish(ctx, last); err != nil {
			return err
		}
	}
}
