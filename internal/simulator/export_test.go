package simulator

// Remembered is how many jobs are in memory, whatever Jobs shows.
func (s *Simulator) Remembered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(len(s.jobs), len(s.order))
}
