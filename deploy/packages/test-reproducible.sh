#!/usr/bin/env bash
# Packs the sources once more, from another directory, with another umask and in
# another time zone: the packages must be the same to the byte.
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
