package devices

// Watcher hears what happens to devices, whoever may see it. It is called when that is stored, in the order of each device, and waits
// for nothing. Safe for concurrent use.
type Watcher interface {
	// ShadowChanged says that the classic shadow of a device has changed.
	ShadowChanged(t Thing, before, after Shadow)
	// Happened says that something has happened to a device; it may say so again after a crash.
	Happened(t Thing, e Event)
	// PresenceChanged says how a device is, when that has changed, or may have.
	PresenceChanged(t Thing, p Presence)
	// Stepped says that a command has come to a state.
	Stepped(c Command)
}

// Watch says who hears what happens to devices. It is called before Load, once for each.
func (s *Service) Watch(w Watcher) { s.watchers = append(s.watchers, w) }

func (s *Service) shadowChanged(t Thing, name string, before, after Shadow) {
	for _, w := range s.watchers {
		if name == "" {
			w.ShadowChanged(t, before, after)
		}
	}
}

func (s *Service) happened(t Thing, e Event) {
	for _, w := range s.watchers {
		w.Happened(t, e)
	}
}

func (s *Service) presenceChanged(t Thing, p Presence) {
	for _, w := range s.watchers {
		w.PresenceChanged(t, p)
	}
}

func (s *Service) stepped(c Command) {
	for _, w := range s.watchers {
		w.Stepped(c)
	}
}
