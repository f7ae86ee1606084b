package pebble

import (
	"encoding/binary"
	"errors"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
)

// table is the first byte of a key. docs/storage.md describes the tables; TestKeysStayAsTheyAre holds the format.
type table byte

const (
	tableFormat        table = 'V' // -> formatRow
	tableUsers         table = 'A' // name -> userRow
	tableTokens        table = 'K' // digest -> tokenRow
	tableOwners        table = 'k' // owner, digest -> nothing: the tokens of an account
	tableInvitations   table = 'I' // digest -> invitationRow
	tableEnds          table = 'e' // end, table, digest -> nothing: tokens and invitations in the order in which they end
	tableConversations table = 'C' // conversation -> conversationRow
	tableMessages      table = 'M' // conversation, seq -> placeRow, contentRow
	tableMIDs          table = 'D' // conversation, sender, mid -> midRow
	tableMembers       table = 'B' // conversation, user -> memberRow
	tableUserConvs     table = 'U' // user, conversation -> nothing: the conversations of a user
	tableUntold        table = 'W' // conversation, user -> nothing: members whose marks have moved past their last receipt
	tableStreams       table = 'L' // user, usn -> entryRow
	tableRelations     table = 'R' // user, other -> relationRow
	tableSessions      table = 'S' // account, client -> sessionRow
	tableAcked         table = 'P' // account, client -> 8 bytes: the position up to which everything is finished
	tableFlights       table = 'F' // account, client, position -> flightRow
	tableReceived      table = 'Q' // account, client, packet id -> nothing

	tableContactVersions table = 'v' // user, version -> other: changes of a user's list of contacts
	tableRequests        table = 'o' // user, end, other -> nothing: requests to a user in the order in which they end
	tableBox             table = 'x' // user, conversation -> nothing: first messages of strangers
	tableSocial          table = 'a' // user -> socialRow
	tableProfiles        table = 'N' // user -> profileRow
	tableHandles         table = 'h' // kind, value -> handleRow
	tableFound           table = 'i' // kind, what is searched for, user -> nothing
	tableTelling         table = 'j' // user -> tellingRow: a change of a profile on its way to the contacts
	tableSeen            table = 's' // account -> seenRow
	tableOnline          table = 't' // account -> seenRow: who is there, for a start after a crash
	tableLeaving         table = 'l' // account -> nothing: deleted accounts of which something is left
	tableAudit           table = 'u' // time, number -> auditRow

	tableDevices table = '@' // name -> deviceRow
	tableShown   table = '#' // digest -> name: the device that has a secret, or a pinned certificate
	tableOwned   table = '%' // owner, name -> nothing: the devices of an account

	tableOwn       table = 'O' // conversation, user, seq -> 8 bytes: in rooms, how many that count are his up to this one of his
	tableGone      table = 'X' // conversation, seq -> goneRow: counting messages that count no more
	tableMentions  table = 'G' // conversation, user, seq -> nothing: messages that mention him
	tableChanges   table = 'Y' // conversation, rev -> changeRow
	tableEdits     table = 'E' // conversation, seq, rev -> editRow: what a message said before
	tableReactions table = 'J' // conversation, seq, emoji, user -> 8 bytes: time; without a user: how many have reacted so
	tablePins      table = 'T' // conversation, seq -> 8 bytes: time
	tableHidden    table = 'H' // user, conversation, seq -> nothing, or 1: deleted for himself; of seq 0: up to which
	tableSelf      table = 'z' // user, conversation -> selfRow: his own side of it
	tableLarge     table = '4' // user, conversation -> nothing: his conversations that are not in his stream
	tableRooms     table = '5' // conversation -> roomRow
	tableLinks     table = 'Z' // link -> conversation
	tableExpiring  table = 'c' // end, conversation, seq -> nothing: messages with a ttl
	tableSnapshots table = '1' // conversation -> snapshotRow: of a board
	tableLive      table = '2' // conversation -> liveRow: what is summed in a live room
	tableMoving    table = '3' // -> movingRow: how far an import has come
	tableFloors    table = '6' // conversation -> floorRow: what is not there any more
	tableMIDEnds   table = '9' // time, conversation, sender, mid -> nothing: mids of what has no message that is there
	tablePending   table = '8' // user, conversation -> nothing: rooms to which he is invited, or that he asks to be let into
	tableSpoken    table = '0' // user, conversation -> nothing: rooms in which he has written, left ones too
	tableOutdated  table = '7' // time, conversation -> 8 bytes: a seq; snapshots up to which operations are to be removed

	tablePositions    table = 'n' // -> 8 bytes: positions up to here may have been given
	tableQueues       table = 'q' // number (4 bytes), position -> entry, with its content if no other queue has it
	tableContents     table = 'm' // position -> content that several queues have
	tableQueueAcked   table = 'p' // account, client -> 8 bytes, as tableAcked
	tableQueueFlights table = 'f' // account, client, position -> flightRow
	tableReplays      table = 'y' // account, client, id -> replayRow
	tableRetained     table = 'r' // topic, as it is -> position, times, content
	tableWills        table = 'w' // account, client -> willRow
	tableDelayed      table = 'd' // due in Unix milliseconds, position -> times, content
	tableGroups       table = 'g' // name -> 4 bytes: number
	tableBeat         table = 'b' // -> 8 bytes: Unix milliseconds

	tableThings       table = '!' // device -> thingRow
	tableSeers        table = '$' // account, device -> nothing: the devices that somebody has in his list
	tableHomeThings   table = '+' // conversation, device -> nothing: the devices in a home
	tableShadows      table = '&' // device, name -> shadowRow
	tableShadowNames  table = ',' // device, name -> nothing: named shadows that are there
	tableCommands     table = '*' // device, order -> commandRow
	tableCommandIDs   table = '-' // device, id -> 8 bytes: the order
	tableOpenCommands table = ':' // device, order -> nothing: commands whose state is not final
	tableDoneCommands table = '.' // created, device, order -> nothing: those whose state is, in the order in which they were made
	tableEvents       table = '=' // device, order -> eventRow
	tableEventIDs     table = '/' // device, id -> 8 bytes: the order
	tableEventTimes   table = ';' // stored, device, order -> nothing: events in the order in which they were stored
	tableAlarms       table = '(' // device, type -> alarmRow
	tablePresences    table = ')' // device -> presenceRow
	tableThere        table = '^' // device -> nothing: those that are online
	tablePoints       table = '[' // hour, device -> blocks of what it has measured
	tableOpenHours    table = '~' // hour, device -> nothing: hours whose rollups are not written
	tableMinutes      table = '<' // hour, device, key -> rollups of minutes
	tableHours        table = '>' // device, key, hour -> rollup
	tableLast         table = ']' // device -> a block of the last points of its keys
	tableTeleFloor    table = '_' // -> 8 bytes: the first hour of which there may be points

	tableRecords    table = '?' // kind, scope, id -> recordRow
	tableDueRecords table = '"' // kind, due in Unix milliseconds, scope, id -> nothing: records that are due some time
)

