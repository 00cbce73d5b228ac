package jobs_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/cputime"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/outbound"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// asAPI makes the test binary an API instead, whose jobs all run, until its standard input ends.
const asAPI = "JOBS_TEST_AS_API"

func TestMain(m *testing.M) {
	if os.Getenv(asAPI) == "" {
		os.Exit(m.Run())
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	panic(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"status":"In Progress"}`)
	})))
}

// startAPI starts an API in a process of its own, whose CPU time does not count, and returns its URL.
func startAPI(b *testing.B) string {
	api := exec.Command(os.Args[0])
	api.Env = append(os.Environ(), asAPI+"=1")
	stop, err := api.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := api.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := api.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stop.Close()
		_ = api.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return "http://" + strings.TrimSpace(address)
}

// BenchmarkPoll polls jobs that still run, 16 at once, and stores it: of a quota of 6,000 a minute, each hundredth
// request is reserved in a commit. The peer reads the answers and discards them.
func BenchmarkPoll(b *testing.B) {
	const concurrent, block = 16, 100
	url := startAPI(b)
	transport := outbound.NewTransport(time.Minute, concurrent, nil, nil)
	defer transport.CloseIdleConnections()
	run := func(b *testing.B, poll func(n int) error) {
		var n atomic.Int64
		b.SetParallelism(concurrent / 2)
		cputime.Report(b)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := poll(int(n.Add(1))); err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.Run("stored", func(b *testing.B) {
		client, err := jobstatus.New(jobstatus.Config{
			URL: url, Timeout: time.Minute, MaxResponseSize: 64 << 20, Transport: transport,
		})
		if err != nil {
			b.Fatal(err)
		}
		j := openAt(b, sqliteAccount(b, b.TempDir()), options(), time.Now())
		registered := make([]submission.Job, 1000)
		for i := range registered {
			registered[i].RequestID = fmt.Sprint(i)
		}
		if _, _, err := j.Register(submission.HTTP, registered, false, time.Now()); err != nil {
			b.Fatal(err)
		}
		run(b, func(n int) error {
			id, begin := registered[n%len(registered)].RequestID, time.Now()
			if err := j.Reserve(begin, block); err != nil {
				return err
			}
			answer, now := client.Status(b.Context(), "key", id), time.Now()
			if answer.Outcome != jobstatus.OK || answer.State != jobstatus.Running {
				return fmt.Errorf("%+v", answer)
			}
			request := &jobs.Request{Outcome: answer.Outcome, Duration: now.Sub(begin)}
			_, err := j.Observe(jobs.Observation{RequestID: id, At: now, State: jobs.Running, Request: request})
			return err
		})
	})
	b.Run("discarded", func(b *testing.B) {
		client := &http.Client{Transport: transport}
		run(b, func(n int) error {
			resp, err := client.Get(fmt.Sprintf("%s%s?apikey=key&request_id=%d", url, jobstatus.Path, n))
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			return err
		})
	})
}
