package broker

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that a person writes: "10s", "1h30m", "30d".
type Duration time.Duration

const (
	second = Duration(time.Second)
	day    = Duration(24 * time.Hour)
)

// UnmarshalText takes what time.ParseDuration takes, and whole days: "30d".
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 32)
		if err != nil || n > uint64(math.MaxInt64/int64(day)) {
			return fmt.Errorf("%q is no time like 10s, 1h30m or 30d", s)
		}
		*d = Duration(n) * day
		return nil
	}
	parsed, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is no time like 10s, 1h30m or 30d", s)
	}
	*d = Duration(parsed)
	return nil
}

// MarshalText gives the shortest form that UnmarshalText takes.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String is the text of MarshalText.
func (d Duration) String() string {
	if d != 0 && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Bytes is a size that a person writes: 512, "64KiB", "1MiB", "2GiB".
type Bytes int64

const (
	kibibyte Bytes = 1 << 10
	mebibyte Bytes = 1 << 20
	gibibyte Bytes = 1 << 30
)

var byteUnits = []struct {
	name string
	size Bytes
}{{"GiB", gibibyte}, {"MiB", mebibyte}, {"KiB", kibibyte}, {"B", 1}, {"", 1}}

// UnmarshalText takes a whole number and one of B, KiB, MiB, GiB, or none for bytes.
func (b *Bytes) UnmarshalText(text []byte) error {
	s := string(text)
	for _, unit := range byteUnits {
		number, ok := strings.CutSuffix(s, unit.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/int64(unit.size) {
			break
		}
		*b = Bytes(n) * unit.size
		return nil
	}
	return fmt.Errorf("%q is no size like 512, 64KiB, 1MiB or 2GiB", s)
}

// MarshalText gives the shortest form that UnmarshalText takes.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// String is the text of MarshalText.
func (b Bytes) String() string {
	for _, unit := range byteUnits {
		if unit.size > 1 && b != 0 && b%unit.size == 0 {
			return strconv.FormatInt(int64(b/unit.size), 10) + unit.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// Ceiling is a size that a person writes as such ("2GiB") or as a part of the machine's memory ("75%"). The zero value is
// none.
type Ceiling struct {
	Size    Bytes
	Percent int // 1 to 100, with a Size of 0
}

// UnmarshalText takes what [Bytes] takes, and whole percentages up to 100.
func (c *Ceiling) UnmarshalText(text []byte) error {
	number, isPart := strings.CutSuffix(string(text), "%")
	if !isPart {
		var size Bytes
		if size.UnmarshalText(text) != nil {
			return fmt.Errorf("%q is neither a size like 2GiB nor a part like 75%%", text)
		}
		*c = Ceiling{Size: size}
		return nil
	}
	percent, err := strconv.ParseUint(strings.TrimSpace(number), 10, 8)
	if err != nil || percent < 1 || percent > 100 {
		return fmt.Errorf("%q is not between 1%% and 100%%", text)
	}
	*c = Ceiling{Percent: int(percent)}
	return nil
}

// MarshalText gives the shortest form that UnmarshalText takes.
func (c Ceiling) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// String is the text of MarshalText.
func (c Ceiling) String() string {
	if c.Percent > 0 {
		return strconv.Itoa(c.Percent) + "%"
	}
	return c.Size.String()
}

// PublicKey is an Ed25519 public key; nil: none.
type PublicKey []byte

// UnmarshalText takes base64.
func (k *PublicKey) UnmarshalText(text []byte) error {
	raw, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil || len(raw) != 0 && len(raw) != ed25519.PublicKeySize {
		return fmt.Errorf("%q is no Ed25519 key of 32 bytes in base64", text)
	}
	*k = nil
	if len(raw) > 0 {
		*k = raw
	}
	return nil
}

// MarshalText gives what UnmarshalText takes.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// String is the text of MarshalText.
func (k PublicKey) String() string { return base64.StdEncoding.EncodeToString(k) }

// Secret is a value that never shows: printed, logged and in magpie check it is "***". The zero value is no secret.
type Secret struct{ value string }

// UnmarshalText takes the secret itself, or "file:/path" for the first line of a file.
func (s *Secret) UnmarshalText(text []byte) (err error) {
	s.value, err = firstLine(text)
	return err
}

// firstLine gives the text itself, or for "file:/path" the first line of that file.
func firstLine(text []byte) (string, error) {
	path, ok := strings.CutPrefix(string(text), "file:")
	if !ok {
		return string(text), nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	line, _, _ := strings.Cut(string(content), "\n")
	if line = strings.TrimSpace(line); line == "" {
		return "", fmt.Errorf("the first line of %s is empty", path)
	}
	return line, nil
}

// Reveal gives the secret; "" if there is none.
func (s Secret) Reveal() string { return s.value }

// String hides the secret.
func (s Secret) String() string {
	if s.value == "" {
		return ""
	}
	return "***"
}

// GoString hides it from %#v as well.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// MarshalText hides the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// URI is where a database is. It may have a password in it, which never shows: printed and logged there is "***" in its place.
// The zero value is none.
type URI struct{ value string }

// UnmarshalText takes the address itself, or "file:/path" for the first line of a file.
func (u *URI) UnmarshalText(text []byte) (err error) {
	u.value, err = firstLine(text)
	return err
}

// Reveal gives the address as it is; "" if there is none.
func (u URI) Reveal() string { return u.value }

// Valid says whether there is none, or one of a kind that is known.
func (u URI) Valid() bool {
	return u.value == "" || strings.HasPrefix(u.value, "mongodb://") || strings.HasPrefix(u.value, "mongodb+srv://")
}

// String hides what may be secret: everything between the name of the user and the servers, and of the options those that may
// have secrets in them. Of what is no valid address it shows nothing.
func (u URI) String() string {
	scheme, rest, found := strings.Cut(u.value, "://")
	if !found {
		return Secret(u).String()
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		name, _, has := strings.Cut(rest[:at], ":")
		if has {
			name += ":***"
		}
		rest = name + rest[at:]
	}
	path, options, found := strings.Cut(rest, "?")
	if !found {
		return scheme + "://" + rest
	}
	all := strings.Split(options, "&")
	for i, option := range all {
		name, _, _ := strings.Cut(option, "=")
		switch strings.ToLower(name) {
		case "tlscertificatekeyfilepassword", "sslclientcertificatekeypassword", "authmechanismproperties":
			all[i] = name + "=***"
		}
	}
	return scheme + "://" + path + "?" + strings.Join(all, "&")
}

// GoString hides the same from %#v.
func (u URI) GoString() string { return strconv.Quote(u.String()) }

// MarshalText hides the same.
func (u URI) MarshalText() ([]byte, error) { return []byte(u.String()), nil }
