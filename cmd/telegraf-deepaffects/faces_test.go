package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/agent"
	"github.com/influxdata/telegraf/config"
	"github.com/influxdata/telegraf/logger"
	"github.com/influxdata/telegraf/plugins/inputs"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/exposition"
	"github.com/deepaffects-monitor/deepaffects-monitor/plugins/inputs/deepaffects"
)

// A scrape is what Prometheus ingests: values by name and labels, those of summaries and
// histograms by their parts.
type scrape map[string]float64

func scraped(t *testing.T, c *collector.Collector) scrape {
	t.Helper()
	var body bytes.Buffer
	if err := exposition.New(c, prometheus.NewRegistry()).Write(&body, expfmt.FmtProtoDelim); err != nil {
		t.Fatal(err)
	}
	s := make(scrape)
	decoder := expfmt.NewDecoder(&body, expfmt.FmtProtoDelim)
	for {
		f := new(dto.MetricFamily)
		if err := decoder.Decode(f); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, m := range f.Metric {
			name := strings.TrimPrefix(f.GetName(), "deepaffects_")
			for _, l := range m.Label {
				if l.GetName() != "account" && l.GetName() != "request_id" && l.GetValue() != "" {
					name += "," + l.GetName() + "=" + l.GetValue()
				}
			}
			switch f.GetType() {
			case dto.MetricType_GAUGE:
				s[name] = m.Gauge.GetValue()
			case dto.MetricType_COUNTER:
				s[name] = m.Counter.GetValue()
			case dto.MetricType_SUMMARY:
				count := float64(m.Summary.GetSampleCount())
				s[name+" count"], s[name+" mean"] = count, m.Summary.GetSampleSum()/count
				for _, q := range m.Summary.Quantile {
					s[fmt.Sprintf("%s %v", name, q.GetQuantile())] = q.GetValue()
				}
			case dto.MetricType_HISTOGRAM:
				s[name+" sum"] = m.Histogram.GetSampleSum()
			}
		}
	}
	return s
}

// total adds up all series of a metric.
func (s scrape) total(name string) (sum float64) {
	for series, v := range s {
		if series == name || strings.HasPrefix(series, name+",") {
			sum += v
		}
	}
	return sum
}

// counterparts return, for each field, the same value in a scrape; nil for a field that is
// in no metric. Histograms and counters over all jobs are those of the only job.
var counterparts = map[string]map[string]func(scrape, telegraf.Metric) float64{
	"deepaffects": {
		"pending":                       series("jobs,state=pending"),
		"running":                       series("jobs,state=running"),
		"completed":                     series("jobs,state=completed"),
		"failed":                        series("jobs,state=failed"),
		"lost":                          series("jobs,state=lost"),
		"finished_completed":            ended("completed"),
		"finished_failed":               ended("failed"),
		"finished_lost":                 ended("lost"),
		"registered":                    sum("jobs_registered_total"),
		"words":                         series("words_total"),
		"oldest_unfinished_age_seconds": series("oldest_unfinished_job_age_seconds"),
		"poll_queue":                    series("poll_queue_jobs"),
		"late":                          series("jobs_late"),
		"quota_minute_limit":            series("quota_limit_requests,window=minute"),
		"quota_minute_used":             series("quota_used_requests,window=minute"),
		"quota_day_limit":               series("quota_limit_requests,window=day"),
		"quota_day_used":                series("quota_used_requests,window=day"),
		"api_ok":                        series("api_requests_total,outcome=ok"),
		"api_errors": func(s scrape, _ telegraf.Metric) float64 {
			return s.total("api_requests_total") - s["api_requests_total,outcome=ok"]
		},
		"webhooks": sum("webhook_requests_total"),
		"up":       series("up"),
	},
	"deepaffects_job": {
		"state_code": func(s scrape, _ telegraf.Metric) float64 {
			for code, state := range []string{"pending", "running", "completed", "failed", "lost"} {
				if s["job_state,state="+state] == 1 {
					return float64(code)
				}
			}
			return math.NaN()
		},
		"age_seconds":              lifetime,
		"duration_seconds":         lifetime,
		"detection_window_seconds": series("job_detection_window_seconds sum"),
		"speech_rate":              series("transcript_speech_rate_words_per_second sum"),
		"overlaps":                 series("word_overlaps_total"),
		"dominant_speaker_ratio":   series("dominant_speaker_talk_ratio sum"),
	},
	"deepaffects_speaker": {
		"talk_seconds": func(s scrape, m telegraf.Metric) float64 {
			return s["job_speaker_talk_seconds,speaker="+m.Tags()["speaker"]]
		},
		"words": nil, "turns": nil, "confidence_mean": nil, // in no metric
	},
}

// The counterparts of the figures are those of the same row of the table.
func init() {
	ofJob := counterparts["deepaffects_job"]
	for _, f := range collector.Figures {
		if f.Metric != "" {
			ofJob[f.Field] = series(f.Metric)
		}
	}
	parts := map[string]string{"mean": " mean", "p90": " 0.9"}
	for _, d := range collector.WordDistributions {
		for _, m := range d.Fields {
			ofJob[d.Name+"_"+m.Name] = nil // in no metric
			if part, found := parts[m.Name]; found {
				ofJob[d.Name+"_"+m.Name] = series(d.Metric + part)
			}
		}
	}
}

func sum(name string) func(scrape, telegraf.Metric) float64 {
	return func(s scrape, _ telegraf.Metric) float64 { return s.total(name) }
}

