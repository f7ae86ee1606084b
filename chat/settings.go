package chat

import (
	"context"
	"fmt"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// Settings gives how user wants to be treated, of somebody who never said and of nobody at all what holds then. It is
// cheap, and right as soon as SetSettings has returned.
func (s *Service) Settings(ctx context.Context, user accounts.Name) (Settings, error) {
	settings, err := s.store.Settings(ctx, user)
	if err != nil {
		return Settings{}, fmt.Errorf("settings of %s: %w", user, err)
	}
	return settings.at(s.now()), nil
}

// SetSettings lets change say how who wants to be treated, and gives what holds from then on. change may be called more
// than once. ErrMalformed, ErrGone if who's account was deleted meanwhile.
func (s *Service) SetSettings(ctx context.Context, who accounts.Name, change func(*Settings) error, origin any) (
	Settings, Commit, error,
) {
	var before Audience
	p, commit, err := s.store.ChangePerson(ctx, who, func(p *Person) (tell bool, err error) {
		settings := p.Settings.at(s.now())
		before = settings.Seen
		if err := change(&settings); err != nil {
			return false, err
		}
		if err := settings.validate(); err != nil {
			return false, err
		}
		p.Settings = settings.withoutDefaults()
		return false, nil
	}, origin)
	if err != nil {
		return Settings{}, nil, fmt.Errorf("change settings of %s: %w", who, err)
	}
	if err := s.stillHere(ctx, who); err != nil {
		return Settings{}, nil, err
	}
	after := p.Settings.at(s.now())
	s.seenChanged(who, before, after.Seen)
	return after, commit, nil
}

// What holds if nothing was said.
const (
	defaultStrangers = AudienceNobody
	defaultSeen      = AudienceContacts
)

// at gives what holds at a time, with defaults.
func (s Settings) at(now time.Time) Settings {
	if s.Find.Nearby.Until <= now.UnixMilli() {
		s.Find.Nearby = Area{}
	}
	if s.Strangers == AudienceDefault {
		s.Strangers = defaultStrangers
	}
	if s.Seen == AudienceDefault {
		s.Seen = defaultSeen
	}
	return s
}

// withoutDefaults is how settings are kept, so that a default may change.
func (s Settings) withoutDefaults() Settings {
	if s.Strangers == defaultStrangers {
		s.Strangers = AudienceDefault
	}
	if s.Seen == defaultSeen {
		s.Seen = AudienceDefault
	}
	return s
}

func (s Settings) validate() error {
	switch s.Strangers {
	case AudienceNobody, AudienceNear, AudienceEveryone:
	default:
		return fmt.Errorf("strangers: %q: %w", s.Strangers, ErrMalformed)
	}
	switch s.Seen {
	case AudienceNobody, AudienceContacts, AudienceEveryone:
	default:
		return fmt.Errorf("seen: %q: %w", s.Seen, ErrMalformed)
	}
	return nil
}

var audiences = map[Audience]string{
	AudienceNobody: "nobody", AudienceContacts: "contacts", AudienceNear: "contacts_of_contacts",
	AudienceEveryone: "everyone",
}

// String gives the word of docs/people.md.
func (a Audience) String() string { return audiences[a] }

// ParseAudience reads what String gives; otherwise the error wraps ErrMalformed.
func ParseAudience(word string) (Audience, error) {
	for a, w := range audiences {
		if w == word {
			return a, nil
		}
	}
	return AudienceDefault, fmt.Errorf("audience %.80q: %w", word, ErrMalformed)
}
