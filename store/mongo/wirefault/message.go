package wirefault

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"go.mongodb.org/mongo-driver/v2/bson"
)

const (
	headerSize = 16
	maxMessage = 48_000_000 // maxMessageSizeBytes of MongoDB
	opQuery    = 2004       // the first hello of a connection
	opMsg      = 2013
	moreToCome = 1 << 1 // the flag of an OP_MSG that wants no reply, or is not the last reply
)

// message is one of the wire protocol, with its header: length, id, id of what it answers, kind, 4 bytes each.
type message []byte

// readMessage reads a message.
func readMessage(r io.Reader) (message, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(header[:])
	if n < headerSize || n > maxMessage {
		return nil, fmt.Errorf("a message of %d bytes", n)
	}
	m := make(message, n)
	copy(m, header[:])
	_, err := io.ReadFull(r, m[headerSize:])
	return m, err
}

func (m message) kind() uint32 { return binary.LittleEndian.Uint32(m[12:]) }

// more says whether a message has the flag moreToCome: a request wants no reply, a reply is followed by another one.
func (m message) more() bool {
	return m.kind() == opMsg && len(m) >= headerSize+4 && binary.LittleEndian.Uint32(m[headerSize:])&moreToCome != 0
}

// command is what a request asks for, if that can be read.
type command struct {
	name       string // hello for all its names; empty: unknown
	collection string
}

func (m message) command() command {
	body, err := m.body()
	if err != nil {
		return command{}
	}
	first, err := body.IndexErr(0)
	if err != nil {
		return command{}
	}
	c := command{name: first.Key()}
	c.collection, _ = first.Value().StringValueOK()
	switch c.name {
	case "isMaster", "ismaster":
		c.name = "hello"
	case "getMore":
		c.collection, _ = body.Lookup("collection").StringValueOK()
	}
	return c
}

var errNoBody = errors.New("the message has no document that could be read")

// body gives the document that says what is asked for, or what the answer is.
func (m message) body() (bson.Raw, error) {
	at, err := m.bodyAt()
	if err != nil {
		return nil, err
	}
	size, err := sizeAt(m, at)
	if err != nil {
		return nil, err
	}
	body := bson.Raw(m[at : at+size])
	return body, body.Validate()
}

// bodyAt says where the body begins.
func (m message) bodyAt() (int, error) {
	switch m.kind() {
	case opQuery: // flags, name of a collection, numbers to skip and to return, the document
		if len(m) < headerSize+4 {
			return 0, errNoBody
		}
		end := bytes.IndexByte(m[headerSize+4:], 0)
		if end < 0 {
			return 0, errNoBody
		}
		return headerSize + 4 + end + 1 + 8, nil
	case opMsg: // flags, sections: a kind, and a document (0), or a size and a sequence of documents (1)
		for at := headerSize + 4; at < len(m); {
			if m[at] == 0 {
				return at + 1, nil
			}
			size, err := sizeAt(m, at+1)
			if err != nil {
				return 0, err
			}
			at += 1 + size
		}
	}
	return 0, errNoBody
}

// sizeAt reads how long what begins at a place is, which is there.
func sizeAt(m message, at int) (int, error) {
	if at+4 > len(m) {
		return 0, errNoBody
	}
	size := int(binary.LittleEndian.Uint32(m[at:]))
	if size < 5 || size > len(m)-at {
		return 0, errNoBody
	}
	return size, nil
}

// reply makes a message with one document that answers a request.
func reply(request message, doc any) (message, error) {
	body, err := bson.Marshal(doc)
	if err != nil {
		return nil, err
	}
	m := make(message, headerSize+4+1, headerSize+4+1+len(body)) // no flags, a section of kind 0
	m = append(m, body...)
	binary.LittleEndian.PutUint32(m, uint32(len(m)))
	copy(m[8:12], request[4:8])
	binary.LittleEndian.PutUint32(m[12:], opMsg)
	return m, nil
}

// answer makes the reply that refuses a request. was is the server's, if it got the request.
func (a Answer) answer(request, was message) (message, error) {
	if a.Form == WriteConcern {
		body, err := was.body()
		if err != nil {
			return nil, err
		}
		var doc bson.D
		if err := bson.Unmarshal(body, &doc); err != nil {
			return nil, err
		}
		return reply(request, a.labeled(append(doc, bson.E{Key: "writeConcernError", Value: a.plain()})))
	}
	if a.Form == Write {
		failed := append(bson.D{{Key: "index", Value: int32(0)}}, a.plain()...)
		return reply(request, a.labeled(bson.D{
			{Key: "n", Value: int32(0)}, {Key: "writeErrors", Value: bson.A{failed}}, {Key: "ok", Value: 1.0},
		}))
	}
	return reply(request, a.labeled(append(bson.D{{Key: "ok", Value: 0.0}}, a.plain()...)))
}

func (a Answer) plain() bson.D {
	return bson.D{{Key: "errmsg", Value: a.Text}, {Key: "code", Value: a.Code}, {Key: "codeName", Value: a.Name}}
}

func (a Answer) labeled(doc bson.D) bson.D {
	if len(a.Labels) > 0 {
		doc = append(doc, bson.E{Key: "errorLabels", Value: a.Labels})
	}
	return doc
}
