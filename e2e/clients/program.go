package clients

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Program is a running program that is talked to in lines.
type Program struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	ended chan struct{} // closed when it has ended and all its lines were read
	err   error         // why, after ended
	once  sync.Once
	quiet chan struct{} // closed when nobody wants its lines any more
}

// run starts a program. It ends with ctx, at the latest, softly at first.
func run(ctx context.Context, name string, args ...string) (*Program, error) {
	p := &Program{cmd: exec.CommandContext(ctx, name, args...), lines: make(chan string, 100),
		ended: make(chan struct{}), quiet: make(chan struct{})}
	p.cmd.Cancel = p.interrupt
	p.cmd.WaitDelay = 10 * time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var complaints bytes.Buffer
	p.cmd.Stderr = &complaints
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.in = in
	go func() {
		err := p.read(out)
		if err = errors.Join(err, p.cmd.Wait()); err != nil {
			err = fmt.Errorf("%s: %w: %s", filepath.Base(name), err, bytes.TrimSpace(complaints.Bytes()))
		}
		p.err = err
		close(p.ended)
	}()
	return p, nil
}

func (p *Program) read(out io.Reader) error {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		select {
		case p.lines <- lines.Text():
		case <-p.quiet:
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

func (p *Program) interrupt() error { return p.cmd.Process.Signal(os.Interrupt) }

// hold has it stand still, or go on.
func (p *Program) hold(still bool) error {
	if still {
		return p.cmd.Process.Signal(syscall.SIGSTOP)
	}
	return p.cmd.Process.Signal(syscall.SIGCONT)
}

// Line gives the next line of its standard output.
func (p *Program) Line(ctx context.Context) (string, error) {
	select {
	case line := <-p.lines:
		return line, nil
	default:
	}
	select {
	case line := <-p.lines:
		return line, nil
	case <-p.ended:
		select {
		case line := <-p.lines:
			return line, nil
		default:
		}
		return "", errors.Join(io.EOF, p.err)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// Say writes a line to its standard input.
func (p *Program) Say(line string) error {
	_, err := io.WriteString(p.in, line+"\n")
	return err
}

// Stop asks the program to end, as control-C does, waits for that, and gives its error.
func (p *Program) Stop() error {
	p.drop()
	if err := p.interrupt(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended
	return p.err
}

// Kill ends the program without asking, and waits for that.
func (p *Program) Kill() {
	p.drop()
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.ended
}

func (p *Program) drop() { p.once.Do(func() { close(p.quiet) }) }

// wait waits for a program that ends by itself, and gives its error.
func (p *Program) wait() error {
	p.drop()
	<-p.ended
	return p.err
}

// parser takes a line of a program apart: a message that it got, or the news that its subscription is confirmed, or
// neither.
type parser func(line string) (m *Message, subscribed bool, err error)

// serve makes the program the client of a Listener, and returns when it has subscribed.
func (p *Program) serve(l *Listener, parse parser) error {
	l.stop = func() { p.drop(); _ = p.interrupt() } // it may have ended already
	l.kill = func() { p.drop(); _ = p.cmd.Process.Kill() }
	l.hold = p.hold
	subscribed := make(chan struct{})
	go func() { l.end(p.follow(l, parse, sync.OnceFunc(func() { close(subscribed) }))) }()
	select {
	case <-subscribed:
		return nil
	case <-l.ended:
		return errors.Join(errEnded, l.err)
	}
}

var errEnded = errors.New("it ended")

func (p *Program) follow(l *Listener, parse parser, subscribed func()) error {
	for {
		line, err := p.Line(context.Background()) // until it has ended
		if err != nil {
			return p.err
		}
		m, ready, err := parse(line)
		if err != nil {
			p.Kill()
			return err
		}
		if m != nil {
			l.put(*m)
		}
		if ready {
			subscribed()
		}
	}
}
