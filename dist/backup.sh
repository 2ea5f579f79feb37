#!/usr/bin/env bash
# A verified copy of the consumer's database, and old copies away: what traffic-consumer-backup.service runs.
#   BACKUP_DIR   where (/var/lib/pt-tracker/backups; the daemon writes the copy: its unit must allow the place)
#   BACKUP_KEEP  how many copies stay (28: a week of one every six hours)
set -euo pipefail
export LC_ALL=C
folder=${BACKUP_DIR:-/var/lib/pt-tracker/backups}
keep=${BACKUP_KEEP:-28}
consumer=${PT_BIN_DIR:-/usr/local/bin}/traffic-consumer
config=${PT_CONFIG_DIR:-/etc/pt-tracker}/consumer.yaml
[[ $keep =~ ^[1-9][0-9]*$ ]] || { echo "backup: BACKUP_KEEP is $keep; expected a number above 0" >&2; exit 78; }

mkdir -p "$folder"
"$consumer" backup --config "$config" --to "$folder/traffic-$(date -u +%Y%m%dT%H%M%SZ).db"
# Only behind a copy that was made: the names sort by time.
copies=("$folder"/traffic-????????T??????Z.db)
for ((index = 0; index < ${#copies[@]} - keep; index++)); do
  rm -f -- "${copies[index]}"
done
