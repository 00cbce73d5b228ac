package submission_test

import (
	"bytes"
	"encoding/json"
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
	const placeholder = "the request ID is a placeholder of the documentation; put the ID of a job in its place"
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
		"other marks":         {`<tenant>/call:7 (a) {c} "d"`, ""},
		"dots":                {"...", ""},
		"a name in brackets":  {"<REQUEST_ID>", placeholder},
		"of the README":       {"my-request-id", ""},
		"markup":              {"<img src=x onerror=alert(1)>", ""},
		"ellipsis":            {"…", placeholder},
		"with an ellipsis":    {"8bdd983a-…", placeholder},
	} {
		t.Run(name, func(t *testing.T) {
			checkError(t, submission.CheckRequestID(test.id), test.want)
		})
	}
}

// A text that nothing names a request ID is one only if it looks like one.
func TestUnnamedIDs(t *testing.T) {
	for _, id := range []string{
		"8bdd983a-c6bd-4159-982d-6a2471406d62", "8BDD983A-C6BD-4159-982D-6A2471406D62", "8bdd983ac6bd4159982d6a2471406d62",
		"0x8bdd983a", "01JDZ3K8XN2V5W6Y7Z8A9B0C1D", "V1StGXR8_Z5jdHi6B-myT", "-hi_9", "507f1f77bcf86cd799439011",
		"12345", "7",
		"a", "nana", "call-7", "call_7", "call.7", "CALL~7", "calls-2026-11-29-7", "tenant.call-7", "call-7.wav", "id-7",
		"request_id_7",
		"error-7", "api7", "nullable", "1.2.3-a", "2026-11-29-a", "job-a",
	} {
		if job, ok, err := submission.ParseLine([]byte(id)); job.RequestID != id || !ok || err != nil {
			t.Errorf("the line %q: %+v, %v, %v", id, job, ok, err)
		}
		if jobs, err := submission.ParseJSON(strings.NewReader(`["`+id+`"]`), 1); len(jobs) != 1 || err != nil {
			t.Errorf("the string %q: %+v, %v", id, jobs, err)
		}
	}
	for _, text := range []string{
		"request_id", "Request-ID", "REQUESTID", "request_ids", "id", "IDs", "uuid", "job_id", "api", "requests",
		"request_id,api", "run-1,asr", "run-1;asr", "run-1\tasr", "run-1 asr", "run-1|asr", "run-1 # trailing",
		"; comment", "// comment", "-- comment", "rem comment", "/* comment */", "<!-- comment -->",
		"Traceback (most recent call last):", "Error:", "error: no such file", "Killed", "[error]", "[section]",
		"<html><body>502</body></html>", "</body>", "<id>run-1</id>", "&nbsp;",
		"root:x:0:0:root:/root:/bin/bash", "adm:x:4:syslog", "/var/lib/calls/run-1", `C:\calls\run-1`,
		"https://example.com/run-1",
		"name@example.com", "KEY=value", "API_KEY=", "key:", "key: value", "- run-1", "* run-1", "> run-1", "run-1:",
		"a=b&c=d",
		"}", "{}", "],", "[", "(3 rows)", "---", "...", "…", "+----+", "| id |", "========", "_", "~", `\N`, "%s",
		"$ID", "${ID}", "{{ id }}",
		"<request-id>", "null", "NULL", "None", "undefined", "true", "n/a",
		"NaN", "nan", "-nan", "inf", "Infinity", "timestamp", "Date", "status", "--flag", "--dry-run", "-v",
		"2026-11-29", "2026.11.29", "29.11.2026", "11-29-2026", "29-Nov-2026", "2026-11-29T08:09:25Z", "20261129T080925Z",
		"2026-11-29T080925Z", "2026-11-29_08-09-25", "08:09:25", "Sun Nov 29 08:09:25 UTC 2026", "0.93", "-1.5", ".5",
		"1.2.3", "v1.2.3",
		"192.168.0.1", "::1", "-----BEGIN PRIVATE KEY-----", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC+/Kcw", "aGVsbG8=", "a*b",
		"a?b",
		"sch\u00f6n", "run\u00a01", "\u201crun-1\u201d", "'run-1'", "`run-1`", "run-1\x00", "run\x1b[0m-1", "\ufffd",
	} {
		if job, ok, err := submission.ParseLine([]byte(text)); ok || err == nil {
			t.Errorf("the line %q: %+v, %v", text, job, err)
		}
	}
	// In quotes, an ID may have any character.
	for text, want := range map[string]bool{
		"call 7": true, "a/b": true, "100%": true, "schön": true, "key=value": true,
		"request_id": false, "ID": false, "null": false, "2026-11-29": false, "0.93": false, "…": false, "a\nb": false,
	} {
		line, _ := json.Marshal(text)
		if job, ok, err := submission.ParseLine(line); ok != want {
			t.Errorf("the line %s: %+v, %v", line, job, err)
		}
		if jobs, err := submission.ParseJSON(bytes.NewReader(line), 1); (err == nil) != want {
			t.Errorf("the string %s: %+v, %v", line, jobs, err)
		}
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
