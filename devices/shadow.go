package devices

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"unicode/utf8"
)

// Shadow is what a device has said that it is, and what it should be, as AWS IoT's Device Shadow service has it. Its zero value
// is one that was never written.
type Shadow struct {
	Desired  Section
	Reported Section
	Version  uint64 // of the last change; deleting does not set it back
	Deleted  bool
}

// Section is one half of a shadow. Meta has the shape of State, with {"timestamp": s} in the place of each value that is neither
// object nor array; both are nil if there is nothing.
type Section struct{ State, Meta Object }

// There says whether there is a shadow.
func (s Shadow) There() bool { return s.Version > 0 && !s.Deleted }

// ShadowLimits bound shadows.
type ShadowLimits struct {
	Size  int // bytes of the state as JSON, both sections together
	Depth int // of each section
}

// DefaultShadowLimits are those of AWS, but for the size, which is 8 KiB there.
func DefaultShadowLimits() ShadowLimits { return ShadowLimits{Size: 32 << 10, Depth: 6} }

// maxToken is how long a client token may be, in bytes.
const maxToken = 64

// ShadowError is why a request about a shadow is refused, in AWS's words.
type ShadowError struct {
	Code    int // as HTTP's: 400, 404, 409, 413
	Message string
	Token   string // of the request, if it is known
}

func (r *ShadowError) Error() string { return fmt.Sprintf("%d %s", r.Code, r.Message) }

// Is says which of the errors of this package it is: ErrNoShadow, ErrVersion, ErrTooLarge or ErrMalformed.
func (r *ShadowError) Is(target error) bool {
	switch r.Code {
	case 404:
		return target == ErrNoShadow
	case 409:
		return target == ErrVersion
	case 413:
		return target == ErrTooLarge
	}
	return target == ErrMalformed
}

func rejected(code int, message string) *ShadowError {
	return &ShadowError{Code: code, Message: message}
}

// Patch is what is said about a section: nothing, that it goes, or what changes.
type Patch struct {
	Set   bool
	State Object // nil: the section goes
}

// ShadowUpdate is a request to change a shadow.
type ShadowUpdate struct {
	Desired  Patch
	Reported Patch
	Version  *uint64 // that the shadow has to have; nil: any
	Token    string
}

// ParseShadowUpdate reads a request as it is published to $aws/things/{did}/shadow/update. An error is a *ShadowError.
func ParseShadowUpdate(payload []byte) (u ShadowUpdate, err error) {
	request, err := parseRequest(payload)
	if err != nil {
		return u, err
	}
	if u.Token, err = tokenOf(request); err != nil {
		return u, err
	}
	defer func() {
		if r := new(ShadowError); errors.As(err, &r) {
			r.Token = u.Token
		}
	}()
	if u.Version, err = versionOf(request); err != nil {
		return u, err
	}
	state, there := request["state"]
	if !there {
		return u, rejected(400, "Missing required node: state")
	}
	if state == nil { // all of it goes
		u.Desired.Set, u.Reported.Set = true, true
		return u, nil
	}
	sections, is := state.(Object)
	if !is {
		return u, rejected(400, "State node must be an object")
	}
	for name, v := range sections {
		switch name {
		case "desired":
			u.Desired, err = patchOf(v, "Desired node must be an object")
		case "reported":
			u.Reported, err = patchOf(v, "Reported node must be an object")
		default:
			err = rejected(400, "State contains an invalid node")
		}
		if err != nil {
			return u, err
		}
	}
	return u, nil
}

// ParseReported reads what a device says of itself: a merge patch (RFC 7396) of its reported state.
func ParseReported(payload []byte) (u ShadowUpdate, err error) {
	patch, err := parseRequest(payload)
	if err != nil {
		return u, err
	}
	u.Reported, err = patchOf(patch, "")
	return u, err
}

// ParseDesired reads {"desired":{...},"version":7}, both optional but the first, or a bare merge patch of the desired state. A
// payload whose only keys are these two is the former.
func ParseDesired(payload []byte) (u ShadowUpdate, err error) {
	request, err := parseRequest(payload)
	if err != nil {
		return u, err
	}
	desired, named := request["desired"]
	for key := range request {
		named = named && (key == "desired" || key == "version")
	}
	if !named {
		u.Desired, err = patchOf(request, "")
		return u, err
	}
	if u.Version, err = versionOf(request); err != nil {
		return u, err
	}
	u.Desired, err = patchOf(desired, "Desired node must be an object")
	return u, err
}

// ParseToken reads the client token of a request that has nothing else, {"clientToken":"..."} or nothing at all.
func ParseToken(payload []byte) (token string, err error) {
	if len(payload) == 0 {
		return "", nil
	}
	request, err := parseRequest(payload)
	if err != nil {
		return "", err
	}
	return tokenOf(request)
}

func parseRequest(payload []byte) (Object, error) {
	if !utf8.Valid(payload) {
		return nil, rejected(415, "Unsupported documented encoding; supported encoding is UTF-8")
	}
	v, err := parseValue(payload)
	if err != nil {
		return nil, rejected(400, "Invalid JSON")
	}
	request, is := v.(Object)
	if !is {
		return nil, rejected(400, "Invalid JSON")
	}
	return request, nil
}

