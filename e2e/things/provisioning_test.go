package things

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/authority"
	"github.com/magpie-im/magpie/e2e/clients"
	"github.com/magpie-im/magpie/e2e/server"
)

// workshop is where certificates and keys are.
type workshop struct {
	t   *testing.T
	dir string
}

func (w workshop) path(name string) string { return filepath.Join(w.dir, name) }

func (w workshop) write(name, kind string, raw []byte) (text string) {
	w.t.Helper()
	content := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw})
	if err := os.WriteFile(w.path(name), content, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return string(content)
}

// key makes one, in a file.
func (w workshop) key(name string) *ecdsa.PrivateKey {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(name, "PRIVATE KEY", raw)
	return key
}

// tls makes an authority, and a certificate for the server, and gives the settings that it is run with.
func (w workshop) tls() server.Option {
	w.t.Helper()
	if _, err := authority.Make(w.path("ca"), "Devices", time.Hour); err != nil {
		w.t.Fatal(err)
	}
	key := w.key("server.key")
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write("server.pem", "CERTIFICATE", raw)
	return server.Env(
		"MAGPIE_TLS_CERT="+w.path("server.pem"), "MAGPIE_TLS_KEY="+w.path("server.key"), "MAGPIE_TLS_MQTT=127.0.0.1:0",
		"MAGPIE_TLS_CLIENT_AUTH=optional",
		"MAGPIE_DEVICES_CA_CERT="+w.path("ca/ca.pem"), "MAGPIE_DEVICES_CA_KEY="+w.path("ca/ca.key"))
}

// A device that has nothing but what all of its batch have makes a key, has a certificate made for it, registers, and comes back with
// the certificate: with AWS's SDK as it is.
func TestADeviceProvisionsItselfWithTheSDKOfAWS(t *testing.T) {
	clients.AWSIoT.Need(t)
	w := workshop{t, t.TempDir()}
	h := begin(t, w.tls())
	text, err := h.Magpie("", "device", "batch", "add", "--key", "pumps", "--type", "pump")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(text) // key pumps secret mgb_...
	claim := h.startSDK(h.MQTT(), m{"user": "batch:pumps", "password": fields[len(fields)-1], "client": "any"})
	key := w.key("pump.key")
	raw, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	made := claim.does("csr", m{"certificateSigningRequest": w.write("pump.csr", "CERTIFICATE REQUEST", raw)})["csr"]
	certificate, _ := at(made, "certificatePem").(string)
	if err := os.WriteFile(w.path("pump.pem"), []byte(certificate), 0o600); err != nil {
		t.Fatal(err)
	}
	register := m{"templateName": "AnyFleet", "certificateOwnershipToken": at(made, "certificateOwnershipToken"),
		"parameters": m{"SerialNumber": "PUMP-0001"}}
	claim.want("name", at(claim.does("register", register)["register"], "thingName"), "pump-0001")
	register["certificateOwnershipToken"] = "forged"
	refused := claim.does("register", register)["error"]
	claim.want("code", at(refused, "errorCode"), "InvalidCertificateOwnershipToken")
	if keys := claim.does("keys", nil)["keys"]; at(keys, "privateKey") == nil {
		t.Errorf("no key: %v", keys)
	}
	claim.Kill()

	pump := h.startSDK(h.MQTTS(), m{"ca": w.path("server.pem"), "cert": w.path("pump.pem"), "key": w.path("pump.key"),
		"client": "pump-0001", "thing": "pump-0001"})
	got := pump.does("update", m{"state": m{"reported": m{"on": true}}})
	pump.want("its shadow", at(got["update"], "version"), 1)
}
