package accounts

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzNames(f *testing.F) {
	for _, s := range []string{"alice", "me", "", "-a", "a-_9", "A", "a.b", "é", "a\x00", strings.Repeat("a", 33),
		strings.Repeat("a", 65)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		user, errU := ParseUser(s)
		device, errD := ParseDevice(s)
		if errU == nil && (string(user) != s || len(s) > maxUserName || errD != nil) {
			t.Errorf("ParseUser(%q) = %q, and as a device %v", s, user, errD)
		}
		bad := len(s) > maxDeviceName || s == "me" || strings.ContainsAny(s, "/+#$.? \x00")
		if errD == nil && (string(device) != s || bad) {
			t.Errorf("ParseDevice(%q) = %q", s, device)
		}
	})
}

func FuzzPHC(f *testing.F) {
	good := phc{memory: 19456, time: 2, threads: 1, salt: make([]byte, saltSize), key: make([]byte, keySize)}.String()
	f.Add(good)
	f.Add(strings.Replace(good, "m=19456", "m=+19456", 1))
	f.Add(strings.Replace(good, "m=19456", "m=4294967295", 1))
	f.Add(strings.Replace(good, "t=2", "t=0", 1))
	f.Add(good + "$")
	f.Add("$argon2id$v=19$m=8,t=1,p=1$$")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parsePHC(s)
		if err != nil {
			return
		}
		if h.String() != s {
			t.Errorf("parsePHC(%q).String() = %q", s, h.String())
		}
		if h.memory > maxHashMemory || h.time > maxHashTime || h.memory < 8*uint32(h.threads) || h.time < 1 || h.threads < 1 {
			t.Errorf("parsePHC(%q) = %+v", s, h)
		}
	})
}

func FuzzTokens(f *testing.F) {
	secret, _ := newSecret(tokenPrefix)
	f.Add(secret)
	f.Add(secret + "x")
	f.Add(strings.Repeat("x", len(secret)))
	f.Add("Alice's\nphone")
	f.Fuzz(func(t *testing.T, s string) {
		if isToken(s) && (len(s) != len(secret) || !strings.HasPrefix(s, tokenPrefix) || DefaultConfig().checkNew(s) == nil) {
			t.Errorf("%q is taken for a token", s)
		}
		if l := CleanLabel(s); len(l) > maxLabel || !utf8.ValidString(l) || strings.ContainsAny(l, "\r\n\x00") {
			t.Errorf("CleanLabel(%q) = %q", s, l)
		}
	})
}

func TestASecretHasTheFormThatItIsRecognisedBy(t *testing.T) {
	for range 100 {
		token, d := newSecret(tokenPrefix)
		invitation, e := newSecret(invitationPrefix)
		if !isToken(token) || len(token) != 47 || isToken(invitation) || d == e {
			t.Fatalf("token %q, invitation %q", token, invitation)
		}
	}
}

func TestAStoredHashVerifies(t *testing.T) {
	// From the tests of the reference implementation (phc-winner-argon2, test.c).
	const hash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	h, err := parsePHC(hash)
	if err != nil {
		t.Fatal(err)
	}
	if !h.matches("password") || h.matches("Password") {
		t.Error("the reference hash does not verify")
	}
}
