package mongo

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// Collections.
const (
	usersCollection       = "users"
	tokensCollection      = "tokens"
	pinsCollection        = "pins"
	invitationsCollection = "invitations"
	actsCollection        = "acts"
	seenCollection        = "seen"
	logCollection         = "log"
	convsCollection       = "convs"
	membersCollection     = "members"
	relationsCollection   = "relations"
	streamCollection      = "stream"
	hiddenCollection      = "hidden"
	asksCollection        = "asks"
	snapshotsCollection   = "snapshots"
	outdatedCollection    = "outdated"

	sessionsCollection     = "sessions"
	publicationsCollection = "publications"
	queuesCollection       = "queues"
	willsCollection        = "wills"
	groupsCollection       = "groups"
)

// collection is what is in one, for docs/storage.md.
type collection struct {
	name  string
	id    string // what _id is
	holds string
	shard string // the key by which it may be sharded; empty: it is not to be
}

// collections are all that there may be.
var collections = slices.Concat([]collection{
	{usersCollection, "name",
		"password hash, role, suspension, recovery code (SHA-256), created; of a deleted one: when, and " +
			"`leaving` as long as something is left of it. `epoch` grows when all its tokens become worthless at " +
			"once. Devices are here too (`device`): owner, SHA-256 of their secrets and certificates, suspension, `rev`", ""},
	{tokensCollection, "SHA-256 of a token",
		"owner, label, end, and the `epoch` of the owner: of another one it is no token", ""},
	{pinsCollection, "SHA-256 of a certificate", "the device that has it, if that says so", ""},
	{invitationsCollection, "SHA-256 of a code", "uses left and made, label, who made it, end", ""},
	{actsCollection, "id (sorts by time)", "the audit log: time, who, from where, method, target, outcome", ""},
	{peopleCollection, "name", "profile, settings, place; up to whom contacts were told; `open` and `fx` as in `log`", ""},
	{handlesCollection, "kind and value",
		"phone numbers and e-mail addresses: whose, or who claims it, or until when nobody gets it", ""},
	{foundCollection, "kind, value, user", "what somebody is found by: words, the list, the cell of his place", ""},
	{seenCollection, "name", "when somebody was there last, and since when he is there", ""},
	{logCollection, "",
		"the entries of all conversations, in each 1, 2, 3 ... (`n`): messages (`s` is the seq), changes of " +
			"messages (`r` is the rev), likes, and everything else (`s` is -`n`)", "c"},
	{convsCollection, "conversation",
		"its state as of an entry `n`: head, counts, floor, pins, what a room is, whether two people may write", ""},
	{membersCollection, "user, conversation",
		"what somebody is to a conversation: marks and their ordinals, what was told, role, mentions, own side", ""},
	{relationsCollection, "user, other",
		"state, greeting, since, end, blocked, ignored, refused until, remark, tags; `ver` is the version of the " +
			"user's list", ""},
	{streamCollection, "",
		"entries of streams: user, usn (`n`), what it follows from (`ref`), and a pointer, a receipt, a change " +
			"of a contact, of a profile or of one's own side of a conversation, a login", "u"},
	{reactionsCollection, "conversation, seq, emoji, user",
		"since when; of no user: how many there are. `on` is false if it was taken back", ""},
	{hiddenCollection, "user, conversation, seq",
		"what somebody has deleted for himself; of seq 0: up to which all is", ""},
	{asksCollection, "", "when somebody has approached a stranger; after an import -1 and 0 as marks (Moving, above)", ""},
	{snapshotsCollection, "conversation", "the newest snapshot of a board", ""},
	{outdatedCollection, "conversation, seq", "up to where operations of a board are to be removed, and when", ""},
	{ownsCollection, "conversation, user, seq",
		"of what was removed before an import: how many of the messages that count were whose", ""},
	{sessionsCollection, "account, client id",
		"options, subscriptions, expiry, open or left, cursors in the stream and in the queue, what is in " +
			"flight, inbound QoS 2, retained messages still to be sent; `v` is the last change", ""},
	{publicationsCollection, "position",
		"messages on free topics: the content once, the numbers of the queues that it is in (`q`), whether it is " +
			"retained (`r`) or delayed (`due`), what it came out of (`o`)", ""},
	{queuesCollection, "number", "up to which position entries of a queue were dropped", ""},
	{willsCollection, "account, client id", "what is published, delay, due", ""},
	{groupsCollection, "name", "the number of a shared group's queue", ""},
	{thingsCollection, "device",
		"what a device is besides its account: type, title, owner, home, grants; `seers` are those who have it in " +
			"their lists", ""},
	{shadowsCollection, "device, name",
		"desired and reported state, with their metadata, as JSON texts; deleted or not; `rev` is the version", ""},
	{commandsCollection, "device, id",
		"what a device is told to do, in its order (`n`), how far that has come, and what the device says; `busy` " +
			"until the state is final, then `done`", "d"},
	{eventsCollection, "device, id",
		"what has happened to a device, in its order (`n`); `newest` and `last` of the last one", "d"},
	{alarmsCollection, "device, type", "how an alarm stands, since when, how often it was raised, who knows of it", ""},
	{presencesCollection, "device", "whether a device is there, since when and why, when it was heard of last", ""},
	{nodesCollection, "`node`, `queues`",
		"which node has the database, and how often it was opened (the epoch); how far everything has followed " +
			"from publications, which places are void, and when the process last lived", ""},
	{metaCollection, "`schema`", "the version, and an id of the database", ""},
	{importsCollection, "`import`", "how far an import has come. As long as it is there nothing else opens the store", ""},
}, telemetryCollections, recordCollections)

