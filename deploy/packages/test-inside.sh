#!/bin/bash
# Tests the packages inside the Debian that test.sh creates.
set -euo pipefail
cd /test
name=deepaffects-exporter
service=$name
base=http://127.0.0.1:9891
trap 'echo "FAIL: line $LINENO: $BASH_COMMAND"; journalctl --no-pager -u $service | tail -n 20' ERR

step() { echo "--- $*"; }
fail() { echo "FAIL: $*"; exit 1; }
# Waits until a page has a line. A start takes less time than this.
await() {
  local page
  for _ in {1..100}; do
    page=$(curl -fsS "$base$1" 2>&1) && grep -q -- "$2" <<<"$page" && return
    sleep 0.2
  done
  fail "$1 lacks $2: $(head -c 500 <<<"$page")"
}
# Waits until the journal has a line.
logged() {
  for _ in {1..50}; do
    journalctl --no-pager -u $service | grep -m 1 -- "$1" && return
    sleep 0.2
  done
  fail "the journal lacks $1"
}
owned() { [ "$(stat -c '%U:%G %a' "$1")" = "$2" ] || fail "$1 is $(stat -c '%U:%G %a' "$1"), not $2"; }
# Lists the files on disk, without those that package managers and systemd write.
files() { find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /test -o -path /var/lib/dpkg -o -path /var/log -o -path /var/lib/systemd -o -path /var/lib/rpm -o -path /var/cache/man \) -prune -o -print | sort; }

deb=$(echo ${name}_*.deb) rpm=$(echo $name-*.rpm)

step 'lintian finds nothing'
lintian --allow-root --fail-on error,warning,info --suppress-tags-from-file <(grep -v '^#' <<'EOF'
# A static binary is intended.
statically-linked-binary
# The package is not part of Debian, so there is no bug to close.
initial-upload-closes-no-bugs
# The configuration may hold tokens.
non-standard-file-perm
# nfpm writes the licence to the control file.
unknown-field
EOF
) *.deb

step 'installed: files, user, directories; the service is not started'
files >/tmp/before
dpkg -i "$deb"
id $name
owned /etc/deepaffects/exporter.toml "root:$name 640"
! systemctl is-enabled $name || fail 'the installation enabled the service'
! systemctl is-active $name || fail 'the installation started the service'
(set +u; COMP_WORDS=(deepaffects_exporter --storage.p) COMP_CWORD=1; source /usr/share/bash-completion/completions/deepaffects_exporter; _deepaffects_exporter_bash_autocomplete; [ "${COMPREPLY[*]}" = --storage.path ]) || fail 'completion'
zgrep '^======== modernc.org/sqlite' /usr/share/doc/$name/third-party-notices.gz >/dev/null || fail 'third-party-notices.gz lacks a licence'
diff -r /usr/share/$name shared # the rules and dashboards
sed 's|/run/credentials.*/key|/etc/hostname|' /etc/deepaffects/exporter.toml >/tmp/any-key.toml
deepaffects_exporter --config.file=/tmp/any-key.toml --config.check
systemd-analyze verify $name.service
systemd-analyze security --no-pager --threshold=20 $name.service | tail -n 1

step 'without a key the service does not start, logs it, and retries'
echo 'ARGS="--web.listen-address=127.0.0.1:9891"' >/etc/default/$name
# Nothing listens at this URL: the test must not reach the vendor.
sed -i 's|^  api_key_file|  url = "http://127.0.0.1:9"\n&|' /etc/deepaffects/exporter.toml
systemctl enable $name
! systemctl start $name || fail 'started without a key'
logged 'Failed to set up credentials'
install -m 600 <(echo very-secret-key) /etc/deepaffects/key

step 'runs under its restrictions'
await /-/ready ready
await /-/healthy healthy
await /metrics '^process_start_time_seconds '
await /metrics '^deepaffects_up{account="default"} 0'
pid=$(systemctl show -P MainPID $name)
for line in 'NoNewPrivs:.1' 'Seccomp:.2' 'CapBnd:.0000000000000000' "Uid:.$(id -u $name)"; do
  grep -q "^$line" /proc/$pid/status || fail "not confined: $line"
