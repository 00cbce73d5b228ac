#!/usr/bin/env bash
# Builds the packages again, from another directory, with another umask and in another
# time zone. The packages must be identical.
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${ARCH:?}" "${VERSION:?}" "${REVISION:?}" "${SOURCE_DATE_EPOCH:?}" "${MAINTAINER:?}"
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
umask 077
git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- -c | tar -x -C "$copy"
TZ=Asia/Kolkata make -s -C "$copy" packages >/dev/null
for package in .cache/packages/"$ARCH"/*; do
  cmp "$package" "$copy/$package"
  echo "reproducible: ${package##*/}"
done
