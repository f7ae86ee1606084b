package pebble

import (
	"encoding/binary"
	"fmt"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/transfer"
)

// section is how records of a kind lie in the store: a row each, in the order of their keys, and what is computed of them.
type section struct {
	table table
	// read makes a record of a row; nil: the row is none of these.
	read func(s source, key, value []byte) (transfer.Record, error)
	// key is that of the row of a record.
	key func(transfer.Record) []byte
	// rows puts everything that belongs to a record.
	rows func(r transfer.Record, put func(key, value []byte)) error
}

// sections are those of all kinds.
var sections = map[transfer.Kind]section{
	transfer.KindUser:         sectionOf(tableUsers, readUser, userRecordKey, putUser),
	transfer.KindToken:        sectionOf(tableTokens, readToken, tokenRecordKey, putTokenRows),
	transfer.KindDevice:       sectionOf(tableDevices, readDeviceAccount, deviceAccountKey, putDeviceAccountRows),
	transfer.KindInvitation:   sectionOf(tableInvitations, readInvitation, invitationRecordKey, putInvitation),
	transfer.KindAct:          sectionOf(tableAudit, readAct, actRecordKey, putAct),
	transfer.KindPerson:       sectionOf(tableProfiles, readPerson, personRecordKey, putPerson),
	transfer.KindHandle:       sectionOf(tableHandles, readHandle, handleRecordKey, putHandle),
	transfer.KindTelling:      sectionOf(tableTelling, readTelling, tellingRecordKey, putTelling),
	transfer.KindSeen:         sectionOf(tableSeen, readSeen, seenRecordKey, putSeen),
	transfer.KindList:         sectionOf(tableSocial, readList, listRecordKey, putList),
	transfer.KindContact:      sectionOf(tableRelations, readContact, contactRecordKey, putContact),
	transfer.KindConversation: sectionOf(tableConversations, readConversation, conversationRecordKey, putConversation),
	transfer.KindRoom:         sectionOf(tableRooms, readRoom, roomRecordKey, putRoom),
	transfer.KindFloor:        sectionOf(tableFloors, readFloor, floorRecordKey, putFloor),
	transfer.KindSnapshot:     sectionOf(tableSnapshots, readSnapshot, snapshotRecordKey, putSnapshotRecord),
	transfer.KindOutdated:     sectionOf(tableOutdated, readOutdated, outdatedRecordKey, putOutdated),
	transfer.KindLikes:        sectionOf(tableLive, readLikes, likesRecordKey, putLikes),
	transfer.KindSide:         sectionOf(tableSelf, readSide, sideRecordKey, putSide),
	transfer.KindOwn:          sectionOf(tableOwn, readOwn, ownRecordKey, putOwn),
	transfer.KindGone:         sectionOf(tableGone, readGoneRecord, goneRecordKey, putGone),
	transfer.KindMention:      sectionOf(tableMentions, readMention, mentionRecordKey, putMention),
	transfer.KindChange:       sectionOf(tableChanges, readChange, changeRecordKey, putChange),
	transfer.KindEdit:         sectionOf(tableEdits, readEdit, editRecordKey, putEdit),
	transfer.KindReaction:     sectionOf(tableReactions, readReaction, reactionRecordKey, putReaction),
	transfer.KindPin:          sectionOf(tablePins, readPin, pinRecordKey, putPin),
	transfer.KindHidden:       sectionOf(tableHidden, readHiddenRecord, hiddenRecordKey, putHidden),
	transfer.KindMember:       sectionOf(tableMembers, readMember, memberRecordKey, putMember),
	transfer.KindBoxed:        sectionOf(tableBox, readBoxed, boxedRecordKey, putBoxed),
	transfer.KindMessage:      sectionOf(tableMessages, readMessage, messageRecordKey, putMessage),
	transfer.KindMID:          sectionOf(tableMIDs, readMID, midRecordKey, putMID),
	transfer.KindEntry:        sectionOf(tableStreams, readEntry, entryRecordKey, putEntryRecord),
	transfer.KindRetained:     sectionOf(tableRetained, readRetained, retainedRecordKey, putRetained),
	transfer.KindThing:        sectionOf(tableThings, readThing, thingRecordKey, putThing),
	transfer.KindShadow:       sectionOf(tableShadows, readShadow, shadowRecordKey, putShadow),
	transfer.KindCommand:      sectionOf(tableCommands, readCommand, commandRecordKey, putCommand),
	transfer.KindEvent:        sectionOf(tableEvents, readEvent, eventRecordKey, putEvent),
	transfer.KindAlarm:        sectionOf(tableAlarms, readAlarm, alarmRecordKey, putAlarm),
	transfer.KindPresence:     sectionOf(tablePresences, readPresence, presenceRecordKey, putPresence),
	transfer.KindPoints:       sectionOf(tablePoints, readPoints, pointsRecordKey, putPoints),
	transfer.KindMinutes:      sectionOf(tableMinutes, readMinutes, minutesRecordKey, putMinutes),
	transfer.KindHours:        sectionOf(tableHours, readHours, hoursRecordKey, putHours),
	transfer.KindLast:         sectionOf(tableLast, readLast, lastRecordKey, putLast),
	transfer.KindTeleFloor:    sectionOf(tableTeleFloor, readTeleFloor, teleFloorRecordKey, putTeleFloor),
	transfer.KindKept:         sectionOf(tableRecords, readKept, keptRecordKey, putKept),
}

