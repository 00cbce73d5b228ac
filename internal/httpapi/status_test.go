package httpapi_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

func TestStatus(t *testing.T) {
	const idle = `"jobs":{"pending":0,"running":0,"completed":0,"failed":0,"lost":0},
		"oldest_unfinished_age_seconds":0,"late":0,"due":"?","price_seconds":"?","forecast":"?","next_polls":[]`
	synctest.Test(t, func(t *testing.T) {
		limited, unlimited := collector.DefaultConfig(), collector.DefaultConfig()
		limited.Account, limited.APIKey, limited.Concurrency = "a", key, 1 // for a fixed order of polls
		unlimited.Account, unlimited.APIKey = "b", key
		unlimited.RequestsPerMinute, unlimited.RequestsPerDay = 0, 0
		api := vendor{"c": completed, "f": failed, "r1": running, "r2": running}
		m := watchConfigs(t, api, []collector.Config{limited, unlimited})

		check(t, undecided(m.do("GET", "/api/v1/status", "")), 200, `{"version":"1.2.3","accounts":[
			{"account":"a","up":false,`+idle+`,
				"quota":{"minute":{"limit":5,"used":0,"left":5},"day":{"limit":100,"used":0,"left":100}},
				"sources":[{"source":"config","errors":0},{"source":"file","errors":0},{"source":"url","errors":0}]},
			{"account":"b","up":false,`+idle+`,
				"quota":{"minute":{"limit":null,"used":0,"left":null},"day":{"limit":null,"used":0,"left":null}},
				"sources":[{"source":"config","errors":0},{"source":"file","errors":0},{"source":"url","errors":0}]}]}`)

		m.do("POST", "/api/v1/jobs?account=a", `["r1","r2","c","f"]`)
		if err := m.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-time.After(20 * time.Second)
		w := m.do("GET", "/api/v1/status", "")
		text := w.Body.String()
		if strings.Contains(text, key) || strings.Contains(text, "secret") {
			t.Errorf("the status holds a secret: %s", text)
		}
		looked := `"last_success":"` + at(0) + `","errors":0`
		check(t, undecided(w), 200, `{"version":"1.2.3","accounts":[
			{"account":"a","up":true,"last_success":"`+at(0)+`",
				"jobs":{"pending":0,"running":2,"completed":1,"failed":1,"lost":0},"oldest_unfinished_age_seconds":20,
				"problems":[{"text":"1 job failed in the last hour","last":"`+at(0)+`",
					"alert":"DeepAffectsJobFailed","severity":"warning"}],
				"late":0,"due":"?","price_seconds":"?","forecast":"?",
				"quota":{
					"minute":{"limit":5,"used":4,"left":1,"resets_at":"`+at(61*time.Second+60*time.Millisecond)+`"},
					"day":{"limit":100,"used":4,"left":96,
						"resets_at":"`+at(24*time.Hour+time.Second+86400*time.Millisecond)+`"}},
				"next_polls":[{"request_id":"r1","at":"?","why":"?"},{"request_id":"r2","at":"?","why":"?"}],
				"sources":[{"source":"config",`+looked+`},{"source":"file","errors":0},{"source":"url","errors":0}]},
			{"account":"b","up":false,`+idle+`,
				"quota":{"minute":{"limit":null,"used":0,"left":null},"day":{"limit":null,"used":0,"left":null}},
				"sources":[{"source":"config",`+looked+`},{"source":"file","errors":0},{"source":"url","errors":0}]}]}`)
	})
}

// The status says how long the due jobs take at this quota, and which quota would do, if it takes more than a day.
func TestStatusOfABacklog(t *testing.T) {
	for jobs, want := range map[int]string{
		20: `"backlog":{"jobs":20,"takes_seconds":240,"text":"One poll of each of the 20 due jobs takes 4 minutes at this quota"}`,
		2000: `"backlog":{"jobs":2000,"takes_seconds":1641600,` +
			`"sufficient":{"requests_per_day":2000},` +
			`"text":"One poll of each of the 2,000 due jobs takes 19 days at this quota; ` +
			`requests_per_day = 2000 would do it within a day"}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			c := collector.DefaultConfig()
			c.APIKey = key
			m := watchConfigs(t, vendor{}, []collector.Config{c})
			var entries []string
			for i := range jobs {
				entries = append(entries, fmt.Sprintf(`{"request_id":"%d","submitted_at":"1999-12-31T04:00:00Z"}`, i))
			}
			m.do("POST", "/api/v1/jobs", "["+strings.Join(entries, ",")+"]")
			if text := m.do("GET", "/api/v1/status", "").Body.String(); !strings.Contains(text, want) {
				t.Errorf("%d due jobs: %s, want %s", jobs, text[:min(len(text), 800)], want)
			}
		})
	}
}

// The status has the code with which the API refuses requests, and nothing of its text.
func TestStatusOfARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := collector.DefaultConfig()
		c.APIKey, c.RequestIDs = key, []string{"r"}
		const refusal = `{"fault": {"fault_string": "Alice called", "detail": {"errorcode": "oauth.v2.InvalidApiKey"}}}`
		m := watchConfigs(t, vendor{"r": refusal}, []collector.Config{c})
		_ = m.Once(t.Context()) // fails because the request is refused
		text := m.do("GET", "/api/v1/status", "").Body.String()
		if !strings.Contains(text, `"trouble":{"outcome":"unauthorized","error_code":"oauth.v2.InvalidApiKey",`) ||
			strings.Contains(text, "Alice") {
			t.Errorf("the status is %s", text)
		}
	})
}

// The status has the errors of the API, the key and sources.
func TestStatusErrors(t *testing.T) {
	ids := filepath.Join(t.TempDir(), "calls.ids")
	for file, text := range map[string]string{ids: "odd\n{\"request_id\": true}\n", ids + ".key": key} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		odd, keyless := collector.DefaultConfig(), collector.DefaultConfig()
		odd.Account, odd.APIKey, odd.RequestIDFiles = "odd", key, []string{ids}
		keyless.Account, keyless.APIKeyFile, keyless.URL = "keyless", ids+".key", "http://keyless.invalid"
		keyless.RequestIDs = []string{"k"}
		m := watchConfigs(t, vendor{"odd": "<html>"}, []collector.Config{odd, keyless})
		if err := os.Remove(ids + ".key"); err != nil {
			t.Fatal(err)
		}
		_ = m.Once(t.Context()) // fails because nothing can be polled

		var got struct {
			Accounts []struct {
				Trouble struct{ Outcome, Error string }
				Sources []struct {
					Source    string
					LastError struct{ At, Error string } `json:"last_error"`
				}
			}
		}
		if err := json.Unmarshal(m.do("GET", "/api/v1/status", "").Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if trouble := got.Accounts[0].Trouble; trouble.Outcome != "malformed" || trouble.Error == "" {
			t.Errorf("an API that answers a page: %+v", trouble)
		}
		if trouble := got.Accounts[1].Trouble; trouble.Outcome != "" || !strings.Contains(trouble.Error, ids+".key") {
			t.Errorf("a key that cannot be read: %+v", trouble)
		}
		for _, source := range got.Accounts[0].Sources {
			wrong := source.Source == "file"
			at, err := time.Parse(time.RFC3339, source.LastError.At)
			right := err == nil && at.Equal(time.Now()) && strings.Contains(source.LastError.Error, ids+":2")
			if wrong && !right || !wrong && err == nil {
				t.Errorf("source %s: %+v", source.Source, source.LastError)
			}
		}
	})
}
