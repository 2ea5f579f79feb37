#!/usr/bin/env bash
# Brings both daemons to a release: the one chain for the hand and for the timer. Needs curl or wget, openssl 3, sha256sum.
#
#   update-from-release.sh [--dry-run] [--force] [TAG]
#
# Finds the release (TAG, PT_RELEASE_TAG, or the latest, which is never older than what runs), downloads each binary beside
# the running one as *.new, verifies the signature of its checksum and then the checksum, starts it once in a sandbox of
# systemd's (--version, --check-config), replaces the old one in one step and keeps it as *.old, restarts the units that run,
# and waits until they are ready; when one does not get ready, both go back to *.old. Nothing is executed before its signature
# is verified, and nothing that runs is touched before every download is. --dry-run ends there. --force updates a site that
# is not ready, or is up to date already, and then asks only that the new version lives.
#
# Settings (environment, or /etc/pt-tracker/updater.env for the unit):
#   PT_RELEASE_BASE_URL      https://github.com/OWNER/pt-tracker/releases, or a mirror with the same paths
#   PT_RELEASE_TAG           a version to stay at
#   PT_RELEASE_KEYS          a folder of public keys, *.pem; a release is signed by one of them (release-keys beside this file)
#   PT_BIN_DIR               where the binaries are (/usr/local/bin)
#   PT_CONFIG_DIR            tracker.yaml and consumer.yaml (/etc/pt-tracker; ~/.config/pt-tracker with PT_SYSTEMCTL_USER)
#   PT_STATE_DIR             a copy of the database is made here before (/var/lib/pt-tracker)
#   PT_TRACKER_HEALTH_URL    http://127.0.0.1:6880/health
#   PT_CONSUMER_HEALTH_URL   http://127.0.0.1:6881/health
#   PT_HEALTH_SECONDS        how long a new version may take to get ready (60)
#   PT_SYSTEMCTL_USER        1: the user's units
#   PT_SYSTEMCTL             another program in place of systemctl
#   PT_SYSTEMD_RUN           another program in place of systemd-run
#
# Exit codes: 0 updated or up to date, 64 usage, 65 wrong checksum or a binary that is none or too old, 69 not downloaded,
# 70 rolled back, 71 rolled back and still not ready, 74 files, 75 another update runs or the site is not ready, 77 wrong
# signature, 78 settings.
set -euo pipefail
export LC_ALL=C

readonly TARGET=x86_64-unknown-linux-gnu
readonly COMPONENTS=(tracker traffic-consumer)
# A program that has not said its version, or judged its configuration, by then never will.
readonly TRIAL_SECONDS=60
BIN_DIR=${PT_BIN_DIR:-/usr/local/bin}
STATE_DIR=${PT_STATE_DIR:-/var/lib/pt-tracker}
BASE_URL=${PT_RELEASE_BASE_URL:-}
HEALTH_SECONDS=${PT_HEALTH_SECONDS:-60}
TAG=${PT_RELEASE_TAG:-}
dry_run=false
force=false

say() { printf 'update: %s\n' "$*"; }
fail() {
  local code=$1
  shift
  printf 'update: %s\n' "$*" >&2
  exit "$code"
}

for argument in "$@"; do
  case $argument in
    --dry-run) dry_run=true ;;
    --force) force=true ;;
    -h | --help) sed -n '2,/^set /{s/^# \{0,1\}//;/^set /d;p}' "$0"; exit 0 ;;
    -*) fail 64 "unknown option $argument; --help lists them" ;;
    *) TAG=$argument ;;
  esac