// ended adds up the jobs that finished, over all APIs.
func ended(result string) func(scrape, telegraf.Metric) float64 {
	return func(s scrape, _ telegraf.Metric) float64 {
		sum := math.NaN()
		for series, v := range s {
			if strings.HasPrefix(series, "jobs_finished_total,") && strings.HasSuffix(series, ",result="+result) {
				if math.IsNaN(sum) {
					sum = 0
				}
				sum += v
			}
		}
		return sum
	}
}

func series(name string) func(scrape, telegraf.Metric) float64 {
	return func(s scrape, _ telegraf.Metric) float64 {
		if v, found := s[name]; found {
			return v
		}
		return math.NaN()
	}
}

// lifetime is the time from the registration of the job to its last observation.
func lifetime(s scrape, _ telegraf.Metric) float64 {
	return s["job_last_observed_timestamp_seconds"] - s["job_first_seen_timestamp_seconds"]
}

// A payload of the reference is the API's response about every job, after a while.
type payload []byte

func (p payload) RoundTrip(r *http.Request) (*http.Response, error) {
	<-time.After(250 * time.Millisecond)
	body := io.NopCloser(strings.NewReader(string(p)))
	return &http.Response{StatusCode: 200, Header: make(http.Header), Request: r, Body: body}, nil
}

// inTelegraf runs the plugin for a time, and returns its points.
func (p payload) inTelegraf(t *testing.T, requestID string, polled time.Duration) (metrics []telegraf.Metric) {
	synctest.Test(t, func(t *testing.T) {
		plugin := inputs.Inputs["deepaffects"]().(*deepaffects.DeepAffects)
		plugin.APIKey = config.NewSecret([]byte("key"))
		plugin.RequestIDs, plugin.Transport, plugin.Log = []string{requestID}, p, logger.New("", "", "")
		if err := plugin.Init(); err != nil {
			t.Fatal(err)
		}
		emitted := make(chan telegraf.Metric, 1000)
		acc := agent.NewAccumulator(asIs{}, emitted)
		if err := plugin.Start(acc); err != nil {
			t.Fatal(err)
		}
		<-time.After(polled)
		synctest.Wait()
		if err := plugin.Gather(acc); err != nil {
			t.Fatal(err)
		}
		plugin.Stop()
		close(emitted)
		for m := range emitted {
			metrics = append(metrics, m)
		}
	})
	return metrics
}

// asIs passes metrics on unchanged.
type asIs struct{}

func (asIs) LogName() string                              { return "" }
func (asIs) MakeMetric(m telegraf.Metric) telegraf.Metric { return m }
func (asIs) Log() telegraf.Logger                         { return logger.New("", "", "") }

// inCollector runs a collector until it has polled the job, reads it, and returns how long
// that took.
func (p payload) inCollector(t *testing.T, requestID string, read func(*collector.Collector)) (polled time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		c := collector.DefaultConfig()
		c.APIKey, c.RequestIDs = "key", []string{requestID}
		monitor, err := collector.New([]collector.Config{c}, collector.Options{Transport: p})
		if err != nil {
			t.Fatal(err)
		}
		monitor.Start()
		for ok, failed := 0., 0.; ok+failed == 0; polled += time.Second {
			<-time.After(time.Second)
			synctest.Wait()
			snapshot := monitor.Accounts()[0].Snapshot()
			ok, failed = snapshot.Requests()
		}
		read(monitor)
		monitor.Stop(context.Background())
	})
	return polled
}

// The same job has the same values in both faces, field by field, for every payload of the
// reference.
func TestSameFiguresInBothFaces(t *testing.T) {
	logger.RedirectLogging(io.Discard)
	config.DisableSecretProtection()
	files, err := filepath.Glob("../../plugins/inputs/deepaffects/testcases/*/responses/*.json")
	if err != nil || len(files) < 18 {
		t.Fatalf("%d payloads, %v", len(files), err)
	}
	compared := make(map[string]int)
	for _, file := range files {
		requestID := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(filepath.Base(filepath.Dir(filepath.Dir(file))), func(t *testing.T) {
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var s scrape
			polled := payload(body).inCollector(t, requestID, func(c *collector.Collector) {
				s = scraped(t, c)
			})
			for _, m := range payload(body).inTelegraf(t, requestID, polled) {
				for _, field := range m.FieldList() {
					switch field.Key {
					case "request_id":
						if field.Value != requestID {
							t.Errorf("%s is about %v", m.Name(), field.Value)
						}
						continue
					case "error_code":
						info := "job_info,api=" + m.Tags()["api"]
						if field.Value != "" {
							info += ",error_code=" + fmt.Sprint(field.Value)
						}
						if s[info+",source=config"] != 1 {
							t.Errorf("there is no %s", info)
						}
						continue
					}
					counterpart, known := counterparts[m.Name()][field.Key]
					if !known {
						t.Errorf("%s.%s has no counterpart", m.Name(), field.Key)
						continue
					}
					if counterpart == nil {
						continue
					}
					compared[m.Name()+"."+field.Key]++
					if got, want := number64(field.Value), counterpart(s, m); !(math.Abs(got-want) <= 1e-6) {
						t.Errorf("%s.%s is %v in Telegraf, and %v in Prometheus", m.Name(), field.Key, got, want)
					}
				}
			}
		})
	}
	for name, fields := range counterparts {
		for field, counterpart := range fields {
			if counterpart != nil && compared[name+"."+field] == 0 {
				t.Errorf("%s.%s was never compared", name, field)
			}
		}
	}
}

func number64(v any) float64 {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case float64:
		return v
	}
	return math.NaN()
}
