package mongo

// Kill ends the store as the death of its process would: what it is doing is cut off between any two steps, and the database is
// not given back.
func (s *Store) Kill() error {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	if was {
		return nil
	}
	s.end()
	s.users.Wait()
	s.running.Wait()
	if s.tender != nil {
		s.stopTender()
		<-s.tender.sweeps.Ended()
		s.seq.kill()
	}
	s.stop()
	return s.disconnect()
}