done
[ -n "$BASE_URL" ] || fail 78 "PT_RELEASE_BASE_URL is not set: where are the releases? https://github.com/OWNER/pt-tracker/releases"
BASE_URL=${BASE_URL%/}
[[ $HEALTH_SECONDS =~ ^[1-9][0-9]*$ ]] || fail 78 "PT_HEALTH_SECONDS is $HEALTH_SECONDS; expected a number of seconds"
command -v curl >/dev/null || command -v wget >/dev/null || fail 78 "neither curl nor wget is installed"
command -v openssl >/dev/null || fail 78 "openssl is not installed: it verifies the releases' signatures"
KEYS=${PT_RELEASE_KEYS:-$(cd "$(dirname "$0")" && pwd)/release-keys}
keys=("$KEYS"/*.pem)
[ -e "${keys[0]}" ] ||
  fail 78 "$KEYS has no key of a release (*.pem): put the public key of who makes your releases there (PT_RELEASE_KEYS)"
[ -d "$BIN_DIR" ] || fail 74 "$BIN_DIR is no directory (PT_BIN_DIR)"

systemctl_command=("${PT_SYSTEMCTL:-systemctl}")
CONFIG_DIR=${PT_CONFIG_DIR:-/etc/pt-tracker}
if [[ ${PT_SYSTEMCTL_USER:-} =~ ^(1|true|yes|on)$ ]]; then
  systemctl_command+=(--user)
  CONFIG_DIR=${PT_CONFIG_DIR:-$HOME/.config/pt-tracker}
fi
# How a new program is run for the first times: no network, nothing to write to, no privilege, not the users' totals.
sandbox=("${PT_SYSTEMD_RUN:-systemd-run}")
if [ ${#systemctl_command[@]} -gt 1 ]; then sandbox+=(--user); fi
sandbox+=(--quiet --wait --pipe --collect -p "RuntimeMaxSec=$TRIAL_SECONDS")
for property in PrivateNetwork=yes PrivateDevices=yes PrivateTmp=yes ProtectSystem=strict ProtectHome=read-only \
  "InaccessiblePaths=-$STATE_DIR -/etc/credstore" ProtectKernelLogs=yes ProtectKernelModules=yes ProtectKernelTunables=yes \
  ProtectControlGroups=yes ProtectClock=yes ProtectHostname=yes ProtectProc=invisible CapabilityBoundingSet= \
  NoNewPrivileges=yes RestrictAddressFamilies=AF_UNIX RestrictNamespaces=yes RestrictSUIDSGID=yes LockPersonality=yes \
  MemoryDenyWriteExecute=yes SystemCallArchitectures=native SystemCallFilter=@system-service \
  "SystemCallFilter=~@privileged @resources" SystemCallErrorNumber=EPERM MemoryMax=1G TasksMax=64; do
  sandbox+=(-p "$property")
done
# The daemons' user reads their configuration and owns nothing here but what is hidden above.
if [ "$(id -u)" -eq 0 ] && getent passwd pt-tracker >/dev/null; then sandbox+=(-p User=pt-tracker -p Group=pt-tracker); fi
sandbox+=(--)

# Two updates at a time would take each other's *.old away.
exec 9>"$BIN_DIR/.pt-tracker-update.lock" || fail 74 "$BIN_DIR is not writable"
flock -n 9 || fail 75 "another update runs"

for component in "${COMPONENTS[@]}"; do
  if command -v dpkg-query >/dev/null && dpkg-query -S "$BIN_DIR/$component" >/dev/null 2>&1; then
    fail 78 "$BIN_DIR/$component belongs to a Debian package: update it with apt or dpkg, or set PT_BIN_DIR"
  fi
done

config_of() { if [ "$1" = tracker ]; then echo "$CONFIG_DIR/tracker.yaml"; else echo "$CONFIG_DIR/consumer.yaml"; fi; }
health_of() {
  if [ "$1" = tracker ]; then
    echo "${PT_TRACKER_HEALTH_URL:-http://127.0.0.1:6880/health}"
  else
    echo "${PT_CONSUMER_HEALTH_URL:-http://127.0.0.1:6881/health}"
  fi
}

# fetch URL FILE: a complete file or a failure.
fetch() {
  if command -v curl >/dev/null; then
    curl --fail --silent --show-error --location --retry 3 --connect-timeout 15 --max-time 900 --output "$2" "$1"
  else
    wget --quiet --tries=3 --timeout=60 --output-document="$2" "$1"
  fi
}
# The address the page of the latest release redirects to: .../tag/v1.2.3
latest_url() {
  if command -v curl >/dev/null; then
    curl --fail --silent --show-error --location --retry 3 --connect-timeout 15 --max-time 60 --output /dev/null \
      --write-out '%{url_effective}' "$1"
  else
    wget --spider --server-response --tries=3 --timeout=30 "$1" 2>&1 | sed -n 's/^ *[Ll]ocation: *\([^ ]*\).*/\1/p' | tail -n 1
  fi
}
answers() { # answers URL: 200 within a few seconds
  if command -v curl >/dev/null; then
    curl --fail --silent --max-time 5 --noproxy '*' --output /dev/null "$1"
  else
    wget --quiet --no-proxy --tries=1 --timeout=5 --output-document=/dev/null "$1"
  fi
}

