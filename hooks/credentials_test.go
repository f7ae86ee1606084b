package hooks_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/authority"
	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/wire"
)

// forDevices lets devices do everything below t/.
func forDevices(c *broker.Config) {
	c.ACL = append(c.ACL, broker.ACLConfig{Topic: "t/#", Who: "devices", Allow: []string{"pub", "sub"}},
		broker.ACLConfig{Topic: "t/#", Who: "alice", Allow: []string{"pub", "sub"}})
}

func addDevice(t *testing.T, n *brokertest.Node, did string) string {
	t.Helper()
	secret, err := n.Accounts().AddDevice(t.Context(), did, "alice")
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// reason gives the reason of the CONNACK for 5; that of 3.1.1 is in its place there.
func reason(version byte, five, three byte) byte {
	if version < wire.V5 {
		return three
	}
	return five
}

func TestADeviceLogsInWithASecret(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			n := start(t, forDevices)
			secret := addDevice(t, n, "lamp")
			locked := addDevice(t, n, "lock")
			if err := n.Accounts().SuspendDevice(t.Context(), "lock", accounts.Suspension{Disabled: true}); err != nil {
				t.Fatal(err)
			}
			wrong := reason(version, 0x86, 4)
			for what, tt := range map[string]struct {
				user, password string
				want           byte
			}{
				"its name and secret":       {"dev:lamp", secret, 0},
				"with options":              {"dev:lamp?ack=event", secret, 0},
				"the secret as user name":   {secret, "", 0},
				"as an SDK":                 {"dev:lamp?SDK=JavaScript&Version=2.2.16", secret, 0},
				"another's secret":          {"dev:lamp", locked, wrong},
				"a user's password":         {"dev:alice", brokertest.Password, wrong},
				"its secret as a user's":    {"lamp", secret, wrong},
				"a user as a device":        {"alice", secret, wrong},
				"no secret":                 {"dev:lamp", "", wrong},
				"an unknown token":          {"mgd_" + secret[5:] + "x", "", wrong},
				"an option that is none":    {"dev:lamp?x=y", secret, wrong},
				"suspended":                 {"dev:lock", locked, reason(version, 0x87, 5)},
				"suspended, with the token": {locked, "", reason(version, 0x87, 5)},
			} {
				cl, ack, err := wire.Open(n.MQTT(), version, wire.Connect{User: tt.user, Password: tt.password, ClientID: "any", Clean: true})
				if err != nil || ack.Reason != tt.want {
					t.Errorf("%s: reason %#x, %v, want %#x", what, ack.Reason, err, tt.want)
				}
				if err == nil {
					_ = cl.Close()
				}
			}
		})
	}
}

func TestADeviceIsNoPerson(t *testing.T) {
	n := start(t, forDevices)
	secret := addDevice(t, n, "lamp")
	lamp := connect(t, n, wire.V5, wire.Connect{User: "dev:lamp", Password: secret, ClientID: "x", Clean: true})
	codes := lamp.subscribe(wire.Filter{Topic: "dev/me/rsp"}, wire.Filter{Topic: "im/u/me/rsp"}, wire.Filter{Topic: "im/u/lamp/#"},
		wire.Filter{Topic: "im/p/+"}, wire.Filter{Topic: "im/p/alice"}, wire.Filter{Topic: "t/a"}, wire.Filter{Topic: "$share/g/t/a"})
	for i, want := range []byte{0, 0x87, 0x87, 0x87, 0x87, 0, 0} {
		if codes[i] != want {
			t.Errorf("subscription %d: %#x, want %#x", i, codes[i], want)
		}
	}
	for i, topic := range []string{"im/to/alice/send", "im/c/d.alice.bob/send", "im/u/me/state", "im/rpc/whoami", "im/c/d.alice.bob/read"} {
		id := uint16(i + 1)
		lamp.send(wire.Packet{Type: wire.PUBLISH, QoS: 1, ID: id, Topic: topic, Payload: []byte("hello")})
		for {
			p, err := lamp.Read(time.Now().Add(brokertest.Deadline))
			if err != nil {
				t.Fatal(err)
			}
			if p.Type == wire.PUBACK {
				if p.ID != id || p.Reason != 0x87 {
					t.Errorf("%s: %+v", topic, p)
				}
				break
			}
		}
	}
	refusedWill := wire.Connect{User: "dev:lamp", Password: secret, ClientID: "will", Clean: true,
		Will: &wire.Will{Topic: "im/to/alice/send", Payload: []byte("dead")}}
	cl, ack, err := wire.Open(n.MQTT(), wire.V5, refusedWill)
	if err != nil || ack.Reason != 0x87 {
		t.Errorf("a will for a person: %#x, %v", ack.Reason, err)
	} else {
		_ = cl.Close()
	}
}