// index is one that queries rest on.
type index struct {
	collection string
	name       string
	keys       bson.D
	unique     bool
	sparse     bool
	serves     string // the queries, for docs/storage.md
}

// indexes are all that there have to be besides those of _id.
var indexes = slices.Concat([]index{
	{usersCollection, "leaving", fields("leaving", "_id"), false, false, "Leaving"},
	{usersCollection, "device", fields("device", "_id"), false, false, "Users, Devices"},
	{usersCollection, "owner", fields("owner", "_id"), false, false, "DevicesOf"},
	{usersCollection, "secrets", fields("secrets.digest"), false, true, "DeviceBySecret"},
	{tokensCollection, "owner", fields("owner", "_id"), false, false, "Tokens, DeleteTokens, Recover"},
	{tokensCollection, "expires", fields("expires.t"), false, true, "PurgeTokens"},
	{invitationsCollection, "expires", fields("expires.t"), false, true, "PurgeTokens"},
	{seenCollection, "there", fields("there"), false, true, "Settle"},

	{logCollection, "n", fields("c", "n"), true, false, "the fence of writers; the last entry"},
	{logCollection, "seq", fields("c", "s"), true, false, "messages by seq"},
	{logCollection, "mid", fields("c", "f", "m"), true, false, "repeats; messages by mid"},
	{logCollection, "sender", fields("c", "f", "s"), false, false, "how many are somebody's up to a seq; Wipe"},
	{logCollection, "rev", fields("c", "r"), false, false, "Revisions"},
	{logCollection, "open", fields("open"), false, true, "what may not have followed"},
	{logCollection, "ends", fields("x"), false, true, "entries that are fences only"},
	{membersCollection, "user", fields("u", "in", "c"), false, false, "conversations of a user; RoomsOf, Large"},
	{membersCollection, "pending", fields("pending"), false, true, "PendingRooms"},
	{membersCollection, "spoke", fields("spoke"), false, true, "SpokenIn"},
	{membersCollection, "untold", fields("untold"), false, true, "Untold"},
	{convsCollection, "link", fields("link"), false, true, "LinkedRoom"},
	{membersCollection, "conversation", fields("c", "u"), false, false, "members of a room; RoomMembers"},
	{relationsCollection, "name", fields("u", "p"), true, false, "List, Partners"},
	{relationsCollection, "state", fields("u", "state", "p"), false, false, "Accepted, Mutual, Requests"},
	{relationsCollection, "version", fields("u", "ver"), true, false, "Changes"},
	{streamCollection, "usn", fields("u", "n"), true, false, "Stream"},
	{streamCollection, "ref", fields("u", "ref"), true, false, "what was told already"},
	{asksCollection, "user", fields("u", "at"), false, false, "how many strangers were approached"},
	{asksCollection, "age", fields("at"), false, false, "sweeps"},

	{sessionsCollection, "number", fields("n"), false, true, "sizes of queues, sweeps"},
	{sessionsCollection, "dropped", fields("x"), false, true, "Open"},
	{sessionsCollection, "gone", fields("gone"), false, true, "sweeps"},
	{willsCollection, "gone", fields("gone"), false, true, "sweeps"},
	{publicationsCollection, "queue", fields("q", "p"), false, false, "Queue, QueueSize, Remove"},
	{publicationsCollection, "retained", fields("r"), false, true, "Retained, Open"},
	{publicationsCollection, "due", fields("due"), false, true, "Delayed, Open"},
}, peopleIndexes, reactionIndexes, hiddenIndexes, expiryIndexes)

