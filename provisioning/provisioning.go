// Package provisioning gives devices certificates and names when they are first switched on, as AWS IoT's fleet provisioning
// does: with its topics and documents, so that its SDKs work as they are.
//
// All devices of a batch have the same key and secret, which may do nothing but this. A device makes a request for a certificate
// (or has the server make its key too), is given the certificate and a token that shows that it was given it, and registers with
// that under a name of its own. Only then the certificate is good for something: it is pinned to the device, so that device.unpin
// is its end, and no name is in it that could be somebody else's. The device is nobody's until it is claimed, unless its batch
// says whose.
package provisioning

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/authority"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/devices/dialects"
)

const (
	// subject is whose certificates say they are: no name that a device can have.
	subject = "Magpie Device Certificate"
	// tokenLife is how long a device may take to register, as AWS has it.
	tokenLife = time.Hour

	maxPayload    = 32 << 10 // bytes
	maxParameters = 32
	maxParameter  = 256 // bytes, of a name or a value
	maxTemplate   = 36  // bytes, as AWS has it
)

// Accounts are those of devices.
type Accounts interface {
	Device(ctx context.Context, name accounts.Name) (accounts.Device, error)
	PinCertificate(ctx context.Context, did accounts.Name, pin accounts.Digest) error
	UnpinCertificate(ctx context.Context, did accounts.Name, pin accounts.Digest) error
}

// Desk serves devices of batches. Safe for concurrent use.
type Desk struct {
	factory  *devices.Factory
	accounts Accounts
	signer   *authority.Signer // nil: no certificates are made
	life     time.Duration     // of certificates
	secret   []byte            // of tokens
	now      func() time.Time
}

// NewDesk makes one. signer may be nil: then there are no certificates, and who asks is told so.
func NewDesk(
	factory *devices.Factory, acc Accounts, signer *authority.Signer, life time.Duration, now func() time.Time,
) (*Desk, error) {
	d := &Desk{factory: factory, accounts: acc, signer: signer, life: life, now: now}
	if signer != nil {
		var err error
		if d.secret, err = signer.Secret("magpie certificateOwnershipToken"); err != nil {
			return nil, fmt.Errorf("the secret of tokens: %w", err)
		}
	}
	return d, nil
}

// Topics that devices publish to.
const (
	topicCSR      = "$aws/certificates/create-from-csr/json"
	topicCreate   = "$aws/certificates/create/json"
	templates     = "$aws/provisioning-templates/"
	topicRegister = "/provision/json" // behind the name of a template
)

// IsRequest says whether a topic is one of those that devices publish to. What applies is said by the batch, so that the name
// of a template may be any.
func IsRequest(topic string) bool {
	if topic == topicCSR || topic == topicCreate {
		return true
	}
	name, ok := strings.CutPrefix(topic, templates)
	if ok {
		name, ok = strings.CutSuffix(name, topicRegister)
	}
	return ok && validTemplate(name)
}

func validTemplate(name string) bool {
	for _, c := range []byte(name) {
		if letter := 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'; !letter && c != '_' && c != '-' {
			return false
		}
	}
	return name != "" && len(name) <= maxTemplate
}

// What the topics of answers end in.
const (
	accepted = "/accepted"
	rejected = "/rejected"
)

// IsAnswer says whether a topic is one on which devices are answered.
func IsAnswer(topic string) bool {
	for _, end := range []string{accepted, rejected} {
		if request, ok := strings.CutSuffix(topic, end); ok && IsRequest(request) {
			return true
		}
	}
	return false
}

// refusal is an answer that says no; the words are AWS's, as far as it says which there are.
type refusal struct {
	Status int    `json:"statusCode"`
	Code   string `json:"errorCode"`
	Text   string `json:"errorMessage"`
}

func (r *refusal) Error() string { return r.Code + ": " + r.Text }

func refuse(status int, code, text string) *refusal { return &refusal{status, code, text} }

// Serve does what a device of a batch asks for on a topic for which IsRequest holds, and says where and what it is to be
// answered. An error means that nothing was decided.
func (d *Desk) Serve(ctx context.Context, batch, topic string, payload []byte) (where string, answer []byte, err error) {
	made, err := d.serve(ctx, batch, topic, payload)
	refused := refusalOf(err)
	switch {
	case refused != nil:
		where, made = topic+rejected, refused
	case err != nil:
		return "", nil, fmt.Errorf("provision a device of batch %s: %w", batch, err)
	default:
		where = topic + accepted
	}
	answer, err = json.Marshal(made)
	return where, answer, err
}

// refusalOf is what a device may know of an error; nil: nothing.
func refusalOf(err error) *refusal {
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, devices.ErrUnknown), errors.Is(err, accounts.ErrUnknown):
		return refuse(403, "Forbidden", "The batch makes no devices any more")
	case errors.Is(err, devices.ErrTooMany), errors.Is(err, accounts.ErrTooMany):
		return refuse(403, "LimitExceeded", "There are as many devices as there may be")
	case errors.Is(err, accounts.ErrTaken):
		return refuse(409, "ResourceAlreadyExists", "A device has or had this name, or the certificate is another one's")
	case errors.Is(err, devices.ErrMalformed), errors.Is(err, accounts.ErrBadName):
		return refuse(400, "InvalidParameters", "No device can have this name")
	}
	return nil
}

