#!/bin/sh
# Plays systemctl for UpdateTests: units are programs of $PT_BIN_DIR, their pids files in $UNITS.
set -eu
case $1 in
  is-active) [ -e "$UNITS/${3%.service}.pid" ] && kill -0 "$(cat "$UNITS/${3%.service}.pid")" ;;
  restart)
    name=${2%.service}
    if [ -e "$UNITS/$name.pid" ]; then
      pid=$(cat "$UNITS/$name.pid")
      kill "$pid" 2>/dev/null || true
      while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
    fi
    if [ "$name" = tracker ]; then set -- --config "$PT_CONFIG_DIR/tracker.yaml"
    else set -- run --config "$PT_CONFIG_DIR/consumer.yaml"; fi
    "$PT_BIN_DIR/$name" "$@" >>"$UNITS/$name.log" 2>&1 </dev/null &
    echo $! >"$UNITS/$name.pid"
    echo "$name $("$PT_BIN_DIR/$name" --version)" >>"$UNITS/restarts"
    ;;
esac
