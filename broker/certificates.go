package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/authority"
	"github.com/magpie-im/magpie/broker/transport"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/provisioning"
)

// What tls.client_auth may be.
const (
	clientAuthOff      = "off"
	clientAuthOptional = "optional"
	clientAuthRequired = "required"
)

// protocols are what clients may call MQTT (ALPN): its name in the register, and what the SDKs of AWS say.
var protocols = []string{"mqtt", "x-amzn-mqtt-ca"}

// secure gives what the encrypted listeners have in common, or nil if there are none.
func (n *Node) secure() (*tls.Config, error) {
	if n.cfg.TLS.Cert == "" {
		return nil, nil
	}
	warn := func(err error) { n.log.Warn("certificate not renewed", "err", err) }
	c, err := transport.Certificates(n.cfg.TLS.Cert, n.cfg.TLS.Key, warn)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	return c, nil
}

// forMQTT gives what is so for MQTT only. Certificates are asked for without saying of whom, because one may be pinned that
// nobody has signed, and are looked at with the CONNECT, which can be told that they are not good.
func (n *Node) forMQTT(common *tls.Config) *tls.Config {
	c := common.Clone()
	c.NextProtos = protocols
	switch n.cfg.TLS.ClientAuth {
	case clientAuthOptional:
		c.ClientAuth = tls.RequestClientCert
	case clientAuthRequired:
		c.ClientAuth = tls.RequireAnyClientCert
	}
	return c
}

// trust lets those vouch for devices whom the configuration names.
func (n *Node) trust(acc *accounts.Service) error {
	if n.cfg.TLS.ClientCA == "" {
		return nil
	}
	warn := func(err error) { n.log.Warn("authorities of devices not read again", "err", err) }
	t, err := authority.OpenTrust(n.cfg.TLS.ClientCA, n.cfg.TLS.ClientRevoked, warn)
	if err != nil {
		return fmt.Errorf("load the authorities of devices: %w", err)
	}
	acc.SetAuthority(t)
	n.trusted = t
	return nil
}

// provisioner makes what gives devices of batches their certificates.
func (c Config) provisioner(factory *devices.Factory, acc *accounts.Service) (*provisioning.Desk, error) {
	var signer *authority.Signer
	if c.Devices.CACert != "" {
		var err error
		if signer, err = authority.OpenSigner(c.Devices.CACert, c.Devices.CAKey); err != nil {
			return nil, fmt.Errorf("load the authority that signs for devices: %w", err)
		}
	}
	return provisioning.NewDesk(factory, acc, signer, time.Duration(c.Devices.CertDays)*24*time.Hour, time.Now)
}

// trustEvery is how often it is looked whether there is something new from the authorities: so long a certificate that has been
// revoked may be used by a device that is connected. Who connects is looked at then.
const trustEvery = 2 * time.Second

// watchTrust looks again at who has shown a certificate whenever there is something new from the authorities: twice, for those
// who were just coming when it was seen.
func (n *Node) watchTrust(ctx context.Context) error {
	if n.trusted == nil {
		return nil
	}
	ticker := time.NewTicker(trustEvery)
	defer ticker.Stop()
	version, again := n.trusted.Version(), false
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
		now := n.trusted.Version()
		if now != version || again {
			err := n.gateway.RecheckCertificates(ctx)
			again = now != version || errors.Is(err, accounts.ErrUnavailable)
		}
		version = now
	}
}
