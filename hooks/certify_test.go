package hooks_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/e2e/wire"
)

// factory is a node that lets devices of a batch provision themselves.
type factory struct {
	*brokertest.Node
	t      *testing.T
	shop   *shop
	batch  devices.Batch
	secret string
}

func startFactory(t *testing.T, b devices.Batch) *factory {
	t.Helper()
	f := &factory{t: t, shop: newShop(t)}
	f.Node = start(t, f.shop.listen("optional"), func(c *broker.Config) {
		c.Devices.CACert, c.Devices.CAKey = f.shop.path("ca/ca.pem"), f.shop.path("ca/ca.key")
	})
	var err error
	if f.batch, f.secret, err = f.Factory().AddBatch(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return f
}

// Topics of AWS's.
const (
	byCSR    = "$aws/certificates/create-from-csr/json"
	byServer = "$aws/certificates/create/json"
	byName   = "$aws/provisioning-templates/Any_Template-1/provision/json"
)

// applicant connects with the secret of the batch, and subscribes to all answers.
func (f *factory) applicant(version byte) *client {
	f.t.Helper()
	c := connect(f.t, f.Node, version, wire.Connect{User: "batch:" + f.batch.Key, Password: f.secret, ClientID: "claim", Clean: true})
	for _, topic := range []string{byCSR, byServer, byName} {
		if codes := c.subscribe(wire.Filter{Topic: topic + "/accepted", Options: 1}, wire.Filter{Topic: topic + "/rejected", Options: 1}); !slices.Equal(codes, []byte{1, 1}) {
			f.t.Fatalf("SUBACK %#x", codes)
		}
	}
	return c
}

// asks gives what somebody is answered, and whether that is accepted.
func (f *factory) asks(c *client, topic string, in any) (accepted bool, answer map[string]any) {
	f.t.Helper()
	payload, err := json.Marshal(in)
	if err != nil {
		f.t.Fatal(err)
	}
	c.send(wire.Packet{Type: wire.PUBLISH, Topic: topic, Payload: payload})
	p := c.read(wire.PUBLISH)
	if err := json.Unmarshal(p.Payload, &answer); err != nil || !strings.HasPrefix(p.Topic, topic+"/") {
		f.t.Fatalf("%s %s: %v", p.Topic, p.Payload, err)
	}
	return strings.HasSuffix(p.Topic, "/accepted"), answer
}

func TestDevicesOfABatchAreProvisionedAsByAWS(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			f := startFactory(t, devices.Batch{Type: "plug", Model: "p1", Limit: 2})
			c := f.applicant(version)
			ok, made := f.asks(c, byServer, nil)
			if !ok || len(made["certificateId"].(string)) != 64 {
				t.Fatalf("create: %v", made)
			}
			pair, err := tls.X509KeyPair([]byte(made["certificatePem"].(string)), []byte(made["privateKey"].(string)))
			if err != nil {
				t.Fatal(err)
			}
			if _, code, _ := f.shop.open(f.Node, version, wire.Connect{}, pair); code == 0 {
				t.Error("a certificate that is nobody's opens something")
			}
			in := map[string]any{"certificateOwnershipToken": made["certificateOwnershipToken"],
				"parameters": map[string]string{"SerialNumber": "Plug 7"}}
			for range 2 { // the first answer may not have come
				if ok, got := f.asks(c, byName, in); !ok || got["thingName"] != "plug-7" || got["deviceConfiguration"] == nil {
					t.Fatalf("register: %v", got)
				}
			}
			d, code, err := f.shop.open(f.Node, version, wire.Connect{}, pair)
			if err != nil || code != 0 {
				t.Fatalf("the new device: %#x, %v", code, err)
			}
			d.send(wire.Packet{Type: wire.PUBLISH, ID: 1, QoS: 1, Topic: "dev/me/state", Payload: []byte(`{"on":true}`)})
			d.read(wire.PUBACK)
			v, err := f.Things().Get(t.Context(), "plug-7", "plug-7")
			if err != nil || v.Type != "plug" || v.Model != "p1" || v.Owner != "" {
				t.Errorf("%+v, %v", v, err)
			}
			_, other := f.asks(c, byServer, nil)
			in["certificateOwnershipToken"] = other["certificateOwnershipToken"]
			if ok, got := f.asks(c, byName, in); ok || got["statusCode"] != 409.0 {
				t.Errorf("the name of one that was there: %v", got)
			}
			delete(in, "parameters")
			if ok, got := f.asks(c, byName, in); !ok || got["thingName"] != f.batch.Key+"-"+other["certificateId"].(string)[:12] {
				t.Errorf("without a name: %v", got)
			}
			in["parameters"] = map[string]string{"ThingName": "third"}
			if ok, got := f.asks(c, byName, in); ok || got["errorCode"] != "LimitExceeded" {
				t.Errorf("one too many: %v", got)
			}
		})
	}
}

