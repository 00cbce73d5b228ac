package exposition_test

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/exposition"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// epoch is 1000000000 seconds after 1970.
var epoch = time.Unix(1e9, 0)

// after returns a time some seconds after the epoch.
func after(seconds float64) time.Time {
	return epoch.Add(time.Duration(seconds * float64(time.Second)))
}

// newJobs returns the jobs of an empty store in memory, whose totals begin at the epoch.
func newJobs(jobLabels ...string) *jobs.Jobs {
	return openJobs(nil, jobLabels...)
}

func openJobs(s store.Account, jobLabels ...string) *jobs.Jobs {
	j, err := jobs.Open(context.Background(), s, jobOptions(jobLabels...), epoch)
	if err != nil {
		panic(err)
	}
	return j
}

func jobOptions(jobLabels ...string) jobs.Options {
	return jobs.Options{Retention: 24 * time.Hour, MaxJobAge: 24 * time.Hour, MaxJobSeries: 1000, JobLabels: jobLabels}
}

// stored is a store with these totals: names with the values of their labels, and JSON.
type stored map[string]string

func (s stored) Load(context.Context) (*store.Contents, error) {
	c := &store.Contents{Totals: []store.Total{
		{Name: "created", Labels: "{}", Value: jsontext.Value(epoch.UTC().Format(`"2006-01-02T15:04:05Z"`))},
	}}
	for series, value := range s {
		name, labels, labelled := strings.Cut(series, "{")
		if labels = "{" + labels; !labelled {
			labels = "{}"
		}
		c.Totals = append(c.Totals, store.Total{Name: name, Labels: labels, Value: jsontext.Value(value)})
	}
	return c, nil
}

func (stored) Commit(*store.Batch) error             { return nil }
func (stored) Verify() error                         { return nil }
func (stored) Inbox() ([]store.Message, bool, error) { return nil, false, nil }
func (stored) Size() int64                           { return 0 }

// track registers a job at the epoch.
func track(t testing.TB, j *jobs.Jobs, from submission.Source, job submission.Job) {
	t.Helper()
	registered, _, err := j.Register(from, []submission.Job{job}, false, epoch)
	if err != nil || registered != 1 {
		t.Fatalf("registering a job: %d registered, error %v", registered, err)
	}
}

// observe applies an observation.
func observe(t testing.TB, j *jobs.Jobs, o jobs.Observation) {
	t.Helper()
	effect, err := j.Observe(o)
	if err != nil || !effect.Known {
		t.Fatalf("observing a job: known %t, error %v", effect.Known, err)
	}
}

// complete ends a job with a result, some seconds after the epoch.
func complete(t testing.TB, r *jobs.Jobs, requestID string, at float64, result *transcript.Result) {
	t.Helper()
	observe(t, r, jobs.Observation{RequestID: requestID, At: after(at), State: jobs.Completed, Result: result})
}

// accumulate returns the result of a document.
func accumulate(fill func(*transcript.Accumulator)) *transcript.Result {
	var a transcript.Accumulator
	a.Reset()
	fill(&a)
	return a.Result()
}

// conversation is a result with all figures: two speakers, four words.
func conversation() *transcript.Result {
	return accumulate(func(a *transcript.Accumulator) {
		a.WordList()
		a.Confidence(.875)
		a.Word(transcript.Piece{Start: 0, End: .25, Confidence: .75, Speaker: []byte("first")})
		a.Word(transcript.Piece{Start: .5, End: 1, Confidence: 1, Speaker: []byte("second")})
		a.Word(transcript.Piece{Start: .75, End: 1.25, Confidence: .5, Speaker: []byte("first")})
		a.Word(transcript.Piece{Start: 3.25, End: 4, Confidence: .25, Speaker: []byte("second")})
	})
}

