//go:build !unix

package cputime

import (
	"testing"
	"time"
)

// Used returns nothing: the CPU time is not known.
func Used(*testing.B) time.Duration { return 0 }

// Report does nothing.
func Report(*testing.B) {}
