package transfer

// KindKept is the kind of records that only who keeps them understands.
const KindKept Kind = "kept"

// Kept is one of package records: something small that one of the rooms above a store keeps under a key. They are sorted by their
// keys.
type Kept struct {
	Kind  Text   `json:"kind"`
	Scope Text   `json:"scope,omitempty"`
	ID    Text   `json:"id"`
	Rev   uint64 `json:"rev"`
	Due   int64  `json:"due,omitempty"`
	Body  Body   `json:"body,omitempty"`
}

// Of implements Record.
func (*Kept) Of() Kind { return KindKept }
