package jobs

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// This file reads from the parameters of a URL which jobs it asks for. The pages and the JSON API have the same.

// lateState is the value of the parameter state that selects late jobs.
const lateState = "late"

// FilterParameters are the parameters that ParseFilter reads.
var FilterParameters = []string{"q", "state", "api", "error_code", "label"}

// ParseFilter returns the filter that parameters describe. One that is empty selects all. The error begins with the
// name of the parameter.
func ParseFilter(v url.Values) (Filter, error) {
	f := Filter{API: v.Get("api"), ErrorCode: v.Get("error_code"), Text: strings.TrimSpace(v.Get("q"))}
	switch text := v.Get("state"); text {
	case "":
	case lateState:
		f.Late = true
	default:
		state := State(slices.Index(States[:], text))
		if state < 0 {
			return f, fmt.Errorf("state: must be %s or %s", strings.Join(States[:], ", "), lateState)
		}
		f.State = &state
	}
	for _, label := range v["label"] {
		name, value, ok := strings.Cut(label, "=")
		_, twice := f.Labels[name]
		switch {
		case label == "":
			continue
		case !ok, name == "":
			return f, errors.New("label: must be of the form name=value")
		case twice:
			return f, errors.New("label: a name is given twice; a job has one value of it")
		case f.Labels == nil:
			f.Labels = make(map[string]string)
		}
		f.Labels[name] = value
	}
	return f, nil
}

// parameterName matches names that may be shown. Others are no names of ours, and may be anything, such as a key.
var parameterName = regexp.MustCompile(`^[A-Za-z_]{1,20}$`)

// CheckParameters returns an error if a parameter is not among the known ones, or is there several times. Only label
// may be.
func CheckParameters(v url.Values, known ...string) error {
	for _, name := range slices.Sorted(maps.Keys(v)) {
		shown := "one of the parameters"
		if parameterName.MatchString(name) {
			shown = name
		}
		switch {
		case len(known) == 0:
			return fmt.Errorf("%s: not known here; leave it out, there are no parameters", shown)
		case !slices.Contains(known, name):
			return fmt.Errorf("%s: not known here; known: %s", shown, strings.Join(known, ", "))
		case len(v[name]) > 1 && name != "label":
			return fmt.Errorf("%s: given %d times; give it once", shown, len(v[name]))
		}
	}
	return nil
}
