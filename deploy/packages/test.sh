#!/usr/bin/env bash
# Installs, runs, upgrades, removes and purges the packages in .cache/packages, under a
# real systemd, PID 1 of a separate Debian (deploy/debian.sh). The plugin runs in a real
# Telegraf with its released unit. Needs root.
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${ARCH:?}" "${SOURCE_DATE_EPOCH:?}" "${MAINTAINER:?}"
deploy/debian.sh
root=$PWD/.cache/debian tools=$PWD/.cache/debian-tools

test=$(mktemp -d)
groups() { find /sys/fs/cgroup/*/{payload,supervisor} -depth -type d -exec rmdir {} + 2>/dev/null || true; }
trap 'rm -rf "$test"; groups' EXIT
cp .cache/packages/"$ARCH"/* deploy/packages/test-inside.sh "$test"
cp .cache/telegraf/stock "$test/telegraf"
cp "$(go list -m -f '{{.Dir}}' github.com/influxdata/telegraf)/scripts/telegraf.service" "$test"
# What the package has for Prometheus and Grafana.
mkdir -p "$test/shared/prometheus"
cp deploy/prometheus/*.yml "$test/shared/prometheus"
cp -r deploy/grafana "$test/shared/grafana"
rm "$test"/shared/grafana/*.go
mkdir "$test/docs"
cp docs/*.md "$test/docs"
# The packages to upgrade to: the same with a higher version.
mkdir "$test/newer"
for config in deploy/packages/*/nfpm.yaml; do
  for packager in deb rpm; do
    PACKAGE_VERSION=9999 .cache/nfpm package --config "$config" --packager $packager --target "$test/newer" >/dev/null
  done
done
cat >"$root/etc/systemd/system/test.service" <<'EOF'
[Unit]
Description=Test of the packages
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
ExecStart=/bin/bash /test/test-inside.sh
StandardOutput=file:/test/output
StandardError=inherit
TimeoutStartSec=5min
EOF
status=0
LD_LIBRARY_PATH="$root/usr/lib/x86_64-linux-gnu/systemd" "$tools/usr/bin/systemd-nspawn" --quiet --directory="$root" --volatile=overlay \
  --bind="$test:/test" --boot --register=no --keep-unit --private-network --console=pipe --timezone=off \
  -- --unit=test.service </dev/null || status=$?
cat "$test/output"
exit $status
