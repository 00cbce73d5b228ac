package schedule_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/longtest"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

// A job costs less than 120 bytes, beside its ID.
func TestMemory(t *testing.T) {
	jobs := longtest.Size(20_000, 100_000)
	ids := make([]string, jobs)
	for i := range ids {
		ids[i] = fmt.Sprintf("0b6c1a44-0000-4000-8000-%012d", i)
	}
	used := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := used()
	s := schedule.New(schedule.Limits{}, start)
	for i, id := range ids {
		s.Add(start, schedule.Job{Sequence: uint64(i), RequestID: id, API: "asr", Start: start})
	}
	each := (used() - before) / uint64(jobs)
	t.Logf("%d bytes a job", each)
	if each >= 120 {
		t.Errorf("%d bytes a job", each)
	}
	runtime.KeepAlive(s)
	runtime.KeepAlive(ids)
}
