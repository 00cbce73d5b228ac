#!/usr/bin/env bash
# Writes the licences and notices of Go and of each module that a program is built
# from. They must be shipped with the program. A module without a licence is an error.
set -euo pipefail
cd "$(dirname "$0")/.."

{
  echo "Go $(go env GOVERSION) $(go env GOROOT)"
  go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' "$1" | sort -u
} | while read -r module version dir; do
  files=$(find -L "$dir" -maxdepth 1 -type f -iregex '.*/\(licen[cs]e\|copying\|notice\)[^/]*' | sort)
  [ -n "$files" ] || { echo "$module $version has no licence" >&2; exit 1; }
  for file in $files; do
    printf '======== %s %s: %s\n\n' "$module" "$version" "${file##*/}"
    cat "$file"
    echo
  done
done
