#!/usr/bin/env bash
# Builds two Telegrafs for the tests in .cache/telegraf: a released one, if it is not
# there yet, and one with the plugin compiled in.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(cd e2e/telegraf && go list -m -f '{{.Version}}' github.com/influxdata/telegraf)
tags=custom,inputs.execd,outputs.file,outputs.influxdb,outputs.prometheus_client,parsers.influx,serializers.influx
stock=.cache/telegraf/$version/telegraf
if [ ! -x "$stock" ] || [ "$(cat "$stock.tags" 2>/dev/null)" != "$tags" ]; then
  GOBIN=$PWD/.cache/telegraf/$version go install -trimpath -ldflags='-s -w' -tags "$tags" \
    "github.com/influxdata/telegraf/cmd/telegraf@$version"
  echo "$tags" >"$stock.tags"
fi
ln -sf "$version/telegraf" .cache/telegraf/stock
cd e2e/telegraf && go build -trimpath -ldflags='-s -w' -o ../../.cache/telegraf/compiled .
