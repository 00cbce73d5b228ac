package wake_test

import (
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/wake"
)

// What was sent before it was received is received once, and nothing is lost after that.
func TestSignal(t *testing.T) {
	s := wake.NewSignal()
	for range 2 {
		s.Send()
		s.Send()
		<-s
		select {
		case <-s:
			t.Fatal("received twice")
		default:
		}
	}
	wake.Signal(nil).Send() // does not wait
}
