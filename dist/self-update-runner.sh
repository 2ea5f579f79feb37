#!/usr/bin/env bash
# Runs update-from-release.sh (beside this file) with the arguments given and always leaves a report, also when the update
# fails or is stopped: a JSON file that the consumer imports (`traffic-consumer tasks list`). Touches no database.
#
#   PT_SELF_UPDATE_REPORT_DIR  where (default: self-update-reports below PT_STATE_DIR, /var/lib/pt-tracker)
#   PT_SELF_UPDATE_DRY_RUN     1, true, yes or on: as --dry-run
#   PT_UPDATE_COMMAND          another program in place of update-from-release.sh
#
# The exit code is the update's.
set -uo pipefail
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
update=${PT_UPDATE_COMMAND:-$here/update-from-release.sh}
reports=${PT_SELF_UPDATE_REPORT_DIR:-${PT_STATE_DIR:-/var/lib/pt-tracker}/self-update-reports}
# Enough for the sentence that says why, and a little before it.
readonly TAIL_BYTES=4096

dry_run=false
arguments=("$@")
for argument in "$@"; do if [ "$argument" = --dry-run ]; then dry_run=true; fi; done
if [[ ${PT_SELF_UPDATE_DRY_RUN:-} =~ ^(1|true|yes|on)$ ]] && ! $dry_run; then
  dry_run=true
  arguments+=(--dry-run)
fi

started_at=$(date +%s)
work=$(mktemp -d) || exit 74
output=$work/out
errors=$work/err
: >"$output" && : >"$errors"
exit_code=70
child=

# A JSON string of standard input, bytes that are no UTF-8 left out.
quoted() {
  printf '"'
  iconv -c -f UTF-8 -t UTF-8 | awk '
    BEGIN {
      for (i = 1; i < 32; i++) escape[sprintf("%c", i)] = sprintf("\\u%04x", i)
      escape["\t"] = "\\t"; escape["\r"] = "\\r"; escape["\\"] = "\\\\"; escape["\""] = "\\\""
    }
    NR > 1 { printf "\\n" }
    {
      text = ""
      for (i = 1; i <= length($0); i++) { c = substr($0, i, 1); text = text (c in escape ? escape[c] : c) }
      printf "%s", text
    }'
  printf '"'
}

leave_report() {
  trap - EXIT
  local finished_at tag status=failed
  finished_at=$(date +%s)
  case $exit_code in
    0) status=succeeded ;;
    77) status=wrong_signature ;;
  esac
  tag=$(sed -n 's/^update: release_tag=//p' "$output" | tail -n 1)
  local name
  name=$reports/self-update-$started_at-$$.json
  if mkdir -p "$reports" && {
    printf '{"type":"self-update-run","dry_run":%s,"started_at":%s,"finished_at":%s,"status":"%s","exit_code":%s,' \
      "$dry_run" "$started_at" "$finished_at" "$status" "$exit_code"
    printf '"binary_path":%s,' "$(printf '%s' "${PT_BIN_DIR:-/usr/local/bin}/tracker" | quoted)"
    if [ -n "$tag" ]; then printf '"release_tag":%s,' "$(printf '%s' "$tag" | quoted)"; else printf '"release_tag":null,'; fi
    printf '"stderr_tail":%s,' "$(tail -c $TAIL_BYTES "$errors" | quoted)"
    printf '"runner_host":%s,"runner_pid":%s}\n' "$(uname -n | tr -d '\n' | quoted)" "$$"
  } >"$name.tmp" && chmod 0644 "$name.tmp" && mv "$name.tmp" "$name"; then
    printf 'self-update: %s, report in %s\n' "$status" "$name"
  else
    printf 'self-update: %s, and the report could not be written to %s\n' "$status" "$reports" >&2
    if [ "$exit_code" -eq 0 ]; then exit_code=74; fi
  fi
  rm -rf "$work"
  exit "$exit_code"
}
# A stop is passed on, and reported with the shell's code for a signal.
stopped() {
  if [ -n "$child" ]; then
    kill -TERM "$child" 2>/dev/null
    wait "$child" 2>/dev/null
  fi
  printf 'self-update: stopped by a signal\n' >>"$errors"
  exit_code=$1
  leave_report
}
trap leave_report EXIT
trap 'stopped 143' TERM
trap 'stopped 130' INT

"$update" ${arguments[@]+"${arguments[@]}"} >"$output" 2>"$errors" &
child=$!
wait "$child"
exit_code=$?
child=
cat "$output"
cat "$errors" >&2
