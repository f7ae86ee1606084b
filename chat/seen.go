package chat

// Seen keeps when somebody was there last.
type Seen interface{}
