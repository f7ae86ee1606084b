package hooks

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
)

// showing is what a CONNECT shows of who it comes from. docs/devices.md has the forms.
type showing struct {
	name   string // a user, or a device if form says so; empty: what else is shown has to say
	secret string
	form   form
}

// form is which secret of whom is shown.
type form byte

const (
	formUser        form = iota // a user's name, and his password or token
	formDevice                  // dev:NAME, and a secret of the device
	formToken                   // a device's secret for a user name, and no password
	formApplicant               // nothing, or the key and secret of a batch: it asks for the account of a device
	formCertificate             // a certificate of a device; the name, if any, has to be that of the device
)

// parseShowing takes user name and password of a CONNECT apart, and the options behind the user name: "alice?fmt=text&ack=event".
// What is no option is an error, so that a misspelt one is noticed; not to who shows a certificate, because the SDKs of AWS say
// there what they are.
func parseShowing(user, password string, certificates certificateUse) (s showing, o sessions.Options, err error) {
	name, query, _ := strings.Cut(user, "?")
	s = showing{name: name, secret: password}
	device, isDevice := strings.CutPrefix(name, deviceMark)
	batch, isBatch := strings.CutPrefix(name, batchMark)
	switch {
	case certificates == certificateNeeded,
		certificates == certificateShown && password == "" && !accounts.IsDeviceSecret(name):
		s = showing{name: device, form: formCertificate}
		if device != "" {
			_, err = accounts.ParseDevice(device)
		}
	case name == applicantName && password == "":
		s = showing{form: formApplicant}
	case isBatch && batch != "":
		s.name, s.form = batch, formApplicant
	case isDevice:
		s.name, s.form = device, formDevice
		_, err = accounts.ParseDevice(device)
	case password == "" && accounts.IsDeviceSecret(name):
		s = showing{secret: name, form: formToken}
	default:
		_, err = accounts.ParseUser(name)
	}
	if err == nil {
		err = parseOptions(query, s.form == formCertificate, &o)
	}
	return s, o, err
}

// certificateUse is what a client's certificate is to a connection.
type certificateUse byte

const (
	certificateNone   certificateUse = iota // the client has shown none
	certificateShown                        // it has, and may log in with something else
	certificateNeeded                       // nothing else counts where it has connected
)

// sdkOptions are what the SDKs of AWS put behind the user name, about themselves.
var sdkOptions = []string{"SDK", "Version", "Platform", "Metadata"}

// parseOptions sets the options of a query. What is none is an error, unless the client is not asked to mean it.
func parseOptions(query string, lenient bool, o *sessions.Options) error {
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if pair == "" || slices.Contains(sdkOptions, key) {
			continue
		}
		key, errKey := url.QueryUnescape(key)
		value, errValue := url.QueryUnescape(value)
		if (errKey != nil || errValue != nil || !setOption(o, key, value)) && !lenient {
			return accounts.ErrBadName
		}
	}
	return nil
}

// authenticate says whose a CONNECT is.
func (g *Gateway) authenticate(c *connection, s showing) (accounts.Proof, error) {
	ctx, cancel := context.WithTimeout(c.ctx, authTimeout)
	defer cancel()
	addr := c.conn.AddrPort().Addr()
	switch s.form {
	case formDevice:
		return g.rooms.Accounts.AuthenticateDevice(ctx, s.name, s.secret, addr)
	case formToken:
		return g.rooms.Accounts.AuthenticateToken(ctx, s.secret, addr)
	case formApplicant:
		return g.admitApplicant(ctx, s)
	case formCertificate:
		p, err := g.rooms.Accounts.AuthenticateCertificate(ctx, c.conn.TLS())
		if err == nil && s.name != "" && s.name != string(p.Account) {
			err = accounts.ErrCredentials
		}
		return p, err
	}
	return g.rooms.Accounts.Authenticate(ctx, s.name, s.secret, addr)
}

// revisionOf gives what changes when something that is shown becomes worthless: of all accounts, if it is not known whose it is.
func (g *Gateway) revisionOf(s showing) uint64 {
	if s.form == formToken || s.form == formCertificate {
		return g.rooms.Accounts.Revisions()
	}
	return g.rooms.Accounts.Revision(accounts.Name(s.name))
}

// recheck is called when the session can be found by those who revoke tokens, disable accounts and change passwords, and end
// their sessions: what they did before that, and after authentication, nobody has told this connection.
func (g *Gateway) recheck(c *connection) error {
	if c.home != "" { // which may not be its home any more
		if home, err := g.rooms.Things.Mount(c.ctx, c.account); err != nil || home != c.home {
			return cmp.Or(err, accounts.ErrUnavailable)
		}
	}
	if g.revisionOf(c.showing) == c.revision {
		return nil
	}
	_, err := g.authenticate(c, c.showing)
	return err
}

// certificateUse says what a client's certificate is to the connection.
func (c *connection) certificateUse() certificateUse {
	switch {
	case c.conn.NeedsCertificate():
		return certificateNeeded
	case shown(c.conn.TLS()):
		return certificateShown
	}
	return certificateNone
}

func shown(state *tls.ConnectionState) bool { return state != nil && len(state.PeerCertificates) > 0 }

// RecheckCertificates ends the connections of devices whose certificates are not good any more.
func (g *Gateway) RecheckCertificates(ctx context.Context) error {
	var unclear error
	for _, cl := range g.server.Clients.GetAll() {
		c := of(cl)
		if c.showing.form != formCertificate || c.link == nil {
			continue
		}
		_, err := g.rooms.Accounts.AuthenticateCertificate(ctx, c.conn.TLS())
		switch {
		case errors.Is(err, accounts.ErrCredentials), errors.Is(err, accounts.ErrDisabled):
			g.rooms.Sessions.Revoked(c.account, []accounts.Digest{c.proof.Token})
		case err != nil:
			unclear = err
		}
	}
	return unclear
}
