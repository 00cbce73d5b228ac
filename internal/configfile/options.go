package configfile

import "github.com/deepaffects-monitor/deepaffects-monitor/collector"

// optionsOf returns all options of a table: where each goes, by name.
func optionsOf(c *collector.Config) map[string]any {
	options := map[string]any{
		"account":      &c.Account,
		"url":          &c.URL,
		"api_key":      &c.APIKey,
		"api_key_file": &c.APIKeyFile,

		"request_ids":      &c.RequestIDs,
		"request_id_files": &c.RequestIDFiles,
		"request_id_urls":  &c.RequestIDURLs,
		"refresh_interval": (*duration)(&c.RefreshInterval),
		"job_labels":       &c.JobLabels,

		"requests_per_minute": &c.RequestsPerMinute,
		"requests_per_day":    &c.RequestsPerDay,
		"day_resets_at":       &c.DayResetsAt,
		"timeout":             (*duration)(&c.Timeout),
		"max_response_size":   (*size)(&c.MaxResponseSize),
		"concurrency":         &c.Concurrency,

		"not_found_grace": (*duration)(&c.NotFoundGrace),
		"max_job_age":     (*duration)(&c.MaxJobAge),
		"retention":       (*duration)(&c.Retention),
		"job_metrics":     &c.JobMetrics,
		"max_job_series":  &c.MaxJobSeries,
		"keep_timings":    &c.KeepTimings,

		"service_address":        &c.ServiceAddress,
		"jobs_token":             &c.JobsToken,
		"webhook_token":          &c.WebhookToken,
		"adopt_unknown_webhooks": &c.AdoptUnknownWebhooks,

		"tls_ca":               &c.TLSCA,
		"tls_cert":             &c.TLSCert,
		"tls_key":              &c.TLSKey,
		"insecure_skip_verify": &c.InsecureSkipVerify,
		"http_proxy_url":       &c.HTTPProxyURL,
	}
	for name := range ineffectiveOptions {
		if name == "word_points" {
			options[name] = new(bool)
		} else {
			options[name] = new(string)
		}
	}
	return options
}

const telegrafOnly = "has a meaning in Telegraf only"

// ineffectiveOptions are options of the table that do nothing in the exporter,
// or not yet, and why.
var ineffectiveOptions = map[string]string{
	"state_directory": "has a meaning in Telegraf only; the exporter has --storage.path",
	"word_points":     telegrafOnly,
	"request_id_as":   telegrafOnly,
}

// telegrafOptions are those that Telegraf has for every input: a whole
// telegraf.conf works here.
var telegrafOptions = []string{
	"alias", "always_include_global_tags", "always_include_local_tags",
	"collection_jitter", "collection_offset", "drop", "fielddrop", "fieldexclude", "fieldinclude", "fieldpass",
	"interval", "log_level", "metricpass", "name_override", "name_prefix", "name_suffix",
	"namedrop", "namedrop_separator", "namepass", "namepass_separator", "pass", "precision",
	"startup_error_behavior", "tagdrop", "tagexclude", "taginclude", "tagpass", "tags", "time_source",
}
