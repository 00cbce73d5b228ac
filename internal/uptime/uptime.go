// Package uptime tells how long the machine has been up, by a clock that nobody sets. It tells a process how much time
// has certainly passed since an earlier one noted it, whatever the wall clock shows.
package uptime

import "time"

// These are read together, once: from then on the monotonic clock of package time counts, which tests can make virtual.
var atStart, start = sinceBoot(), time.Now()

// Now returns for how long the machine has been up, without the time that it was suspended where the system does not
// count that. It starts again with each boot. Where the system does not tell, it is the time since the process started.
func Now() time.Duration { return atStart + time.Since(start) }

// Since returns how much time has certainly passed since Now returned earlier, in this process or another one on this
// machine. After a reboot it is less than what has passed: the time since the boot.
func Since(earlier time.Duration) time.Duration {
	now := Now()
	switch passed := now - earlier; {
	case passed >= 0:
		return passed // in this boot; if it is a later one, even more has passed
	case passed > -time.Second:
		return 0 // another process read the clock and rounded
	}
	return now // another boot
}