// allIndexes are those of all files.
var allIndexes = slices.Concat(indexes, retentionIndexes, deviceIndexes, telemetryIndexes, recordIndexes)

// fields are ascending keys.
func fields(names ...string) (d bson.D) {
	for _, name := range names {
		d = append(d, bson.E{Key: name, Value: 1})
	}
	return d
}

// createIndexes makes the indexes that are missing, and looks whether all are what they should be: one that is missing would cost
// uniqueness without a word. They are made one by one, which every server can do. Where all are there, nothing is made.
func createIndexes(ctx context.Context, db *mongo.Database) error {
	of := map[string][]index{}
	for _, x := range allIndexes {
		of[x.collection] = append(of[x.collection], x)
	}
	for _, name := range slices.Sorted(maps.Keys(of)) {
		there, err := listIndexes(ctx, db, name)
		if err != nil {
			return err
		}
		made := false
		for _, x := range of[name] {
			if x.in(there) >= 0 {
				continue
			}
			if err := x.create(ctx, db); err != nil {
				return err
			}
			made = true
		}
		if made {
			if there, err = listIndexes(ctx, db, name); err != nil {
				return err
			}
		}
		for _, x := range of[name] {
			if err := x.verify(there); err != nil {
				return err
			}
		}
	}
	return nil
}

func listIndexes(ctx context.Context, db *mongo.Database, collection string) ([]mongo.IndexSpecification, error) {
	list, err := db.Collection(collection).Indexes().ListSpecifications(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the indexes of %s: %w", collection, err)
	}
	return list, nil
}

func (x index) create(ctx context.Context, db *mongo.Database) error {
	o := options.Index().SetName(x.name)
	if x.unique {
		o.SetUnique(true)
	}
	if x.sparse {
		o.SetSparse(true)
	}
	if _, err := db.Collection(x.collection).Indexes().CreateOne(ctx, mongo.IndexModel{Keys: x.keys, Options: o}); err != nil {
		return fmt.Errorf("create the index %s of %s: %w", x.name, x.collection, err)
	}
	return nil
}

// in gives the place of the index among those that there are; -1: it is not there.
func (x index) in(there []mongo.IndexSpecification) int {
	return slices.IndexFunc(there, func(s mongo.IndexSpecification) bool { return s.Name == x.name })
}

// verify looks whether the index is among those that there are, and is what it should be.
func (x index) verify(there []mongo.IndexSpecification) error {
	i := x.in(there)
	if i < 0 {
		return fmt.Errorf("the index %s of %s is missing", x.name, x.collection)
	}
	keys, err := bson.Marshal(x.keys)
	if err != nil {
		return err
	}
	unique := there[i].Unique != nil && *there[i].Unique
	if unique != x.unique || !bytes.Equal(there[i].KeysDocument, keys) {
		return fmt.Errorf("the index %s of %s is on %s, unique: %t; it should be on %s, unique: %t",
			x.name, x.collection, there[i].KeysDocument, unique, bson.Raw(keys), x.unique)
	}
	return nil
}