// A string in a key ends in 0x00 0x01, and a 0x00 in it is written 0x00 0xFF: keys sort as their strings do, no string is
// the beginning of another, and any bytes are allowed.
const (
	escape      = 0x00
	escapedEnd  = 0x01
	escapedZero = 0xFF
)

func appendString[S ~string](key []byte, s S) []byte {
	for i := range len(s) {
		key = append(key, s[i])
		if s[i] == escape {
			key = append(key, escapedZero)
		}
	}
	return append(key, escape, escapedEnd)
}

// errKey means that a key of the store is not one that the store writes.
var errKey = errors.New("malformed key")

// cutString takes the first string off the rest of a key.
func cutString(key []byte) (s string, rest []byte, err error) {
	var out []byte
	for i := 0; i+1 < len(key); i++ {
		switch {
		case key[i] != escape:
			out = append(out, key[i])
		case key[i+1] == escapedEnd:
			return string(out), key[i+2:], nil
		case key[i+1] == escapedZero:
			out = append(out, escape)
			i++
		default:
			return "", nil, errKey
		}
	}
	return "", nil, errKey
}

// cutNumber takes the number off the beginning of what is left of a key.
func cutNumber(key []byte) (uint64, error) {
	if len(key) < 8 {
		return 0, errKey
	}
	return binary.BigEndian.Uint64(key), nil
}

