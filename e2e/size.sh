#!/usr/bin/env bash
# Measures memory, disk usage and scrapes for numbers of unfinished jobs: the figures of docs/operations.md.
set -euo pipefail
cd "$(dirname "$0")/.."
address=127.0.0.1:19891
dir=$(mktemp -d) pid=
trap 'kill $pid 2>/dev/null; rm -rf "$dir"' EXIT
printf '[[inputs.deepaffects]]\nurl = "http://127.0.0.1:9"\napi_key = "key"\n' >"$dir/config.toml"

run() {
  bin/deepaffects_exporter --config.file="$dir/config.toml" --storage.path="$dir/data" --web.listen-address=$address 2>/dev/null &
  pid=$!
  until curl -fs -o /dev/null $address/-/ready; do sleep 0.1; done
}
end() { kill -TERM $pid && wait $pid; }

for jobs in 1000 10000 100000 1000000; do
  rm -rf "$dir/data"
  run
  for ((first = 0; first < jobs; first += 10000)); do
    last=$((first + 10000 < jobs ? first + 10000 : jobs))
    seq -f '{"request_id":"3f2a9c1e-0000-4000-8000-%012.0f","api":"asr"}' $first $((last - 1)) |
      curl -fsS -o /dev/null --data-binary @- $address/api/v1/jobs
  done
  end
  run
  seconds=$(curl -s -o "$dir/metrics" -w '%{time_total}' $address/metrics)
  memory=$(awk '/^VmRSS/ {print int($2/1024)}' /proc/$pid/status)
  scrape=$(($(stat -c %s "$dir/metrics") / 1000))
  echo "$jobs jobs: $memory MiB of memory, $(du -sm "$dir/data" | cut -f1) MB on disk, a scrape of $scrape kB in $seconds s"
  end
done
