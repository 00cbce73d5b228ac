package deepaffects

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/agent"
	"github.com/influxdata/telegraf/config"
	"github.com/influxdata/telegraf/logger"
	"github.com/influxdata/telegraf/models"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	logger.RedirectLogging(io.Discard) // else every line is kept in memory
	config.DisableSecretProtection()
	goleak.VerifyTestMain(m)
}

// load reads a configuration with Telegraf's own loader and returns its one input.
func load(t *testing.T, text string) (*models.RunningInput, error) {
	t.Helper()
	config.ResetSecrets() // as Telegraf does before it loads
	c := config.NewConfig()
	c.Agent.Quiet = true
	c.Agent.OmitHostname = true
	if err := c.LoadConfigData([]byte(text), "telegraf.conf"); err != nil {
		return nil, err
	}
	if err := c.LinkSecrets(); err != nil {
		return nil, err
	}
	if len(c.Inputs) != 1 {
		t.Fatalf("%d inputs", len(c.Inputs))
	}
	return c.Inputs[0], nil
}

// A pipeline is where an input's points go.
type pipeline struct {
	input   *models.RunningInput
	plugin  *DeepAffects
	acc     telegraf.Accumulator
	metrics chan telegraf.Metric
	done    sync.WaitGroup

	mu  sync.Mutex
	got []telegraf.Metric
}

// start starts an input as Telegraf's agent does. What it emits is kept, and
// accepted where accept is set.
func start(t *testing.T, input *models.RunningInput, api http.RoundTripper, accept bool) *pipeline {
	t.Helper()
	p := &pipeline{input: input, plugin: input.Input.(*DeepAffects), metrics: make(chan telegraf.Metric, 100)}
	p.plugin.Transport = api
	p.acc = agent.NewAccumulator(input, p.metrics)
	if err := input.Init(); err != nil {
		t.Fatal(err)
	}
	if err := input.Start(p.acc); err != nil {
		t.Fatal(err)
	}
	p.done.Go(func() {
		for m := range p.metrics {
			p.mu.Lock()
			p.got = append(p.got, m)
			p.mu.Unlock()
			if accept {
				m.Accept()
			}
		}
	})
	return p
}

// polled waits until the API has been asked.
func (p *pipeline) polled() {
	for {
		<-time.After(time.Second)
		synctest.Wait()
		s := p.plugin.account.Snapshot()
		if ok, failed := s.Requests(); ok+failed > 0 {
			return
		}
	}
}

func (p *pipeline) gather(t *testing.T) {
	t.Helper()
	if err := p.input.Gather(p.acc); err != nil {
		t.Fatal(err)
	}
}

// take returns what has come since it was last called.
func (p *pipeline) take() []telegraf.Metric {
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.got
	p.got = nil
	return got
}

func (p *pipeline) stop() {
	p.input.Stop()
	close(p.metrics)
	p.done.Wait()
}

// named returns those of some metrics with a name.
func named(metrics []telegraf.Metric, name string) (found []telegraf.Metric) {
	for _, m := range metrics {
		if m.Name() == name {
			found = append(found, m)
		}
	}
	return found
}

// answers is an API that answers with the files of a folder: ID.json, or
// ID.STATUS.json with another status than 200.
type answers string

func (dir answers) RoundTrip(r *http.Request) (*http.Response, error) {
	<-time.After(250 * time.Millisecond)
	id := r.URL.Query().Get("request_id")
	status, name := http.StatusOK, filepath.Join(string(dir), id+".json")
	if others, _ := filepath.Glob(filepath.Join(string(dir), id+".[0-9]*.json")); len(others) > 0 {
		name = others[0]
		code := strings.Split(filepath.Base(name), ".")[1]
		status = int(code[0]-'0')*100 + int(code[1]-'0')*10 + int(code[2]-'0')
	}
	body, err := os.ReadFile(name)
	if err != nil {
		status = http.StatusNotFound
	}
	return &http.Response{
		StatusCode: status, Header: make(http.Header), Request: r,
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}, nil
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, test func()) {
	t.Helper()
	synctest.Test(t, func(*testing.T) { test() })
}
