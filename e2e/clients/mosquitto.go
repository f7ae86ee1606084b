package clients

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// mosquitto is mosquitto_pub and mosquitto_sub.
type mosquitto struct{}

func (mosquitto) missing() string { return missing("mosquitto_pub", "mosquitto_sub", "stdbuf") }

func (mosquitto) args(c Client, s Session) []string {
	host, port, _ := strings.Cut(s.Addr, ":")
	version := map[int]string{4: "311", 5: "5"}[c.Version]
	args := []string{"-h", host, "-p", port, "-i", s.ClientID, "-V", version}
	if !s.Ends {
		args = append(args, "-c")
	}
	if s.KeepAlive != 0 {
		args = append(args, "-k", strconv.Itoa(s.KeepAlive)) // from 5 on
	}
	if s.User != "" {
		args = append(args, "-u", s.User, "-P", s.Password)
	}
	if w := s.Will; w != nil {
		args = append(args, "--will-topic", w.Topic, "--will-payload", string(w.Payload), "--will-qos", digits(w.QoS))
		if w.Retain {
			args = append(args, "--will-retain")
		}
	}
	return args
}

func digits(qos byte) string { return strconv.Itoa(int(qos)) }

// send runs mosquitto_pub once for all messages that one can send, which are lines of one topic.
func (m mosquitto) send(ctx context.Context, c Client, s Session, messages []Message) error {
	for len(messages) > 0 {
		n := lines(messages)
		if err := m.pub(ctx, c, s, messages[:n]); err != nil {
			return err
		}
		messages = messages[n:]
	}
	return nil
}

// lines counts the messages at the beginning that are lines with the same options; at least 1.
func lines(messages []Message) int {
	if !line(messages[0]) {
		return 1
	}
	first := messages[0]
	n := slices.IndexFunc(messages, func(m Message) bool {
		return !line(m) || m.Topic != first.Topic || m.QoS != first.QoS || m.Retain != first.Retain
	})
	if n < 0 {
		return len(messages)
	}
	return n
}

func line(m Message) bool { return len(m.Payload) > 0 && !bytes.ContainsAny(m.Payload, "\x00\n") }

// pub runs mosquitto_pub for lines, or for one message of anything.
func (m mosquitto) pub(ctx context.Context, c Client, s Session, messages []Message) error {
	first := messages[0]
	args := append(m.args(c, s), "-t", first.Topic, "-q", digits(first.QoS))
	if first.Retain {
		args = append(args, "-r")
	}
	var in bytes.Buffer
	switch {
	case len(first.Payload) == 0:
		args = append(args, "-n")
	case line(first):
		args = append(args, "-l")
		for _, m := range messages {
			in.Write(append(m.Payload, '\n'))
		}
	default:
		args = append(args, "-s")
		in.Write(first.Payload)
	}
	p, err := run(ctx, "mosquitto_pub", args...)
	if err != nil {
		return err
	}
	_, err = in.WriteTo(p.in)
	return errors.Join(err, p.in.Close(), p.wait())
}

// listen has mosquitto_sub tell what it does, because it is silent about its subscriptions otherwise, and have it told
// line by line.
func (m mosquitto) listen(ctx context.Context, c Client, s Session, qos byte, filters []string, l *Listener) error {
	args := append(m.args(c, s), "-q", digits(qos), "-d", "-F", "message %q %r %x %t")
	for _, f := range filters {
		args = append(args, "-t", f)
	}
	p, err := run(ctx, "stdbuf", append([]string{"-oL", "mosquitto_sub"}, args...)...)
	if err != nil {
		return err
	}
	return p.serve(l, parseMosquitto)
}

func parseMosquitto(line string) (*Message, bool, error) {
	if codes, ok := strings.CutPrefix(line, "Subscribed (mid: "); ok {
		_, codes, _ = strings.Cut(codes, "): ")
		for code := range strings.SplitSeq(codes, ", ") {
			if n, err := strconv.Atoi(code); err != nil || n > 2 {
				return nil, false, fmt.Errorf("subscribed with %s", codes)
			}
		}
		return nil, true, nil
	}
	text, ok := strings.CutPrefix(line, "message ")
	if !ok {
		return nil, false, nil
	}
	fields := strings.SplitN(text, " ", 4)
	if len(fields) != 4 || len(fields[0]) != 1 {
		return nil, false, fmt.Errorf("strange line %q", line)
	}
	payload, err := hex.DecodeString(fields[2])
	return &Message{Topic: fields[3], Payload: payload, QoS: fields[0][0] - '0', Retain: fields[1] == "1"}, false, err
}