done
! nsenter -t $pid -m touch /etc/x 2>/dev/null || fail 'it could write /etc'
owned /var/lib/$name "$name:$name 750"
owned /var/lib/$name/register.db "$name:$name 600"

step 'the check of the runbooks, also with a database'
systemctl start dbus
cp /etc/deepaffects/exporter.toml /tmp/good
(
  eval "$(sed -n '\|^URL=.*KEY=/etc/deepaffects/key$|,/^```$/{/^```$/!p}' docs/runbooks.md)"
  check
  sed -i 's|^  api_key_file|  database_url = "postgres://x@127.0.0.1:1/x"\n&|' /etc/deepaffects/exporter.toml
  ! check || fail 'accepted a store and a database'
  STORE= check
)
cp /tmp/good /etc/deepaffects/exporter.toml

step 'keeps its state across a restart and kill -9'
curl -fsS -d '{"request_id":"kept","api":"asr"}' $base/api/v1/jobs
systemctl restart $name
await /api/v1/jobs/kept '"kept"'
kill -9 "$(systemctl show -P MainPID $name)"
await /-/ready ready
await /api/v1/jobs/kept '"kept"'

step 'reloads; keeps the previous configuration if the new one is invalid'
sed -i 's|^  api_key_file|  request_ids = ["reloaded"]\n&|' /etc/deepaffects/exporter.toml
systemctl reload $name
await /api/v1/jobs/reloaded '"reloaded"'
cp /etc/deepaffects/exporter.toml /tmp/good
echo '  nonsense = 1' >>/etc/deepaffects/exporter.toml
systemctl reload $name
await /metrics '^deepaffects_config_last_reload_successful 0'
await /api/v1/jobs/reloaded '"reloaded"'
logged 'nonsense: no such option'
cp /tmp/good /etc/deepaffects/exporter.toml
systemctl reload $name
await /metrics '^deepaffects_config_last_reload_successful 1'

step 'other machines can read, and write only with a token'
ip address add 192.0.2.1/32 dev lo
echo 'ARGS=""' >/etc/default/$name
# Prints the status of a registration by a client with this address.
registers() { curl -s -o /dev/null -w '%{http_code}' -d '["x"]' "${@:2}" "http://$1:9891/api/v1/jobs"; }
systemctl restart $name
await /-/ready ready
logged 'Only this machine can register'
curl -fsS http://192.0.2.1:9891/metrics >/dev/null
[ "$(registers 192.0.2.1)" = 403 ] && [ "$(registers 127.0.0.1)" = 202 ] || fail 'the writes of other machines'
sed -i 's|^  # jobs_token = ""|  jobs_token = "secret-of-the-jobs"|' /etc/deepaffects/exporter.toml
systemctl restart $name
await /-/ready ready
for client in 192.0.2.1 127.0.0.1; do
  [ "$(registers $client)" = 401 ] && [ "$(registers $client -H 'Authorization: Bearer secret-of-the-jobs')" = 202 ] || fail "the token of $client"
done
cp /tmp/good /etc/deepaffects/exporter.toml
echo 'ARGS="--web.listen-address=127.0.0.1:9891"' >/etc/default/$name

step 'the drop-in of operations.md: a group, a second key, a low port'
systemd-sysusers - <<<'g calls'
install -D -m 640 -g calls <(echo from-a-file) /srv/calls/today.ids
install -m 600 <(echo other-secret-key) /etc/deepaffects/other.key
mkdir -p /etc/systemd/system/$name.service.d
cat >/etc/systemd/system/$name.service.d/override.conf <<'EOF'
[Service]
SupplementaryGroups=calls
LoadCredential=other:/etc/deepaffects/other.key
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
PrivateUsers=no
EOF
cat >>/etc/deepaffects/exporter.toml <<'EOF'
[[inputs.deepaffects]]
  account = "other"
  url = "http://127.0.0.1:9"
  api_key_file = "/run/credentials/deepaffects-exporter.service/other"
  request_id_files = ["/srv/calls/*.ids"]
  service_address = "127.0.0.1:80"
  webhook_token = "token"
