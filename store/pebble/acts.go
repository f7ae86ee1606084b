package pebble

import (
	"context"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
)

// actKey sorts as the ids of acts do, which accounts makes so that they sort as the acts began.
func actKey(id string) []byte { return key1(tableAudit, id) }

func (a accountStore) PutAct(ctx context.Context, act accounts.Act) error {
	return a.change(ctx, func(b *pebble.Batch) error {
		put(b, actKey(act.ID), encode(auditRow{
			Time: momentOf(act.Time), By: act.By, From: act.From, Method: act.Method, Target: act.Target, Outcome: act.Outcome,
		}))
		return nil
	})
}

func (a accountStore) Acts(ctx context.Context, before string, limit int) ([]accounts.Act, error) {
	s := a.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	from, to := []byte{byte(tableAudit)}, prefixEnd([]byte{byte(tableAudit)})
	if before != "" {
		to = actKey(before)
	}
	var out []accounts.Act
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return nil, unavailable("read acts", err)
	}
	for ok := iter.Last(); ok && len(out) < limit && err == nil; ok = iter.Prev() {
		var act accounts.Act
		if act, err = actOf(iter.Key(), iter.Value()); err == nil {
			out = append(out, act)
		}
	}
	if err == nil {
		err = iter.Error()
	}
	if closed := iter.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, unavailable("read acts", err)
	}
	return out, s.seq.settled(ctx)
}

func actOf(key, value []byte) (accounts.Act, error) {
	id, _, err := cutString(key[1:])
	if err != nil {
		return accounts.Act{}, err
	}
	var row auditRow
	if err := decode("act", value, &row); err != nil {
		return accounts.Act{}, err
	}
	return accounts.Act{
		ID: id, Time: row.Time.time(), By: row.By, From: row.From, Method: row.Method, Target: row.Target, Outcome: row.Outcome,
	}, nil
}

func (a accountStore) PurgeActs(ctx context.Context, before string, limit int) (n int, err error) {
	if limit <= 0 {
		return 0, nil
	}
	err = a.change(ctx, func(b *pebble.Batch) error {
		err := a.scan([]byte{byte(tableAudit)}, actKey(before), "acts", func(key, _ []byte) (bool, error) {
			remove(b, append([]byte(nil), key...))
			n++
			return n < limit, nil
		})
		if err == nil && n == 0 {
			return errNothing
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}
