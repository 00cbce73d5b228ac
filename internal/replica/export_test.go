package replica

import "time"

// SetWall replaces the wall clock: in virtual time, it is the monotonic clock.
func (r *Replica[T]) SetWall(wall func() time.Time) { r.wall = wall }
