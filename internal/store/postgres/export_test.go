package postgres

import "time"

// SetListenPing sets how long a silent connection counts as alive, and returns a function that undoes it.
func SetListenPing(d time.Duration) (undo func()) {
	before := listenPing
	listenPing = d
	return func() { listenPing = before }
}