func TestACertificateIsMadeOfARequest(t *testing.T) {
	t.Parallel()
	f := startFactory(t, devices.Batch{})
	c := f.applicant(wire.V5)
	key := f.shop.selfSigned(&x509.Certificate{}).PrivateKey
	raw, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	csr := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: raw}))
	broken := slices.Clone(raw)
	broken[len(broken)-1] ^= 1
	for what, bad := range map[string]string{
		"none": "", "no PEM": "x", "a certificate": strings.ReplaceAll(csr, " REQUEST", ""), "no request": "-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n",
		"of another key": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: broken})),
	} {
		if ok, got := f.asks(c, byCSR, map[string]string{"certificateSigningRequest": bad}); ok || got["statusCode"] != 400.0 {
			t.Errorf("%s: %v", what, got)
		}
	}
	ok, made := f.asks(c, byCSR, map[string]string{"certificateSigningRequest": csr})
	if !ok || made["privateKey"] != nil {
		t.Fatalf("%v", made)
	}
	block, _ := pem.Decode([]byte(made["certificatePem"].(string)))
	token := made["certificateOwnershipToken"].(string)
	for what, bad := range map[string]string{"none": "", "another": token[:len(token)-2] + "AA", "cut": token[:40], "no base64": "!" + token[1:]} {
		in := map[string]any{"certificateOwnershipToken": bad, "parameters": map[string]string{"ThingName": "valve"}}
		if ok, got := f.asks(c, byName, in); ok || got["errorCode"] != "InvalidCertificateOwnershipToken" {
			t.Errorf("token, %s: %v", what, got)
		}
	}
	for what, bad := range map[string]any{"a list": []int{}, "numbers": map[string]any{"parameters": map[string]int{"a": 1}}} {
		if ok, got := f.asks(c, byName, bad); ok || got["statusCode"] != 400.0 {
			t.Errorf("%s: %v", what, got)
		}
	}
	in := map[string]any{"certificateOwnershipToken": token, "parameters": map[string]string{"ThingName": "valve"}}
	if ok, got := f.asks(c, byName, in); !ok {
		t.Fatalf("register: %v", got)
	}
	pair := tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}
	if _, code, err := f.shop.open(f.Node, wire.V5, wire.Connect{User: "valve"}, pair); err != nil || code != 0 {
		t.Errorf("the new device: %#x, %v", code, err)
	}

	if _, err := f.Factory().RevokeBatch(t.Context(), f.batch.Key); err != nil {
		t.Fatal(err)
	}
	if ok, got := f.asks(c, byServer, nil); ok || got["statusCode"] != 403.0 {
		t.Errorf("of a batch that was revoked: %v", got)
	}
	_, ack, err := wire.Open(f.MQTT(), wire.V5, wire.Connect{User: "batch:" + f.batch.Key, Password: f.secret, ClientID: "c"})
	if err != nil || ack.Reason != 0x86 {
		t.Errorf("who connects then: %#x, %v", ack.Reason, err)
	}
}

