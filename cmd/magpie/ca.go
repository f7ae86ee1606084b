package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/authority"
)

type caCommands struct {
	Init   caInit   `cmd:"" help:"Make an authority: a directory with certificate, key, and the list of what is revoked."`
	Issue  caIssue  `cmd:"" help:"Make a certificate for a device, and its key unless there is a request."`
	Revoke caRevoke `cmd:"" help:"Put certificates on the list of those that are revoked."`
	List   caList   `cmd:"" help:"List the certificates that were made."`
}

// caDir says where an authority is. It need not be a machine that runs a server.
type caDir struct {
	CA string `help:"Directory of the authority." default:"ca" placeholder:"DIR" name:"ca"`
}

func (d caDir) open() (*authority.Authority, error) {
	a, err := authority.Open(d.CA)
	if err != nil {
		return nil, fmt.Errorf("open the authority: %w", err)
	}
	return a, nil
}

const day = 24 * time.Hour

type caInit struct {
	caDir
	Name string `help:"What it calls itself." default:"Magpie devices"`
	Days int    `help:"How long its certificate is good." default:"7300"`
}

// Run makes an authority, and says what a server has to know of it.
func (f caInit) Run(c *console) error {
	if f.Days < 1 {
		return fmt.Errorf("%w: an authority has to be good for something", errUsage)
	}
	if _, err := authority.Make(f.CA, f.Name, time.Duration(f.Days)*day); err != nil {
		return fmt.Errorf("make an authority: %w", err)
	}
	_, err := fmt.Fprintf(c.out, "client_ca = %q\nclient_revoked = %q\n",
		filepath.Join(f.CA, authority.CertificateFile), filepath.Join(f.CA, authority.RevokedFile))
	return err
}

type caIssue struct {
	caDir
	Device  string `arg:"" help:"Name of the device."`
	Days    int    `help:"How long the certificate is good." default:"3650"`
	Request string `help:"Request (CSR) of a device that has made its key itself, PEM." placeholder:"FILE"`
	Out     string `help:"Where to put NAME.pem and NAME.key." default:"." placeholder:"DIR"`
}

// Run makes the files. It replaces none: a key that was made before may be in use.
func (f caIssue) Run(c *console) error {
	did, err := accounts.ParseDevice(f.Device)
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if f.Days < 1 {
		return fmt.Errorf("%w: a certificate has to be good for something", errUsage)
	}
	a, err := f.open()
	if err != nil {
		return err
	}
	certFile, keyFile := filepath.Join(f.Out, string(did)+".pem"), filepath.Join(f.Out, string(did)+".key")
	for _, file := range []string{certFile, keyFile} {
		if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) && (f.Request == "" || file == certFile) {
			return fmt.Errorf("%s is there already", file)
		}
	}
	var cert, key []byte
	if f.Request != "" {
		cert, err = a.Sign(string(did), f.Request, time.Duration(f.Days)*day)
	} else {
		cert, key, err = a.Issue(string(did), time.Duration(f.Days)*day)
	}
	if err != nil {
		return fmt.Errorf("make a certificate for %s: %w", did, err)
	}
	if key != nil {
		if err := os.WriteFile(keyFile, key, 0o600); err != nil {
			return err
		}
	}
	if err := os.WriteFile(certFile, cert, 0o644); err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.out, certFile)
	return err
}

type caRevoke struct {
	caDir
	Names []string `arg:"" help:"Devices, of which every certificate is revoked, or numbers of certificates."`
}

// Run prints the numbers of what it has revoked.
func (f caRevoke) Run(c *console) error {
	a, err := f.open()
	if err != nil {
		return err
	}
	gone, err := a.Revoke(f.Names...)
	if err != nil {
		return fmt.Errorf("revoke certificates: %w", err)
	}
	if len(gone) == 0 {
		return errors.New("there is no such certificate that is not revoked already")
	}
	for _, cert := range gone {
		if _, err := fmt.Fprintf(c.out, "%x %s\n", cert.SerialNumber, cert.Subject.CommonName); err != nil {
			return err
		}
	}
	return nil
}

type caList struct {
	caDir
}

// Run prints one line for each certificate.
func (f caList) Run(c *console) error {
	a, err := f.open()
	if err != nil {
		return err
	}
	issued, err := a.Issued()
	if err != nil {
		return fmt.Errorf("list certificates: %w", err)
	}
	revoked, err := a.Revoked()
	if err != nil {
		return fmt.Errorf("list certificates: %w", err)
	}
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for _, cert := range issued {
		number, state := fmt.Sprintf("%x", cert.SerialNumber), "good"
		switch {
		case revoked[number]:
			state = "revoked"
		case time.Now().After(cert.NotAfter):
			state = "over"
		}
		if err := row(table, cert.Subject.CommonName, state, moment(cert.NotAfter.UnixMilli()), number); err != nil {
			return err
		}
	}
	return table.Flush()
}
