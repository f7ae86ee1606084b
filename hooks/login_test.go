package hooks

import (
	"strings"
	"testing"

	"github.com/magpie-im/magpie/broker/sessions"
)

var deviceSecret = "mgd_" + strings.Repeat("a", 43)

// What the SDKs of AWS send (version 2 for JavaScript, version 1 for Node.js).
const (
	sdk2 = "?SDK=IoTDeviceSDK/JS&Platform=Unix&Metadata=(CRTVersion=1.28.0;OS=linux%20x)&Version=1.26.0"
	sdk1 = "?SDK=JavaScript&Version=2.2.16"
)

func TestWhatACONNECTShows(t *testing.T) {
	text := sessions.Options{Text: true}
	tests := map[string]struct {
		user, password string
		use            certificateUse
		want           showing
		options        sessions.Options
		bad            bool
	}{
		"a user":                        {user: "alice", password: "pw", want: showing{"alice", "pw", formUser}},
		"with no options":               {user: "alice?", password: "pw", want: showing{"alice", "pw", formUser}},
		"with an option":                {user: "alice?fmt=text", want: showing{"alice", "", formUser}, options: text},
		"with two":                      {user: "alice?fmt=text&ack=event", want: showing{name: "alice"}, options: sessions.Options{Text: true, AckEvents: true}},
		"with another":                  {user: "alice?sync=cursor", want: showing{name: "alice"}, options: sessions.Options{SyncCursor: true}},
		"by an SDK":                     {user: "alice" + sdk2, password: "pw", want: showing{"alice", "pw", formUser}},
		"by an SDK, with an option":     {user: "alice?fmt=text&SDK=JavaScript", want: showing{name: "alice"}, options: text},
		"an option that is none":        {user: "alice?fmt=xml", bad: true},
		"a misspelt option":             {user: "alice?fnt=text", bad: true},
		"a second query":                {user: "alice?fmt=text?x", bad: true},
		"a broken escape":               {user: "alice?%zz", bad: true},
		"an option to inject something": {user: "alice?a=1&a=1&fmt=text;rm=1", bad: true},
		"a name in upper case":          {user: "Alice", bad: true},
		"the alias":                     {user: "me", bad: true},
		"nothing":                       {user: "", bad: true},
		"options of nobody":             {user: "?fmt=text", bad: true},
		"an SDK of nobody":              {user: sdk2, bad: true},
		"a space":                       {user: "alice bob", bad: true},
		"a path":                        {user: "alice/../bob", bad: true},
		"a long name":                   {user: strings.Repeat("a", 33), bad: true},

		"a device":                        {user: "dev:lamp", password: deviceSecret, want: showing{"lamp", deviceSecret, formDevice}},
		"a device with options":           {user: "dev:lamp?fmt=text", password: "x", want: showing{"lamp", "x", formDevice}, options: text},
		"a device without a secret":       {user: "dev:lamp", want: showing{"lamp", "", formDevice}},
		"a device with a long name":       {user: "dev:" + strings.Repeat("a", 64), want: showing{strings.Repeat("a", 64), "", formDevice}},
		"a device with too long a name":   {user: "dev:" + strings.Repeat("a", 65), bad: true},
		"a device with no name":           {user: "dev:", bad: true},
		"a device with two marks":         {user: "dev:dev:lamp", bad: true},
		"the alias as a device":           {user: "dev:me", bad: true},
		"a wildcard as a device":          {user: "dev:+", bad: true},
		"a token":                         {user: deviceSecret, want: showing{"", deviceSecret, formToken}},
		"a token with options":            {user: deviceSecret + "?fmt=text", want: showing{"", deviceSecret, formToken}, options: text},
		"a token with a password":         {user: deviceSecret, password: "x", bad: true},
		"a token that is too short":       {user: deviceSecret[:46], bad: true},
		"a certificate":                   {use: certificateShown, want: showing{form: formCertificate}},
		"a certificate by SDK 1":          {user: sdk1, use: certificateShown, want: showing{form: formCertificate}},
		"a certificate by SDK 2":          {user: sdk2, use: certificateShown, want: showing{form: formCertificate}},
		"a certificate with an option":    {user: "?fmt=text&x", use: certificateShown, want: showing{form: formCertificate}, options: text},
		"a certificate with its name":     {user: "lamp", use: certificateShown, want: showing{name: "lamp", form: formCertificate}},
		"a certificate with its mark":     {user: "dev:lamp", use: certificateShown, want: showing{name: "lamp", form: formCertificate}},
		"a certificate with no name":      {user: "a b", use: certificateShown, bad: true},
		"a certificate and a password":    {user: "alice", password: "pw", use: certificateShown, want: showing{"alice", "pw", formUser}},
		"a certificate and a secret":      {user: "dev:lamp", password: "x", use: certificateShown, want: showing{"lamp", "x", formDevice}},
		"a certificate and a token":       {user: deviceSecret, use: certificateShown, want: showing{"", deviceSecret, formToken}},
		"a password where none counts":    {user: "alice", password: "pw", use: certificateNeeded, want: showing{name: "alice", form: formCertificate}},
		"nothing where a certificate has": {use: certificateNeeded, want: showing{form: formCertificate}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, options, err := parseShowing(tt.user, tt.password, tt.use)
			if (err != nil) != tt.bad || !tt.bad && (got != tt.want || options != tt.options) {
				t.Errorf("parseShowing(%q, %q) = %+v, %+v, %v, want %+v, %+v", tt.user, tt.password, got, options, err, tt.want, tt.options)
			}
		})
	}
}

func FuzzWhatACONNECTShows(f *testing.F) {
	f.Add("alice?fmt=text&ack=event", "pw", byte(0))
	f.Add("me?sync=cursor", "", byte(1))
	f.Add("dev:lamp"+sdk2, deviceSecret, byte(2))
	f.Add(deviceSecret, "", byte(0))
	f.Fuzz(func(t *testing.T, user, password string, use byte) {
		s, _, err := parseShowing(user, password, certificateUse(use%3))
		if err != nil {
			return
		}
		if strings.ContainsAny(s.name, "/+#?$. :") {
			t.Errorf("parseShowing(%q) = %q, which would break out of its topics", user, s.name)
		}
		if !strings.HasPrefix(user, s.name) && !strings.HasPrefix(user, deviceMark+s.name) {
			t.Errorf("parseShowing(%q) = %q, which is not how it begins", user, s.name)
		}
		if s.name == "" && s.form != formToken && s.form != formCertificate {
			t.Errorf("parseShowing(%q) is nobody", user)
		}
	})
}
