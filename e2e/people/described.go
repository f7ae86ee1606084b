package people

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/magpie-im/magpie/api/document/documenttest"
)

// documents are what a server says of itself. All that it says besides, in any test, is held against them.
type documents struct {
	mu         sync.Mutex // guards the two, and is held while they are fetched
	http, mqtt *documenttest.Document
}

// read keeps documents for the next server of the same binary.
var read sync.Map // of text to *documenttest.Document

// described gives what the server says of itself; nil while it is not there.
func (p *Place) described() (overHTTP, overMQTT *documenttest.Document) {
	d := &p.documents
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.http == nil {
		d.http = p.document("openapi.json")
	}
	if d.mqtt == nil {
		d.mqtt = p.document("asyncapi.json")
	}
	return d.http, d.mqtt
}

func (p *Place) document(name string) *documenttest.Document {
	_, addr, err := p.addresses()
	if err != nil {
		return nil
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+addr+"/api/v1/"+name, http.NoBody)
	if err != nil {
		return nil
	}
	answer, err := client.Do(req)
	if err != nil {
		return nil
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil
	}
	if d, ok := read.Load(string(text)); ok {
		return d.(*documenttest.Document)
	}
	d, err := documenttest.Read(text)
	if err != nil {
		p.t.Errorf("%s: %v", name, err)
		return nil
	}
	read.Store(string(text), d)
	return d
}

// answered checks an answer of HTTP to a method that there is.
func (p *Place) answered(method string, answer *http.Response, body []byte) {
	d, _ := p.described()
	if d == nil {
		return
	}
	if _, known := d.Example("/" + method); !known && answer.StatusCode == http.StatusNotFound {
		return
	}
	if err := d.Answer(http.MethodPost, "/"+method, answer.StatusCode, answer.Header.Get("Content-Type"), body); err != nil {
		p.t.Error(err)
	}
}

// shown checks what the server has published.
func (p *Place) shown(topic string, payload []byte) {
	_, d := p.described()
	if d == nil || !strings.HasPrefix(topic, "im/") { // a free topic
		return
	}
	if err := d.Message(topic, false, payload); err != nil {
		p.t.Error(err)
	}
}

// replied checks the answer of MQTT to a method that there is.
func (p *Place) replied(method string, fields map[string]any) {
	_, d := p.described()
	if d == nil {
		return
	}
	text, err := json.Marshal(fields)
	if err == nil {
		err = d.Reply(method, text)
	}
	if err != nil {
		p.t.Error(err)
	}
}