func key1[S ~string](t table, s S) []byte {
	return appendString(append(make([]byte, 0, len(s)+16), byte(t)), s)
}

func key2[S, T ~string](t table, s S, u T) []byte {
	key := append(make([]byte, 0, len(s)+len(u)+16), byte(t))
	return appendString(appendString(key, s), u)
}

// seqKey is the key of something that has a place in a conversation.
func seqKey(t table, c chat.Conversation, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(key1(t, c), seq)
}

func messageKey(c chat.Conversation, seq uint64) []byte { return seqKey(tableMessages, c, seq) }

func changeKey(c chat.Conversation, rev uint64) []byte { return seqKey(tableChanges, c, rev) }

// editKey is the key of what a message said as of a change.
func editKey(c chat.Conversation, seq, rev uint64) []byte {
	return binary.BigEndian.AppendUint64(seqKey(tableEdits, c, seq), rev)
}

// emojiKey is the key of the reactions to a message with one emoji.
func emojiKey(c chat.Conversation, seq uint64, emoji string) []byte {
	return appendString(seqKey(tableReactions, c, seq), emoji)
}

func reactionKey(c chat.Conversation, seq uint64, emoji string, who accounts.Name) []byte {
	return appendString(emojiKey(c, seq, emoji), who)
}

func hiddenKey(who accounts.Name, c chat.Conversation, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(key2(tableHidden, who, c), seq)
}

// expiringKey sorts messages by the time at which they are over.
func expiringKey(end int64, c chat.Conversation, seq uint64) []byte {
	key := binary.BigEndian.AppendUint64([]byte{byte(tableExpiring)}, uint64(end))
	return binary.BigEndian.AppendUint64(appendString(key, c), seq)
}

func ownKey(c chat.Conversation, who accounts.Name, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(key2(tableOwn, c, who), seq)
}

// versionKey sorts the lines of a user's list by the version in which they became as they are.
func versionKey(user accounts.Name, version uint64) []byte {
	return binary.BigEndian.AppendUint64(key1(tableContactVersions, user), version)
}

// requestKey sorts requests to a user by their ends, in Unix milliseconds; 0: never, after all others.
func requestKey(user accounts.Name, until int64, other accounts.Name) []byte {
	return appendString(binary.BigEndian.AppendUint64(key1(tableRequests, user), uint64(until)-1), other)
}

func midKey(c chat.Conversation, from accounts.Name, mid string) []byte {
	key := append(make([]byte, 0, len(c)+len(from)+len(mid)+16), byte(tableMIDs))
	return appendString(appendString(appendString(key, c), from), mid)
}

// midEndKey sorts the mids that do not end with a message by when that, or the change, was written.
func midEndKey(ts int64, c chat.Conversation, from accounts.Name, mid string) []byte {
	key := binary.BigEndian.AppendUint64([]byte{byte(tableMIDEnds)}, uint64(ts))
	return appendString(appendString(appendString(key, c), from), mid)
}

func entryKey(user accounts.Name, usn uint64) []byte {
	return binary.BigEndian.AppendUint64(key1(tableStreams, user), usn)
}

func digestKey(t table, d accounts.Digest) []byte {
	return append([]byte{byte(t)}, d[:]...)
}

func ownerKey(owner accounts.Name, d accounts.Digest) []byte {
	return append(key1(tableOwners, owner), d[:]...)
}

