package mongo

import (
	"context"
)

// originDoc is a stand-in until sessions are there.
type originDoc struct{}

func originOf(any) (*originDoc, error) { return nil, nil }

func (s *Store) applyOrigin(context.Context, originDoc) error { return nil }
