// Package longtest chooses between the two forms of a test whose cost grows with a number, such as of days or cases.
package longtest

import "os"

// Size returns usual, or long if the environment variable LONG is set (make long-test).
func Size(usual, long int) int {
	if os.Getenv("LONG") != "" {
		return long
	}
	return usual
}