// derivedTables have what the rows of records bring with them.
var derivedTables = []table{
	tableOwners, tableEnds, tableUserConvs, tableUntold, tableContactVersions, tableRequests, tableFound, tableLeaving,
	tableHandles, tableLarge, tableLinks, tablePending, tableExpiring,
	tableMIDEnds, tableShown, tableOwned,
	tableSeers, tableHomeThings, tableShadowNames, tableCommandIDs, tableOpenCommands, tableDoneCommands,
	tableEventIDs, tableEventTimes, tableThere, tableOpenHours,
}

// putter takes rows.
type putter = func(key, value []byte)

func sectionOf[R transfer.Record](
	t table, read func(s source, key []byte, value []byte) (R, bool, error), key func(R) []byte, rows func(R, putter) error,
) section {
	return section{
		table: t,
		read: func(s source, key, value []byte) (transfer.Record, error) {
			r, ok, err := read(s, key[1:], value)
			if err != nil || !ok {
				return nil, err
			}
			return r, nil
		},
		key: func(r transfer.Record) []byte { return key(r.(R)) },
		rows: func(r transfer.Record, put func(key, value []byte)) error {
			if err := rows(r.(R), put); err != nil {
				return fmt.Errorf("%s: %w", r.Of(), err)
			}
			return nil
		},
	}
}

// read1 reads a row into a record.
func read1(what string, value []byte, row, record any) error {
	if err := decode(what, value, row); err != nil {
		return err
	}
	if err := toRecord(record, row); err != nil {
		return fmt.Errorf("%s: %w: %w", what, ErrDamaged, err)
	}
	return nil
}

// cutStrings takes the strings apart that a key is made of.
func cutStrings[A, B ~string](key []byte, a *A, b *B) (rest []byte, err error) {
	first, rest, err := cutString(key)
	if err != nil {
		return nil, err
	}
	second, rest, err := cutString(rest)
	*a, *b = A(first), B(second)
	return rest, err
}

func cutName[A ~string](key []byte, a *A) error {
	s, _, err := cutString(key)
	*a = A(s)
	return err
}

func digestIn(h transfer.Hex) (d accounts.Digest, err error) {
	if len(h) != len(d) {
		return d, fmt.Errorf("a digest of %d bytes", len(h))
	}
	return accounts.Digest(h), nil
}

func userRecordKey(u *transfer.User) []byte { return key1(tableUsers, u.Name) }

func readUser(s source, key, value []byte) (*transfer.User, bool, error) {
	u := &transfer.User{}
	if err := cutName(key, &u.Name); err != nil {
		return nil, false, err
	}
	err := read1("user", value, &userRow{}, u)
	if err == nil {
		u.Leaving, err = s.has(key1(tableLeaving, u.Name))
	}
	return u, true, err
}

func putUser(u *transfer.User, put putter) error {
	var row userRow
	if err := toRow(&row, u); err != nil {
		return err
	}
	put(userRecordKey(u), encode(row))
	if u.Leaving {
		put(key1(tableLeaving, u.Name), nil)
	}
	return nil
}

