package broker

import (
	"fmt"
	"strings"
	"testing"
)

func TestAnAddressShowsNoPassword(t *testing.T) {
	tests := map[string]string{
		"":                                 "",
		"mongodb://db1,db2/im":             "mongodb://db1,db2/im",
		"mongodb://magpie@db1/im":          "mongodb://magpie@db1/im",
		"mongodb://magpie:hunter2@db1/im":  "mongodb://magpie:***@db1/im",
		"mongodb://magpie:hunter2@db1":     "mongodb://magpie:***@db1",
		"mongodb://magpie:hunter2/@db1":    "mongodb://magpie:***@db1",
		"mongodb://magpie:hun@ter2@db1/im": "mongodb://magpie:***@db1/im",
		"mongodb://magpie:hun?ter2@db1/im": "mongodb://magpie:***@db1/im",
		"mongodb+srv://magpie:hunter2@example.org/?w=majority": "mongodb+srv://magpie:***@example.org/?w=majority",
		"mongodb://db1/?tls=true&tlsCertificateKeyFilePassword=hunter2&maxPoolSize=3": "mongodb://db1/?tls=true&" +
			"tlsCertificateKeyFilePassword=***&maxPoolSize=3",
		"mongodb://db1/?authMechanismProperties=AWS_SESSION_TOKEN:hunter2": "mongodb://db1/?authMechanismProperties=***",
		"magpie:hunter2@db1": "***",
	}
	for text, want := range tests {
		var u URI
		if err := u.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got := u.String(); got != want {
			t.Errorf("%s shows as %s, want %s", text, got, want)
		}
		marshalled, err := u.MarshalText()
		if shown := fmt.Sprintf("%v %+v %#v %s", u, u, u, marshalled); err != nil || strings.Contains(shown, "hunter2") {
			t.Errorf("%s shows as %s, %v", text, shown, err)
		}
		if u.Reveal() != text {
			t.Errorf("%s is %s", text, u.Reveal())
		}
	}
}
