package submission_test

import (
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// submitted returns the answer of the vendor to a submission.
func submitted(t testing.TB) []byte {
	t.Helper()
	body, err := os.ReadFile("../jobstatus/testdata/payloads/submitted.json")
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// checkError checks the text of an error; empty: none.
func checkError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case err == nil && want != "":
		t.Errorf("no error, want %q", want)
	case err != nil && err.Error() != want:
		t.Errorf("error %q, want %q", err, want)
	}
}

func TestCheckRequestID(t *testing.T) {
	for name, test := range map[string]struct{ id, want string }{
		"UUID":         {"8bdd983a-c6bd-4159-982d-6a2471406d62", ""},
		"space within": {"call 7", ""},
		"longest":      {strings.Repeat("ä", submission.MaxRequestIDLength), ""},
		"empty":        {"", "the request ID is empty"},
		"too long": {
			strings.Repeat("ä", submission.MaxRequestIDLength+1),
			"the request ID is longer than 128 characters",
		},
		"not UTF-8":           {"secret\xff", "the request ID is not valid UTF-8"},
		"newline":             {"sec\nret", "the request ID contains a non-printable character"},
		"direction mark":      {"sec\u202eret", "the request ID contains a non-printable character"},
		"begins with a space": {" secret", "the request ID begins or ends with a space"},
		"ends with a space":   {"secret ", "the request ID begins or ends with a space"},
	} {
		t.Run(name, func(t *testing.T) {
			checkError(t, submission.CheckRequestID(test.id), test.want)
		})
	}
}

func TestAPIName(t *testing.T) {
	for api, want := range map[string]string{
		"":                                "",
		" / ":                             "",
		"asr":                             "asr",
		"ASR":                             "asr",
		"/audio/generic/api/v1/async/asr": "asr",
		"/audio/generic/api/v1/async/analytics/interaction": "interaction",
		"/audio/generic/api/v2/async/diarize/":              "diarize",
		"/text/generic/api/v1/sync/punctuate":               "punctuate",
		"two words":                                         "other",
		"ä":                                                 "other",
		strings.Repeat("a", 64):                             strings.Repeat("a", 64),
		strings.Repeat("a", 65):                             "other",
		strings.Repeat("/a", 600):                           "other",
	} {
		if got := submission.APIName(api); got != want {
			t.Errorf("APIName(%.80q) = %q, want %q", api, got, want)
		}
	}
}
