package submission_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

type job = submission.Job

// entries returns JSON objects and their meaning. Errors must not contain "secret".
func entries(t *testing.T) map[string]struct {
	json string
	job  job
	err  string
} {
	manyLabels := func(n int) string {
		var b strings.Builder
		b.WriteString(`{"request_id":"a","labels":{`)
		for i := range n {
			fmt.Fprintf(&b, `"secret%d":"",`, i)
		}
		return strings.TrimSuffix(b.String(), ",") + `}}`
	}
	const (
		wrong = " has a value of the wrong type"
		known = "; the fields are request_id, api, audio_seconds, priority, submitted_at, labels, account"
	)
	const audio = "audio_seconds is not between 0.01 and 10000000; leave it out if it is unknown"
	const implausible = "submitted_at is more than a year ago, or more than a day in the future"
	const day = 24 * time.Hour
	now := time.Now().Truncate(time.Second)
	at := func(after time.Duration) string {
		return now.Add(after).In(time.FixedZone("", 3600)).Format(time.RFC3339)
	}
	submittedAt := func(after time.Duration) string { return `{"request_id":"a","submitted_at":"` + at(after) + `"}` }
	return map[string]struct {
		json string
		job  job
		err  string
	}{
		"submitted": {
			json: string(submitted(t)), job: job{RequestID: "8bdd983a-c6bd-4159-982d-6a2471406d62", API: "asr"},
		},
		"all": {
			json: `{"request_id":"a","api":"ASR","audio_seconds":1.5,
				"submitted_at":"` + at(-time.Hour) + `","labels":{"team":"x"},"account":"b"}`,
			job: job{RequestID: "a", API: "asr", AudioSeconds: 1.5, SubmittedAt: now.Add(-time.Hour),
				Labels: map[string]string{"team": "x"}, Account: "b"},
		},
		"the vendor's":  {json: `{"request_id":"a","message":{"labels":1},"status":[7]}`, job: job{RequestID: "a"}},
		"unknown field": {json: `{"request_id":"a","audio_secs":7}`, err: `unknown field "audio_secs"` + known},
		"field that may be a secret": {
			json: `{"request_id":"a","0secret1":7}`, err: `unknown field` + known,
		},
		"number":    {json: `{"request_id":12345678901234567890}`, job: job{RequestID: "12345678901234567890"}},
		"no labels": {json: `{"request_id":"a","labels":{}}`, job: job{RequestID: "a"}},
		"null":      {json: `{"request_id":"a","labels":null,"api":null}`, job: job{RequestID: "a"}},
		"no ID":     {json: `{"api":"secret"}`, err: "the request ID is empty"},
		"placeholder": {
			json: `{"request_id":"…"}`,
			err:  "the request ID is a placeholder of the documentation; put the ID of a job in its place",
		},
		"bad ID": {
			json: `{"request_id":"secret\n"}`, err: "the request ID contains a non-printable character",
		},
		"bad time": {
			json: `{"request_id":"a","submitted_at":"secret"}`,
			err:  `submitted_at is not a time like "2026-11-23T18:00:00Z"`,
		},
		"submitted almost a year ago": {
			json: submittedAt(-365 * day), job: job{RequestID: "a", SubmittedAt: now.Add(-365 * day)},
		},
		"submitted by a fast clock": {json: submittedAt(day / 2), job: job{RequestID: "a", SubmittedAt: now.Add(day / 2)}},
		"submitted over a year ago": {json: submittedAt(-367 * day), err: implausible},
		"submitted in two days":     {json: submittedAt(2 * day), err: implausible},
		"submitted in 1900":         {json: `{"request_id":"a","submitted_at":"1900-01-01T00:00:00Z"}`, err: implausible},
		"submitted in 1970":         {json: `{"request_id":"a","submitted_at":"1970-01-01T00:00:00Z"}`, err: implausible},
		"submitted in year 1":       {json: `{"request_id":"a","submitted_at":"0001-01-01T00:00:00Z"}`, err: implausible},
		"submitted in 9999": {json: `{"request_id":"a","submitted_at":"9999-12-31T23:00:00-23:00"}`,
			err: implausible},
		"priority":         {json: `{"request_id":"a","priority":2}`, job: job{RequestID: "a", Priority: 2}},
		"priority below 0": {json: `{"request_id":"a","priority":-1}`, err: "priority is not between 0.01 and 100"},
		"priority too high": {
			json: `{"request_id":"a","priority":1000}`, err: "priority is not between 0.01 and 100",
		},
		"type of priority":  {json: `{"priority":"secret"}`, err: "priority" + wrong},
		"audio below 0":     {json: `{"request_id":"a","audio_seconds":-1}`, err: audio},
		"audio too long":    {json: `{"request_id":"a","audio_seconds":1e8}`, err: audio},
		"audio too short":   {json: `{"request_id":"a","audio_seconds":0.009}`, err: audio},
		"denormal audio":    {json: `{"request_id":"a","audio_seconds":1e-322}`, err: audio},
		"shortest audio":    {json: `{"request_id":"a","audio_seconds":0.01}`, job: job{RequestID: "a", AudioSeconds: 0.01}},
		"unknown audio":     {json: `{"request_id":"a","audio_seconds":null}`, job: job{RequestID: "a"}},
		"unknown priority":  {json: `{"request_id":"a","priority":null}`, job: job{RequestID: "a"}},
		"audio of 0":        {json: `{"request_id":"a","audio_seconds":0}`, job: job{RequestID: "a"}},
		"audio that is −0":  {json: `{"request_id":"a","audio_seconds":-0}`, job: job{RequestID: "a"}},
		"priority of 0":     {json: `{"request_id":"a","priority":0}`, job: job{RequestID: "a"}},
		"denormal priority": {json: `{"request_id":"a","priority":5e-324}`, err: "priority is not between 0.01 and 100"},
		"most labels":       {json: manyLabels(33), err: "more than 32 labels"},
		"long label": {
			json: `{"request_id":"a","labels":{"secret":"` + strings.Repeat("x", 257) + `"}}`,
			err:  "a label is longer than 256 bytes",
		},
		"long label name": {
			json: `{"request_id":"a","labels":{"` + strings.Repeat("x", 257) + `":""}}`,
			err:  "a label is longer than 256 bytes",
		},
		"long account": {
			json: `{"request_id":"a","account":"` + strings.Repeat("x", 129) + `"}`,
			err:  "account is longer than 128 bytes",
		},
		"type of request_id":   {json: `{"request_id":["secret"]}`, err: "request_id" + wrong},
		"fraction":             {json: `{"request_id":1.5}`, err: "request_id" + wrong},
		"negative":             {json: `{"request_id":-1}`, err: "request_id" + wrong},
		"exponent":             {json: `{"request_id":1e9}`, err: "request_id" + wrong},
		"type of api":          {json: `{"api":["secret"]}`, err: "api" + wrong},
		"type of audio":        {json: `{"audio_seconds":"secret"}`, err: "audio_seconds" + wrong},
		"audio out of range":   {json: `{"audio_seconds":1e999}`, err: "audio_seconds" + wrong},
		"type of submitted_at": {json: `{"submitted_at":1700000000}`, err: "submitted_at" + wrong},
		"type of labels":       {json: `{"labels":["secret"]}`, err: "labels" + wrong},
		"type of a label":      {json: `{"labels":{"secret":1}}`, err: "labels" + wrong},
		"type of label api":    {json: `{"labels":{"api":{"secret":1}}}`, err: "labels" + wrong},
		"type of account":      {json: `{"account":true}`, err: "account" + wrong},
	}
}

