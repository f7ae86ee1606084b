package chat

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// SearchMode says how a search understands what it is given.
type SearchMode string

// Modes.
const (
	SearchExact  SearchMode = "exact"  // a whole uid, phone number or e-mail address
	SearchPrefix SearchMode = "prefix" // the beginning of a uid or of a word of a name
	SearchRandom SearchMode = "random" // anybody
	SearchNearby SearchMode = "nearby" // who is in the same cell, or in one beside it
)

const (
	maxFound = 20
	maxQuery = 254 // bytes
	// searchPage is how many hits are read at once, and searchPages how often: those who may not be shown are among them.
	searchPage  = 50
	searchPages = 4
)

// Search is what somebody looks for.
type Search struct {
	Mode     SearchMode
	Query    string  // SearchExact and SearchPrefix
	Lat, Lon float64 // SearchNearby, in degrees
	Limit    int     // 0: 20; at most 20
}

// Found is somebody who was found.
type Found struct {
	User accounts.Name
	Card Card
	// Contact says that he is a contact of who looks.
	Contact bool
}

// Search finds others for who: by uid, phone number or e-mail address those who allow it, and in the other modes those who
// asked to be found so. Oneself, those with whom there is a block either way, and accounts that are hidden, suspended or
// deleted are never found. ErrMalformed, ErrTooLarge, a [QuotaError].
func (s *Service) Search(ctx context.Context, who accounts.Name, q Search) ([]Found, error) {
	if len(q.Query) > maxQuery {
		return nil, fmt.Errorf("query of %d bytes: %w", len(q.Query), ErrTooLarge)
	}
	if err := s.searches.take(who); err != nil {
		return nil, fmt.Errorf("search of %s: %w", who, err)
	}
	f := finder{Service: s, who: who, limit: pageSize(q.Limit, maxFound, maxFound), seen: map[accounts.Name]bool{}}
	var err error
	switch q.Mode {
	case SearchExact:
		err = s.evenly(ctx, func() error { return f.exact(ctx, q.Query) })
	case SearchPrefix:
		err = f.prefix(ctx, q.Query)
	case SearchRandom:
		err = f.random(ctx)
	case SearchNearby:
		err = f.nearby(ctx, q.Lat, q.Lon)
	default:
		err = fmt.Errorf("mode %.80q: %w", q.Mode, ErrMalformed)
	}
	if err != nil {
		return nil, fmt.Errorf("search of %s: %w", who, err)
	}
	return f.found, nil
}

// evenly answers some time after do began: the next multiple of Config.SearchTime when it is done, and less than one more by
// chance. The one hides what differs in what do does, the other how exact our own clock is.
func (s *Service) evenly(ctx context.Context, do func() error) error {
	start := time.Now() // not s.now: it is for whoever looks at a clock outside
	err := do()
	step := s.cfg.SearchTime
	if step <= 0 {
		return err
	}
	timer := time.NewTimer(step - time.Since(start)%step + rand.N(step))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return err
}

// finder is one search.
type finder struct {
	*Service
	who   accounts.Name
	limit int
	seen  map[accounts.Name]bool
	found []Found
}

// exact does the same whatever there is: the same calls, with a decoy in place of a name that is missing.
func (f *finder) exact(ctx context.Context, query string) error {
	h, name, err := parseExact(query)
	if err != nil {
		return err
	}
	if h.Kind != "" {
		if name, err = f.store.Owner(ctx, h); err != nil {
			return fmt.Errorf("look up a handle: %w", err)
		}
		if name == "" {
			name = f.decoys.owner(h)
		}
	}
	p, known, ok, err := f.look(ctx, name)
	if err != nil {
		return err
	}
	allowed := true
	switch h.Kind {
	case HandlePhone:
		allowed = p.Settings.Find.Phone && p.Profile.Phone.Value == h.Value
	case HandleEmail:
		allowed = p.Settings.Find.Email && p.Profile.Email.Value == h.Value
	}
	if ok && allowed {
		f.found = append(f.found, Found{name, p.Profile.Card, known})
	}
	return nil
}

// parseExact says what a query is: an address has an @ in it, a number begins with a plus sign, everything else is a uid.
func parseExact(query string) (h Handle, uid accounts.Name, err error) {
	query = strings.TrimSpace(query)
	switch {
	case strings.Contains(query, "@"):
		h.Kind = HandleEmail
		h.Value, err = normalEmail(query)
	case strings.HasPrefix(query, "+"):
		h.Kind = HandlePhone
		h.Value, err = normalPhone(query)
	default:
		if uid, err = accounts.ParseUser(strings.ToLower(query)); err != nil {
			err = fmt.Errorf("%w: %w", err, ErrMalformed)
		}
	}
	return h, uid, err
}

