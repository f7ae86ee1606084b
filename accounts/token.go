package accounts

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What the secrets that Magpie makes begin with, so that people, and scanners for leaked secrets, recognise them.
const (
	tokenPrefix      = "mgp_"
	invitationPrefix = "mgi_"
	recoveryPrefix   = "mgr_"
	devicePrefix     = "mgd_"
)

const (
	secretSize = 32 // random bytes
	maxLabel   = 64 // bytes
)

// newSecret makes a secret and the digest under which it is stored.
func newSecret(prefix string) (string, Digest) {
	secret := prefix + base64.RawURLEncoding.EncodeToString(random(secretSize))
	return secret, sha256.Sum256([]byte(secret))
}

// isToken says whether secret has the form of a token. No password has it, see checkNew: so a token that has ended,
// which some device may go on trying for weeks, never costs a password hash.
func isToken(secret string) bool { return hasForm(secret, tokenPrefix) }

// isDeviceSecret says whether secret has the form of a device's.
func isDeviceSecret(secret string) bool { return hasForm(secret, devicePrefix) }

func hasForm(secret, prefix string) bool {
	rest, ok := strings.CutPrefix(secret, prefix)
	if !ok || len(rest) != base64.RawURLEncoding.EncodedLen(secretSize) {
		return false
	}
	for i := range len(rest) {
		c := rest[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// CleanLabel makes what a client calls itself fit to be stored and shown: one line of at most maxLabel bytes.
func CleanLabel(s string) string { return CleanLine(s, maxLabel) }

// CleanLine does so with a line of at most longest bytes.
func CleanLine(s string, longest int) string {
	var b strings.Builder
	for _, r := range s {
		joins := r == '\u200c' || r == '\u200d' // within emoji, and words of some scripts
		if !unicode.IsGraphic(r) && !joins || r == utf8.RuneError {
			continue
		}
		if b.Len()+utf8.RuneLen(r) > longest {
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}
