package devices

import (
	"encoding/json"
	"fmt"
)

// What is published about a shadow, as AWS has it. Every timestamp is in Unix seconds.

// both are the two sections, in a document.
type both struct {
	Desired  Object `json:"desired,omitempty"`
	Reported Object `json:"reported,omitempty"`
	Delta    Object `json:"delta,omitempty"` // of state only
}

// document is an answer.
type document struct {
	State     any     `json:"state,omitempty"`
	Metadata  any     `json:"metadata,omitempty"`
	Version   *uint64 `json:"version,omitempty"`
	Timestamp int64   `json:"timestamp,omitempty"`
	Token     string  `json:"clientToken,omitempty"`
}

func encoded(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode a document of a shadow: %v", err))
	}
	return text
}

// said is what an answer to a request repeats of a section: what was asked for, with null where something was removed.
type said struct {
	Desired  *Object `json:"desired,omitempty"`
	Reported *Object `json:"reported,omitempty"`
}

func sections(desired, reported Patch, of func(Patch) Object) (s said) {
	if desired.Set {
		o := of(desired)
		s.Desired = &o
	}
	if reported.Set {
		o := of(reported)
		s.Reported = &o
	}
	return s
}

// AcceptedDocument answers a request that has made s: only what was asked for is in it.
func (s Shadow) AcceptedDocument(u ShadowUpdate, now int64) []byte {
	stamps := func(p Patch) Object { return Section{}.merged(p.State, now).Meta }
	return encoded(document{
		State:    sections(u.Desired, u.Reported, func(p Patch) Object { return p.State }),
		Metadata: sections(u.Desired, u.Reported, stamps),
		Version:  &s.Version, Timestamp: now, Token: u.Token,
	})
}

// DeltaDocument is what a device is told that it should be; nil: it is so.
func (s Shadow) DeltaDocument(token string, now int64) []byte {
	delta := s.Delta()
	if len(delta.State) == 0 {
		return nil
	}
	return encoded(document{State: delta.State, Metadata: delta.Meta, Version: &s.Version, Timestamp: now, Token: token})
}

// state and metadata are what a document says of a shadow.
func (s Shadow) state() both    { return both{Desired: s.Desired.State, Reported: s.Reported.State} }
func (s Shadow) metadata() both { return both{Desired: s.Desired.Meta, Reported: s.Reported.Meta} }

// GetDocument is the whole shadow. An error is a *ShadowError.
func (s Shadow) GetDocument(token string, now int64) ([]byte, error) {
	if !s.There() {
		r := errNoShadow()
		r.Token = token
		return nil, r
	}
	state := s.state()
	state.Delta = s.Delta().State
	return encoded(document{State: state, Metadata: s.metadata(), Version: &s.Version, Timestamp: now, Token: token}), nil
}

// ChangeDocument is what a shadow was and has become.
func ChangeDocument(before, after Shadow, token string, now int64) []byte {
	type moment struct {
		State    both   `json:"state"`
		Metadata both   `json:"metadata"`
		Version  uint64 `json:"version"`
	}
	type change struct {
		Previous  moment `json:"previous"`
		Current   moment `json:"current"`
		Timestamp int64  `json:"timestamp"`
		Token     string `json:"clientToken,omitempty"`
	}
	return encoded(change{
		Previous:  moment{before.state(), before.metadata(), before.Version},
		Current:   moment{after.state(), after.metadata(), after.Version},
		Timestamp: now, Token: token,
	})
}

// DeletedDocument answers a request that has deleted s.
func (s Shadow) DeletedDocument(token string, now int64) []byte {
	return encoded(document{Version: &s.Version, Timestamp: now, Token: token})
}

// Document is the answer to a request that is refused.
func (r *ShadowError) Document(now int64) []byte {
	return encoded(struct {
		Code      int    `json:"code"`
		Message   string `json:"message"`
		Timestamp int64  `json:"timestamp"`
		Token     string `json:"clientToken,omitempty"`
	}{r.Code, r.Message, now, r.Token})
}
