package mongo

import (
	"cmp"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// personDoc is everything that a user says of himself. One who says nothing any more has one without it: its v goes on.
type personDoc struct {
	User accounts.Name `bson:"_id"`
	V    int64         `bson:"v"` // counts what happens to the document: it is changed by who knows what it is now
	N    int64         `bson:"n"` // counts the changes of what the user says; 0: he never said anything
	W    bson.ObjectID `bson:"w"` // which change made it what it is

	Ver       int64            `bson:"ver,omitempty"`
	Name      string           `bson:"name,omitempty"`
	Avatar    string           `bson:"avatar,omitempty"`
	Text      string           `bson:"text,omitempty"`
	Fields    []personFieldDoc `bson:"fields,omitempty"` // sorted
	Phone     *personFieldDoc  `bson:"phone,omitempty"`
	Email     *personFieldDoc  `bson:"email,omitempty"`
	Verified  bool             `bson:"verified,omitempty"`
	Bot       bool             `bson:"bot,omitempty"`
	Strangers string           `bson:"strangers,omitempty"`
	Seen      string           `bson:"seen,omitempty"`
	Hidden    bool             `bson:"hidden,omitempty"`
	ByPhone   bool             `bson:"by_phone,omitempty"`
	ByEmail   bool             `bson:"by_email,omitempty"`
	Listed    bool             `bson:"listed,omitempty"`
	Cell      int64            `bson:"cell,omitempty"`  // the bits of it
	Until     int64            `bson:"until,omitempty"` // Unix milliseconds
	Area      *int64           `bson:"area,omitempty"`  // Until, as long as there is a cell

	// Terms are what the user is found by, as in foundDoc. They are kept because another version may find other words in a
	// name.
	Terms []string `bson:"terms,omitempty"`

	Telling accounts.Name `bson:"telling,omitempty"` // User, as long as something is left to tell to contacts
	TellN   int64         `bson:"tell_n,omitempty"`  // the change that is told
	Told    accounts.Name `bson:"told,omitempty"`    // the contact up to whom it was

	Open    accounts.Name       `bson:"open,omitempty"` // User, as long as not all that follows may be there
	Follows *personFollowingDoc `bson:"fx,omitempty"`
}

// personFieldDoc is a part of a profile that only some may see.
type personFieldDoc struct {
	Key   string `bson:"k,omitempty"`
	Value string `bson:"v,omitempty"`
	Show  string `bson:"show,omitempty"`
}

// personFollowingDoc is what follows from a change of a person.
type personFollowingDoc struct {
	TS     int64      `bson:"ts"`              // Unix milliseconds
	Tell   bool       `bson:"tell,omitempty"`  // there is an entry for the user's own stream
	Fresh  []string   `bson:"fresh,omitempty"` // terms that are new
	Gone   []string   `bson:"gone,omitempty"`  // terms that are not any more
	Freed  []string   `bson:"freed,omitempty"` // handles that were given up
	Free   *moment    `bson:"free,omitempty"`  // nobody gets them before
	Origin *originDoc `bson:"origin,omitempty"`
}

// audienceWords is what audiences are in the database.
var audienceWords = map[chat.Audience]string{
	chat.AudienceDefault: "", chat.AudienceNobody: "nobody", chat.AudienceContacts: "contacts", chat.AudienceNear: "near",
	chat.AudienceEveryone: "everyone",
}

// audienceOf reads what audienceWords writes. What a newer version may have written is nobody.
func audienceOf(word string) chat.Audience {
	for a, w := range audienceWords {
		if w == word {
			return a
		}
	}
	return chat.AudienceNobody
}

func personFieldOf(key string, f chat.Field) *personFieldDoc {
	if key == "" && f == (chat.Field{}) {
		return nil
	}
	return &personFieldDoc{key, f.Value, audienceWords[f.Show]}
}

func (d *personFieldDoc) field() chat.Field {
	if d == nil {
		return chat.Field{}
	}
	return chat.Field{Value: d.Value, Show: audienceOf(d.Show)}
}

// say makes the document one of what p says.
func (d *personDoc) say(p chat.Person) {
	f, find := p.Profile, p.Settings.Find
	d.Ver, d.Name, d.Avatar, d.Text = int64(f.Ver), f.Name, f.Avatar, f.Text
	d.Verified, d.Bot = f.Verified, f.Bot
	d.Phone, d.Email = personFieldOf("", f.Phone), personFieldOf("", f.Email)
	d.Fields = nil
	for key, field := range f.Fields {
		d.Fields = append(d.Fields, *personFieldOf(key, field))
	}
	slices.SortFunc(d.Fields, func(a, b personFieldDoc) int { return cmp.Compare(a.Key, b.Key) })
	d.Strangers, d.Seen = audienceWords[p.Settings.Strangers], audienceWords[p.Settings.Seen]
	d.Hidden, d.ByPhone, d.ByEmail, d.Listed = find.Hidden, find.Phone, find.Email, find.Listed
	d.Cell, d.Until, d.Area = int64(find.Nearby.Cell), find.Nearby.Until, nil
	if d.Cell != 0 {
		d.Area = &d.Until
	}
	d.Terms = nil
	for _, t := range p.Terms() {
		d.Terms = append(d.Terms, termOf(t.Kind, t.Value))
	}
}

// person is what the document says.
func (d *personDoc) person() chat.Person {
	p := chat.Person{
		User: d.User,
		Profile: chat.Profile{
			Card: chat.Card{Name: d.Name, Avatar: d.Avatar, Trust: chat.Trust{Verified: d.Verified, Bot: d.Bot}},
			Ver:  uint64(d.Ver), Text: d.Text, Phone: d.Phone.field(), Email: d.Email.field(),
		},
		Settings: chat.Settings{
			Strangers: audienceOf(d.Strangers), Seen: audienceOf(d.Seen),
			Find: chat.Find{
				Hidden: d.Hidden, Phone: d.ByPhone, Email: d.ByEmail, Listed: d.Listed,
				Nearby: chat.Area{Cell: uint64(d.Cell), Until: d.Until},
			},
		},
	}
	if len(d.Fields) > 0 {
		p.Profile.Fields = make(map[string]chat.Field, len(d.Fields))
	}
	for _, f := range d.Fields {
		p.Profile.Fields[f.Key] = f.field()
	}
	return p
}

// handles gives what handles are called that the document names, in an order in which everybody takes them.
func (d *personDoc) handles() []string {
	var all []string
	for _, h := range d.person().Handles() {
		all = append(all, handleID(h))
	}
	slices.Sort(all)
	return all
}

// entry is what streams say of the profile.
func (d *personDoc) entry(ts int64) entryDoc {
	return entryDoc{
		Type: chat.EntryProfile, TS: ts, Who: d.User, Version: d.Ver, Name: d.Name, Avatar: d.Avatar,
		Verified: d.Verified, Bot: d.Bot,
	}
}

// without gives what is in a and not in b.
func without(a, b []string) (rest []string) {
	for _, x := range a {
		if !slices.Contains(b, x) {
			rest = append(rest, x)
		}
	}
	return rest
}