func tokenOf(request Object) (string, error) {
	v, there := request["clientToken"]
	token, is := v.(string)
	if there && (!is || len(token) > maxToken) {
		return "", rejected(400, "Invalid clientToken")
	}
	return token, nil
}

func versionOf(request Object) (*uint64, error) {
	v, there := request["version"]
	if !there || v == nil {
		return nil, nil
	}
	n, is := v.(json.Number)
	if is {
		var version uint64
		if err := json.Unmarshal([]byte(n), &version); err == nil {
			return &version, nil
		}
	}
	return nil, rejected(400, "Invalid version")
}

func patchOf(v any, otherwise string) (Patch, error) {
	if v == nil {
		return Patch{Set: true}, nil
	}
	patch, is := v.(Object)
	if !is {
		return Patch{}, rejected(400, otherwise)
	}
	if hasNull(patch, false) {
		return Patch{}, rejected(400, "State contains an invalid node")
	}
	return Patch{Set: true, State: patch}, nil
}

// Update gives what a shadow becomes by a request at a time, in Unix seconds. An error is a *ShadowError. After a
// delete it begins with nothing, and its version goes on.
func (s Shadow) Update(u ShadowUpdate, now int64, l ShadowLimits) (Shadow, error) {
	refuse := func(code int, message string) (Shadow, error) {
		return s, &ShadowError{Code: code, Message: message, Token: u.Token}
	}
	if u.Version != nil && *u.Version != s.Version {
		return refuse(409, "Version conflict")
	}
	next := s
	if s.Deleted {
		next.Desired, next.Reported, next.Deleted = Section{}, Section{}, false
	}
	next.Desired = next.Desired.apply(u.Desired, now)
	next.Reported = next.Reported.apply(u.Reported, now)
	next.Version++
	if max(depth(next.Desired.State), depth(next.Reported.State)) > l.Depth {
		return refuse(400, fmt.Sprintf("JSON contains too many levels of nesting; maximum is %d", l.Depth))
	}
	if size := sizeOf(next.Desired.State) + sizeOf(next.Reported.State); size > l.Size {
		return refuse(413, "The payload exceeds the maximum size allowed")
	}
	return next, nil
}

// Delete gives what a shadow becomes when it is deleted.
func (s Shadow) Delete() (Shadow, error) {
	if !s.There() {
		return s, errNoShadow()
	}
	return Shadow{Version: s.Version + 1, Deleted: true}, nil
}

func errNoShadow() *ShadowError { return rejected(404, "No shadow exists") }

func sizeOf(o Object) int {
	if len(o) == 0 {
		return 0
	}
	text, err := json.Marshal(o)
	if err != nil {
		panic(fmt.Sprintf("what was read as JSON is none: %v", err))
	}
	return len(text)
}

// apply gives what a section becomes by what is said about it.
func (c Section) apply(p Patch, now int64) Section {
	switch {
	case !p.Set:
		return c
	case p.State == nil:
		return Section{}
	}
	if c = c.merged(p.State, now); len(c.State) == 0 {
		return Section{}
	}
	return c
}

// merged gives what a section becomes by a merge patch (RFC 7396): objects are merged, null removes, everything else replaces.
func (c Section) merged(patch Object, now int64) Section {
	next := Section{State: maps.Clone(c.State), Meta: maps.Clone(c.Meta)}
	if next.State == nil {
		next = Section{State: Object{}, Meta: Object{}}
	}
	for key, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(next.State, key)
			delete(next.Meta, key)
		case Object:
			below := c.below(key).merged(v, now)
			next.State[key], next.Meta[key] = below.State, below.Meta
		default:
			next.State[key], next.Meta[key] = v, stamped(v, now)
		}
	}
	return next
}

// below is the part of a section under a key; nothing, if no object is there.
func (c Section) below(key string) (part Section) {
	if state, is := c.State[key].(Object); is {
		part.State = state
		part.Meta, _ = c.Meta[key].(Object)
	}
	return part
}

// stamped is what metadata says of a value: when it was set, of an array for each of its elements.
func stamped(v any, now int64) any {
	switch v := v.(type) {
	case Object:
		return Section{}.merged(v, now).Meta
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = stamped(x, now)
		}
		return out
	}
	return Object{"timestamp": json.Number(strconv.FormatInt(now, 10))}
}

// Delta is what a device should be and is not, as far as it should be anything: of what differs the whole path, with the metadata
// of the desired state. It is empty if there is nothing.
func (s Shadow) Delta() Section { return s.Desired.without(s.Reported.State) }

// Reached says whether a device says that it is all that an update wants it to be. What the update takes away is nothing to be.
func (u ShadowUpdate) Reached(s Shadow) bool {
	return len(Section{}.apply(u.Desired, 0).without(s.Reported.State).State) == 0
}

// without is what of a section is not so.
func (c Section) without(so Object) (rest Section) {
	for key, want := range c.State {
		stamp := c.Meta[key]
		is, there := so[key]
		_, deepWant := want.(Object)
		below, deepIs := is.(Object)
		switch {
		case deepWant && deepIs:
			part := c.below(key).without(below)
			if len(part.State) == 0 {
				continue
			}
			want, stamp = part.State, part.Meta
		case there && same(want, is):
			continue
		}
		if rest.State == nil {
			rest = Section{State: Object{}, Meta: Object{}}
		}
		rest.State[key], rest.Meta[key] = want, stamp
	}
	return rest
}
