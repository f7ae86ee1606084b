package transfer_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/transfer"
)

func TestARetainedMessageIsTheSameFromItsRecord(t *testing.T) {
	tests := map[string]*sessions.Message{
		"plain": {Topic: "a/b", Payload: []byte("on"), QoS: 1, Retain: true, Time: time.UnixMilli(5).UTC()},
		"all": {
			Topic: "a/\xff", Payload: []byte{0}, QoS: 2, Retain: true, From: sessions.Key{Account: "alice", Client: "c\xfe"},
			PayloadFormat: 1, HasPayloadFormat: true, ContentType: "text/plain", ResponseTopic: "r", Correlation: []byte("c"),
			User: []sessions.UserProperty{{Name: "n", Value: "v"}, {Name: "n", Value: ""}},
			Time: time.UnixMilli(5).UTC(), Expires: time.UnixMilli(6).UTC(),
		},
		"said and empty": {Topic: "a", Payload: []byte("x"), EmptyContentType: true, Correlation: []byte{}, HasPayloadFormat: true},
	}
	for name, m := range tests {
		t.Run(name, func(t *testing.T) {
			if got := transfer.RetainedOf(m).Message(); !reflect.DeepEqual(got, m) {
				t.Errorf("got %+v, want %+v", got, m)
			}
		})
	}
}
