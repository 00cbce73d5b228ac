package simulator_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"testing"

	"go.uber.org/goleak"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
)

const base = "https://api.invalid"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start returns a simulator, which the test closes, and a client.
func start(t *testing.T, o simulator.Options) (*simulator.Simulator, *http.Client) {
	t.Helper()
	s := simulator.New(o)
	t.Cleanup(s.Close)
	return s, &http.Client{Transport: s.Transport()}
}

// always returns options that inject a fault into every response.
func always(f simulator.Fault) simulator.Options {
	return simulator.Options{Fault: func(*http.Request) simulator.Fault { return f }}
}

func statusURL(key, id string) string {
	return base + "/transaction/generic/api/v1/async/status?" + url.Values{"apikey": {key}, "request_id": {id}}.Encode()
}

// get sends a status request and returns HTTP status and body.
func get(t *testing.T, c *http.Client, key, id string) (int, []byte) {
	t.Helper()
	resp, err := c.Get(statusURL(key, id))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

// envelope is a decoded status.
type envelope struct {
	Status   string
	Response *struct {
		RequestID string `json:"request_id"`
		Response  json.RawMessage
		Depressed *bool
	}
	Fault *fault
}

// fault is a fault in either spelling.
type fault struct {
	FaultString  string `json:"fault_string"`
	FaultString2 string `json:"faultstring"`
	Detail       struct {
		ErrorCode  string `json:"error_code"`
		ErrorCode2 string `json:"errorcode"`
	}
}

func (f *fault) code() string {
	if f == nil {
		return ""
	}
	return f.Detail.ErrorCode + f.Detail.ErrorCode2
}

func decode[T any](t *testing.T, body []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("%v in %.200s", err, body)
	}
	return v
}
