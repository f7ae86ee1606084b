package pebble

import (
	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// profileRow is everything that a user says of himself.
type profileRow struct {
	Ver       uint64              `cbor:"1,keyasint,omitempty"`
	Name      string              `cbor:"2,keyasint,omitempty"`
	Avatar    string              `cbor:"3,keyasint,omitempty"`
	Text      string              `cbor:"4,keyasint,omitempty"`
	Fields    map[string]fieldRow `cbor:"5,keyasint,omitempty"`
	Phone     fieldRow            `cbor:"6,keyasint,omitzero"`
	Email     fieldRow            `cbor:"7,keyasint,omitzero"`
	Verified  bool                `cbor:"8,keyasint,omitempty"`
	Bot       bool                `cbor:"9,keyasint,omitempty"`
	Strangers int                 `cbor:"10,keyasint,omitempty"`
	Seen      int                 `cbor:"11,keyasint,omitempty"`
	Hidden    bool                `cbor:"12,keyasint,omitempty"`
	ByPhone   bool                `cbor:"13,keyasint,omitempty"`
	ByEmail   bool                `cbor:"14,keyasint,omitempty"`
	Listed    bool                `cbor:"15,keyasint,omitempty"`
	Cell      uint64              `cbor:"16,keyasint,omitempty"`
	CellUntil int64               `cbor:"17,keyasint,omitempty"` // Unix milliseconds
	// Terms are those that there are rows of: a kind, and a value. They are kept because another version may find other
	// words in a name.
	Terms [][]byte `cbor:"18,keyasint,omitempty"`
}

type fieldRow struct {
	Value string `cbor:"1,keyasint,omitempty"`
	Show  int    `cbor:"2,keyasint,omitempty"`
}

// What audiences are on the disk.
var audienceRows = map[chat.Audience]int{
	chat.AudienceDefault: 0, chat.AudienceNobody: 1, chat.AudienceContacts: 2, chat.AudienceNear: 3,
	chat.AudienceEveryone: 4,
}

// audienceOf reads what audienceRows writes. What a newer version may have written is nobody.
func audienceOf(row int) chat.Audience {
	for a, r := range audienceRows {
		if r == row {
			return a
		}
	}
	return chat.AudienceNobody
}

func fieldRowOf(f chat.Field) fieldRow { return fieldRow{f.Value, audienceRows[f.Show]} }

func (r fieldRow) field() chat.Field { return chat.Field{Value: r.Value, Show: audienceOf(r.Show)} }

func profileRowOf(p chat.Person, terms []chat.Term) profileRow {
	f, find := p.Profile, p.Settings.Find
	r := profileRow{
		Ver: f.Ver, Name: f.Name, Avatar: f.Avatar, Text: f.Text, Phone: fieldRowOf(f.Phone), Email: fieldRowOf(f.Email),
		Verified: f.Verified, Bot: f.Bot,
		Strangers: audienceRows[p.Settings.Strangers], Seen: audienceRows[p.Settings.Seen],
		Hidden: find.Hidden, ByPhone: find.Phone, ByEmail: find.Email, Listed: find.Listed,
		Cell: find.Nearby.Cell, CellUntil: find.Nearby.Until,
	}
	if len(f.Fields) > 0 {
		r.Fields = make(map[string]fieldRow, len(f.Fields))
	}
	for name, field := range f.Fields {
		r.Fields[name] = fieldRowOf(field)
	}
	for _, t := range terms {
		r.Terms = append(r.Terms, append([]byte{byte(t.Kind)}, t.Value...))
	}
	return r
}

func (r profileRow) person(user accounts.Name) chat.Person {
	p := chat.Person{
		User: user,
		Profile: chat.Profile{
			Card: chat.Card{Name: r.Name, Avatar: r.Avatar, Trust: chat.Trust{Verified: r.Verified, Bot: r.Bot}},
			Ver:  r.Ver, Text: r.Text, Phone: r.Phone.field(), Email: r.Email.field(),
		},
		Settings: chat.Settings{
			Strangers: audienceOf(r.Strangers), Seen: audienceOf(r.Seen),
			Find: chat.Find{
				Hidden: r.Hidden, Phone: r.ByPhone, Email: r.ByEmail, Listed: r.Listed,
				Nearby: chat.Area{Cell: r.Cell, Until: r.CellUntil},
			},
		},
	}
	if len(r.Fields) > 0 {
		p.Profile.Fields = make(map[string]chat.Field, len(r.Fields))
	}
	for name, field := range r.Fields {
		p.Profile.Fields[name] = field.field()
	}
	return p
}

// tellingRow is how far a change of a profile has been told.
type tellingRow struct {
	After accounts.Name `cbor:"1,keyasint,omitempty"` // the contact that was told last
}

// handleRow is who has a handle, or, if it has no owner, that nobody gets it before a time.
type handleRow struct {
	Owner accounts.Name `cbor:"1,keyasint,omitempty"`
	Free  moment        `cbor:"2,keyasint,omitzero"`
}