// endKey sorts by the end, also if it lies before 1970.
func endKey(end moment, t table, d accounts.Digest) []byte {
	key := binary.BigEndian.AppendUint64([]byte{byte(tableEnds)}, uint64(end.Sec)^1<<63)
	key = binary.BigEndian.AppendUint32(key, uint32(end.Nsec))
	return append(append(key, byte(t)), d[:]...)
}

func sessionKey(t table, k sessions.Key) []byte { return key2(t, k.Account, k.Client) }

func flightKey(t table, k sessions.Key, pos uint64) []byte {
	return binary.BigEndian.AppendUint64(sessionKey(t, k), pos)
}

func replayKey(k sessions.Key, id uint64) []byte {
	return binary.BigEndian.AppendUint64(sessionKey(tableReplays, k), id)
}

const (
	queueKeySize   = 1 + 4 + 8
	contentKeySize = 1 + 8
)

func queueKey(n sessions.Number, pos uint64) []byte {
	return appendQueueKey(make([]byte, 0, queueKeySize), n, pos)
}

func appendQueueKey(key []byte, n sessions.Number, pos uint64) []byte {
	key = binary.BigEndian.AppendUint32(append(key, byte(tableQueues)), uint32(n))
	return binary.BigEndian.AppendUint64(key, pos)
}

// queueRange is where the entries of a queue are that come after after, up to and with until.
func queueRange(n sessions.Number, after, until uint64) (from, to []byte) {
	if after >= until {
		return queueKey(n, 0), queueKey(n, 0)
	}
	return queueKey(n, after+1), append(queueKey(n, until), 0)
}

func parseQueueKey(key []byte) (n sessions.Number, pos uint64, err error) {
	if len(key) != queueKeySize {
		return 0, 0, errKey
	}
	return sessions.Number(binary.BigEndian.Uint32(key[1:])), binary.BigEndian.Uint64(key[5:]), nil
}

func contentKey(pos uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{byte(tableContents)}, pos)
}

func retainedKey(topic string) []byte { return append([]byte{byte(tableRetained)}, topic...) }

// delayedKey sorts by the time, also if it lies before 1970.
func delayedKey(due int64, pos uint64) []byte {
	key := binary.BigEndian.AppendUint64([]byte{byte(tableDelayed)}, uint64(due)^1<<63)
	return binary.BigEndian.AppendUint64(key, pos)
}

func parseDelayedKey(key []byte) (due int64, pos uint64, err error) {
	if len(key) != 1+8+8 {
		return 0, 0, errKey
	}
	return int64(binary.BigEndian.Uint64(key[1:]) ^ 1<<63), binary.BigEndian.Uint64(key[9:]), nil
}

func receivedKey(k sessions.Key, id uint16) []byte {
	return binary.BigEndian.AppendUint16(sessionKey(tableReceived, k), id)
}

// orderKey is the key of something that has a place among all of its kind that a device has.
func orderKey(t table, did accounts.Name, order uint64) []byte {
	return binary.BigEndian.AppendUint64(key1(t, did), order)
}

// ageKey sorts what devices have by a time in Unix milliseconds, also if it lies before 1970.
func ageKey(t table, at int64, did accounts.Name, order uint64) []byte {
	key := appendString(agePrefix(t, at), did)
	return binary.BigEndian.AppendUint64(key, order)
}

func agePrefix(t table, at int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{byte(t)}, uint64(at)^1<<63)
}

// cutOrder takes what orderKey has put there off the rest of a key.
func cutOrder(key []byte) (did accounts.Name, order uint64, err error) {
	name, rest, err := cutString(key)
	if err != nil || len(rest) != 8 {
		return "", 0, errKey
	}
	return accounts.Name(name), binary.BigEndian.Uint64(rest), nil
}

// prefixEnd gives the first key after all that begin with prefix. Prefixes begin with a table, so there is one.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