func tokenRecordKey(t *transfer.Token) []byte { return append([]byte{byte(tableTokens)}, t.Digest...) }

func readToken(_ source, key, value []byte) (*transfer.Token, bool, error) {
	t := &transfer.Token{Digest: append(transfer.Hex(nil), key...)}
	return t, true, read1("token", value, &tokenRow{}, t)
}

func putTokenRows(t *transfer.Token, put putter) error {
	var row tokenRow
	d, err := digestIn(t.Digest)
	if err == nil {
		err = toRow(&row, t)
	}
	if err != nil {
		return err
	}
	put(digestKey(tableTokens, d), encode(row))
	put(ownerKey(row.Owner, d), nil)
	put(endKey(row.Expires, tableTokens, d), nil)
	return nil
}

func invitationRecordKey(i *transfer.Invitation) []byte {
	return append([]byte{byte(tableInvitations)}, i.Digest...)
}

func readInvitation(_ source, key, value []byte) (*transfer.Invitation, bool, error) {
	i := &transfer.Invitation{Digest: append(transfer.Hex(nil), key...)}
	return i, true, read1("invitation", value, &invitationRow{}, i)
}

func putInvitation(i *transfer.Invitation, put putter) error {
	var row invitationRow
	d, err := digestIn(i.Digest)
	if err == nil {
		err = toRow(&row, i)
	}
	if err != nil {
		return err
	}
	put(digestKey(tableInvitations, d), encode(row))
	put(endKey(row.Expires, tableInvitations, d), nil)
	return nil
}

func actRecordKey(a *transfer.Act) []byte { return actKey(string(a.ID)) }

func readAct(_ source, key, value []byte) (*transfer.Act, bool, error) {
	a := &transfer.Act{}
	if err := cutName(key, &a.ID); err != nil {
		return nil, false, err
	}
	return a, true, read1("act", value, &auditRow{}, a)
}

func putAct(a *transfer.Act, put putter) error { return putRow(actRecordKey(a), &auditRow{}, a, put) }

// putRow is putting the only row that a record has.
func putRow(key []byte, row, record any, put putter) error {
	if err := toRow(row, record); err != nil {
		return err
	}
	put(key, encode(row))
	return nil
}

func personRecordKey(p *transfer.Person) []byte { return key1(tableProfiles, p.User) }

func readPerson(_ source, key, value []byte) (*transfer.Person, bool, error) {
	p := &transfer.Person{}
	if err := cutName(key, &p.User); err != nil {
		return nil, false, err
	}
	return p, true, read1("profile", value, &profileRow{}, p)
}

func putPerson(p *transfer.Person, put putter) error {
	var row profileRow
	if err := toRow(&row, p); err != nil {
		return err
	}
	person := row.person(p.User)
	terms := person.Terms()
	put(personRecordKey(p), encode(profileRowOf(person, terms)))
	for _, t := range terms {
		put(termKey(t, p.User), nil)
	}
	if area := person.Settings.Find.Nearby; area.Cell != 0 {
		put(termKey(areaTerm(area.Until), p.User), nil)
	}
	for _, h := range person.Handles() {
		put(handleKey(h), encode(handleRow{Owner: p.User}))
	}
	return nil
}

func handleRecordKey(h *transfer.Handle) []byte { return key2(tableHandles, h.Handle, h.Value) }

func readHandle(_ source, key, value []byte) (*transfer.Handle, bool, error) {
	h := &transfer.Handle{}
	if kind, _, err := cutString(key); err != nil || kind == string(untilHandle) {
		return nil, false, err
	}
	var row handleRow
	if _, err := cutStrings(key, &h.Handle, &h.Value); err != nil {
		return nil, false, err
	}
	err := decode("handle", value, &row)
	h.Free = row.Free.time()
	return h, row.Owner == "", err
}

func putHandle(h *transfer.Handle, put putter) error {
	put(handleRecordKey(h), encode(handleRow{Free: momentOf(h.Free)}))
	put(freeKey(h.Free, chat.Handle{Kind: h.Handle, Value: string(h.Value)}), nil)
	return nil
}

func tellingRecordKey(t *transfer.Telling) []byte { return key1(tableTelling, t.User) }

