#!/usr/bin/env bash
# Makes the screenshots of README.md anew, from the demo. Needs Chromium (install.sh), curl and jq.
set -euo pipefail
cd "$(dirname "$0")/.."

url=http://127.0.0.1:19891
scratch=$(mktemp -d)
bin/deepaffects_exporter --demo --web.listen-address="${url#http://}" --log.level=error &
trap 'kill $!; rm -r "$scratch"' EXIT

# shoot FILE WIDTH HEIGHT PATH [OPTION]
shoot() {
	chromium --headless --no-sandbox --hide-scrollbars --user-data-dir="$scratch" --window-size="$2,$3" \
		--screenshot="docs/images/$1" "${@:5}" "$url$4" 2>/dev/null
}

# conversation prints a job with a picture of two speakers: one of the demo itself, not of its invented past.
conversation() {
	curl -fsS "$url/api/v1/jobs?state=completed&api=asr&limit=50" |
		jq -er 'first(.jobs[] | select((.statistics.by_speaker | length) == 2 and .statistics.words > 200)).request_id'
}
until curl -fs --retry 10 --retry-connrefused "$url/-/ready" >/dev/null && job=$(conversation); do
	kill -0 $! # the demo may not have started
	sleep 1
done

shoot overview.png 1280 1250 /
shoot job.png 1280 1000 "/job?request_id=$job"
shoot job-narrow-dark.png 360 1980 "/job?request_id=$job" --blink-settings=preferredColorScheme=0
