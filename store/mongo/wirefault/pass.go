package wirefault

import (
	"errors"
	"net"
	"slices"
)

// link is a connection of a driver, and the one to the server that belongs to it.
type link struct {
	*Proxy
	client, server net.Conn
}

// errCut ends a link.
var errCut = errors.New("cut")

// pass serves one connection until either side ends it, or it is cut.
func (p *Proxy) pass(client net.Conn) {
	defer p.drop(client)
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer p.drop(server)
	if !p.keep(server) {
		return
	}
	l := &link{p, client, server}
	for err == nil {
		var request message
		if request, err = readMessage(client); err == nil {
			err = l.serve(request)
		}
	}
}

// serve does with a request what is planned for it. An error ends the link.
func (l *link) serve(request message) error {
	c := request.command()
	pl := l.decide(c)
	l.wait(pl.request)
	switch pl.fault {
	case CutRequest:
		return errCut
	case LoseReply:
		_, err := l.ask(request, c)
		return errors.Join(err, errCut)
	case Late:
		return l.late(request, c, pl)
	case TruncateRequest:
		_, err := l.server.Write(torn(request, pl.where))
		return errors.Join(err, errCut)
	case Swallow:
		return nil
	case SwallowReply:
		_, err := l.ask(request, c)
		return err
	case Hold:
		select {
		case <-pl.changed:
		case <-l.closing:
			return errCut
		}
	}
	return l.forward(request, c, pl)
}

// late lets the driver go, and has the server carry out its request later.
func (l *link) late(request message, c command, pl plan) error {
	l.drop(l.client)
	l.wait(pl.delay)
	select {
	case <-l.closing:
	default:
		_, _ = l.ask(request, c)
	}
	return errCut
}

// forward has the server carry out a request, unless it is refused, and passes the reply on.
func (l *link) forward(request message, c command, pl plan) (err error) {
	var reply message
	answer := pl.rule.Answer
	if refuse := pl.fault == Refuse; !refuse || answer.Done || answer.Form == WriteConcern {
		if reply, err = l.ask(request, c); err != nil {
			return err
		}
	}
	switch pl.fault {
	case Duplicate:
		second, err := l.ask(request, c)
		if err != nil {
			return err
		}
		if pl.where < 0.5 && slices.Contains(Writes, c.name) {
			reply = second
		}
	case Refuse:
		if reply, err = answer.answer(request, reply); err != nil {
			return err
		}
	}
	if request.more() {
		return nil
	}
	l.wait(pl.reply)
	if pl.fault == TruncateReply {
		_, err := l.client.Write(torn(reply, pl.where))
		return errors.Join(err, errCut)
	}
	if _, err := l.client.Write(reply); err != nil || !reply.more() {
		return err
	}
	return l.stream(c)
}

// stream passes on replies that come without further requests: a server tells so when its state changes.
func (l *link) stream(c command) error {
	for {
		reply, err := readMessage(l.server)
		if err != nil {
			return err
		}
		switch pl := l.decide(c); pl.fault {
		case 0:
			if _, err := l.client.Write(reply); err != nil || !reply.more() {
				return err
			}
		case Swallow, SwallowReply:
		default:
			return errCut
		}
	}
}

// ask has the server carry out a request, and gives its reply; nil if none is wanted.
func (l *link) ask(request message, c command) (message, error) {
	if _, err := l.server.Write(request); err != nil || request.more() {
		return nil, err
	}
	reply, err := readMessage(l.server)
	if err == nil {
		l.answered(request, c)
	}
	return reply, err
}

// torn gives the beginning of a message: at least a byte of it, and never all.
func torn(m message, where float64) message { return m[:1+int(where*float64(len(m)-1))] }
