#!/usr/bin/env bash
# Builds what a release publishes in .cache/release: debs and rpms for amd64 and arm64, the static binaries in them, the
# Helm chart, a software bill of materials of each binary, and the SHA-256 sums. `make release` sets the variables.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${VERSION:?}"
out=.cache/release
rm -rf $out
mkdir -p $out
for arch in arm64 amd64; do # the last one stays in bin
  make packages ARCH=$arch
  cp .cache/packages/$arch/* $out
  for program in deepaffects_exporter telegraf-deepaffects; do
    cp bin/$program $out/$program-$arch
    .cache/cyclonedx-gomod bin -json -version "$VERSION" -output $out/$program-$arch.cdx.json bin/$program
  done
done
# Helm demands a semantic version, in which a number may not begin with 0, as a commit's name may.
chart=${VERSION#v}
[[ $VERSION = v[0-9]* ]] || chart=0.0.0-g$VERSION
.cache/helm package deploy/helm/deepaffects-exporter --version "$chart" --app-version "$VERSION" --destination $out
cd $out && sha256sum -- * >SHA256SUMS
