package chat

// People keeps what users say of themselves, and finds them by it.
type People interface{}