is_latest=false
if [ -z "$TAG" ]; then
  is_latest=true
  page=$(latest_url "$BASE_URL/latest") || fail 69 "the latest release is not to be found at $BASE_URL/latest"
  TAG=${page##*/tag/}
  [ "$TAG" != "$page" ] || fail 69 "$BASE_URL/latest does not lead to .../tag/VERSION but to $page"
fi
[[ $TAG =~ ^v?[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.+-]+)?$ ]] || fail 65 "the release $TAG has no version as its name (v1.2.3)"
VERSION=${TAG#v}
say "release_tag=$TAG"

# Whether FILE is signed by one of the keys: is_signed FILE SIGNATURE
is_signed() {
  local key
  for key in "${keys[@]}"; do
    if openssl pkeyutl -verify -pubin -inkey "$key" -rawin -in "$1" -sigfile "$2" >/dev/null 2>&1; then return 0; fi
  done
  return 1
}
# A new program, tried: where systemd makes no sandbox the program has a signature all the same.
try() { "${sandbox[@]}" "$@" 9>&-; }

# version_of [try] PROGRAM
version_of() { "$@" --version 2>/dev/null | sed -n 's/^[a-z-]* \([^ ]*\) .*/\1/p'; }
# 1.2.3-rc1 as digits that sort: what comes after 1.2.3 is not looked at.
rank() {
  local part
  for part in $(tr . ' ' <<<"${1%%[-+]*}"); do printf '%06d' "$((10#$part))"; done
}
wanted=()
for component in "${COMPONENTS[@]}"; do
  current=none
  if [ -x "$BIN_DIR/$component" ]; then current=$(version_of "$BIN_DIR/$component") || current=unknown; fi
  say "$component: ${current:-unknown} -> $VERSION"
  # A signature does not say that a release is the latest: only somebody who asks for an older one gets it.
  if $is_latest && [[ ${current:-} =~ ^[0-9]+\.[0-9]+\.[0-9]+([-+]|$) && $(rank "$current") > $(rank "$VERSION") ]]; then
    fail 65 "$component: $BASE_URL/latest leads to $TAG, older than what is installed; nothing has changed ($TAG as argument goes back)"
  fi
  if [ "$current" != "$VERSION" ] || $force; then wanted+=("$component"); fi
done
if [ ${#wanted[@]} -eq 0 ]; then
  say "up to date"
  exit 0
fi

active=()
for component in "${wanted[@]}"; do
  if "${systemctl_command[@]}" is-active --quiet "$component.service" 9>&-; then active+=("$component"); fi
done
if ! $force && ! $dry_run; then
  for component in ${active[@]+"${active[@]}"}; do
    answers "$(health_of "$component")/ready" ||
      fail 75 "$component is not ready now, so that nothing would show whether the new version works; --force updates anyway"
  done
fi

clean() { for component in "${COMPONENTS[@]}"; do rm -f "$BIN_DIR/$component.new"{,.sha256,.sha256.sig}; done; }
trap clean EXIT

# 1. Every download, verified. Nothing else has happened when one of them fails.
if ! try true >/dev/null 2>&1; then
  say "systemd makes no sandbox here: new programs are tried without a sandbox, after their signatures"
  sandbox=(timeout "$TRIAL_SECONDS")
fi
for component in "${wanted[@]}"; do
  new=$BIN_DIR/$component.new
  url=$BASE_URL/download/$TAG/$component-$TARGET
  say "$component: downloading $url"
  fetch "$url.sha256" "$new.sha256" || fail 69 "$component: $url.sha256 was not downloaded; nothing has changed"
  fetch "$url.sha256.sig" "$new.sha256.sig" ||
    fail 69 "$component: $url.sha256.sig was not downloaded: a release without signatures is not installed; nothing has changed"
  is_signed "$new.sha256" "$new.sha256.sig" ||
    fail 77 "$component: $url.sha256 is not signed by a key in $KEYS; nothing has changed"
  read -r expected named _ <"$new.sha256" || true
  [[ ${expected:-} =~ ^[0-9a-f]{64}$ ]] || fail 65 "$component: $url.sha256 holds no SHA-256; nothing has changed"
  # What is signed is that this file has this checksum, not that it is the file that was asked for.
  [ "${named:-}" = "$component-$TARGET" ] ||
    fail 77 "$component: what is signed at $url.sha256 is ${named:-no file}; nothing has changed"
  fetch "$url" "$new" || fail 69 "$component: $url was not downloaded; nothing has changed"
  actual=$(sha256sum <"$new")
  actual=${actual%% *}
  [ "$actual" = "$expected" ] || fail 65 "$component: the checksum is $actual, expected $expected; nothing has changed"
  chmod 0755 "$new"
  found=$(version_of try "$new") || true
  [ "${found:-}" = "$VERSION" ] ||
    fail 65 "$component: the downloaded file does not start here as version $VERSION (it says: ${found:-nothing}); nothing has changed"
  config=$(config_of "$component")
  if [ -r "$config" ]; then
    try "$new" --config "$config" --check-config >/dev/null ||
      fail 78 "$component: the new version refuses $config; nothing has changed"
  fi
done
if $dry_run; then
  say "dry run: $TAG is there and verified; nothing has changed"
  exit 0
fi

# 2. A copy of the database: a newer consumer may change its schema, which an older one then refuses.
if [[ " ${active[*]-} " == *" traffic-consumer "* ]]; then
  mkdir -p "$STATE_DIR/backups"
  saved=$STATE_DIR/backups/before-$TAG.db
  "$BIN_DIR/traffic-consumer" backup --config "$(config_of traffic-consumer)" --to "$saved" >/dev/null ||
    fail 74 "the database was not copied to $saved; nothing has changed"
  say "traffic-consumer: copy of the database in $saved"
fi

# 3. One step for each binary; *.old is a second name of the old file until then.
restart() { "${systemctl_command[@]}" restart "$1.service" 9>&-; }
# becomes_ready COMPONENT SECONDS
becomes_ready() {
  local page=ready deadline=$((SECONDS + $2))
  if $force; then page=live; fi
  while ! answers "$(health_of "$1")/$page"; do
    if [ $SECONDS -ge $deadline ]; then return 1; fi
    sleep 0.2
  done
}
roll_back() {
  local component failed=false
  for component in "${replaced[@]}"; do
    if [ -e "$BIN_DIR/$component.old" ]; then
      mv -f "$BIN_DIR/$component.old" "$BIN_DIR/$component"
    else
      rm -f "$BIN_DIR/$component"
    fi
  done
  for component in ${active[@]+"${active[@]}"}; do
    # However little time the new version was given: the old one is known to work, and what is said now is believed.
    if ! restart "$component" || ! becomes_ready "$component" $((HEALTH_SECONDS > 60 ? HEALTH_SECONDS : 60)); then
      failed=true
    fi
  done
  if $failed; then
    fail 71 "$1; rolled back, and the old version is not ready either: see the log${saved:+; the database of before is $saved}"
  fi
  fail 70 "$1; rolled back, the old version is ready"
}
replaced=()
for component in "${wanted[@]}"; do
  rm -f "$BIN_DIR/$component.old"
  if [ -e "$BIN_DIR/$component" ]; then ln "$BIN_DIR/$component" "$BIN_DIR/$component.old"; fi
  replaced+=("$component")
  mv -f "$BIN_DIR/$component.new" "$BIN_DIR/$component"
done
for component in ${active[@]+"${active[@]}"}; do
  say "$component: restarting"
  restart "$component" || roll_back "$component $TAG did not start"
  becomes_ready "$component" "$HEALTH_SECONDS" || roll_back "$component $TAG was not ready within $HEALTH_SECONDS s"
  say "$component: $TAG is ready"
done
say "updated to $TAG"