func readTelling(_ source, key, value []byte) (*transfer.Telling, bool, error) {
	t := &transfer.Telling{}
	if err := cutName(key, &t.User); err != nil {
		return nil, false, err
	}
	return t, true, read1("telling", value, &tellingRow{}, t)
}

func putTelling(t *transfer.Telling, put putter) error {
	return putRow(tellingRecordKey(t), &tellingRow{}, t, put)
}

func seenRecordKey(s *transfer.Seen) []byte { return key1(tableSeen, s.User) }

// readSeen is given rows of tableOnline too: see source.eachSeen.
func readSeen(_ source, key, value []byte) (*transfer.Seen, bool, error) {
	s := &transfer.Seen{}
	if err := cutName(key, &s.User); err != nil {
		return nil, false, err
	}
	return s, true, read1("last seen", value, &seenRow{}, s)
}

func putSeen(s *transfer.Seen, put putter) error { return putRow(seenRecordKey(s), &seenRow{}, s, put) }

func listRecordKey(l *transfer.List) []byte { return key1(tableSocial, l.User) }

func readList(_ source, key, value []byte) (*transfer.List, bool, error) {
	l := &transfer.List{}
	if err := cutName(key, &l.User); err != nil {
		return nil, false, err
	}
	return l, true, read1("social", value, &socialRow{}, l)
}

func putList(l *transfer.List, put putter) error {
	return putRow(listRecordKey(l), &socialRow{}, l, put)
}

func contactRecordKey(c *transfer.Contact) []byte { return key2(tableRelations, c.User, c.Other) }

func readContact(_ source, key, value []byte) (*transfer.Contact, bool, error) {
	c := &transfer.Contact{}
	if _, err := cutStrings(key, &c.User, &c.Other); err != nil {
		return nil, false, err
	}
	return c, true, read1("relation", value, &relationRow{}, c)
}

func putContact(c *transfer.Contact, put putter) error {
	var row relationRow
	if err := toRow(&row, c); err != nil {
		return err
	}
	put(contactRecordKey(c), encode(row))
	if row.Version != 0 {
		put(versionKey(c.User, row.Version), encode(versionRow{Other: c.Other}))
	}
	if isOpenRequest(row) {
		put(requestKey(c.User, row.Until, c.Other), nil)
	}
	return nil
}

func conversationRecordKey(c *transfer.Conversation) []byte { return key1(tableConversations, c.C) }

func readConversation(_ source, key, value []byte) (*transfer.Conversation, bool, error) {
	c := &transfer.Conversation{}
	if err := cutName(key, &c.C); err != nil {
		return nil, false, err
	}
	return c, true, read1("conversation", value, &conversationRow{}, c)
}

func putConversation(c *transfer.Conversation, put putter) error {
	return putRow(conversationRecordKey(c), &conversationRow{}, c, put)
}

func memberRecordKey(m *transfer.Member) []byte { return key2(tableMembers, m.C, m.Who) }

func readMember(s source, key, value []byte) (*transfer.Member, bool, error) {
	m := &transfer.Member{}
	if _, err := cutStrings(key, &m.C, &m.Who); err != nil {
		return nil, false, err
	}
	var row memberRow
	if err := read1("member", value, &row, m); err != nil {
		return nil, false, err
	}
	for _, t := range listsOf(m, &row) {
		listed, err := s.has(key2(t, m.Who, m.C))
		if err != nil {
			return nil, false, err
		}
		m.Forgotten = m.Forgotten || !listed
	}
	var err error
	m.Large, err = s.has(key2(tableLarge, m.Who, m.C))
	return m, true, err
}

// listsOf gives the tables in which a conversation is among those of somebody who was not forgotten.
func listsOf(m *transfer.Member, row *memberRow) (tables []table) {
	if isIn(m) {
		tables = append(tables, tableUserConvs)
	}
	if row.pending() {
		tables = append(tables, tablePending)
	}
	return tables
}

// isIn says whether a member is one now.
func isIn(m *transfer.Member) bool { return !m.C.Kind().Room() || m.Role != chat.RoleNone }

