// The recording rules, which the alerts use. The idioms here and in the alerts:
//
// - "max without (instance, pod)": one of several replicas owns an account and shows it. A counter survives a restart
//   and a failover, so its highest value is the correct one. Its increase is that of a subquery, which does not depend
//   on the replica that shows it. The step of a subquery may be long: a counter loses nothing between two steps.
// - Native histograms have no highest value: their rates add up. A failover costs what was counted between two scrapes.
// - "or histogram_…": the classic histogram if it is scraped, otherwise the native one.

// Jobs that ended within an hour; after an hour or more without a scrape, since the last one within a day: increase()
// would not see those that ended meanwhile. A counter without a value then was 0, and one with a higher value was that
// of another store. Without such a scrape, an account has had its first failures before the first one: then those of
// the store count, which keeps ended jobs for the retention. 5m covers a restart.
local ended(counter, states) = |||
  sum without (api, result) (
      %(now)s
    - (
          %(before)s
            <= %(now)s
        or
          0 * %(now)s
      )
  )
    and
  max without (instance, pod, state) (present_over_time(deepaffects_jobs{state="failed"}[1d] offset 1h))
    or
  sum without (state) (max without (instance, pod) (deepaffects_jobs{state=~"%(states)s"}))
||| % {
  now: 'max without (instance, pod) (last_over_time(%s[5m]))' % counter,
  before: 'max without (instance, pod) (last_over_time(%s[1d] offset 1h))' % counter,
  states: states,
};

local jobs = {
  name: 'deepaffects-recording',
  rules: [
    {
      record: 'account:deepaffects_jobs_unfinished:sum',
      expr: |||
        sum without (state) (max without (instance, pod) (deepaffects_jobs{state=~"pending|running"}))
      |||,
    },

    {
      record: 'account:deepaffects_jobs_finished:increase1h',
      expr: ended('deepaffects_jobs_finished_total', 'completed|failed|lost'),
    },
    {
      record: 'account:deepaffects_jobs_failed:increase1h',
      expr: ended('deepaffects_jobs_finished_total{result="failed"}', 'failed'),
    },
  ],
};

local steps = { '6h': '5m', '7d': '1h' };

// The mean of a histogram with the label api over a window, per account.
local mean(metric, window) =
  local classic(part) =
    'sum without (api) (rate(max without (instance, pod) (%s_%s)[%s:%s]))' % [metric, part, window, steps[window]];
  local native = 'sum without (instance, pod, api) (rate(%s[%s]))' % [metric, window];
  {
    record: 'account:%s:mean%s' % [metric, window],
    expr: |||
      %s
        / (%s > 0)
      or
      histogram_sum(%s)
        / (histogram_count(%s) > 0)
    ||| % [classic('sum'), classic('count'), native, native],
  };

// Long windows over histograms change slowly: a long interval is enough.
local slow = {
  name: 'deepaffects-recording-slow',
  interval: '5m',
  rules:
    [mean('deepaffects_transcript_confidence_ratio', window) for window in ['6h', '7d']]
    + [{
      record: 'account:deepaffects_transcript_confidence_ratio:count6h',
      expr: |||
        sum without (api) (increase(max without (instance, pod) (deepaffects_transcript_confidence_ratio_count)[6h:5m]))
        or
        histogram_count(sum without (instance, pod, api) (increase(deepaffects_transcript_confidence_ratio[6h])))
      |||,
    }],
};

[jobs, slow]
