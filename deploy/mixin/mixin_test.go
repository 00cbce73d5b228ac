// Package mixin checks the mixin in this directory and what is compiled from it.
package mixin

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-jsonnet"
	"github.com/google/go-jsonnet/formatter"
	"github.com/google/go-jsonnet/linter"
)

// The compiled files are current, and there are no others in their directories.
func TestCurrent(t *testing.T) {
	vm := jsonnet.MakeVM()
	vm.StringOutput = true
	compiled, err := vm.EvaluateFileMulti("compile.jsonnet")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range compiled {
		got, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(name)))
		if err != nil || string(got) != want {
			t.Errorf("deploy/%s is not current (%v): make mixin", name, err)
		}
	}
	dashboards, err := filepath.Glob(filepath.FromSlash("../grafana/dashboards/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range dashboards {
		if _, ok := compiled["grafana/dashboards/"+filepath.Base(file)]; !ok {
			t.Errorf("%s is not compiled from the mixin", file)
		}
	}
}

// sources returns the text of all jsonnet files, by name.
func sources(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, "sonnet") {
			return err
		}
		text, err := os.ReadFile(name)
		all[name] = string(text)
		return err
	})
	if err != nil || len(all) < 10 {
		t.Fatalf("%d files: %v", len(all), err)
	}
	return all
}

// The source has the format of jsonnetfmt, and its linter finds no problem.
func TestSource(t *testing.T) {
	for name, text := range sources(t) {
		formatted, err := formatter.Format(name, text, formatter.DefaultOptions())
		if err != nil || formatted != text {
			t.Errorf("deploy/mixin/%s is not formatted (%v): jsonnetfmt -i", name, err)
		}
		var problems bytes.Buffer
		if linter.LintSnippet(jsonnet.MakeVM(), &problems, []linter.Snippet{{FileName: name, Code: text}}) {
			t.Error(problems.String())
		}
	}
}