EOF
systemctl daemon-reload
systemctl restart $name
await '/api/v1/jobs/from-a-file?account=other' '"from-a-file"'
[ "$(curl -s -o /dev/null -w '%{http_code}' -d x http://127.0.0.1/webhook/token)" = 400 ] || fail 'the low port'
rm -r /etc/systemd/system/$name.service.d /etc/deepaffects/other.key /srv/calls
cp /tmp/good /etc/deepaffects/exporter.toml
systemctl daemon-reload
systemctl restart $name
await /-/ready ready

step 'upgraded: restarted, with its state and its changed configuration'
pid=$(systemctl show -P MainPID $name)
dpkg -i newer/${name}_*.deb
[ "$(systemctl show -P MainPID $name)" != "$pid" ] || fail 'not restarted'
cmp /tmp/good /etc/deepaffects/exporter.toml
owned /etc/deepaffects/exporter.toml "root:$name 640"
await /api/v1/jobs/kept '"kept"'
! journalctl --no-pager -u $name | grep very-secret-key || fail 'the key is in the journal'
! grep -rq very-secret-key /var/lib/$name || fail 'the key is in the state'

step 'removed: stopped, state and configuration stay'
dpkg -r $name
! systemctl is-active $name || fail 'still active'
[ -s /var/lib/$name/register.db ] && [ -s /etc/deepaffects/key ]

step 'purged: only the user is left'
dpkg -P $name
files >/tmp/after
diff <(grep -vE '^/etc/(passwd|group|shadow|gshadow)-?$' /tmp/before) <(grep -vE '^/etc/(passwd|group|shadow|gshadow)-?$' /tmp/after)

step 'the rpm: installed and verified; upgraded: its configuration stays readable'
rpm() { command rpm "$@" 2> >(grep -v '^rpm: ' >&2) || return; } # drops the hint to use alien
rpm -qp --requires --scripts -i "$rpm"
rpm -i --nodeps --force-debian "$rpm"
rpm -qlv $name
diff -r /usr/share/$name shared
for page in docs/*; do cmp "$page" "/usr/share/doc/$name/${page##*/}"; done
rpm -V --nodeps $name
rpm -U --nodeps --force-debian newer/$name-*.rpm
rpm -V --nodeps $name
owned /etc/deepaffects/exporter.toml "root:$name 640"
rpm -U --nodeps --force-debian --oldpackage "$rpm"

step 'the rpm: runs, upgraded and removed'
install -m 600 <(echo very-secret-key) /etc/deepaffects/key
sed -i 's|^  api_key_file|  url = "http://127.0.0.1:9"\n&|' /etc/deepaffects/exporter.toml
systemctl enable --now $name
await /-/ready ready
pid=$(systemctl show -P MainPID $name)
rpm -U --nodeps --force-debian newer/$name-*.rpm
[ "$(systemctl show -P MainPID $name)" != "$pid" ] || fail 'not restarted'
await /-/ready ready
rpm -e --nodeps $name
! systemctl is-active $name || fail 'still active'
[ -s /etc/deepaffects/exporter.toml.rpmsave ] || fail 'the changed configuration was deleted'

