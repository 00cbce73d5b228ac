#!/usr/bin/env bash
# Builds debs and rpms from bin in .cache/packages/$ARCH. `make packages` sets the
# variables. The same sources and variables give the same packages.
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${VERSION:?}" "${SOURCE_DATE_EPOCH:?}" "${ARCH:?}" "${MAINTAINER:?}"

# v1.2.3 becomes 1.2.3, and 4 commits later 1.2.3+4.gabc. Versions before the first
# release sort before all releases.
PACKAGE_VERSION=$(sed -E 's/^v//; s/-/+/; s/-/./g' <<<"$VERSION")
[[ $VERSION = v[0-9]* ]] || PACKAGE_VERSION=0.0.0~git$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S).${VERSION//-/.}
export PACKAGE_VERSION

stage=.cache/package # each nfpm.yaml uses this path
out=.cache/packages/$ARCH
rm -rf $stage "$out"
mkdir -p $stage "$out"
cp bin/deepaffects_exporter bin/telegraf-deepaffects $stage

heading() { echo ".TH ${1^^} 1 \"$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%d)\" \"$1 $PACKAGE_VERSION\""; }
# The program generates the manual page and the completions. If it was built for another
# architecture, build one that runs here.
program=bin/deepaffects_exporter
if ! $program --version >/dev/null 2>&1; then
  program=.cache/deepaffects_exporter
  GOARCH=$(go env GOHOSTARCH) CGO_ENABLED=0 go build -o $program ./cmd/exporter
fi
$program --completion-script-bash >$stage/completion.bash
$program --completion-script-zsh >$stage/completion.zsh
# whatis cannot use the heading and name that the library generates, so replace them.
{
  heading deepaffects_exporter
  cat <<'EOF'
.SH "NAME"
deepaffects_exporter \- show the jobs of the DeepAffects speech API to Prometheus
EOF
  $program --help-man | sed -n '/^\.SH "SYNOPSIS"/,$p' | sed -E 's/(^|[ (])--/\1\\-\\-/g; s/fB--/fB\\-\\-/g'
  cat deploy/packages/deepaffects-exporter/man.roff
} | gzip -9n >$stage/deepaffects_exporter.1.gz
{
  heading telegraf-deepaffects
  cat deploy/packages/telegraf-deepaffects/man.roff
} | gzip -9n >$stage/telegraf-deepaffects.1.gz
gzip -9n <CHANGELOG.md >$stage/changelog.gz
deploy/licenses.sh ./cmd/exporter | gzip -9n >$stage/deepaffects-exporter.notices.gz
deploy/licenses.sh ./cmd/telegraf-deepaffects | gzip -9n >$stage/telegraf-deepaffects.notices.gz

for package in deepaffects-exporter telegraf-deepaffects; do
  gzip -9n >$stage/$package.changelog.gz <<EOF
$package ($PACKAGE_VERSION-1) unstable; urgency=medium

  * See changelog.gz in this directory.

 -- $MAINTAINER  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
EOF
  # The header of an rpm names the owners of its files. They must exist before it is unpacked.
  { echo 'systemd-sysusers - <<EOF' && cat deploy/systemd/$package.sysusers && echo EOF; } >$stage/$package.pre
  for packager in deb rpm; do
    .cache/nfpm package --config deploy/packages/$package/nfpm.yaml --packager $packager --target "$out"
  done
done
