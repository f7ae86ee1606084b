package sessions

// changes remembers which topics have got another retained message lately, and at which position. What is kept of that is
// bounded; see since.
type changes struct {
	list  [512]change
	count uint64 // of all that were added
}

type change struct {
	pos   uint64
	topic string
}

func (c *changes) add(pos uint64, topic string) {
	c.list[c.count%uint64(len(c.list))] = change{pos, topic}
	c.count++
}

// since gives the topics that have changed after a position; ok is false if that is too long ago to be known.
func (c *changes) since(pos uint64) (topics map[string]bool, ok bool) {
	for i := uint64(1); ; i++ {
		switch {
		case i > c.count:
			return topics, true
		case i > uint64(len(c.list)):
			return nil, false
		}
		x := &c.list[(c.count-i)%uint64(len(c.list))]
		if x.pos <= pos {
			return topics, true
		}
		if topics == nil {
			topics = make(map[string]bool)
		}
		topics[x.topic] = true
	}
}
