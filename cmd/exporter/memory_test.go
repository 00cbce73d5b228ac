package main

import (
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/httpapi"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/source"
)

// All readers of foreign data together hold less than 128 MB with the defaults. A test of each reader holds its part.
func TestReadersMemory(t *testing.T) {
	sum := collector.DefaultConfig().Concurrency*jobstatus.ResultMemory + jobstatus.LargeResultMemory +
		httpapi.Memory + source.FilesMemory + source.URLsMemory
	t.Logf("%.1f MiB", float64(sum)/(1<<20))
	if sum > 128e6 {
		t.Errorf("%d bytes", sum)
	}
}
