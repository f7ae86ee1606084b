package chat

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/magpie-im/magpie/accounts"
)

const (
	conversationsLimit = 50 // in a page of a list, unless it is said
	maxConversations   = 200
	// maxList is how many bytes of JSON the lines of a page have: with what is around them, it is one packet of 64 KiB.
	maxList = 63 << 10
	// maxDigest is how many characters of a message, and of a draft, a line shows.
	maxDigest = 200
)

// List names one of a user's lists of conversations.
type List int

// The lists. What strangers have written who were not answered is in ListBox and in no other; what is hidden is in none but
// ListAll.
const (
	ListMain     List = iota // neither boxed nor archived
	ListArchived             // archived
	ListBox                  // boxed
	ListAll                  // not boxed
)

// Shows says whether a conversation of which somebody has said this is in a list, if it is not boxed.
func (l List) Shows(o OwnSide, head uint64) bool {
	return l == ListAll || l != ListBox && o.Archive == (l == ListArchived) && !o.Hidden(head)
}

// ListQuery says which part of which list is wanted.
type ListQuery struct {
	List  List
	After ListPlace // zero: from the start
	Limit int
}

// ListPlace is where a conversation stands in a list: before those that compare as greater. It is a place also if nothing
// stands there any more.
type ListPlace struct {
	Pinned       bool
	TS           int64 // of the last message, in Unix milliseconds; 0: there is none
	Conversation Conversation
}

// Compare is less than 0 if p stands before q.
func (p ListPlace) Compare(q ListPlace) int {
	return cmp.Or(b2i(q.Pinned)-b2i(p.Pinned), cmp.Compare(q.TS, p.TS), strings.Compare(
		string(p.Conversation), string(q.Conversation)))
}

// cursor is what a client is given for a place.
func (p ListPlace) cursor() string {
	raw := binary.BigEndian.AppendUint64([]byte{byte(b2i(p.Pinned))}, uint64(p.TS))
	return base64.RawURLEncoding.EncodeToString(append(raw, p.Conversation...))
}

func parseCursor(cursor string) (ListPlace, error) {
	if cursor == "" {
		return ListPlace{}, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) <= 9 || raw[0] > 1 {
		return ListPlace{}, fmt.Errorf("cursor %.80q: %w", cursor, ErrMalformed)
	}
	return ListPlace{raw[0] == 1, int64(binary.BigEndian.Uint64(raw[1:])), Conversation(raw[9:])}, nil
}

// ListPage is a part of a list.
type ListPage struct {
	List   []Overview
	Cursor string // of the next page; empty: there is none
	// Total and AsOf are of a moment before the list was read: what has come since may be in the list or not.
	Total, AsOf uint64
}

// Conversations gives up to limit (0: 50; at most 200) conversations of one of who's lists, pinned ones first, then the one
// with the newest message, after cursor (empty: from the start). A page has at least one line, if there is one, and at most
// 64 KiB of JSON if messages and drafts are shown as [Digest] has them. What moves to the front, because a message has
// come, is not seen again by going on. ErrMalformed.
func (s *Service) Conversations(ctx context.Context, who accounts.Name, list List, cursor string, limit int) (
	p ListPage, err error,
) {
	q := ListQuery{List: list, Limit: pageSize(limit, conversationsLimit, maxConversations)}
	if q.After, err = parseCursor(cursor); err != nil {
		return p, err
	}
	if p.Total, p.AsOf, err = s.total(ctx, who); err != nil {
		return p, err
	}
	lines, more, err := s.store.Conversations(ctx, who, q)
	if err != nil {
		return p, fmt.Errorf("conversations of %s: %w", who, err)
	}
	for i := range lines {
		if err := s.veil(ctx, who, &lines[i].Last); err != nil {
			return p, err
		}
	}
	n := 0
	for size := 0; n < len(lines); n++ {
		if size += lines[n].size(); n > 0 && size > maxList {
			more = true
			break
		}
	}
	if p.List = lines[:n]; more && n > 0 {
		p.Cursor = lines[n-1].Place.cursor()
	}
	return p, nil
}

// Digest is what a line of a list shows of a text: its first 200 characters.
func Digest(text string) string { return cut(text, maxDigest) }

// Digest is what a line of a list shows of a message: what it says, in at most 200 characters.
func (m Message) Digest() string { return Digest(m.line()) }

// size is how many bytes a line of a list has as JSON, or some more.
func (o Overview) size() int {
	const names = 400 // the names of all fields, numbers of 20 digits, and what is true or false
	size := names + 2*len(o.Tally.Conversation) + len(o.Last.ID) + len(o.Last.From)
	for _, text := range []string{o.Title, o.Last.MID, o.Last.Kind, o.Last.Digest(), Digest(o.Own.Draft), o.Own.Remark} {
		quoted, err := json.Marshal(text)
		if err != nil {
			panic(err) // a string can always be written
		}
		size += len(quoted)
	}
	return size
}
