#!/usr/bin/env bash
# Builds the Dockerfile, and runs the image as nobody in particular, on a root that is
# read-only, to its health check. There is no container engine here, and no registry:
# buildah builds in a chroot, on a stand-in for golang:1.26 that is a Debian with this
# machine's Go. Needs root.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=$PWD/.cache/debian-tools
case ${1:-} in
'')
  deploy/debian.sh
  storage=$(mktemp -d)
  trap 'rm -rf "$storage"' EXIT
  unshare --mount "$0" build "$storage" # mounts of its own: they end with it
  ;;
build)
  storage=$2
  # For buildah, which starts itself again without LD_LIBRARY_PATH.
  mount -t overlay overlay -o "lowerdir=$tools/lib:/usr/lib/x86_64-linux-gnu" /usr/lib/x86_64-linux-gnu
  cat >"$storage/storage.conf" <<EOF
[storage]
driver = "overlay"
graphroot = "$storage/graph"
runroot = "$storage/run"
EOF
  export CONTAINERS_STORAGE_CONF=$storage/storage.conf CONTAINERS_REGISTRIES_CONF=$tools/etc/containers/registries.conf
  export CONTAINERS_CONF=$tools/usr/share/containers/containers.conf BUILDAH_ISOLATION=chroot PATH=$PATH:$tools/usr/bin
  policy=--signature-policy=$tools/etc/containers/policy.json

  base=$(buildah from scratch)
  root=$(buildah mount "$base")
  cp -a .cache/debian/. "$root"
  cp -a "$(go env GOROOT)" "$root/usr/local/go"
  buildah config --env PATH=/usr/local/go/bin:/usr/bin:/bin --env GOPROXY="$(go env GOPROXY)" --env GOTOOLCHAIN=local --env GOPATH=/go "$base"
  buildah commit -q "$policy" --rm "$base" docker.io/library/golang:1.26 >/dev/null
  buildah bud -q "$policy" --pull-never --format docker --network host --build-arg VERSION=test --build-arg TARGETOS=linux \
    --build-arg TARGETARCH="$(go env GOARCH)"    --volume "$(go env GOMODCACHE):/go/pkg/mod" --volume "$(go env GOCACHE):/root/.cache/go-build" -t image .
  image=$(buildah from --pull-never "$policy" image)
  root=$(buildah mount "$image")
  (cd "$root" && find . -type f -o -type l | sort) | tee "$storage/files"
  diff "$storage/files" - <<'EOF'
./bin/deepaffects_exporter
./etc/ssl/certs/ca-certificates.crt
EOF
  mount --bind "$root" "$root"
  mount -o remount,ro,bind "$root"
  mount -t tmpfs -o mode=755,uid=65532,gid=65532 tmpfs "$root/data" # what the volume is
  exec unshare --pid --fork --net --kill-child "$0" run "$root"
  ;;
run)
  ip link set lo up
  exporter=(chroot --userspec=65532:65532 "$2" /bin/deepaffects_exporter)
  check=("${exporter[@]}" --web.health-check=http://127.0.0.1:9891/-/healthy)
  ! "${check[@]}" || { echo 'FAIL: healthy before it runs'; exit 1; }
  "${exporter[@]}" --demo --storage.path=/data --log.level=warn &
  for _ in {1..100}; do
    ! "${check[@]}" 2>/dev/null || break
    sleep 0.1
  done
  "${check[@]}"
  [ -s "$2/data/register.db" ]
  kill -TERM $!
  wait $!
  echo 'the image is healthy'
  ;;
esac
