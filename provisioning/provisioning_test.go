package provisioning

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/authority"
	"github.com/magpie-im/magpie/devices"
)

func newDesk(t testing.TB, now *time.Time) *Desk {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ca")
	if _, err := authority.Make(dir, "Devices", 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	signer, err := authority.OpenSigner(filepath.Join(dir, authority.CertificateFile), filepath.Join(dir, authority.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDesk(nil, nil, signer, time.Hour, func() time.Time { return *now })
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestTopicsAreThoseOfAWS(t *testing.T) {
	for topic, want := range map[string]bool{
		"$aws/certificates/create/json":                                              true,
		"$aws/certificates/create-from-csr/json":                                     true,
		"$aws/provisioning-templates/My-Fleet_1/provision/json":                      true,
		"$aws/certificates/create/cbor":                                              false,
		"$aws/certificates/create/json/x":                                            false,
		"$aws/provisioning-templates/provision/json":                                 false,
		"$aws/provisioning-templates//provision/json":                                false,
		"$aws/provisioning-templates/+/provision/json":                               false,
		"$aws/provisioning-templates/a/b/provision/json":                             false,
		"$aws/provisioning-templates/" + strings.Repeat("a", 37) + "/provision/json": false,
		"$aws/provisioning-templates/" + strings.Repeat("a", 36) + "/provision/json": true,
		"$aws/provisioning-templates/a/provision/json/accepted":                      false,
		"$aws/provisioning-templates/accepted/provision/json":                        true,
		"$aws/provisioning-templates/a/provision/json/rejected/accepted":             false,
		"$aws/things/lamp/shadow/get":                                                false,
	} {
		if got := IsRequest(topic); got != want {
			t.Errorf("%s is a request: %t", topic, got)
		}
		if got := IsAnswer(topic + "/accepted"); got != want {
			t.Errorf("%s/accepted is an answer: %t", topic, got)
		}
		if IsAnswer(topic) && !strings.HasSuffix(topic, "/accepted") {
			t.Errorf("%s is an answer", topic)
		}
	}
}

func TestATokenIsGoodForAnHourAndABatch(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	d := newDesk(t, &now)
	pin := accounts.DigestOf("x")
	token := d.token("b1", pin, now.Add(tokenLife))
	if got, err := d.proven("b1", token); err != nil || got != pin {
		t.Errorf("%v, %v", got, err)
	}
	var refused *refusal
	for what, err := range map[string]error{
		"of another batch": second(d.proven("b2", token)), "of another server": second(newDesk(t, &now).proven("b1", token)),
		"none": second(d.proven("b1", "")),
	} {
		if !errors.As(err, &refused) {
			t.Errorf("%s: %v", what, err)
		}
	}
	now = now.Add(tokenLife)
	if _, err := d.proven("b1", token); !errors.As(err, &refused) {
		t.Errorf("after an hour: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func FuzzRequests(f *testing.F) {
	now := time.Unix(1_800_000_000, 0)
	d := newDesk(f, &now)
	f.Add([]byte(`{"certificateSigningRequest":"-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----"}`))
	f.Add([]byte(`{"certificateOwnershipToken":"AAAA","parameters":{"SerialNumber":"1"}}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		for what, do := range map[string]func() (any, error){
			"sign":     func() (any, error) { return d.sign(devices.Batch{Key: "b"}, payload) },
			"register": func() (any, error) { return d.register(t.Context(), devices.Batch{Key: "b"}, payload) },
		} {
			if made, err := do(); err == nil || refusalOf(err) == nil { // a key and a MAC are not found by trying
				t.Errorf("%s: %v, %v", what, made, err)
			}
		}
	})
}
