package simulator

// Remembered returns the number of jobs in memory.
func (s *Simulator) Remembered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.jobs)
}
