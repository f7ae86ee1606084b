package chat

import (
	"context"
	"fmt"
	"maps"
	"net/mail"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/magpie-im/magpie/accounts"
)

// What a profile may hold. These are part of the protocol: clients lay out their screens by them.
const (
	maxName       = 64  // characters
	maxAvatar     = 512 // bytes
	maxAbout      = 500 // characters of Profile.Text
	maxFields     = 20
	maxFieldName  = 32  // bytes
	maxFieldValue = 500 // characters
	maxEmail      = 254 // bytes (RFC 5321, 4.5.3.1.3)
	maxMutual     = 1000
)

// PhoneField and EmailField are names that no field of Profile.Fields has.
const (
	PhoneField = "phone"
	EmailField = "email"
)

// ProfileView is a profile as somebody may see it.
type ProfileView struct {
	User    accounts.Name
	Profile Profile
	// Standing is what the two are to each other; Gone: there is nothing else here.
	Standing Standing
	State    ContactState // what the user is to the one who looks
	Mutual   int          // contacts of both, at most 1000
}

// Profile gives who's view of other's profile. Nobody and somebody hidden are ErrNoConversation.
func (s *Service) Profile(ctx context.Context, who, other accounts.Name) (ProfileView, error) {
	v := ProfileView{User: other}
	var err error
	if v.Standing, err = s.Standing(ctx, who, other); err != nil {
		return v, err
	}
	switch v.Standing {
	case Nobody:
		return v, fmt.Errorf("profile of %s for %s: %w", other, who, ErrNoConversation)
	case Gone:
		return v, nil
	}
	p, err := s.store.Person(ctx, other)
	if err != nil {
		return v, fmt.Errorf("profile of %s: %w", other, err)
	}
	v.Profile = p.Profile.shownTo(v.Standing)
	if v.Standing == Self {
		return v, nil
	}
	pair, err := s.store.Pair(ctx, who, other)
	if err != nil {
		return v, fmt.Errorf("relation of %s to %s: %w", who, other, err)
	}
	v.State = pair.Contact().State
	if v.Standing == Known || v.Standing == Stranger {
		if v.Mutual, err = s.store.Mutual(ctx, who, other, maxMutual); err != nil {
			return v, fmt.Errorf("contacts of %s and %s: %w", who, other, err)
		}
	}
	return v, nil
}

// shownTo leaves out what somebody of that standing may not see. Who was blocked cannot be told from who has blocked: both
// may be the case.
func (p Profile) shownTo(s Standing) Profile {
	switch s {
	case Self:
		return p
	case Known, Stranger:
	default:
		return Profile{Card: Card{Name: p.Name}}
	}
	see := func(f Field) bool {
		return f.Show == AudienceEveryone || f.Show == AudienceContacts && s == Known
	}
	if !see(p.Phone) {
		p.Phone = Field{}
	}
	if !see(p.Email) {
		p.Email = Field{}
	}
	p.Fields = maps.Clone(p.Fields)
	maps.DeleteFunc(p.Fields, func(_ string, f Field) bool { return !see(f) })
	return p
}

// SetProfile lets change say what who says of himself, all but the marks that only an administrator sets, and gives what
// that is from then on. change may be called more than once. Contacts are told of what they may see. ErrMalformed,
// ErrTooLarge, ErrTaken, ErrGone if who's account was deleted meanwhile, a [QuotaError].
func (s *Service) SetProfile(ctx context.Context, who accounts.Name, change func(*Profile) error, origin any) (
	Profile, Commit, error,
) {
	if err := s.profileChanges.take(who); err != nil {
		return Profile{}, nil, fmt.Errorf("change profile of %s: %w", who, err)
	}
	return s.changeProfile(ctx, who, func(p *Profile) error {
		was := *p
		if err := change(p); err != nil {
			return err
		}
		p.Trust = was.Trust
		if err := p.check(); err != nil {
			return err
		}
		if takes(was.Phone, p.Phone) || takes(was.Email, p.Email) {
			return s.handleChanges.take(who)
		}
		return nil
	}, origin)
}

// takes says whether a handle is taken that one did not have.
func takes(was, is Field) bool { return is.Value != "" && is.Value != was.Value }

// SetTrust is for administrators: what they say of an account. ErrNoConversation, ErrGone.
func (s *Service) SetTrust(ctx context.Context, user accounts.Name, trust Trust) (Commit, error) {
	status, err := s.dir.Status(ctx, user)
	switch {
	case err != nil:
		return nil, fmt.Errorf("look up %s: %w", user, err)
	case status == accounts.Absent:
		return nil, fmt.Errorf("mark %s: %w", user, ErrNoConversation)
	case status == accounts.Deleted:
		return nil, fmt.Errorf("mark %s: %w", user, ErrGone)
	}
	_, commit, err := s.changeProfile(ctx, user, func(p *Profile) error {
		p.Trust = trust
		return nil
	}, nil)
	return commit, err
}

func (s *Service) changeProfile(ctx context.Context, who accounts.Name, change func(*Profile) error, origin any) (
	Profile, Commit, error,
) {
	p, commit, err := s.store.ChangePerson(ctx, who, func(p *Person) (tell bool, err error) {
		was := p.Clone().Profile
		if err := change(&p.Profile); err != nil {
			return false, err
		}
		p.Profile.Ver = was.Ver
		if reflect.DeepEqual(p.Profile, was) {
			return false, nil
		}
		tell = !reflect.DeepEqual(p.Profile.shownTo(Known), was.shownTo(Known))
		p.Profile.Ver++
		return tell, nil
	}, origin)
	if err != nil {
		return Profile{}, nil, fmt.Errorf("change profile of %s: %w", who, err)
	}
	if err := s.stillHere(ctx, who); err != nil {
		return Profile{}, nil, err
	}
	if commit != nil {
		s.wake.Wake(who)
		s.telling.look()
	}
	return p.Profile, commit, nil
}

