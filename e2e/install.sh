#!/usr/bin/env bash
# Puts Debian's prometheus (the server and promtool) into .cache/prometheus,
# without installing it: a package's scripts would start a service.
set -euo pipefail
cd "$(dirname "$0")/.."

[ -x .cache/prometheus/usr/bin/promtool ] && exit 0
mkdir -p .cache/download
cd .cache/download
# The lists may be missing or old on a fresh machine; only root can renew them.
[ "$(id -u)" -ne 0 ] || apt-get update -qq
apt-get download -qq prometheus
dpkg-deb -x prometheus_*.deb ../prometheus
cd .. && rm -r download