func TestParseLine(t *testing.T) {
	for name, test := range entries(t) {
		t.Run(name, func(t *testing.T) {
			got, ok, err := submission.ParseLine([]byte(test.json))
			checkError(t, err, test.err)
			if ok != (test.err == "") {
				t.Errorf("ok %v", ok)
			}
			if diff := cmp.Diff(test.job, got); diff != "" {
				t.Errorf("job (-want +got):\n%s", diff)
			}
		})
	}
	const notAnID = `not a request ID; if it is one, write {"request_id": "…"}`
	for name, test := range map[string]struct{ line, id, err string }{
		"ID":               {line: "a", id: "a"},
		"ID between space": {line: " \ta\r\n", id: "a"},
		"ID as JSON":       {line: `"a" `, id: "a"},
		"escaped ID":       {line: `"\u0061"`, id: "a"},
		"quote within":     {line: `a"b"`, err: notAnID},
		"comma behind":     {line: `"secret",`, err: "invalid JSON at byte 8"},
		"blank":            {line: " \r\n"},
		"comment":          {line: " # secret"},
		"bad ID":           {line: "sec\x00ret", err: "the request ID contains a non-printable character"},
		"two objects":      {line: `{"request_id":"a"}{"request_id":"secret"}`, err: "invalid JSON at byte 18"},
		"cut off":          {line: `{"request_id":"secret`, err: "invalid JSON at byte 21"},
		"same name twice":  {line: `{"api":"secret","api":""}`, err: "a name is given twice, at byte 16"},
		"too long":         {line: strings.Repeat("x", submission.MaxEntryBytes+1), err: "longer than 65536 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok, err := submission.ParseLine([]byte(test.line))
			checkError(t, err, test.err)
			if ok != (test.id != "") {
				t.Errorf("ok %v", ok)
			}
			if diff := cmp.Diff(job{RequestID: test.id}, got); diff != "" {
				t.Errorf("job (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseJSONEntries(t *testing.T) {
	for name, test := range entries(t) {
		t.Run(name, func(t *testing.T) {
			before := job{RequestID: "before"}
			for shape, document := range map[string]string{
				"array": `["before",` + test.json + `]`,
				"lines": "\"before\"\n" + test.json + "\n",
			} {
				want, wantErr := []job{before, test.job}, test.err
				if wantErr != "" {
					want, wantErr = nil, "entry 2: "+wantErr
				}
				got, err := submission.ParseJSON(strings.NewReader(document), 10)
				t.Run(shape, func(t *testing.T) {
					checkError(t, err, wantErr)
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("jobs (-want +got):\n%s", diff)
					}
				})
			}
		})
	}
}

func TestParseJSON(t *testing.T) {
	const syntax = "invalid JSON at byte "
	space := strings.Repeat(" \n\r\t", 1<<20)
	for name, test := range map[string]struct {
		document string
		ids      []string
		err      string
	}{
		"one object":          {document: `{"request_id":"a"}`, ids: []string{"a"}},
		"one string":          {document: `"a"`, ids: []string{"a"}},
		"empty array":         {document: ` [ ] `},
		"array":               {document: `["a",{"request_id":"b"}]`, ids: []string{"a", "b"}},
		"lines":               {document: "{\"request_id\":\"a\"}\r\n\n\"b\"", ids: []string{"a", "b"}},
		"maximum":             {document: `["a","b","c"]`, ids: []string{"a", "b", "c"}},
		"too many":            {document: `["a","b","c","d"]`, err: "too many entries: more than 3"},
		"too many lines":      {document: `"a" "b" "c" "d"`, err: "too many entries: more than 3"},
		"empty":               {document: " \n", err: submission.ErrEmpty.Error()},
		"numbers":             {document: `["a",7]`, ids: []string{"a", "7"}},
		"a number":            {document: `7`, ids: []string{"7"}},
		"space":               {document: space + `["a",` + space + `"b"]`, ids: []string{"a", "b"}},
		"space and a mistake": {document: space + `["a",secret`, err: "entry 2: " + syntax + "4194309"},
		"byte order mark":     {document: "\ufeff[\"a\"]", ids: []string{"a"}},
		"boolean":             {document: `["a",true]`, err: "entry 2: neither an object nor a string"},
		"name twice": {
			document: `["a",{"api":"","api":""}]`, err: "entry 2: a name is given twice, at byte 15",
		},
		"long string": {
			document: `["a","` + strings.Repeat("x", 70_000) + `"]`, err: "entry 2: longer than 65536 bytes",
		},
		"null":                {document: `null`, err: "entry 1: neither an object nor a string"},
		"array in an array":   {document: `["a",["secret"]]`, err: "entry 2: neither an object nor a string"},
		"two arrays":          {document: `["a"]["secret"]`, err: "trailing data after the array"},
		"array after a line":  {document: `"a" ["secret"]`, err: "entry 2: neither an object nor a string"},
		"garbage after array": {document: `["a"] secret`, err: "trailing data after the array"},
		"not JSON":            {document: `secret`, err: "entry 1: " + syntax + "0"},
		"cut off":             {document: `["a","secret`, err: "entry 2: " + syntax + "12"},
		"cut off between":     {document: `["a"`, err: "entry 2: " + syntax + "4"},
		"trailing comma":      {document: `["a",]`, err: "entry 2: " + syntax + "4"},
		"not UTF-8":           {document: "[\"secret\xff\"]", err: "entry 1: " + syntax + "8"},
		"bad ID":              {document: `[""]`, err: "entry 1: the request ID is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			jobs, err := submission.ParseJSON(strings.NewReader(test.document), 3)
			checkError(t, err, test.err)
			var ids []string
			for _, job := range jobs {
				ids = append(ids, job.RequestID)
			}
			if diff := cmp.Diff(test.ids, ids); diff != "" {
				t.Errorf("IDs (-want +got):\n%s", diff)
			}
		})
	}
}

// A bad entry of a list does not end it, and a list that breaks off keeps what came before.
func TestParseList(t *testing.T) {
	const wrong, kind = " has a value of the wrong type", "neither an object nor a string"
	for name, test := range map[string]struct {
		list    string
		ids     []string
		skipped []string
		err     string
	}{
		"empty":     {list: `[]`},
		"all valid": {list: `["a",{"request_id":"b"}]`, ids: []string{"a", "b"}},
		"null ID": {
			list: `["a",{"request_id":null},"b"]`, ids: []string{"a", "b"},
			skipped: []string{"entry 2: the request ID is empty"},
		},
		"other kind": {
			list: `[1,"a",null,true,["secret"],"b"]`, ids: []string{"1", "a", "b"},
			skipped: []string{"entry 3: " + kind, "entry 4: " + kind, "entry 5: " + kind},
		},
		"no ID": {
			list: `["a",{},"b"]`, ids: []string{"a", "b"}, skipped: []string{"entry 2: the request ID is empty"},
		},
		"empty ID": {list: `["","a"]`, ids: []string{"a"}, skipped: []string{"entry 1: the request ID is empty"}},
		"number": {
			list: `[{"request_id":["secret"]},"a"]`, ids: []string{"a"}, skipped: []string{"entry 1: request_id" + wrong},
		},
		"bad time": {
			list: `[{"request_id":"secret","submitted_at":"secret"},"a"]`, ids: []string{"a"},
			skipped: []string{`entry 1: submitted_at is not a time like "2026-11-23T18:00:00Z"`},
		},
		"bad label": {
			list: `[{"request_id":"a","labels":{"x":{}}},"b"]`, ids: []string{"b"},
			skipped: []string{"entry 1: labels" + wrong},
		},
		"not UTF-8": {
			list: "[\"secret\xff\",\"a\"]", ids: []string{"a"}, skipped: []string{"entry 1: invalid JSON at byte 8"},
		},
		"surrogate": {
			list: `["secret\ud800","a"]`, ids: []string{"a"}, skipped: []string{"entry 1: invalid JSON at byte 8"},
		},
		"name twice": {
			list: `[{"request_id":"secret","request_id":"b"},"a"]`, ids: []string{"a"},
			skipped: []string{"entry 1: a name is given twice, at byte 24"},
		},
		"control": {
			list: `["a\u0000","b"]`, ids: []string{"b"},
			skipped: []string{"entry 1: the request ID contains a non-printable character"},
		},
		"too long": {
			list: `["` + strings.Repeat("x", 129) + `","b"]`, ids: []string{"b"},
			skipped: []string{"entry 1: the request ID is longer than 128 characters"},
		},
		"far too long": {
			list: `["` + strings.Repeat("x", 1<<16) + `","b"]`, ids: []string{"b"},
			skipped: []string{"entry 1: longer than 65536 bytes"},
		},
		"header": {
			list: `["request_id","b"]`, ids: []string{"b"},
			skipped: []string{"entry 1: " + `not a request ID; if it is one, write {"request_id": "…"}`},
		},
		"cut off": {
			list: `["a",{"request_id":"b"},"secret`, ids: []string{"a", "b"}, err: "entry 3: invalid JSON at byte 31",
		},
		"cut off behind an ID": {list: `["a" `, ids: []string{"a"}, err: "entry 2: invalid JSON at byte 5"},
		"cut off in a number":  {list: `["a",7`, ids: []string{"a"}, err: "entry 2: invalid JSON at byte 6"},
		"refused": {
			list: `[{"request_id":"a","account":"secret"},{"request_id":"b","account":"x"}]`, ids: []string{"b"},
			skipped: []string{"entry 1: wrong account"},
		},
		"no value": {
			list: `["a",,"b"]`, ids: []string{"a", "b"}, skipped: []string{"entry 2: invalid JSON at byte 5"},
		},
		"trailing comma": {list: `["a" , ]`, ids: []string{"a"}, skipped: []string{"entry 2: invalid JSON at byte 7"}},
		"NaN": {
			list: `["a",{"request_id":"b","audio_seconds":NaN,"priority":-Infinity},"c",NaN,{"request_id":NaN},"d"]`,
			ids:  []string{"a", "b", "c", "d"}, skipped: []string{"entry 4: " + kind, "entry 5: the request ID is empty"},
		},
		"NaN in a string": {list: `[{"request_id":"a NaN","priority":NaN}]`, ids: []string{"a NaN"}},
		"no comma": {
			list: `["a" "b","c"]`, ids: []string{"c"}, skipped: []string{"entry 1: invalid JSON at byte 5"},
		},
		"other word": {
			list: `["a",{"request_id":"b","priority":secret},"c"]`, ids: []string{"a", "c"},
			skipped: []string{"entry 2: invalid JSON at byte 34"},
		},
		"no closing quote": {
			list: "[\n\"a\",\n{\"request_id\":\"secret},\n\"secret,\n\"b\"\n]", ids: []string{"a", "b"},
			skipped: []string{"entry 2: invalid JSON at byte 30", "entry 3: invalid JSON at byte 39"},
		},
		"bracket in a string": {list: `["a]","\"],\\","b"]`, ids: []string{"a]", `"],\`, "b"}},
		"a time": {list: `[2026-11-30 12:00:00] secret`, skipped: []string{"entry 1: invalid JSON at byte 5"},
			err: "trailing data after the array"},
		"trailing data": {list: `["a"] secret`, ids: []string{"a"}, err: "trailing data after the array"},
		"too many": {
			list: `["a","b","c","d","e","f","g"]`, ids: []string{"a", "b", "c", "d", "e", "f"},
			err: "too many entries: more than 6",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var skipped []string
			skip := func(err error) { skipped = append(skipped, err.Error()) }
			check := func(j job) error {
				if j.Account == "secret" {
					return errors.New("wrong account")
				}
				return nil
			}
			var ids []string
			var last error
			for job, err := range submission.ParseList(strings.NewReader(test.list), 6, check, skip) {
				if last != nil {
					t.Errorf("%v is not the last", last)
				}
				if last = err; err == nil {
					ids = append(ids, job.RequestID)
				}
			}
			checkError(t, last, test.err)
			if diff := cmp.Diff(test.ids, ids); diff != "" {
				t.Errorf("IDs (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.skipped, skipped); diff != "" {
				t.Errorf("skipped (-want +got):\n%s", diff)
			}
		})
	}
}

// An error of the reader is distinguishable, such as that of a body that is too large.
func TestParseJSONReadError(t *testing.T) {
	failed := errors.New("the reader failed")
	for _, document := range []string{"", `[`, `["`, "\ufeff[", `["a"`, `["a",{"request_id":`, `"a"`, `["a"]`} {
		r := io.MultiReader(strings.NewReader(document), iotest.ErrReader(failed))
		_, err := submission.ParseJSON(r, 3)
		if _, ok := errors.AsType[*submission.ReadError](err); !ok || !errors.Is(err, failed) {
			t.Errorf("after %q: error %v, want a ReadError", document, err)
		}
	}
}

// checkJob checks the invariants of a job.
func checkJob(t *testing.T, j job) {
	t.Helper()
	if err := submission.CheckRequestID(j.RequestID); err != nil {
		t.Errorf("ID %q: %v", j.RequestID, err)
	}
	if again := submission.APIName(j.API); again != j.API {
		t.Errorf("API name %q becomes %q", j.API, again)
	}
	if !(j.AudioSeconds >= 0) || len(j.Labels) > submission.MaxLabels || j.Labels != nil && len(j.Labels) == 0 {
		t.Errorf("out of bounds: %+v", j)
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add(submitted(f))
	f.Add([]byte("8bdd983a-c6bd-4159-982d-6a2471406d62\r\n"))
	f.Add([]byte("# comment"))
	f.Add([]byte(`{"request_id":"a","audio_seconds":1.5,"submitted_at":"2026-11-23T18:00:00Z",` +
		`"labels":{"team":"x"},"account":"b"}`))
	f.Add([]byte(`{"request_id":"a","labels":{"x":1}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		before := bytes.Clone(line)
		j, ok, err := submission.ParseLine(line)
		if !bytes.Equal(before, line) {
			t.Error("the line was changed")
		}
		if ok {
			checkJob(t, j)
		} else if diff := cmp.Diff(job{}, j); diff != "" {
			t.Errorf("a job though not ok:\n%s", diff)
		}
		if ok && err != nil {
			t.Errorf("ok, and error %v", err)
		}
		// Surrounding space does not change the meaning of a line.
		if len(line) < submission.MaxEntryBytes/2 {
			padded, okPadded, _ := submission.ParseLine([]byte("\t " + string(line) + " \r\n"))
			if diff := cmp.Diff(j, padded); diff != "" || ok != okPadded {
				t.Errorf("with spaces: ok %v, was %v:\n%s", okPadded, ok, diff)
			}
		}
	})
}

func FuzzParseJSON(f *testing.F) {
	f.Add(submitted(f))
	f.Add([]byte(`["a",{"request_id":"b","labels":{"x":"y"}}]`))
	f.Add([]byte("\"a\"\n{\"request_id\":\"b\"}\n"))
	f.Add([]byte(`[{"labels":{"x":1}}]`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, document []byte) {
		const most = 5
		jobs, err := submission.ParseJSON(bytes.NewReader(document), most)
		if err != nil && jobs != nil {
			t.Errorf("%d jobs, and error %v", len(jobs), err)
		}
		if len(jobs) > most {
			t.Errorf("%d jobs, more than %d", len(jobs), most)
		}
		for _, j := range jobs {
			checkJob(t, j)
		}
		// The result does not depend on the sizes of reads.
		slowly, errSlowly := submission.ParseJSON(iotest.OneByteReader(bytes.NewReader(document)), most)
		if diff := cmp.Diff(jobs, slowly); diff != "" || fmt.Sprint(err) != fmt.Sprint(errSlowly) {
			t.Errorf("byte by byte: error %v, was %v:\n%s", errSlowly, err, diff)
		}
	})
}

func TestIsList(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "a": false, `{"request_id":"a"}`: false, "# [": false,
		"[": true, "[\n": true, "[]": true, " [ ] \n": true, "\ufeff[": true,
		`["a"]`: true, `["a", `: true, `["a`: true, `[7]`: true, `[7`: true, `[7, 8`: true, `[{"request_id":`: true,
		`["a" "b"]`: true, `["a",NaN]`: true, `[true, "a"]`: true,
		"[INFO] job list\na\n": false, "[b]": false, "[warn a\nb\n": false, "[2026-11-30 12:00:00] a\n": false, "[7] a\n": false,
		"[\"a\"]\n[\"b\"]\n": false, "[]\na": false, "[\"a\"]\nb": false,
	} {
		if got, _, err := submission.IsList(strings.NewReader(text)); got != want || err != nil {
			t.Errorf("%q: %v, error %v", text, got, err)
		}
	}
	failed := errors.New("the reader failed")
	r := io.MultiReader(strings.NewReader(`["a"`), iotest.ErrReader(failed))
	if _, _, err := submission.IsList(r); !errors.Is(err, failed) {
		t.Errorf("error %v", err)
	}
}