// snapshot returns an account as it is a minute after the epoch.
func snapshot(account string, r *jobs.Jobs) collector.Snapshot {
	return collector.Snapshot{
		Snapshot:   r.Snapshot(after(60)),
		Account:    account,
		At:         after(60),
		JobMetrics: collector.JobMetricsFull,
		Minute:     schedule.Usage{Limit: 5},
		Day:        schedule.Usage{Limit: 100},
	}
}

// A gatherer reads the metrics of a scrape.
type gatherer struct{ metrics *exposition.Metrics }

// Gather implements prometheus.Gatherer. Series are sorted by their labels, as those of a registry.
func (g gatherer) Gather() ([]*dto.MetricFamily, error) {
	var body bytes.Buffer
	if err := g.metrics.Write(&body, expfmt.FmtProtoDelim); err != nil {
		return nil, err
	}
	families, err := decode(&body)
	for _, f := range families {
		slices.SortStableFunc(f.Metric, func(a, b *dto.Metric) int {
			return slices.CompareFunc(a.Label, b.Label, func(a, b *dto.LabelPair) int {
				return cmp.Compare(a.GetValue(), b.GetValue())
			})
		})
	}
	return families, err
}

// decode reads delimited protobuf.
func decode(body io.Reader) (families []*dto.MetricFamily, err error) {
	decoder := expfmt.NewDecoder(body, expfmt.FmtProtoDelim)
	for {
		family := new(dto.MetricFamily)
		if err := decoder.Decode(family); err == io.EOF {
			return families, nil
		} else if err != nil {
			return nil, err
		}
		families = append(families, family)
	}
}

// of returns the metrics of these accounts.
func of(t testing.TB, snapshots ...collector.Snapshot) gatherer {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	return gatherer{exposition.Of(func() []collector.Snapshot { return snapshots }, registry)}
}

// check compares the gathered text, without help, with another. Without names, it compares
// all metrics of each job.
func check(t *testing.T, g prometheus.Gatherer, want string, names ...string) {
	t.Helper()
	if len(names) == 0 {
		names = ownNames()
	}
	text, err := testutil.GatherAndFormat(g, expfmt.TypeTextPlain, names...)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "# HELP ") {
			got.WriteString(line)
		}
	}
	want = strings.ReplaceAll(strings.TrimLeft(want, "\n"), "\t", "")
	if diff := gocmp.Diff(want, got.String()); diff != "" {
		t.Errorf("series differ (-want +got):\n%s", diff)
	}
}

// ownNames returns the names of the metrics of each job.
func ownNames() []string {
	var names []string
	for _, g := range exposition.Catalogue() {
		for _, f := range g.Families {
			if f.PerJob {
				names = append(names, f.Name)
			}
		}
	}
	return names
}

// scrape serves metrics as the exporter does, and returns the body.
func scrape(t testing.TB, g gatherer, accept string) (body []byte, header http.Header) {
	t.Helper()
	request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	request.Header.Set("Accept", accept)
	answer := httptest.NewRecorder()
	g.metrics.Handler(slog.New(slog.NewTextHandler(t.Output(), nil))).ServeHTTP(answer, request)
	if answer.Code != http.StatusOK {
		t.Fatalf("status %d: %s", answer.Code, answer.Body)
	}
	return answer.Body.Bytes(), answer.Header()
}

// Values of the header Accept.
const (
	openMetrics = "application/openmetrics-text;version=1.0.0"
	protobuf    = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)

// scrapeProtobuf returns the families of a scrape as protobuf.
func scrapeProtobuf(t testing.TB, g gatherer) map[string]*dto.MetricFamily {
	t.Helper()
	body, _ := scrape(t, g, protobuf)
	decoded, err := decode(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	families := make(map[string]*dto.MetricFamily)
	for _, f := range decoded {
		families[f.GetName()] = f
	}
	return families
}

// scrapeText returns the families of a scrape as they are read from the text.
func scrapeText(t testing.TB, g gatherer) map[string]*dto.MetricFamily {
	t.Helper()
	body, _ := scrape(t, g, "text/plain")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return families
}
