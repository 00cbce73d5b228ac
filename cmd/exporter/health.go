package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// healthTimeout is how long an exporter may take to say that it is healthy.
const healthTimeout = 5 * time.Second

// checkHealth asks a running exporter whether it is healthy: a container image
// without a shell has nothing else to ask with.
func checkHealth(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), healthTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("--web.health-check: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("asking whether it is healthy: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		reason, _ := io.ReadAll(io.LimitReader(response.Body, 1000)) // what came of it will do
		return fmt.Errorf("not healthy: %s: %s", response.Status, strings.TrimSpace(string(reason)))
	}
	return nil
}
