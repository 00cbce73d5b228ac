//go:build e2e && linux

package httpapi_test

import (
	"context"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres/pgtest"
)

// A replica that does not own an account says who does, and not that the API is down: only the owner asks it.
func TestReplicaStatus(t *testing.T) {
	c := collector.DefaultConfig()
	c.APIKey, c.DatabaseURL, c.Lease, c.Timeout = key, pgtest.Start(t).URL(t), time.Second, 2*time.Second
	replica := func() monitor {
		m := watchConfigs(t, vendor{"c": completed}, []collector.Config{c})
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			m.Stop(ctx)
		})
		m.Start()
		return m
	}
	type account struct {
		Up    *bool
		Owner *struct {
			ID   string
			Self bool
		}
	}
	// until waits until the status of the account is as it should be.
	until := func(what string, m monitor, is func(account) bool) account {
		t.Helper()
		timeout := time.After(time.Minute)
		for tick := time.Tick(20 * time.Millisecond); ; {
			var status struct{ Accounts []account }
			text := m.do("GET", "/api/v1/status", "").Body.Bytes()
			if err := json.Unmarshal(text, &status, json.MatchCaseInsensitiveNames(true)); err != nil {
				t.Fatal(err)
			}
			if is(status.Accounts[0]) {
				return status.Accounts[0]
			}
			select {
			case <-tick:
			case <-timeout:
				t.Fatalf("not within a minute: %s; the status is %s", what, text)
			}
		}
	}
	first := replica()
	first.do("POST", "/api/v1/jobs", `["c"]`)
	owner := until("the owner asks the API", first, func(a account) bool { return a.Up != nil && *a.Up })
	second := replica()
	other := until("the other knows the owner", second, func(a account) bool { return a.Owner != nil })
	if !owner.Owner.Self || other.Owner.Self || other.Owner.ID != owner.Owner.ID || other.Up != nil {
		t.Errorf("the owner has %+v, and the other replica %+v of %+v", *owner.Owner, other, *other.Owner)
	}
}
