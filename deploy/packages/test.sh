#!/usr/bin/env bash
# Installs, runs, upgrades, removes and purges the packages in .cache/packages, under a
# real systemd that is PID 1 of a Debian of its own (deploy/debian.sh), not
# this machine's. Needs root.
set -euo pipefail
cd "$(dirname "$0")/../.."
deploy/debian.sh
root=$PWD/.cache/debian tools=$PWD/.cache/debian-tools

test=$(mktemp -d)
groups() { find /sys/fs/cgroup/*/{payload,supervisor} -depth -type d -exec rmdir {} + 2>/dev/null || true; }
trap 'rm -rf "$test"; groups' EXIT
cp .cache/packages/"$(go env GOARCH)"/* deploy/packages/test-inside.sh "$test"
# To upgrade to: the same once more, by a higher version.
mkdir "$test/newer"
for packager in deb rpm; do
  ARCH=$(go env GOARCH) PACKAGE_VERSION=9999 SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) \
    .cache/nfpm package --config deploy/packages/nfpm.yaml --packager $packager --target "$test/newer" >/dev/null
done
cat >"$root/etc/systemd/system/test.service" <<'EOF'
[Unit]
Description=The test of the packages
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