func TestADeviceIsAnsweredOnItsOwnTopic(t *testing.T) {
	n := start(t)
	lamp := connect(t, n, wire.V311, wire.Connect{User: "dev:lamp", Password: addDevice(t, n, "lamp"), ClientID: "x", Clean: true})
	lamp.subscribe(wire.Filter{Topic: "dev/me/rsp", Options: 1})
	lamp.send(wire.Packet{Type: wire.PUBLISH, QoS: 1, ID: 1, Topic: "im/to/alice/send", Payload: []byte("hello")})
	p := lamp.readBoth(wire.PUBLISH, wire.PUBACK)
	var answer map[string]any
	if err := json.Unmarshal(p.Payload, &answer); err != nil || p.Topic != "dev/me/rsp" || answer["err"] != "no_right" {
		t.Errorf("got %s on %s", p.Payload, p.Topic)
	}
}

func TestWhatEndsADevicesConnections(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			n := start(t)
			acc, ctx := n.Accounts(), t.Context()
			first, other := addDevice(t, n, "lamp"), addDevice(t, n, "lock")
			rotate := func() string {
				t.Helper()
				secret, err := acc.RotateSecret(ctx, "lamp")
				if err != nil {
					t.Fatal(err)
				}
				return secret
			}
			with := func(secret, id string) *client {
				t.Helper()
				return connect(t, n, version, wire.Connect{User: "dev:lamp", Password: secret, ClientID: id, Clean: true})
			}
			lock := connect(t, n, version, wire.Connect{User: "dev:lock", Password: other, ClientID: "a", Clean: true})
			a := with(first, "a")
			second := rotate()
			b := with(second, "b")
			a.stays()
			third := rotate()
			a.wantEnd(version, 0x87)
			b.stays()
			c := with(third, "c")
			if err := acc.DropOldSecret(ctx, "lamp"); err != nil {
				t.Fatal(err)
			}
			b.wantEnd(version, 0x87)
			c.stays()
			if err := acc.SuspendDevice(ctx, "lamp", accounts.Suspension{Disabled: true}); err != nil {
				t.Fatal(err)
			}
			c.wantEnd(version, 0x87)
			if err := acc.SuspendDevice(ctx, "lamp", accounts.Suspension{}); err != nil {
				t.Fatal(err)
			}
			d := with(third, "d")
			if err := acc.DeleteDevice(ctx, "lamp"); err != nil {
				t.Fatal(err)
			}
			d.ended() // by who ends what may not log in, or by who removes what is left
			lock.stays()
		})
	}
}

