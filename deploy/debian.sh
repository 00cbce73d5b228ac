#!/usr/bin/env bash
# Creates .cache/debian, a separate Debian for the tests of the packages and the image,
# and .cache/debian-tools with the programs that run it. Installs nothing on this
# machine. Needs root and Debian's package lists.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD/.cache/debian tools=$PWD/.cache/debian-tools
[ "$(id -u)" -eq 0 ] || { echo 'creating a separate Debian needs root' >&2; exit 1; }
[ ! "$root.done" -nt deploy/debian.sh ] || exit 0

rm -rf "$root" "$tools"
mkdir -p "$tools/lib"
apt-get update -qq
cd "$tools"
apt-get download -qq mmdebstrap systemd-container \
  podman conmon crun libyajl2 buildah golang-github-containers-common golang-github-containers-image libassuan0 libdevmapper1.02.1 libgpgme11 libsubid4 uidmap
for deb in *.deb; do dpkg-deb -x "$deb" .; done
rm ./*.deb
cp -a {usr/,}lib/x86_64-linux-gnu/*.so* lib/
perl usr/bin/mmdebstrap --mode=root --variant=essential --format=directory --dpkgopt=force-unsafe-io \
  --include=systemd,systemd-sysv,dbus,passwd,procps,ca-certificates,curl,iproute2,lintian,make,rpm bookworm "$root" /etc/apt/sources.list.d/debian.sources
touch "$root.done"