// look says whether other may be shown to who. It makes the same calls whoever other is.
func (f *finder) look(ctx context.Context, other accounts.Name) (p Person, known, ok bool, err error) {
	standing, status, err := f.standing(ctx, f.who, other)
	if err != nil {
		return p, false, false, err
	}
	if p, err = f.store.Person(ctx, other); err != nil {
		return p, false, false, fmt.Errorf("profile of %s: %w", other, err)
	}
	known = standing == Known
	ok = status == accounts.Active && (known || standing == Stranger) // who is hidden is nobody to strangers
	return p, known, ok, nil
}

// show adds a hit, unless it may not be shown. enough means that there are as many as were wanted.
func (f *finder) show(ctx context.Context, user accounts.Name, allowed func(Person) bool) (enough bool, err error) {
	if f.seen[user] {
		return false, nil
	}
	f.seen[user] = true
	p, known, ok, err := f.look(ctx, user)
	if err != nil {
		return false, err
	}
	if ok && allowed(p) {
		f.found = append(f.found, Found{user, p.Profile.Card, known})
	}
	return len(f.found) >= f.limit, nil
}

func listed(p Person) bool { return p.Settings.Find.Listed }

func (f *finder) prefix(ctx context.Context, query string) error {
	value := prefixOf(query)
	if value == "" {
		return fmt.Errorf("nothing to search for: %w", ErrMalformed)
	}
	_, err := f.walk(ctx, TermWord, value, Hit{}, listed)
	return err
}

// walk goes through hits until there are enough, or there are no more.
func (f *finder) walk(ctx context.Context, kind TermKind, prefix string, after Hit, allowed func(Person) bool) (
	enough bool, err error,
) {
	for range searchPages {
		hits, err := f.store.Found(ctx, kind, prefix, after, searchPage)
		if err != nil {
			return false, fmt.Errorf("look for people: %w", err)
		}
		for _, h := range hits {
			if enough, err := f.show(ctx, h.User, allowed); enough || err != nil {
				return enough, err
			}
		}
		if len(hits) < searchPage {
			return false, nil
		}
		after = hits[len(hits)-1]
	}
	return false, nil
}

// random looks at as many places of the list as there may be answers, so that those who are neighbours in it are not found
// together again and again. When these do not give enough, the list is short.
func (f *finder) random(ctx context.Context) error {
	for range f.limit {
		hits, err := f.store.Found(ctx, TermListed, "", somewhere(), 1)
		if err != nil {
			return fmt.Errorf("look for people: %w", err)
		}
		for _, h := range hits {
			if enough, err := f.show(ctx, h.User, listed); enough || err != nil {
				return err
			}
		}
	}
	for _, after := range []Hit{somewhere(), {}} {
		if enough, err := f.walk(ctx, TermListed, "", after, listed); enough || err != nil {
			return err
		}
	}
	return nil
}

// somewhere is a place in the list of who is listed.
func somewhere() Hit {
	return Hit{Value: string(binary.BigEndian.AppendUint64(nil, rand.Uint64()))}
}

func (f *finder) nearby(ctx context.Context, lat, lon float64) error {
	cell, err := CellOf(lat, lon)
	if err != nil {
		return err
	}
	now := f.now().UnixMilli()
	for _, c := range around(cell) {
		here := func(p Person) bool { return p.Settings.Find.Nearby.Cell == c && p.Settings.Find.Nearby.Until > now }
		// In a crowded cell not always the same ones are found.
		from := Hit{Value: cellValue(c), User: anyName()}
		for _, after := range []Hit{from, {}} {
			if enough, err := f.walk(ctx, TermCell, cellValue(c), after, here); enough || err != nil {
				return err
			}
		}
	}
	return nil
}

// anyName is the beginning of some name.
func anyName() accounts.Name {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyz"
	return accounts.Name([]byte{letters[rand.IntN(len(letters))], letters[rand.IntN(len(letters))]})
}

// EndArea is a change of a person: whoever is not found nearby any more at a time is nowhere.
func EndArea(now time.Time) func(*Person) (bool, error) {
	return func(p *Person) (tell bool, err error) {
		if p.Settings.Find.Nearby.Until < now.UnixMilli() {
			p.Settings.Find.Nearby = Area{}
		}
		return false, nil
	}
}
