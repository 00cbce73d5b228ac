#!/usr/bin/env bash
# Builds the Dockerfile and runs the image in podman, as an unprivileged user, on a
# read-only root file system, without capabilities, and with its own health check. No
# registry is used: buildah builds in a chroot, on a substitute for golang:1.26 that is
# a Debian with this machine's Go. Needs root.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=$PWD/.cache/debian-tools
if [ -z "${1:-}" ]; then
  deploy/debian.sh
  storage=$(mktemp -d)
  trap 'rm -rf "$storage"' EXIT
  # Separate mount and PID namespaces: mounts and processes end with the script.
  unshare --mount --pid --mount-proc --fork --kill-child "$0" "$storage"
  exit
fi

storage=$1
# podman starts other programs without LD_LIBRARY_PATH, so mount its libraries.
mount -t overlay overlay -o "lowerdir=$tools/lib:/usr/lib/x86_64-linux-gnu" /usr/lib/x86_64-linux-gnu
mount -t cgroup2 cgroup2 /sys/fs/cgroup # crun does not support a mixture of cgroup v1 and v2
cat >"$storage/storage.conf" <<EOF
[storage]
driver = "overlay"
graphroot = "$storage/graph"
runroot = "$storage/run"
EOF
cat >"$storage/containers.conf" <<EOF
[containers]
cgroups = "disabled"
netns = "none"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
conmon_path = ["$tools/usr/bin/conmon"]
tmp_dir = "$storage/tmp"
volume_path = "$storage/volumes"
[engine.runtimes]
crun = ["$tools/usr/bin/crun"]
EOF
export CONTAINERS_STORAGE_CONF=$storage/storage.conf CONTAINERS_REGISTRIES_CONF=$tools/etc/containers/registries.conf
export DISABLE_HC_SYSTEMD=true # there is no systemd to run the health check periodically
export CONTAINERS_CONF=$storage/containers.conf BUILDAH_ISOLATION=chroot PATH=$PATH:$tools/usr/bin
policy=--signature-policy=$tools/etc/containers/policy.json

base=$(buildah from scratch)
root=$(buildah mount "$base")
cp -a .cache/debian/. "$root"
cp -a "$(go env GOROOT)" "$root/usr/local/go"
buildah config --env PATH=/usr/local/go/bin:/usr/bin:/bin --env GOPROXY="$(go env GOPROXY)" --env GOTOOLCHAIN=local --env GOPATH=/go "$base"
buildah commit -q "$policy" --rm "$base" docker.io/library/golang:1.26 >/dev/null
buildah bud -q "$policy" --pull-never --format docker --network host --build-arg VERSION=test --build-arg TARGETOS=linux \
  --build-arg TARGETARCH="$(go env GOARCH)" --volume "$(go env GOMODCACHE):/go/pkg/mod" --volume "$(go env GOCACHE):/root/.cache/go-build" \
  -t docker.io/library/deepaffects-exporter .

image=docker.io/library/deepaffects-exporter
root=$(podman image mount $image)
(cd "$root" && find . -type f -o -type l | sort) | tee "$storage/files"
diff "$storage/files" - <<'EOF'
./bin/deepaffects_exporter
./etc/ssl/certs/ca-certificates.crt
./usr/share/doc/deepaffects-exporter/LICENSE
./usr/share/doc/deepaffects-exporter/third-party-notices
EOF

# podman runs the container in an isolated network.
podman run --detach --name exporter --read-only --cap-drop=all --security-opt=no-new-privileges \
  $image --demo --storage.path=/data --log.level=warn >/dev/null
fail() { echo "FAIL: $*"; exit 1; }
healthy() {
  for _ in {1..100}; do
    ! podman healthcheck run exporter >/dev/null 2>&1 || return 0
    sleep 0.1
  done
  podman logs exporter
  fail 'the container does not become healthy'
}
healthy
status=/proc/$(podman inspect --format '{{.State.Pid}}' exporter)/status
for line in 'Uid:.65532.65532.65532.65532' 'Gid:.65532.65532.65532.65532' 'CapBnd:.0000000000000000' 'NoNewPrivs:.1' 'Seccomp:.2'; do
  grep -q "^$line" "$status" || fail "not confined: $line"
done
data=$(podman volume inspect --format '{{.Mountpoint}}' "$(podman inspect --format '{{(index .Mounts 0).Name}}' exporter)")
[ "$(stat -c '%u:%g' "$data" "$data/register.db" | uniq)" = 65532:65532 ] || fail 'another user owns the volume'
printf '[[inputs.deepaffects]]\n  account = "demo"\n' >"$storage/plan.toml"
podman run --rm --read-only --cap-drop=all --security-opt=no-new-privileges --volumes-from exporter \
  --volume "$storage/plan.toml:/plan.toml:ro" $image --plan --config.file=/plan.toml --storage.path=/data |
  grep '^Account demo:' || fail 'no plan'
podman stop --time 10 exporter >/dev/null
[ "$(podman inspect --format '{{.State.ExitCode}}' exporter)" = 0 ] || fail 'the exit code after SIGTERM is not 0'
! podman healthcheck run exporter >/dev/null 2>&1 || fail 'healthy although it does not run'
podman start exporter >/dev/null
healthy
podman kill exporter >/dev/null
echo 'the image is healthy'
