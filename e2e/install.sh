#!/usr/bin/env bash
# Installs what the end-to-end tests run against: packages of Debian and npm, and a
# Prometheus 3 built from source.
set -euo pipefail
cd "$(dirname "$0")/.."

# The package lists may be missing or old on a fresh machine. Only root can update them.
lists() { [ "$(id -u)" -ne 0 ] || apt-get update -qq; }

# prometheus (the server and promtool) and prometheus-alertmanager are unpacked but not
# installed, because the scripts of the packages would start services.
if [ ! -x .cache/prometheus/usr/bin/promtool ] || [ ! -x .cache/prometheus/usr/bin/prometheus-alertmanager ]; then
	lists
	mkdir -p .cache/download
	(cd .cache/download && apt-get download -qq prometheus prometheus-alertmanager && for package in *.deb; do dpkg-deb -x "$package" ../prometheus; done)
	rm -r .cache/download
fi

# InfluxDB 1, unpacked for the same reason.
if [ ! -x .cache/influxdb/usr/bin/influxd ]; then
	lists
	mkdir -p .cache/download
	(cd .cache/download && apt-get download -qq influxdb && dpkg-deb -x influxdb_*.deb ../influxdb)
	rm -r .cache/download
fi

# The server of PostgreSQL, which needs its libraries installed. Its package would start a server.
if ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && ! command -v initdb >/dev/null; then
	lists
	export DEBIAN_FRONTEND=noninteractive
	apt-get install -y -qq --no-install-recommends postgresql-common >/dev/null
	sed -i -E 's/^#?(create_main_cluster) .*/\1 = false/' /etc/postgresql-common/createcluster.conf
	apt-get install -y -qq --no-install-recommends postgresql >/dev/null
fi

# PgBouncer and its library, unpacked for the same reason.
if [ ! -x .cache/pgbouncer/usr/sbin/pgbouncer ]; then
	lists
	mkdir -p .cache/download
	(cd .cache/download && apt-get download -qq pgbouncer libc-ares2 && for package in *.deb; do dpkg-deb -x "$package" ../pgbouncer; done)
	rm -r .cache/download
fi

# The query engine of InfluxDB 3.
[ -f .cache/npm/node_modules/datafusion-wasm/datafusion_wasm_bg.wasm ] ||
	npm install --silent --no-audit --no-fund --prefix .cache/npm datafusion-wasm@0.2.0

# No Debian release has Prometheus 3. Build it without the service discoveries of clouds,
# which are most of its code.
prometheus3=v0.316.0
if [ ! -x ".cache/prometheus3/$prometheus3/promtool" ]; then
	GOBIN=$PWD/.cache/prometheus3/$prometheus3 CGO_ENABLED=0 go install -trimpath -ldflags='-s -w' -tags remove_all_sd \
		"github.com/prometheus/prometheus/cmd/prometheus@$prometheus3" "github.com/prometheus/prometheus/cmd/promtool@$prometheus3"
fi
ln -sfn "$prometheus3" .cache/prometheus3/current

# Chromium needs its libraries installed. The tests create network namespaces with ip.
if ! command -v chromium >/dev/null || ! command -v ip >/dev/null; then
	lists
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium iproute2 >/dev/null
fi

# axe-core checks the accessibility of the pages.
[ -f .cache/npm/node_modules/axe-core/axe.min.js ] ||
	npm install --silent --no-audit --no-fund --prefix .cache/npm axe-core@4.14.1
