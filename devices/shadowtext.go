package devices

import (
	"encoding/json"
	"errors"
	"fmt"
)

// ShadowText is a shadow as stores keep it. Its objects are JSON texts, the same of equal shadows; nil: there is nothing.
type ShadowText struct {
	Desired      []byte
	DesiredMeta  []byte
	Reported     []byte
	ReportedMeta []byte
	Version      uint64
	Deleted      bool
}

// Text gives what a store keeps of a shadow.
func (s Shadow) Text() ShadowText {
	text := func(o Object) []byte {
		if o == nil {
			return nil
		}
		return encoded(o)
	}
	return ShadowText{
		Desired: text(s.Desired.State), DesiredMeta: text(s.Desired.Meta),
		Reported: text(s.Reported.State), ReportedMeta: text(s.Reported.Meta),
		Version: s.Version, Deleted: s.Deleted,
	}
}

// Shadow is Text backwards. An error means that Text did not make it.
func (t ShadowText) Shadow() (Shadow, error) {
	s := Shadow{Version: t.Version, Deleted: t.Deleted}
	var err error
	object := func(text []byte, o *Object) {
		if text != nil {
			err = errors.Join(err, json.Unmarshal(text, o))
		}
	}
	object(t.Desired, &s.Desired.State)
	object(t.DesiredMeta, &s.Desired.Meta)
	object(t.Reported, &s.Reported.State)
	object(t.ReportedMeta, &s.Reported.Meta)
	if err != nil {
		return Shadow{}, fmt.Errorf("shadow: %w", err)
	}
	return s, nil
}