func (d *Desk) serve(ctx context.Context, key, topic string, payload []byte) (any, error) {
	batch, err := d.factory.OpenBatch(ctx, key)
	if err != nil {
		return nil, err
	}
	if d.signer == nil {
		return nil, refuse(503, "NoAuthority", "The server has no authority to sign with: devices.ca_cert and devices.ca_key")
	}
	if len(payload) > maxPayload || !utf8.Valid(payload) {
		return nil, errPayload
	}
	switch topic {
	case topicCSR:
		return d.sign(batch, payload)
	case topicCreate:
		return d.create(batch)
	}
	return d.register(ctx, batch, payload)
}

var errPayload = refuse(400, "InvalidPayload", "The payload is no JSON object of this form")

// certificate is what a device is given; the key only if the server has made it.
type certificate struct {
	ID    string `json:"certificateId"`
	PEM   string `json:"certificatePem"`
	Key   string `json:"privateKey,omitempty"`
	Token string `json:"certificateOwnershipToken"`
}

func (d *Desk) sign(batch devices.Batch, payload []byte) (any, error) {
	var asked struct {
		Request string `json:"certificateSigningRequest"`
	}
	if err := json.Unmarshal(payload, &asked); err != nil {
		return nil, errPayload
	}
	made, err := d.signer.Sign([]byte(asked.Request), subject, d.life)
	if errors.Is(err, authority.ErrRequest) {
		return nil, refuse(400, "InvalidCertificateSigningRequest", "The request is none, or its key is too weak")
	}
	if err != nil {
		return nil, err
	}
	return d.given(batch, made, nil), nil
}

func (d *Desk) create(batch devices.Batch) (any, error) {
	made, key, err := d.signer.Issue(subject, d.life)
	if err != nil {
		return nil, err
	}
	return d.given(batch, made, key), nil
}

func (d *Desk) given(batch devices.Batch, made, key []byte) certificate {
	block, _ := pem.Decode(made) // of what was encoded just now
	pin := accounts.Digest(sha256.Sum256(block.Bytes))
	return certificate{hex.EncodeToString(pin[:]), string(made), string(key), d.token(batch.Key, pin, d.now().Add(tokenLife))}
}

// Tokens are: when it ends, the SHA-256 of the certificate, and what shows that both are ours, and for this batch. Nothing is
// kept of a certificate before it is registered, so that who asks for many costs nothing but their making.
const (
	tokenEnd  = 8
	tokenBody = tokenEnd + sha256.Size
	tokenSize = tokenBody + sha256.Size
)

func (d *Desk) token(batch string, pin accounts.Digest, end time.Time) string {
	body := append(binary.BigEndian.AppendUint64(nil, uint64(end.Unix())), pin[:]...)
	return base64.RawURLEncoding.EncodeToString(append(body, d.seal(batch, body)...))
}

func (d *Desk) seal(batch string, body []byte) []byte {
	mac := hmac.New(sha256.New, d.secret)
	_, _ = mac.Write(append([]byte(batch+"\n"), body...)) // never fails
	return mac.Sum(nil)
}

// proven gives the certificate that a token is about.
func (d *Desk) proven(batch, token string) (pin accounts.Digest, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) != tokenSize || !hmac.Equal(raw[tokenBody:], d.seal(batch, raw[:tokenBody])) ||
		d.now().Unix() >= int64(binary.BigEndian.Uint64(raw)) {
		return pin, refuse(400, "InvalidCertificateOwnershipToken",
			"The token is none of this server and batch, or its time is over")
	}
	return accounts.Digest(raw[tokenEnd:tokenBody]), nil
}

// registered is the answer to who is a device now.
type registered struct {
	Configuration map[string]string `json:"deviceConfiguration"`
	Name          accounts.Name     `json:"thingName"`
}

func (d *Desk) register(ctx context.Context, batch devices.Batch, payload []byte) (any, error) {
	var asked struct {
		Token      string            `json:"certificateOwnershipToken"`
		Parameters map[string]string `json:"parameters"`
	}
	if err := json.Unmarshal(payload, &asked); err != nil {
		return nil, errPayload
	}
	pin, err := d.proven(batch.Key, asked.Token)
	if err != nil {
		return nil, err
	}
	name, err := nameIn(asked.Parameters)
	if err != nil {
		return nil, err
	}
	did, err := dialects.Provision{Name: name, Key: batch.Key}.DID(hex.EncodeToString(pin[:6]))
	if err != nil {
		return nil, err
	}
	if _, _, err := d.factory.Provision(ctx, batch, did, name); err != nil {
		return nil, err
	}
	if err := d.pin(ctx, did, pin); err != nil {
		return nil, err
	}
	return registered{map[string]string{}, did}, nil
}

// nameIn is what a device calls itself; empty: nothing.
func nameIn(parameters map[string]string) (string, error) {
	if len(parameters) > maxParameters {
		return "", errPayload
	}
	for name, value := range parameters {
		if len(name) > maxParameter || len(value) > maxParameter {
			return "", errPayload
		}
	}
	for _, name := range []string{"ThingName", "SerialNumber"} {
		if value := parameters[name]; value != "" {
			return value, nil
		}
	}
	return "", nil
}

// pin makes the certificate the device's. One that it was given before, and that nobody has ever used, is not any more: who
// has it may be another one who has the key of the batch.
func (d *Desk) pin(ctx context.Context, did accounts.Name, pin accounts.Digest) error {
	device, err := d.accounts.Device(ctx, did)
	if err != nil {
		return err
	}
	for _, old := range device.Pins {
		if old == pin {
			continue
		}
		if err := d.accounts.UnpinCertificate(ctx, did, old); err != nil {
			return err
		}
	}
	return d.accounts.PinCertificate(ctx, did, pin)
}
