package statuspage

import (
	"errors"
	"html"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

// An account that this process does not own says who does, among others and in its own section.
func TestAbsentAccount(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	since := now.Add(-time.Hour)
	for name, tt := range map[string]struct {
		owner            collector.Owner
		level            level
		row, link, after string
	}{
		"another replica": {
			owner: collector.Owner{ID: "two", URL: "http://two:9891/", Since: since}, level: elsewhere,
			row: "Elsewhere : owned by two", link: `<a href="http://two:9891/"><bdi>two</bdi></a>`,
			after: "It has owned the account since 11:00:00 UTC, polls it and exposes its metrics. This page shows",
		},
		"another replica without a URL": {
			owner: collector.Owner{ID: "two", Since: since}, level: elsewhere,
			row: "Elsewhere : owned by two", after: "It has owned the account since 11:00:00 UTC",
		},
		"nobody": {
			level: paused, row: "Not owned : no replica owns it, and it is not polled until one takes it over",
			after: "This page shows the account as the database has it.",
		},
		"not yet": {
			owner: collector.Owner{ID: "one", Self: true, Since: since}, level: idle,
			row: "Loading : this replica is taking it over", after: "This page shows the account as the database has it.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			of := func(s collector.Snapshot) account {
				s.At, s.Day.Limit = now, math.Inf(1)
				return account{
					Snapshot: s, Condition: conditionOf(&s), Quota: []quota{{"minute", s.Day}, {"day", s.Day}}, History: new(history),
				}
			}
			there, here := collector.Snapshot{Account: "there", Absent: true, Owner: tt.owner},
				collector.Snapshot{Account: "here"}
			here.API.Up = true
			var page strings.Builder
			data := overview{Frame: frame{site: new(site), At: now}, Accounts: []account{of(there), of(here)}}
			if err := templates.ExecuteTemplate(&page, "overview.html", data); err != nil {
				t.Fatal(err)
			}
			markup := page.String()
			if c := data.Accounts[0].Condition; c.Level != tt.level ||
				!strings.Contains(markup, `<symbol id="icon-`+string(c.Icon)) {
				t.Errorf("level %s, icon %s", c.Level, c.Icon)
			}
			if !strings.Contains(markup, `<span class="state `+string(tt.level)+`"`) || strings.Count(markup, tt.link) < 2 {
				t.Errorf("no level %s, or not twice %s", tt.level, tt.link)
			}
			text := html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(markup, " "))
			text = strings.NewReplacer(" .", ".", " ,", ",").Replace(regexp.MustCompile(`\s+`).ReplaceAllString(text, " "))
			for _, want := range []string{
				"there " + tt.row + " 0 0 no limit here Up : the API responds 0 0 no limit",
				"Account there " + tt.row + ". " + tt.after,
			} {
				if !strings.Contains(text, want) {
					t.Errorf("the page lacks %q: %s", want, text[strings.Index(text, "Problems"):])
				}
			}
		})
	}
}

// A condition is that of the first of the problems.
func TestConditionOrder(t *testing.T) {
	s := collector.Snapshot{StoreError: errors.New("no space left")}
	s.API.Trouble, s.API.Up = &collector.APITrouble{NoKey: true, Err: errors.New("sealed")}, true
	s.Due, s.Day.Limit, s.Day.Used = 1, 1, 1
	for _, want := range []condition{
		{Level: bad, Icon: paused, Word: "Paused", Text: "the store is not writable"},
		{Level: bad, Icon: bad, Word: "Down", Text: "the API key cannot be read"},
		{Level: paused, Icon: paused, Word: "Paused", Text: "the daily quota is used up"},
		{Level: good, Icon: good, Word: "Up", Text: "the API responds"},
		{Level: idle, Icon: idle, Word: "Not polled since the start"},
		{Level: idle, Icon: idle, Word: "Not polled yet"},
	} {
		if got := conditionOf(&s); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		switch { // solves the problem
		case s.StoreError != nil:
			s.StoreError = nil
		case s.API.Trouble != nil:
			s.API.Trouble = nil
		case s.Due > 0:
			s.Due = 0
		case s.API.Up:
			s.API.Up, s.LastRequest = false, time.Now()
		default:
			s.LastRequest = time.Time{}
		}
	}
}
