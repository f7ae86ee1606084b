package sessions

// changes remembers which topics have got another retained message lately, and at which position. What is kept of that is
// bounded; see since.
type changes struct {
	list  []change // as long as many
	count uint64   // of all that were added
}

// manyChanges is what comes in the time of a few syncs.
const manyChanges = 8192

type change struct {
	pos   uint64
	topic string
}

func (c *changes) add(pos uint64, topic string) {
	if c.list == nil {
		c.list = make([]change, manyChanges)
	}
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