func TestADevicesSubscriptionsStayItsOwn(t *testing.T) {
	n := start(t, forDevices)
	secret := addDevice(t, n, "lamp")
	lamp := wire.Connect{User: "dev:lamp", Password: secret, ClientID: "lamp"}
	c := connect(t, n, wire.V311, lamp)
	c.subscribe(wire.Filter{Topic: "t/x", Options: 1})
	_ = c.Close()
	n.Restart()
	alice := connect(t, n, wire.V311, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	alice.send(wire.Packet{Type: wire.PUBLISH, QoS: 1, ID: 1, Topic: "t/x", Payload: []byte("on")})
	alice.read(wire.PUBACK)
	c = connect(t, n, wire.V311, lamp)
	if p := c.read(wire.PUBLISH); string(p.Payload) != "on" {
		t.Errorf("got %+v", p)
	}
}

// shop makes certificates for a test.
type shop struct {
	t    *testing.T
	dir  string
	ca   *authority.Authority
	root *x509.CertPool // of the server
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{t: t, dir: t.TempDir(), root: x509.NewCertPool()}
	var err error
	if s.ca, err = authority.Make(filepath.Join(s.dir, "ca"), "Devices", 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	server := s.selfSigned(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	s.root.AddCert(server.Leaf)
	key, err := x509.MarshalPKCS8PrivateKey(server.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	s.write("server.pem", "CERTIFICATE", server.Leaf.Raw)
	s.write("server.key", "PRIVATE KEY", key)
	return s
}

func (s *shop) path(name string) string { return filepath.Join(s.dir, name) }

func (s *shop) write(name, kind string, raw []byte) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// listen has a node listen with the certificates of the shop.
func (s *shop) listen(auth string) func(*broker.Config) {
	return func(c *broker.Config) {
		forDevices(c)
		c.TLS = broker.TLSConfig{
			Cert: s.path("server.pem"), Key: s.path("server.key"), MQTT: "127.0.0.1:0", ClientAuth: auth,
			ClientCA: s.path("ca/ca.pem"), ClientRevoked: s.path("ca/revoked.pem"),
		}
	}
}

// selfSigned makes a certificate that nobody else has signed.
func (s *shop) selfSigned(template *x509.Certificate) tls.Certificate {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		s.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		s.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key, Leaf: leaf}
}

// issue has an authority make a certificate.
func (s *shop) issue(by *authority.Authority, did string, life time.Duration) tls.Certificate {
	s.t.Helper()
	cert, key, err := by.Issue(did, life)
	if err != nil {
		s.t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		s.t.Fatal(err)
	}
	return pair
}

// open connects over TLS, with certificates if there are any. The error may be one of the handshake.
func (s *shop) open(n *brokertest.Node, version byte, c wire.Connect, certs ...tls.Certificate) (*client, byte, error) {
	s.t.Helper()
	raw, err := tls.Dial("tcp", n.Addresses().MQTTS, &tls.Config{
		RootCAs: s.root, Certificates: certs, NextProtos: []string{"x-amzn-mqtt-ca"}, MinVersion: tls.VersionTLS12,
	})
	if err != nil {
		return nil, 0, err
	}
	s.t.Cleanup(func() { _ = raw.Close() })
	if got := raw.ConnectionState().NegotiatedProtocol; got != "x-amzn-mqtt-ca" {
		s.t.Errorf("ALPN: %q", got)
	}
	cl := wire.New(raw, version)
	if c.ClientID == "" {
		c.ClientID = "x"
	}
	c.Clean = true
	if err := cl.Send(wire.Packet{Type: wire.CONNECT, Connect: c}); err != nil {
		return nil, 0, err
	}
	ack, err := cl.Read(time.Now().Add(brokertest.Deadline))
	return &client{cl, s.t}, ack.Reason, err
}

func (s *shop) pin(n *brokertest.Node, did accounts.Name, c tls.Certificate) {
	s.t.Helper()
	if err := n.Accounts().PinCertificate(s.t.Context(), did, sha256.Sum256(c.Certificate[0])); err != nil {
		s.t.Fatal(err)
	}
}

func TestADeviceLogsInWithACertificate(t *testing.T) {
	s := newShop(t)
	n := start(t, s.listen("optional"))
	secret := addDevice(t, n, "lamp")
	addDevice(t, n, "lock")
	foreign, err := authority.Make(s.path("foreign"), "Devices", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	uri, err := url.Parse("did:lamp")
	if err != nil {
		t.Fatal(err)
	}
	over := &x509.Certificate{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}
	good, pinned, expired := s.issue(s.ca, "lamp", time.Hour), s.selfSigned(&x509.Certificate{}), s.selfSigned(over)
	revoked := s.issue(s.ca, "lock", time.Hour)
	if gone, err := s.ca.Revoke("lock"); err != nil || len(gone) != 1 {
		t.Fatal(gone, err)
	}
	s.pin(n, "lock", pinned)
	s.pin(n, "lock", expired)
	s.pin(n, "lock", revoked)
	const sdk = "?SDK=IoTDeviceSDK/JS&Platform=Unix&Metadata=(CRTVersion=1.28.0;x)"
	tests := map[string]struct {
		with           []tls.Certificate
		user, password string
		want           accounts.Name // empty: it is refused
	}{
		"signed":                      {with: []tls.Certificate{good}, want: "lamp"},
		"signed, by an SDK":           {with: []tls.Certificate{good}, user: sdk, want: "lamp"},
		"signed, with its name":       {with: []tls.Certificate{good}, user: "lamp", want: "lamp"},
		"signed, with its mark":       {with: []tls.Certificate{good}, user: "dev:lamp?SDK=x", want: "lamp"},
		"signed, with another's name": {with: []tls.Certificate{good}, user: "lock"},
		"signed, for nobody":          {with: []tls.Certificate{s.issue(s.ca, "nobody", time.Hour)}},
		"signed, for a person":        {with: []tls.Certificate{s.issue(s.ca, "alice", time.Hour)}, user: "alice"},
		"signed, and over":            {with: []tls.Certificate{s.issue(s.ca, "lamp", -time.Minute)}},
		"signed, and revoked":         {with: []tls.Certificate{revoked}},
		"forged":                      {with: []tls.Certificate{s.issue(foreign, "lamp", time.Hour)}},
		"forged by itself":            {with: []tls.Certificate{s.selfSigned(&x509.Certificate{Subject: pkix.Name{CommonName: "lamp"}})}},
		"forged by itself, as a URI":  {with: []tls.Certificate{s.selfSigned(&x509.Certificate{URIs: []*url.URL{uri}})}},
		"pinned":                      {with: []tls.Certificate{pinned}, want: "lock"},
		"pinned, and over":            {with: []tls.Certificate{expired}},
		"none":                        {},
		"none, by an SDK":             {user: sdk},
		"none, and a secret":          {user: "dev:lamp", password: secret, want: "lamp"},
		"none, and a password":        {user: "alice", password: brokertest.Password, want: "alice"},
		"one that is not needed":      {with: []tls.Certificate{good}, user: "alice", password: brokertest.Password, want: "alice"},
		"one, and a wrong secret":     {with: []tls.Certificate{good}, user: "dev:lamp", password: "wrong"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, version := range versions {
				c, got, err := s.open(n, version, wire.Connect{User: tt.user, Password: tt.password}, tt.with...)
				want := reason(version, 0x86, 4)
				if tt.want != "" {
					want = 0
				}
				if err != nil || got != want {
					t.Fatalf("MQTT %d: reason %#x, %v, want %#x", version, got, err, want)
				}
				if want != 0 {
					continue
				}
				own := "dev/" + string(tt.want) + "/rsp"
				if tt.want == "alice" {
					own = "im/u/alice/rsp"
				}
				if codes := c.subscribe(wire.Filter{Topic: own}); codes[0] != 0 {
					t.Errorf("MQTT %d: it is not %s", version, tt.want)
				}
				_ = c.Close()
			}
		})
	}
}

func TestNobodyComesInWithoutACertificateWhereItIsRequired(t *testing.T) {
	s := newShop(t)
	n := start(t, s.listen("required"))
	secret := addDevice(t, n, "lamp")
	good := s.issue(s.ca, "lamp", time.Hour)
	foreign := s.selfSigned(&x509.Certificate{})
	if _, got, err := s.open(n, wire.V5, wire.Connect{User: "dev:lamp", Password: "ignored"}, good); err != nil || got != 0 {
		t.Errorf("with one: %#x, %v", got, err)
	}
	if _, _, err := s.open(n, wire.V5, wire.Connect{User: "dev:lamp", Password: secret}); err == nil {
		t.Error("without one it is let in")
	}
	if _, got, err := s.open(n, wire.V5, wire.Connect{User: "dev:lamp", Password: secret}, foreign); err != nil || got != 0x86 {
		t.Errorf("with one of nobody: %#x, %v", got, err)
	}
	if _, got, err := s.open(n, wire.V5, wire.Connect{User: "alice", Password: brokertest.Password}, foreign); err != nil || got != 0x86 {
		t.Errorf("a person with one of nobody: %#x, %v", got, err)
	}
	connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "elsewhere", Clean: true})
}

func TestACertificateThatIsRevokedOpensNothingAndEndsWhatItOpened(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	n := start(t, s.listen("optional"))
	addDevice(t, n, "lamp")
	addDevice(t, n, "lock")
	lamp, lock, pinned := s.issue(s.ca, "lamp", time.Hour), s.issue(s.ca, "lock", time.Hour), s.selfSigned(&x509.Certificate{})
	s.pin(n, "lock", pinned)
	with := func(c tls.Certificate, id string) *client {
		t.Helper()
		cl, got, err := s.open(n, wire.V5, wire.Connect{ClientID: id}, c)
		if err != nil || got != 0 {
			t.Fatalf("%s: %#x, %v", id, got, err)
		}
		return cl
	}
	a, b, c := with(lamp, "a"), with(lock, "b"), with(pinned, "c")
	if _, err := s.ca.Revoke("lamp"); err != nil {
		t.Fatal(err)
	}
	if _, got, err := s.open(n, wire.V5, wire.Connect{ClientID: "d"}, lamp); err != nil || got != 0x86 {
		t.Errorf("revoked: %#x, %v", got, err)
	}
	a.wantEnd(wire.V5, 0x87)
	b.stays()
	if err := n.Accounts().UnpinCertificate(t.Context(), "lock", sha256.Sum256(pinned.Certificate[0])); err != nil {
		t.Fatal(err)
	}
	c.wantEnd(wire.V5, 0x87)
	b.stays()
	if err := n.Accounts().SuspendDevice(t.Context(), "lock", accounts.Suspension{Disabled: true}); err != nil {
		t.Fatal(err)
	}
	b.wantEnd(wire.V5, 0x87)
}

// The tools of Mosquitto are clients that nobody here wrote.
func TestMosquittoShowsACertificate(t *testing.T) {
	tool, err := exec.LookPath("mosquitto_pub")
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("mosquitto_pub is not installed")
	}
	s := newShop(t)
	n := start(t, s.listen("optional"))
	addDevice(t, n, "lamp")
	cert, key, err := s.ca.Issue("lamp", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"lamp.pem": cert, "lamp.key": key} {
		if err := os.WriteFile(s.path(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	alice := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	alice.subscribe(wire.Filter{Topic: "t/#", Options: 1})
	_, port, err := net.SplitHostPort(n.Addresses().MQTTS)
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"311", "5"} {
		out, err := exec.CommandContext(t.Context(), tool, "-h", "127.0.0.1", "-p", port, "-V", version, "-q", "1", "-t", "t/lamp", "-m", version,
			"--cafile", s.path("server.pem"), "--cert", s.path("lamp.pem"), "--key", s.path("lamp.key")).CombinedOutput()
		if err != nil {
			t.Fatalf("mosquitto_pub -V %s: %v: %s", version, err, out)
		}
		if p := alice.read(wire.PUBLISH); p.Topic != "t/lamp" || string(p.Payload) != version {
			t.Errorf("got %+v", p)
		}
		alice.send(wire.Packet{Type: wire.PUBACK, ID: 1})
	}
}
