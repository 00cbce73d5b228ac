package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The floor plan in architecture.md has every package of internal/.
func TestFloorPlan(t *testing.T) {
	plan, err := os.ReadFile("architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	root := os.DirFS("..")
	packages := 0
	err = fs.WalkDir(root, "internal", func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if d.Name() == "testdata" {
			return filepath.SkipDir
		}
		files, err := fs.Glob(root, dir+"/*.go")
		if len(files) > 0 {
			packages++
			if !strings.Contains(string(plan), "| `"+dir+"/` |") {
				t.Errorf("architecture.md does not say what %s is", dir)
			}
		}
		return err
	})
	if err != nil || packages == 0 {
		t.Errorf("%d packages, %v", packages, err)
	}
}

var metricName = regexp.MustCompile("`(deepaffects_[a-z_]+)`")

// The metrics that the README names exist.
func TestMetricsOfReadme(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := os.ReadFile("metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	names := 0
	for _, match := range metricName.FindAllSubmatch(readme, -1) {
		if name := string(match[1]); name != "deepaffects_exporter" {
			names++
			if !strings.Contains(string(metrics), "| `"+name+"` |") {
				t.Errorf("metrics.md does not have %s", name)
			}
		}
	}
	if names == 0 {
		t.Error("the README names no metric")
	}
}