func putMember(m *transfer.Member, put putter) error {
	var row memberRow
	if err := toRow(&row, m); err != nil {
		return err
	}
	put(memberRecordKey(m), encode(row))
	if !m.Forgotten {
		for _, t := range listsOf(m, &row) {
			put(key2(t, m.Who, m.C), nil)
		}
	}
	if m.Large {
		put(key2(tableLarge, m.Who, m.C), nil)
	}
	if m.C.Kind() != chat.KindNotes && isIn(m) && !m.Large && row.untold() {
		put(key2(tableUntold, m.C, m.Who), nil)
	}
	return nil
}

func boxedRecordKey(x *transfer.Boxed) []byte { return key2(tableBox, x.User, x.C) }

func readBoxed(_ source, key, value []byte) (*transfer.Boxed, bool, error) {
	x := &transfer.Boxed{}
	if _, err := cutStrings(key, &x.User, &x.C); err != nil {
		return nil, false, err
	}
	return x, true, read1("box", value, &boxRow{}, x)
}

func putBoxed(x *transfer.Boxed, put putter) error {
	return putRow(boxedRecordKey(x), &boxRow{}, x, put)
}

func messageRecordKey(m *transfer.Message) []byte { return messageKey(m.C, m.Seq) }

func readMessage(_ source, key, value []byte) (*transfer.Message, bool, error) {
	m := &transfer.Message{}
	c, rest, err := cutString(key)
	if err == nil {
		m.C = chat.Conversation(c)
		m.Seq, err = cutNumber(rest)
	}
	if err != nil {
		return nil, false, err
	}
	place, content, err := decodePlace(value)
	if err == nil {
		err = toRecord(m, &place)
	}
	if err == nil {
		err = read1("message", content, &contentRow{}, m)
	}
	return m, true, err
}

func putMessage(m *transfer.Message, put putter) error {
	var place placeRow
	var content contentRow
	if err := toRow(&place, m); err != nil {
		return err
	}
	if err := toRow(&content, m); err != nil {
		return err
	}
	put(messageRecordKey(m), append(encode(place), encode(content)...))
	if m.TTL > 0 && string(m.Kind) != chat.KindGone {
		put(expiringKey(m.TS+1000*m.TTL, m.C, m.Seq), nil)
	}
	if m.C.Kind().Room() {
		put(key2(tableSpoken, m.From, m.C), nil)
	}
	return nil
}

func midRecordKey(m *transfer.MID) []byte { return midKey(m.C, m.From, string(m.MID)) }

func readMID(_ source, key, value []byte) (*transfer.MID, bool, error) {
	m := &transfer.MID{}
	rest, err := cutStrings(key, &m.C, &m.From)
	if err == nil {
		err = cutName(rest, &m.MID)
	}
	if err != nil {
		return nil, false, err
	}
	return m, true, read1("mid", value, &midRow{}, m)
}

func putMID(m *transfer.MID, put putter) error {
	row := &midRow{}
	if err := putRow(midRecordKey(m), row, m, put); err != nil {
		return err
	}
	if row.ends() {
		put(midEndKey(row.TS, m.C, m.From, string(m.MID)), nil)
	}
	return nil
}

func entryRecordKey(e *transfer.Entry) []byte { return entryKey(e.User, e.USN) }

func readEntry(_ source, key, value []byte) (*transfer.Entry, bool, error) {
	e := &transfer.Entry{}
	user, rest, err := cutString(key)
	if err == nil {
		e.User = accounts.Name(user)
		e.USN, err = cutNumber(rest)
	}
	if err != nil {
		return nil, false, err
	}
	return e, true, read1("entry", value, &entryRow{}, e)
}

func putEntryRecord(e *transfer.Entry, put putter) error {
	return putRow(entryRecordKey(e), &entryRow{}, e, put)
}

func retainedRecordKey(r *transfer.Retained) []byte { return retainedKey(string(r.Topic)) }

func readRetained(_ source, _, value []byte) (*transfer.Retained, bool, error) {
	found, err := retainedAt(value, 0) // nothing has expired by then
	if err != nil {
		return nil, false, err
	}
	return transfer.RetainedOf(found.Message), true, nil
}

// putRetained gives the message a position before all others: whoever subscribes gets it.
func putRetained(r *transfer.Retained, put putter) error {
	m := r.Message()
	value := appendStamp(binary.AppendUvarint(nil, 0), sessions.StampOf(m))
	put(retainedRecordKey(r), appendContent(value, m))
	return nil
}