// Whoever has the key of a batch, which is in every device of it, may do nothing with it but this; and nobody else may.
func TestTheKeyOfABatchOpensNothingElse(t *testing.T) {
	t.Parallel()
	f := startFactory(t, devices.Batch{})
	secret := f.AddDevice("lamp", "alice")
	for what, c := range map[string]wire.Connect{
		"another secret": {User: "batch:" + f.batch.Key, Password: f.secret + "x"},
		"no secret":      {User: "batch:" + f.batch.Key},
		"another batch":  {User: "batch:none", Password: f.secret},
		"a device's":     {User: "batch:" + f.batch.Key, Password: secret},
		"as a device":    {User: "dev:" + f.batch.Key, Password: f.secret},
		"as a token":     {User: f.secret},
	} {
		c.ClientID = "x"
		if _, ack, err := wire.Open(f.MQTT(), wire.V5, c); err != nil || ack.Reason != 0x86 {
			t.Errorf("%s: %#x, %v", what, ack.Reason, err)
		}
	}
	c := f.applicant(wire.V5)
	for _, topic := range []string{
		byCSR + "/accepted", byName + "/rejected", "$aws/certificates/create/cbor", "$aws/certificates/create", "$aws/things/lamp/shadow/get",
		"$aws/things/lamp/jobs/get", "$aws/provisioning-templates/a/b/provision/json", "$aws/provisioning-templates//provision/json",
		"dev/lamp/state", "dev/me/state", "v1/devices/me/telemetry", "/provision", "/provision/request", "v2/fw/request/1/chunk/0",
		"im/to/alice/send", "im/rpc/device.list", "x", "$delayed/1/x", "$SYS/x",
	} {
		if _, user := c.acked(topic, `{}`); !slices.Contains(user, "{err no_right}") {
			t.Errorf("PUBLISH %s: %v", topic, user)
		}
	}
	for _, filter := range []string{
		"#", "$aws/#", "$aws/certificates/#", "$aws/certificates/create/json/+", "$aws/things/lamp/shadow/get/accepted", "dev/lamp/shadow",
		"dev/+/shadow", "dev/me/want", "im/u/me/in", "/provision/response", "$share/g/" + byCSR + "/accepted", "$SYS/#", "x",
		"$own/lamp/" + byCSR + "/accepted",
	} {
		if codes := c.subscribe(wire.Filter{Topic: filter}); codes[0] < 0x80 {
			t.Errorf("SUBSCRIBE %s: %#x", filter, codes)
		}
	}
	will := wire.Connect{User: "batch:" + f.batch.Key, Password: f.secret, ClientID: "w", Will: &wire.Will{Topic: "x"}}
	if _, ack, err := wire.Open(f.MQTT(), wire.V5, will); err != nil || ack.Reason != 0x87 {
		t.Errorf("a will: %#x, %v", ack.Reason, err)
	}
	other := f.applicant(wire.V5) // with the same client id; what the first is told is not for it
	f.asks(c, byServer, nil)
	ok, made := f.asks(other, byServer, nil)
	if !ok {
		t.Fatalf("%v", made)
	}
	applicant, _, err := wire.Open(f.MQTT(), wire.V5, wire.Connect{User: "provision", ClientID: "p", Clean: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = applicant.Close() })
	for who, c := range map[string]*client{
		"a user":       connect(t, f.Node, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true}),
		"a device":     connect(t, f.Node, wire.V5, wire.Connect{User: "dev:lamp", Password: secret, ClientID: "l", Clean: true}),
		"an applicant": {applicant, t},
	} {
		for _, topic := range []string{byCSR, byServer, byName} {
			in := fmt.Sprintf(`{"certificateOwnershipToken":%q,"parameters":{"ThingName":"forged"}}`, made["certificateOwnershipToken"])
			if _, user := c.acked(topic, in); !slices.Contains(user, "{err no_right}") {
				t.Errorf("%s, %s: %v", who, topic, user)
			}
			if codes := c.subscribe(wire.Filter{Topic: topic + "/accepted"}); codes[0] < 0x80 {
				t.Errorf("%s subscribes to %s: %#x", who, topic, codes)
			}
		}
	}
	second := *f // whose tokens are not those of the first
	if second.batch, second.secret, err = f.Factory().AddBatch(t.Context(), devices.Batch{Key: "second"}); err != nil {
		t.Fatal(err)
	}
	in := map[string]any{"certificateOwnershipToken": made["certificateOwnershipToken"], "parameters": map[string]string{"ThingName": "forged"}}
	if ok, got := second.asks(second.applicant(wire.V5), byName, in); ok {
		t.Errorf("with the token of another batch: %v", got)
	}
	if _, err := f.Accounts().Device(t.Context(), accounts.Name("forged")); err == nil {
		t.Error("there is a device")
	}
}

func TestWithoutAnAuthorityNoCertificateIsMade(t *testing.T) {
	n := start(t)
	b, secret, err := n.Factory().AddBatch(t.Context(), devices.Batch{})
	if err != nil {
		t.Fatal(err)
	}
	f := &factory{Node: n, t: t, batch: b, secret: secret}
	if ok, got := f.asks(f.applicant(wire.V311), byServer, nil); ok || !strings.Contains(fmt.Sprint(got["errorMessage"]), "devices.ca_cert") {
		t.Errorf("%v", got)
	}
}
