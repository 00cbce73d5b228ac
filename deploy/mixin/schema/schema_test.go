package schema_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Grafana's types accept each dashboard, with the options of its panels and queries. Grafana itself replaces a field
// that is absent by a default, and also opens a dashboard with an unknown field, so only this finds a misspelt one.
func TestSchema(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	files, err := filepath.Glob("../../grafana/dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d dashboards: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var d dashboard.Dashboard
			err = d.UnmarshalJSONStrict(text)
			mistakes, ok := errors.AsType[cog.BuildErrors](err)
			if err != nil && !ok {
				t.Fatal(err)
			}
			for _, mistake := range mistakes {
				if mistake.Message != "required field is missing from input" {
					t.Error(mistake)
				}
			}
		})
	}
}
