package mongo

import (
	"context"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// Everything that happens in a conversation is an entry of its log. The insert of the entry is the commit: with (c, n) two
// writers cannot both be the next one, with (c, f, m) nothing that was given a name by its sender happens twice.
// What follows from an entry is in the entry, so that anybody can do it who finds it open: see following.

// logDoc is an entry of the log of a conversation.
type logDoc struct {
	ID           bson.ObjectID     `bson:"_id"`
	Conversation chat.Conversation `bson:"c"`
	N            int64             `bson:"n"` // 1, 2, 3 ...
	V            int64             `bson:"v"` // of the entry that has changed this one last
	Seq          int64             `bson:"s"` // of a message; of anything else -N
	From         accounts.Name     `bson:"f"` // whose it is; empty: nobody's
	MID          string            `bson:"m"` // givenMID and what he calls it, or mintedMID and N
	Kind         string            `bson:"k"`
	TS           int64             `bson:"ts"` // Unix milliseconds
	Fingerprint  []byte            `bson:"fp,omitempty"`
	Message      *messageDoc       `bson:"msg,omitempty"`
	Change       *changeDoc        `bson:"op,omitempty"`
	Rev          int64             `bson:"r,omitempty"`      // of a change of a message
	Expires      int64             `bson:"ttl,omitempty"`    // of a message: when its time is over, in Unix milliseconds
	Open         chat.Conversation `bson:"open,omitempty"`   // Conversation, as long as not all that follows may be there
	Follows      []byte            `bson:"fx,omitempty"`     // a following
	Ends         *time.Time        `bson:"x,omitempty"`      // when it may be removed: it is only there as a fence
	Forget       int64             `bson:"mx,omitempty"`     // of what is no message that is there: since when MID may go
	Was          int64             `bson:"was,omitempty"`    // the seq of a message that is not there any more
	WasID        string            `bson:"was_id,omitempty"` // and its id
}

// What mids in the log begin with.
const (
	givenMID  = "="
	mintedMID = "#"
)

// given is what its sender calls an entry; empty: nothing.
func (e *logDoc) given() string {
	mid, _ := strings.CutPrefix(e.MID, givenMID)
	if mid == e.MID {
		return ""
	}
	return mid
}

// Kinds of entries.
const (
	entryIsMessage = "msg"
	entryIsChange  = "op"   // of a message
	entryIsLikes   = "like" // of a live room
	entryIsState   = "state"
	entryIsGone    = "gone" // what was removed: its place, and its mid
)

// fenceLife is how long an entry stays that is needed for nothing but to keep a writer from taking its place who believes to be
// the next one: longer than anybody believes that without looking.
const fenceLife = 24 * time.Hour

// following is what follows from an entry.
type following struct {
	Docs   []document `bson:"docs,omitempty"`
	Told   []told     `bson:"told,omitempty"`
	Origin *originDoc `bson:"origin,omitempty"`
	Gone   []int64    `bson:"gone,omitempty"` // messages whose reactions are removed
}

// document is what one becomes. Each has an n, that of the entry from which it follows last.
type document struct {
	Collection string        `bson:"c"`
	ID         bson.RawValue `bson:"id"`
	N          int64         `bson:"n"`
	Doc        bson.Raw      `bson:"doc,omitempty"` // nil: it is removed, of the log only
}

// told is an entry of somebody's stream, or, as it is kept, of those of several people.
type told struct {
	User  accounts.Name   `bson:"u,omitempty"`
	Users []accounts.Name `bson:"us,omitempty"`
	Entry entryDoc        `bson:"e"`
}

// kept is what follows as it is kept: what several people are told, one after the other, is there once.
func (f following) kept() []byte {
	var all []told
	for _, t := range f.Told {
		if n := len(all); n > 0 && reflect.DeepEqual(all[n-1].Entry, t.Entry) {
			all[n-1].Users = append(all[n-1].Users, t.User)
			continue
		}
		all = append(all, told{Users: []accounts.Name{t.User}, Entry: t.Entry})
	}
	f.Told = all
	return marshal(f)
}

// followingOf is what is kept by an entry.
func followingOf(kept []byte) (f following, err error) {
	if err := bson.Unmarshal(kept, &f); err != nil {
		return f, err
	}
	all := f.Told
	f.Told = nil
	for _, t := range all {
		for _, user := range t.Users {
			f.Told = append(f.Told, told{User: user, Entry: t.Entry})
		}
	}
	return f, nil
}

var errBehind = errors.New("somebody else has written to the conversation")

// insert adds entries, which follow each other, to the log. It gives how many of them there are now. With errBehind somebody else
// has written; with a repeat, that is the stored entry that has the name of the next one. Any other error means that it is not
// known what became of the rest.
func (s *Store) insert(ctx context.Context, entries []*logDoc) (done int, repeat *logDoc, err error) {
	for pause := firstPause; ; pause.wait(ctx) {
		if err := s.Writable(); err != nil {
			return done, nil, err
		}
		_, err = s.log().InsertMany(ctx, entries[done:])
		if err == nil {
			return len(entries), nil, nil
		}
		n, lookErr := s.inserted(ctx, entries[done:])
		if done += n; lookErr != nil || done == len(entries) {
			return done, nil, lookErr
		}
		if repeat, err = s.repeated(ctx, entries[done], err); repeat != nil || err != nil {
			return done, repeat, err
		}
		if ctx.Err() != nil {
			return done, nil, failed(ctx, "write to the log", ctx.Err())
		}
	}
}

// repeated finds out why an entry was refused. Without an error and a repeat it can be tried again.
func (s *Store) repeated(ctx context.Context, e *logDoc, refused error) (repeat *logDoc, err error) {
	if !mongo.IsDuplicateKeyError(refused) {
		if !passing(refused) {
			return nil, failed(ctx, "write to the log", refused)
		}
		return nil, nil
	}
	if mid := e.given(); mid != "" {
		if repeat, err = s.named(ctx, e.Conversation, e.From, mid); err != nil {
			return nil, err
		}
		if repeat != nil && repeat.ID == e.ID { // it is there, and was not for a majority yet
			return nil, nil
		}
		if repeat != nil {
			return repeat, nil
		}
	}
	return nil, errBehind
}

// inserted counts how many of some entries, which follow each other, are there.
func (s *Store) inserted(ctx context.Context, entries []*logDoc) (n int, err error) {
	ids := make(bson.A, len(entries))
	for i, e := range entries {
		ids[i] = e.ID
	}
	err = retried(ctx, func() error {
		filter := bson.D{{Key: "c", Value: entries[0].Conversation}, {Key: "_id", Value: in(ids)}}
		cursor, err := s.log().Find(ctx, filter, finding().SetProjection(bson.D{{Key: "_id", Value: 1}}))
		if err != nil {
			return err
		}
		var there []bson.Raw
		n = 0
		err = cursor.All(ctx, &there)
		n = len(there)
		return err
	})
	return n, failed(ctx, "read the log", err)
}

// named gives the entry that somebody has given a name; nil: there is none.
func (s *Store) named(ctx context.Context, c chat.Conversation, from accounts.Name, mid string) (*logDoc, error) {
	return s.entry(ctx, bson.D{{Key: "c", Value: c}, {Key: "f", Value: from}, {Key: "m", Value: givenMID + mid}})
}

// entry gives an entry; nil: there is none.
func (s *Store) entry(ctx context.Context, filter bson.D) (*logDoc, error) {
	var e logDoc
	err := retried(ctx, func() error { return s.log().FindOne(ctx, filter).Decode(&e) })
	if none(err) {
		return nil, nil
	}
	if err != nil {
		return nil, failed(ctx, "read the log", err)
	}
	return &e, nil
}

// openEntries gives the entries of a conversation from which not everything may have followed, in their order.
func (s *Store) openEntries(ctx context.Context, c chat.Conversation) (out []*logDoc, err error) {
	err = retried(ctx, func() error {
		cursor, err := s.log().Find(ctx, bson.D{{Key: "open", Value: c}}, finding().SetSort(bson.D{{Key: "n", Value: 1}}))
		if err != nil {
			return err
		}
		out = nil
		return cursor.All(ctx, &out)
	})
	return out, failed(ctx, "read the log", err)
}

// lastN gives the n of the last entry of a conversation that is there; 0: there is none.
func (s *Store) lastN(ctx context.Context, c chat.Conversation) (int64, error) {
	var last struct {
		N int64 `bson:"n"`
	}
	err := retried(ctx, func() error {
		return s.log().FindOne(ctx, bson.D{{Key: "c", Value: c}},
			options.FindOne().SetSort(bson.D{{Key: "n", Value: -1}}).SetProjection(bson.D{{Key: "n", Value: 1}})).Decode(&last)
	})
	if none(err) {
		err = nil
	}
	return last.N, failed(ctx, "read the log", err)
}

// follow does what follows from entries of one conversation, in their order, and closes them. It may be done again. It gives the
// usns of what was told, entry by entry.
func (s *Store) follow(ctx context.Context, entries []*logDoc, all []following) (usns [][]uint64, err error) {
	s.following.RLock()
	defer s.following.RUnlock()
	landed := s.inFlight(entries[0].Conversation, all)
	defer func() { landed(err == nil) }()
	var docs []document
	at := map[string]int{}
	for _, f := range all {
		if err := s.relate(ctx, &f); err != nil {
			return nil, err
		}
		for _, d := range f.Docs {
			if d.Collection == relationsCollection {
				continue
			}
			key := d.Collection + string(d.ID.Value)
			if i, found := at[key]; found {
				docs[i] = d
				continue
			}
			at[key] = len(docs)
			docs = append(docs, d)
		}
	}
	if err := s.replaceAll(ctx, docs); err != nil {
		return nil, err
	}
	s.at("followers written")
	if usns, err = s.tellAll(ctx, entries, all); err != nil {
		return nil, err
	}
	for i, f := range all {
		if err := s.unreact(ctx, entries[i].Conversation, f.Gone); err != nil {
			return nil, err
		}
		if f.Origin != nil {
			if err := s.applyOrigin(ctx, *f.Origin); err != nil {
				return nil, err
			}
		}
	}
	s.at("told")
	return usns, s.closeEntries(ctx, entries)
}

// flight is that things follow in a conversation.
type flight struct {
	landed chan struct{}          // closed when they have
	told   map[accounts.Name]bool // whom the conversation may be no more of, and who has not been told
}

// inFlight says that things follow in a conversation, until done is called: what is read of it meanwhile is of no one moment, and
// neither is what is read later, until somebody has finished it, if not all has followed.
func (s *Store) inFlight(c chat.Conversation, all []following) (done func(all bool)) {
	is := flight{landed: make(chan struct{}), told: map[accounts.Name]bool{}}
	for _, f := range all {
		for _, t := range f.Told {
			is.told[t.User] = true
		}
	}
	s.flightMu.Lock()
	defer s.flightMu.Unlock()
	s.flights[c] = is
	return func(all bool) {
		s.flightMu.Lock()
		defer s.flightMu.Unlock()
		delete(s.flights, c)
		if !all {
			s.torn[c] = is.told
		}
		close(is.landed)
	}
}

// flight gives what is closed when things have followed in one of some conversations, or where a user is to be told something: he
// may have left it; nil if nothing follows there now. And it gives those in which not all has followed. In large ones something
// follows all the time of which nobody's stream knows: see settleLarge.
func (s *Store) flight(user accounts.Name, of []*side) (landed chan struct{}, torn []chat.Conversation) {
	small := make(map[chat.Conversation]bool, len(of))
	for _, x := range of {
		small[x.Name] = !x.large()
	}
	s.flightMu.Lock()
	defer s.flightMu.Unlock()
	for c, is := range s.flights {
		if small[c] || is.told[user] {
			landed = is.landed
		}
	}
	for c, told := range s.torn {
		if small[c] || told[user] {
			torn = append(torn, c)
		}
	}
	return landed, torn
}

// mended notes that everything has followed in a conversation.
func (s *Store) mended(c chat.Conversation) {
	s.flightMu.Lock()
	defer s.flightMu.Unlock()
	delete(s.torn, c)
}

// relate writes the relations that follow from an entry, and says in what is told of them which versions that made.
func (s *Store) relate(ctx context.Context, f *following) error {
	for _, d := range f.Docs {
		if d.Collection != relationsCollection {
			continue
		}
		var key relationKey
		if err := d.ID.Unmarshal(&key); err != nil {
			return failed(ctx, "read what follows", err)
		}
		version, err := s.putRelation(ctx, d)
		if err != nil {
			return err
		}
		for i := range f.Told {
			if t := &f.Told[i]; t.User == key.User && t.Entry.Version == versionToCome {
				t.Entry.Version = version
			}
		}
	}
	return nil
}

// closeEntries says that everything has followed from entries.
func (s *Store) closeEntries(ctx context.Context, entries []*logDoc) error {
	ns := make(bson.A, len(entries))
	for i, e := range entries {
		ns[i] = e.N
	}
	filter := bson.D{{Key: "c", Value: entries[0].Conversation}, {Key: "n", Value: in(ns)}}
	err := retried(ctx, func() error {
		_, err := s.log().UpdateMany(ctx, filter, bson.D{unset("open", "fx")})
		return err
	})
	s.at("closed")
	return failed(ctx, "close entries", err)
}

// replaceAll makes documents what they have become, unless they are newer. That of the conversation is the last: what is there
// when it says an n follows from all entries up to that.
func (s *Store) replaceAll(ctx context.Context, docs []document) error {
	models := map[string][]mongo.WriteModel{}
	var order []string
	for _, d := range docs {
		if models[d.Collection] == nil && d.Collection != convsCollection {
			order = append(order, d.Collection)
		}
		models[d.Collection] = append(models[d.Collection], d.model())
	}
	for _, collection := range append(order, convsCollection) {
		if err := s.writeNewer(ctx, collection, models[collection]); err != nil {
			return err
		}
	}
	return nil
}

// model is how a document becomes what it is. One of the log is not made again when it was removed.
func (d *document) model() mongo.WriteModel {
	version := "n"
	if d.Collection == logCollection {
		version = "v"
	}
	older := bson.D{{Key: "_id", Value: d.ID}, {Key: version, Value: bson.D{{Key: "$lt", Value: d.N}}}}
	if d.Doc == nil {
		return mongo.NewDeleteOneModel().SetFilter(older)
	}
	return mongo.NewReplaceOneModel().SetFilter(older).SetReplacement(d.Doc).SetUpsert(d.Collection != logCollection)
}

// onlyDuplicates says whether every operation of a bulk that failed did so for a key that there is already.
func onlyDuplicates(err error) bool {
	bulk, is := asBulk(err)
	if !is || bulk.WriteConcernError != nil {
		return false
	}
	for _, e := range bulk.WriteErrors {
		if !mongo.IsDuplicateKeyError(e.WriteError) {
			return false
		}
	}
	return len(bulk.WriteErrors) > 0
}

func (s *Store) log() *mongo.Collection { return s.db.Collection(logCollection) }

// refOf names what follows from an entry in the streams.
func refOf(e *logDoc) string { return string(e.Conversation) + "/" + strconv.FormatInt(e.N, 10) }
