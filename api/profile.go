package api

import (
	"context"
	"encoding/json"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// areaLife is how long somebody is found where he was.
const areaLife = 24 * time.Hour

type searchInput struct {
	Q     string   `json:"q" doc:"a uid, a number or an address; the beginning of a name" example:"bob"`
	Mode  string   `json:"mode" doc:"absent: exact" enum:"exact|prefix|random|nearby" example:"exact"`
	Lat   *float64 `json:"lat" doc:"with nearby: latitude, in degrees"`
	Lon   *float64 `json:"lon" doc:"with nearby: longitude, in degrees"`
	Limit uint64   `json:"limit"`
}

// card is somebody in a list.
type card struct {
	UID      accounts.Name `json:"uid"`
	Name     string        `json:"name,omitempty"`
	Avatar   string        `json:"avatar,omitempty"`
	Verified bool          `json:"verified,omitempty"`
	Bot      bool          `json:"bot,omitempty"`
	Contact  bool          `json:"contact,omitempty"`
}

type searchOutput struct {
	Users []card `json:"users"`
}

type getProfileInput struct {
	UID string `json:"uid" doc:"whose; absent: the caller's own"`
}

type profileOutput struct {
	UID      accounts.Name     `json:"uid"`
	Deleted  bool              `json:"deleted,omitempty" doc:"the account is no more, and there is nothing else to tell"`
	Ver      uint64            `json:"ver,omitempty"`
	Name     string            `json:"name,omitempty" doc:"shown in place of the uid"`
	Avatar   string            `json:"avatar,omitempty"`
	Text     string            `json:"text,omitempty" doc:"what he says of himself"`
	Fields   map[string]string `json:"fields,omitempty"`
	Phone    string            `json:"phone,omitempty"`
	Email    string            `json:"email,omitempty"`
	Show     map[string]string `json:"show,omitempty" doc:"one's own: who sees phone, email and fields"`
	Verified bool              `json:"verified,omitempty"`
	Bot      bool              `json:"bot,omitempty"`
	State    string            `json:"st,omitempty" doc:"what he is to the caller, as in contact.list"`
	Mutual   int               `json:"mutual,omitempty" doc:"contacts of both, as far as they are counted"`
}

type setProfileInput struct {
	Name   *string            `json:"name" doc:"shown in place of the uid" max:"64"`
	Avatar *string            `json:"avatar" doc:"where the picture is (a URL)" max:"512"`
	Text   *string            `json:"text" doc:"what one says of oneself" max:"500" example:"gone fishing"`
	Fields map[string]*string `json:"fields" doc:"fields of one's own, by name; null: there is no such field any more"`
	Phone  *string            `json:"phone"`
	Email  *string            `json:"email"`
	Show   map[string]string  `json:"show" doc:"who sees phone, email and fields" example:"{\"phone\":\"contacts\"}"`
}

type settingsOutput struct {
	Strangers string     `json:"strangers" doc:"who may write and is no contact" enum:"nobody|contacts_of_contacts|everyone"`
	Seen      string     `json:"seen" doc:"who may see when the user is here" enum:"nobody|contacts|everyone"`
	Find      findOutput `json:"find" doc:"how one can be found"`
}

type findOutput struct {
	UID    bool `json:"uid" doc:"by the exact uid"`
	Phone  bool `json:"phone" doc:"by the exact number"`
	Email  bool `json:"email" doc:"by the exact address"`
	Listed bool `json:"listed" doc:"by the beginning of a name, and by chance"`
	// Nearby is until when one is found where one was, in Unix milliseconds.
	Nearby int64 `json:"nearby,omitempty" doc:"by who is near: until when, in Unix milliseconds; absent: not"`
}

type setSettingsInput struct {
	Strangers *string   `json:"strangers" doc:"who may write and is no contact" enum:"nobody|contacts_of_contacts|everyone"`
	Seen      *string   `json:"seen" doc:"who may see when the user is here" enum:"nobody|contacts|everyone"`
	Find      findInput `json:"find" doc:"how one can be found"`
}

type findInput struct {
	UID    *bool           `json:"uid" doc:"by the exact uid"`
	Phone  *bool           `json:"phone" doc:"by the exact number"`
	Email  *bool           `json:"email" doc:"by the exact address"`
	Listed *bool           `json:"listed" doc:"by the beginning of a name, and by chance"`
	Nearby json.RawMessage `json:"nearby" doc:"by who is near; null: nowhere" example:"{\"lat\":48.137,\"lon\":11.575}"`
}

type trustInput struct {
	Name     string `json:"name" doc:"of the account" required:"true" example:"alice"`
	Verified bool   `json:"verified"`
	Bot      bool   `json:"bot"`
}

func (i trustInput) target() string { return i.Name }

// profileRows are what people say of themselves, and finding them.
func profileRows(r Rooms) []*Operation {
	ch := r.Chat
	return []*Operation{
		read("contact.search", User, "Finds people: by uid, phone number or e-mail address, or among those who want to be found.",
			func(ctx context.Context, c Caller, in searchInput) (searchOutput, error) {
				q, err := in.search()
				if err != nil {
					return searchOutput{}, err
				}
				found, err := ch.Search(ctx, c.Account, q)
				out := searchOutput{Users: make([]card, 0, len(found))}
				for _, f := range found {
					out.Users = append(out.Users, card{
						UID: f.User, Name: f.Card.Name, Avatar: f.Card.Avatar, Verified: f.Card.Verified, Bot: f.Card.Bot,
						Contact: f.Contact,
					})
				}
				return out, err
			}),
		read("profile.get", User, "Shows what somebody says of himself, as far as the caller may see it.",
			func(ctx context.Context, c Caller, in getProfileInput) (profileOutput, error) {
				who := c.Account
				if in.UID != "" {
					var err error
					if who, err = userField("uid", in.UID); err != nil {
						return profileOutput{}, err
					}
				}
				view, err := ch.Profile(ctx, c.Account, who)
				return viewOf(view), err
			}),
		change("profile.set", User, "Changes what the caller says of himself: the fields that are given, and no others.",
			func(ctx context.Context, c Caller, in setProfileInput) (profileOutput, chat.Commit, error) {
				p, commit, err := ch.SetProfile(ctx, c.Account, in.apply, c.Origin)
				return viewOf(chat.ProfileView{User: c.Account, Profile: p, Standing: chat.Self}), commit, err
			}).upTo(profileBody),
		read("settings.get", User, "Shows who may write to the caller, see him and find him.",
			func(ctx context.Context, c Caller, _ nothing) (settingsOutput, error) {
				s, err := ch.Settings(ctx, c.Account)
				return settingsOf(s), err
			}),
		change("settings.set", User, "Says who may write to the caller, see him and find him: what is given, and nothing else.",
			func(ctx context.Context, c Caller, in setSettingsInput) (settingsOutput, chat.Commit, error) {
				s, commit, err := ch.SetSettings(ctx, c.Account, in.apply, c.Origin)
				return settingsOf(s), commit, err
			}),
	}
}

// profileAdminRows are what administrators say of people.
func profileAdminRows(r Rooms) []*Operation {
	return []*Operation{
		change("profile.mark", Admin, "Says whether an account is verified, and whether it is a bot.",
			func(ctx context.Context, _ Caller, in trustInput) (nothing, chat.Commit, error) {
				user, err := userField("name", in.Name)
				if err != nil {
					return nothing{}, nil, err
				}
				commit, err := r.Chat.SetTrust(ctx, user, chat.Trust{Verified: in.Verified, Bot: in.Bot})
				return nothing{}, commit, err
			}),
	}
}

func (in searchInput) search() (chat.Search, error) {
	q := chat.Search{Mode: chat.SearchMode(in.Mode), Query: in.Q, Limit: int(min(in.Limit, 1000))}
	if in.Mode == "" {
		q.Mode = chat.SearchExact
	}
	if q.Mode == chat.SearchNearby {
		if in.Lat == nil || in.Lon == nil {
			return q, malformed(`mode "nearby" needs "lat" and "lon"`)
		}
		q.Lat, q.Lon = *in.Lat, *in.Lon
	}
	return q, nil
}

func viewOf(v chat.ProfileView) profileOutput {
	p := v.Profile
	out := profileOutput{
		UID: v.User, Deleted: v.Standing == chat.Gone, Ver: p.Ver, Name: p.Name, Avatar: p.Avatar, Text: p.Text,
		Phone: p.Phone.Value, Email: p.Email.Value, Verified: p.Verified, Bot: p.Bot, Mutual: v.Mutual,
	}
	if len(p.Fields) > 0 {
		out.Fields = make(map[string]string, len(p.Fields))
	}
	for name, f := range p.Fields {
		out.Fields[name] = f.Value
	}
	switch v.Standing {
	case chat.Nobody, chat.Gone:
	case chat.Self:
		out.Show = showOf(p)
	default:
		out.State = string(v.State)
		if v.State == chat.ContactNone {
			out.State = "none"
		}
	}
	return out
}

// showOf says who sees what of a profile.
func showOf(p chat.Profile) map[string]string {
	show := make(map[string]string, len(p.Fields)+2)
	for name, f := range p.Fields {
		show[name] = f.Show.String()
	}
	if p.Phone.Value != "" {
		show[chat.PhoneField] = p.Phone.Show.String()
	}
	if p.Email.Value != "" {
		show[chat.EmailField] = p.Email.Show.String()
	}
	return show
}

// apply changes what was given. New fields are for contacts, unless something else is said.
func (in setProfileInput) apply(p *chat.Profile) error {
	set(&p.Name, in.Name)
	set(&p.Avatar, in.Avatar)
	set(&p.Text, in.Text)
	set(&p.Phone.Value, in.Phone)
	set(&p.Email.Value, in.Email)
	for name, value := range in.Fields {
		if value == nil {
			delete(p.Fields, name)
			continue
		}
		if p.Fields == nil {
			p.Fields = map[string]chat.Field{}
		}
		f, had := p.Fields[name]
		if f.Value = *value; !had {
			f.Show = chat.AudienceContacts
		}
		p.Fields[name] = f
	}
	for name, word := range in.Show {
		a, err := chat.ParseAudience(word)
		if err != nil || a == chat.AudienceNear {
			return malformed(`field "show" takes "nobody", "contacts" and "everyone"`)
		}
		f, there := p.Fields[name]
		switch {
		case name == chat.PhoneField:
			p.Phone.Show = a
		case name == chat.EmailField:
			p.Email.Show = a
		case there:
			f.Show = a
			p.Fields[name] = f
		default:
			return malformed(`field "show" names a field that the profile does not have`)
		}
	}
	return nil
}

// set changes a field if there is something to change it to.
func set[T any](field, to *T) {
	if to != nil {
		*field = *to
	}
}

func settingsOf(s chat.Settings) settingsOutput {
	f := s.Find
	return settingsOutput{
		Strangers: s.Strangers.String(), Seen: s.Seen.String(),
		Find: findOutput{UID: !f.Hidden, Phone: f.Phone, Email: f.Email, Listed: f.Listed, Nearby: f.Nearby.Until},
	}
}

func (in setSettingsInput) apply(s *chat.Settings) error {
	for _, field := range []struct {
		name string
		to   *string
		at   *chat.Audience
	}{{"strangers", in.Strangers, &s.Strangers}, {"seen", in.Seen, &s.Seen}} {
		if field.to == nil {
			continue
		}
		var err error
		if *field.at, err = chat.ParseAudience(*field.to); err != nil {
			return malformed("field %q is none of its words", field.name)
		}
	}
	if in.Find.UID != nil {
		s.Find.Hidden = !*in.Find.UID
	}
	set(&s.Find.Phone, in.Find.Phone)
	set(&s.Find.Email, in.Find.Email)
	set(&s.Find.Listed, in.Find.Listed)
	return in.Find.nearby(s)
}

func (in findInput) nearby(s *chat.Settings) error {
	switch {
	case in.Nearby == nil:
		return nil
	case string(in.Nearby) == "null":
		s.Find.Nearby = chat.Area{}
		return nil
	}
	var at struct {
		Lat *float64 `json:"lat"`
		Lon *float64 `json:"lon"`
	}
	if err := decode(in.Nearby, &at); err != nil || at.Lat == nil || at.Lon == nil {
		return malformed(`field "nearby" is not {"lat", "lon"}, in degrees, or null`)
	}
	cell, err := chat.CellOf(*at.Lat, *at.Lon)
	if err != nil {
		return err
	}
	s.Find.Nearby = chat.Area{Cell: cell, Until: time.Now().Add(areaLife).UnixMilli()}
	return nil
}