// ForgetProfile removes everything that user said, and all by which he is found; his contacts are not told. Others may
// have his handles after Config.HandleQuarantine. It may be called again.
func (s *Service) ForgetProfile(ctx context.Context, user accounts.Name) (Commit, error) {
	commit, err := s.store.ForgetPerson(ctx, user, s.now().Add(s.cfg.HandleQuarantine))
	if err != nil {
		return nil, fmt.Errorf("forget profile of %s: %w", user, err)
	}
	return commit, nil
}

// check makes p what is kept of it, and finds what is wrong with it.
func (p *Profile) check() error {
	if err := p.Card.check(); err != nil {
		return err
	}
	if err := characters("text", p.Text, maxAbout); err != nil {
		return err
	}
	if len(p.Fields) > maxFields {
		return fmt.Errorf("%d fields: %w", len(p.Fields), ErrTooLarge)
	}
	for name, f := range p.Fields {
		if err := checkField(name, f); err != nil {
			return err
		}
	}
	maps.DeleteFunc(p.Fields, func(_ string, f Field) bool { return f.Value == "" })
	if len(p.Fields) == 0 {
		p.Fields = nil
	}
	var err error
	if p.Phone.Value, err = normalPhone(p.Phone.Value); err != nil {
		return err
	}
	if p.Email.Value, err = normalEmail(p.Email.Value); err != nil {
		return err
	}
	for _, f := range []*Field{&p.Phone, &p.Email} {
		if f.Value == "" {
			*f = Field{}
		} else if f.Show == AudienceDefault {
			f.Show = AudienceNobody
		}
		if err := checkShow(*f); err != nil {
			return err
		}
	}
	return nil
}

func (c *Card) check() error {
	c.Name = strings.TrimSpace(c.Name)
	if strings.IndexFunc(c.Name, misleading) >= 0 || c.Name != "" && strings.IndexFunc(c.Name, visible) < 0 {
		return fmt.Errorf("name with control characters, or that cannot be seen: %w", ErrMalformed)
	}
	if err := characters("name", c.Name, maxName); err != nil {
		return err
	}
	if len(c.Avatar) > maxAvatar {
		return fmt.Errorf("avatar of %d bytes: %w", len(c.Avatar), ErrTooLarge)
	}
	if !utf8.ValidString(c.Avatar) || strings.IndexFunc(c.Avatar, unsafe) >= 0 {
		return fmt.Errorf("avatar: %w", ErrMalformed)
	}
	return nil
}

// misleading says whether r makes a name look like another one, or a list of names unreadable.
func misleading(r rune) bool { return unsafe(r) || unicode.Is(unicode.Bidi_Control, r) }

// visible says whether r can be seen.
func visible(r rune) bool {
	const blank = '\u2800' // a pattern of Braille without dots
	return r != blank && unicode.IsGraphic(r) && !unicode.IsSpace(r) && !unicode.IsMark(r) &&
		!unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}

func checkField(name string, f Field) error {
	if len(name) > maxFieldName {
		return fmt.Errorf("field name of %d bytes: %w", len(name), ErrTooLarge)
	}
	if name == PhoneField || name == EmailField || !fieldName(name) {
		return fmt.Errorf("field %.80q: %w", name, ErrMalformed)
	}
	if err := characters(name, f.Value, maxFieldValue); err != nil {
		return err
	}
	return checkShow(f)
}

// fieldName says whether s may name a field.
func fieldName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || c != '_' && c != '-' && c != '.') {
			return false
		}
	}
	return s != ""
}

func checkShow(f Field) error {
	switch f.Show {
	case AudienceNobody, AudienceContacts, AudienceEveryone:
		return nil
	case AudienceDefault:
		if f.Value == "" {
			return nil
		}
	}
	return fmt.Errorf("show a field to %q: %w", f.Show, ErrMalformed)
}

func characters(what, s string, most int) error {
	if !validText(s) {
		return fmt.Errorf("%s is not UTF-8 without NUL: %w", what, ErrMalformed)
	}
	if n := utf8.RuneCountInString(s); n > most {
		return fmt.Errorf("%s of %d characters: %w", what, n, ErrTooLarge)
	}
	return nil
}

// normalPhone gives a number as E.164 has it, and empty for empty. What people put between digits does not count, nor the zero in
// parentheses that is dialled in its country only.
func normalPhone(s string) (string, error) {
	s = strings.Replace(s, "(0)", "", 1)
	digits := strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -./()\u00a0\u2011", r) {
			return -1
		}
		return r
	}, s)
	if digits == "" {
		return "", nil
	}
	rest, plus := strings.CutPrefix(digits, "+")
	if !plus || len(rest) < 7 || len(rest) > 15 || rest[0] == '0' || strings.Trim(rest, "0123456789") != "" {
		return "", fmt.Errorf("phone number: %w", ErrMalformed)
	}
	return digits, nil
}

// normalEmail gives an address in lower case and with one way to write each character (RFC 6532, 3.1), and empty for empty.
func normalEmail(s string) (string, error) {
	s = norm.NFC.String(strings.ToLower(strings.TrimSpace(s)))
	if s == "" {
		return "", nil
	}
	if len(s) > maxEmail {
		return "", fmt.Errorf("e-mail address of %d bytes: %w", len(s), ErrTooLarge)
	}
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || strings.IndexFunc(s, unsafe) >= 0 {
		return "", fmt.Errorf("e-mail address: %w", ErrMalformed)
	}
	return s, nil
}
