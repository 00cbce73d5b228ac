package listener_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/collector/listener"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/freeport"
)

// The limits are those of the process, for the listeners of all collectors together: a large registration that one
// receives takes the place of those of the others.
func TestListenersShareLimits(t *testing.T) {
	urls := make([]string, 2)
	for i := range urls {
		config := collector.DefaultConfig()
		config.APIKey, config.JobsToken, config.ServiceAddress = "key", "jobs-token", freeport.Address(t)
		configs := []collector.Config{config}
		c, err := collector.New(configs, collector.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Stop(context.Background())
		l := listener.New(c, slog.New(slog.DiscardHandler))
		change, err := l.Prepare(configs)
		if err != nil {
			t.Fatal(err)
		}
		change.Apply(t.Context())
		defer l.Stop(context.Background())
		urls[i] = "http://" + config.ServiceAddress + "/api/v1/jobs"
	}
	register := func(url string, body io.Reader) (int, error) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, body)
		if err != nil {
			return 0, err
		}
		request.Header.Set("Authorization", "Bearer jobs-token")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0, err
		}
		return response.StatusCode, response.Body.Close()
	}
	large := strings.Repeat(" ", 100_000)
	reader, writer := io.Pipe()
	aborted := make(chan struct{})
	go func() {
		defer close(aborted)
		_, _ = register(urls[0], reader)
	}()
	if _, err := io.WriteString(writer, large); err != nil { // it is received, and does not end
		t.Fatal(err)
	}
	status, err := register(urls[1], strings.NewReader(large+`["x"]`))
	if err != nil || status != http.StatusAccepted {
		t.Errorf("the second: HTTP %d, %v", status, err)
	}
	select {
	case <-aborted: // it could take the place only from the first
	case <-time.After(5 * time.Second):
		t.Error("the first still has a place")
	}
	_ = writer.CloseWithError(io.ErrUnexpectedEOF)
	<-aborted
}
