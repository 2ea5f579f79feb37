#!/usr/bin/env bash
# Brings both daemons to a release: the one chain for the hand and for the timer. Needs curl or wget, and sha256sum.
#
#   update-from-release.sh [--dry-run] [--force] [TAG]
#
# Finds the release (TAG, PT_RELEASE_TAG, or the latest), downloads each binary beside the running one as *.new, compares its
# checksum, starts it once (--version, --check-config), replaces the old one in one step and keeps it as *.old, restarts the
# units that run, and waits until they are ready; when one does not get ready, both go back to *.old. Nothing that runs is
# touched before every download is verified. --dry-run ends there. --force updates a site that is not ready, or is up to
# date already, and then asks only that the new version lives.
#
# Settings (environment, or /etc/pt-tracker/updater.env for the unit):
#   PT_RELEASE_BASE_URL      https://github.com/OWNER/pt-tracker/releases, or a mirror with the same paths
#   PT_RELEASE_TAG           a version to stay at
#   PT_BIN_DIR               where the binaries are (/usr/local/bin)
#   PT_CONFIG_DIR            tracker.yaml and consumer.yaml (/etc/pt-tracker; ~/.config/pt-tracker with PT_SYSTEMCTL_USER)
#   PT_STATE_DIR             a copy of the database is made here before (/var/lib/pt-tracker)
#   PT_TRACKER_HEALTH_URL    http://127.0.0.1:6880/health
#   PT_CONSUMER_HEALTH_URL   http://127.0.0.1:6881/health
#   PT_HEALTH_SECONDS        how long a new version may take to get ready (60)
#   PT_SYSTEMCTL_USER        1: the user's units
#   PT_SYSTEMCTL             another program in place of systemctl
#
# Exit codes: 0 updated or up to date, 64 usage, 65 wrong checksum or a binary that is none, 69 not downloaded, 70 rolled
# back, 71 rolled back and still not ready, 74 files, 75 another update runs or the site is not ready, 78 settings.
set -euo pipefail
export LC_ALL=C

readonly TARGET=x86_64-unknown-linux-gnu
readonly COMPONENTS=(tracker traffic-consumer)
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
[ -d "$BIN_DIR" ] || fail 74 "$BIN_DIR is no directory (PT_BIN_DIR)"

systemctl_command=("${PT_SYSTEMCTL:-systemctl}")
CONFIG_DIR=${PT_CONFIG_DIR:-/etc/pt-tracker}
if [[ ${PT_SYSTEMCTL_USER:-} =~ ^(1|true|yes|on)$ ]]; then
  systemctl_command+=(--user)
  CONFIG_DIR=${PT_CONFIG_DIR:-$HOME/.config/pt-tracker}
fi

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

if [ -z "$TAG" ]; then
  page=$(latest_url "$BASE_URL/latest") || fail 69 "the latest release is not to be found at $BASE_URL/latest"
  TAG=${page##*/tag/}
  [ "$TAG" != "$page" ] || fail 69 "$BASE_URL/latest does not lead to .../tag/VERSION but to $page"
fi
[[ $TAG =~ ^v?[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.+-]+)?$ ]] || fail 65 "the release $TAG has no version as its name (v1.2.3)"
VERSION=${TAG#v}
say "release_tag=$TAG"

version_of() { "$1" --version 2>/dev/null | sed -n 's/^[a-z-]* \([^ ]*\) .*/\1/p'; }
wanted=()
for component in "${COMPONENTS[@]}"; do
  current=none
  if [ -x "$BIN_DIR/$component" ]; then current=$(version_of "$BIN_DIR/$component") || current=unknown; fi
  say "$component: ${current:-unknown} -> $VERSION"
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

clean() { for component in "${COMPONENTS[@]}"; do rm -f "$BIN_DIR/$component.new" "$BIN_DIR/$component.new.sha256"; done; }
trap clean EXIT

# 1. Every download, verified. Nothing else has happened when one of them fails.
for component in "${wanted[@]}"; do
  new=$BIN_DIR/$component.new
  url=$BASE_URL/download/$TAG/$component-$TARGET
  say "$component: downloading $url"
  fetch "$url.sha256" "$new.sha256" || fail 69 "$component: $url.sha256 was not downloaded; nothing has changed"
  fetch "$url" "$new" || fail 69 "$component: $url was not downloaded; nothing has changed"
  read -r expected _ <"$new.sha256" || true
  [[ ${expected:-} =~ ^[0-9a-f]{64}$ ]] || fail 65 "$component: $url.sha256 holds no SHA-256; nothing has changed"
  actual=$(sha256sum <"$new")
  actual=${actual%% *}
  [ "$actual" = "$expected" ] || fail 65 "$component: the checksum is $actual, expected $expected; nothing has changed"
  chmod 0755 "$new"
  found=$(version_of "$new") || true
  [ "${found:-}" = "$VERSION" ] ||
    fail 65 "$component: the downloaded file does not start here as version $VERSION (it says: ${found:-nothing}); nothing has changed"
  config=$(config_of "$component")
  if [ -r "$config" ]; then
    "$new" --config "$config" --check-config >/dev/null ||
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
