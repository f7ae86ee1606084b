package mongo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/magpie-im/magpie/accounts"
)

// nodeID names the document that says who has the database.
const nodeID = "node"

// nodeDoc is who has the database. No clock of another machine is believed: who wants it looks for as long as a lease whether
// Beat changes.
type nodeDoc struct {
	ID    string `bson:"_id"`
	Epoch int64  `bson:"epoch"` // how often the database was opened
	Owner string `bson:"owner"` // the store that has it, another one with each Open; empty: nobody
	Node  string `bson:"node"`  // Config.Node of the owner
	Where string `bson:"where"` // for people
	Beat  int64  `bson:"beat"`  // changes as long as the owner is there
}

// lease is that a store is the only one that has the database.
type lease struct {
	nodes   *mongo.Collection
	owner   string
	length  time.Duration
	timeout time.Duration
	until   atomic.Int64 // nanoseconds since began
	began   time.Time
}

var errLapsed = fmt.Errorf("the database does not say whether it is still ours: %w", accounts.ErrUnavailable)

// enroll counts that the database was opened, and takes it if it is to be had alone.
func (s *Store) enroll(ctx context.Context) error {
	nodes := s.db.Collection(nodesCollection)
	if !s.cfg.Alone {
		after, err := opened(ctx, nodes)
		s.epoch = after.Epoch
		return err
	}
	l := &lease{
		nodes: nodes, owner: bson.NewObjectID().Hex(), length: s.cfg.Lease, timeout: s.cfg.Timeout, began: time.Now(),
	}
	epoch, err := l.take(ctx, s.cfg.Node, func(d nodeDoc) {
		s.logger.Warn("waiting for the database, which another node has not given back", "node", d.Where, "most", s.cfg.Lease)
	})
	if err != nil {
		return err
	}
	s.lease, s.epoch = l, epoch
	return nil
}

// opened counts one more Open of stores that are not alone.
func opened(ctx context.Context, nodes *mongo.Collection) (after nodeDoc, err error) {
	free := nodeDoc{ID: nodeID}
	if _, err := nodes.InsertOne(ctx, free); err != nil && !mongo.IsDuplicateKeyError(err) {
		return after, starting("say that the database is open", err)
	}
	oneMore := bson.D{{Key: "$inc", Value: bson.D{{Key: "epoch", Value: 1}}}}
	err = nodes.FindOneAndUpdate(ctx, bson.D{{Key: "_id", Value: nodeID}}, oneMore,
		options.FindOneAndUpdate().SetReturnDocument(options.After)).Decode(&after)
	return after, starting("say that the database is open", err)
}

// take waits until nobody else has the database. If somebody else says in that time that he has, it fails with ErrInUse.
func (l *lease) take(ctx context.Context, node string, waiting func(nodeDoc)) (epoch int64, err error) {
	var was nodeDoc
	var since time.Time
	tick := time.NewTicker(l.length / 20)
	defer tick.Stop()
	for {
		began := time.Now()
		is, err := l.read(ctx)
		if err != nil {
			return 0, err
		}
		switch {
		case is.Owner == l.owner: // an answer was lost
			l.renewed(began)
			return is.Epoch, nil
		case is.Owner == "", is.Node == node, is.Owner == was.Owner && is.Beat == was.Beat && time.Since(since) > l.length:
			if err := l.claim(ctx, is, node); err != nil {
				return 0, err
			}
			continue // to see what became of it
		case was.Owner == "":
			was, since = is, time.Now()
			waiting(is)
		case is.Owner != was.Owner || is.Beat != was.Beat:
			return 0, fmt.Errorf("%w: by %s", ErrInUse, is.Where)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// read gives the document, and makes it if there is none.
func (l *lease) read(ctx context.Context) (d nodeDoc, err error) {
	err = l.nodes.FindOne(ctx, bson.D{{Key: "_id", Value: nodeID}}).Decode(&d)
	if !none(err) {
		return d, starting("see who has the database", err)
	}
	d = nodeDoc{ID: nodeID}
	if _, err := l.nodes.InsertOne(ctx, d); err != nil && !mongo.IsDuplicateKeyError(err) {
		return d, starting("see who has the database", err)
	}
	return d, nil
}

// claim takes the database from who had it, unless that has changed.
func (l *lease) claim(ctx context.Context, is nodeDoc, node string) error {
	host, _ := os.Hostname() // for people
	filter := bson.D{{Key: "_id", Value: nodeID}, {Key: "owner", Value: is.Owner}, {Key: "beat", Value: is.Beat}}
	_, err := l.nodes.UpdateOne(ctx, filter, bson.D{
		{Key: "$set", Value: bson.D{
			{Key: "owner", Value: l.owner}, {Key: "node", Value: node},
			{Key: "where", Value: fmt.Sprintf("process %d on %s", os.Getpid(), host)},
		}},
		{Key: "$inc", Value: bson.D{{Key: "beat", Value: 1}, {Key: "epoch", Value: 1}}},
	})
	return starting("take the database", err)
}

// errTaken means that somebody else has the database now.
var errTaken = errors.New("another node has taken the database")

// renew says that the owner is still there.
func (l *lease) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.length/3)
	defer cancel()
	began := time.Now()
	done, err := l.nodes.UpdateOne(ctx, bson.D{{Key: "_id", Value: nodeID}, {Key: "owner", Value: l.owner}},
		bson.D{{Key: "$inc", Value: bson.D{{Key: "beat", Value: 1}}}})
	if err != nil {
		return err
	}
	if done.MatchedCount == 0 {
		return errTaken
	}
	l.renewed(began)
	return nil
}

// renewed notes that the lease holds from a moment on. It ends for its owner before it does for others, who look later.
func (l *lease) renewed(at time.Time) { l.until.Store(int64(at.Sub(l.began) + l.length*3/4)) }

// holds gives nil, or that it is not known whether somebody else has the database by now.
func (l *lease) holds() error {
	if int64(time.Since(l.began)) > l.until.Load() {
		return errLapsed
	}
	return nil
}

// giveBack lets others have the database at once. If that fails, they wait.
func (l *lease) giveBack() error {
	ctx, cancel := context.WithTimeout(context.Background(), l.timeout)
	defer cancel()
	ours := bson.D{{Key: "_id", Value: nodeID}, {Key: "owner", Value: l.owner}}
	_, err := l.nodes.UpdateOne(ctx, ours, bson.D{set("owner", "")})
	return err
}

// keep renews the lease until ctx ends or somebody else has it.
func (s *Store) keep(ctx context.Context) {
	l, complained := s.lease, false
	held := time.Duration(l.until.Load()) - time.Since(l.began) // less than after a renewal: Open may have taken long
	next := time.NewTimer(max(0, held-l.length*5/12))
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		err := l.renew(ctx)
		pause := l.length / 3
		switch {
		case errors.Is(err, errTaken):
			s.health.fail(err)
			return
		case err != nil && ctx.Err() == nil:
			if !complained {
				s.logger.Warn("cannot say that the database is ours", "err", reason(err))
			}
			complained, pause = true, l.length/20
		case complained:
			s.logger.Info("the database is still ours")
			complained = false
		}
		next.Reset(pause)
	}
}