name=telegraf-deepaffects
service=telegraf
conf=/etc/$name/deepaffects.conf state=/var/lib/$name
deb=$(echo ${name}_*.deb) rpm=$(echo $name-*.rpm)
# Installs Telegraf as its own package does, which creates the user if it does not exist.
telegraf() {
  grep -q '^telegraf:' /etc/group || groupadd -r telegraf
  id telegraf || useradd -r -M telegraf -s /bin/false -d /etc/telegraf -g telegraf
  install telegraf /usr/bin/telegraf
  install -m 644 telegraf.service /etc/systemd/system/telegraf.service
  mkdir -p /etc/telegraf/telegraf.d
  install -d -o telegraf -g telegraf /var/log/telegraf
  cat >/etc/telegraf/telegraf.conf <<'EOF'
[agent]
  interval = "1s"
  flush_interval = "1s"
[[outputs.file]]
  files = ["/var/log/telegraf/points"]
EOF
  systemctl daemon-reload
}
# Runs the plugin in Telegraf as operations.md describes, but with a URL at which nothing
# listens: the test must not reach the vendor.
run() {
  install -m 640 -g telegraf <(echo very-secret-key) /etc/$name/key
  cp /usr/share/doc/$name/telegraf.conf /etc/telegraf/telegraf.d/deepaffects.conf
  sed -i 's|^  api_key_file|  url = "http://127.0.0.1:9"\n  request_ids = ["kept"]\n&|' $conf
  start
}
start() {
  rm -f /var/log/telegraf/points
  systemctl restart telegraf
}
# Waits until Telegraf has written a line since its start.
wrote() {
  for _ in {1..100}; do
    grep -s -m 1 -- "$1" /var/log/telegraf/points && return
    sleep 0.2
  done
  tail -n 3 /var/log/telegraf/points || true
  journalctl --no-pager -n 20 -u telegraf
  fail "Telegraf did not write $1"
}

step 'the plugin, before Telegraf: files, directories, manual'
files >/tmp/before
dpkg -i "$deb"
owned $conf 'root:telegraf 640'
owned $state 'telegraf:telegraf 750'
flags=$($name -h | sed -nE 's/^  -(\w+).*/\1/p')
grep -qx config <<<"$flags" || fail "its flags: $flags"
for flag in $flags; do
  zgrep -q "^\\\\fB\\\\-$flag\\\\fR" /usr/share/man/man1/$name.1.gz || fail "the manual lacks -$flag"
done

step 'the plugin in Telegraf'
telegraf
run
wrote '^deepaffects,account=default.*[ ,]pending=1i'
[ "$(ps -o user= -p "$(pgrep -f "^/usr/bin/$name ")")" = telegraf ] || fail 'it runs as another user'
[ "$(stat -c %U $state/register.db)" = telegraf ] || fail 'another user owns the store'

step 'the plugin upgraded: its state and its changed configuration stay'
cp $conf /tmp/good
dpkg -i newer/${name}_*.deb
cmp /tmp/good $conf
owned $conf 'root:telegraf 640'
sed -i '/request_ids/d' $conf
start
wrote '^deepaffects,account=default.*[ ,]pending=1i'
! journalctl --no-pager -u telegraf | grep very-secret-key || fail 'the key is in the journal'
! grep -rq very-secret-key $state || fail 'the key is in the state'
systemctl stop telegraf

step 'the plugin removed: state and configuration stay; purged: only the user is left'
dpkg -r $name
[ -s $state/register.db ] && [ -s /etc/$name/key ]
dpkg -P $name
rm -r /usr/bin/telegraf /etc/telegraf /etc/systemd/system/telegraf.service /var/log/telegraf
files >/tmp/after
diff <(grep -vE '^/etc/(passwd|group|shadow|gshadow)-?$' /tmp/before) <(grep -vE '^/etc/(passwd|group|shadow|gshadow)-?$' /tmp/after)

step 'its rpm, after Telegraf: installed, upgraded, run and removed'
userdel telegraf
telegraf
rpm -i --nodeps --force-debian "$rpm"
rpm -V --nodeps $name
rpm -U --nodeps --force-debian newer/$name-*.rpm
rpm -V --nodeps $name
owned $conf 'root:telegraf 640'
owned $state 'telegraf:telegraf 750'
run
wrote '^deepaffects,account=default.*[ ,]pending=1i'
systemctl stop telegraf
rpm -e --nodeps $name
[ -s $state/register.db ] && [ -s $conf.rpmsave ]
step PASS
