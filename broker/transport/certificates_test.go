package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

var serial atomic.Int64

// newPair gives certificate and key as PEM, and the certificate's serial number.
func newPair(t *testing.T) (cert, key []byte, number int64) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	number = serial.Add(1)
	template := &x509.Certificate{SerialNumber: big.NewInt(number), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), number
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	cert, key, _ := newPair(t)
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// replace does what renewals do: a new file under the old name.
func replace(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

func TestCertificatesAreReadAgainWhenTheyChange(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	var failures atomic.Int32
	if _, err := Certificates(certFile, keyFile); !os.IsNotExist(err) {
		t.Errorf("Certificates of nothing: %v, want that it does not exist", err)
	}
	cert, key, first := newPair(t)
	replace(t, certFile, cert)
	replace(t, keyFile, key)
	config, err := Certificates(certFile, keyFile, func(error) { failures.Add(1) })
	if err != nil {
		t.Fatal(err)
	}

	s := newServer(t, nil, func(c *Conn) {
		if admitted(t, c) {
			_, _ = io.Copy(c, c)
		}
	})
	addr, err := s.Listen("tls", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	presented := func() int64 {
		t.Helper()
		conn := tls.Client(dial(t, addr.String()), &tls.Config{InsecureSkipVerify: true})
		defer conn.Close()
		if err := conn.Handshake(); err != nil {
			t.Fatal(err)
		}
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	check := func(when string, want int64, wantFailures int32) {
		t.Helper()
		for range 3 { // what failed is not tried, and told, with every handshake
			if got := presented(); got != want {
				t.Errorf("%s: certificate %d, want %d", when, got, want)
			}
		}
		if got := failures.Load(); got != wantFailures {
			t.Errorf("%s: %d failures told, want %d", when, got, wantFailures)
		}
	}

	check("at first", first, 0)
	cert, key, second := newPair(t)
	replace(t, certFile, cert)
	check("with the old key", first, 1)
	replace(t, keyFile, key)
	check("renewed", second, 1)
	replace(t, certFile, []byte("oops"))
	check("damaged", second, 2)
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	check("removed", second, 2)
	cert, key, third := newPair(t)
	replace(t, keyFile, key)
	replace(t, certFile, cert)
	check("renewed again", third, 2)
	if _, err := Certificates(keyFile, certFile); err == nil {
		t.Error("Certificates with the files mixed up: no error")
	}
}
