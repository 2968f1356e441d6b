# shellcheck shell=bash
# Sourced: a command in the background, to which signals are passed on, and which is waited for until it has ended.

#   run_and_wait COMMAND [ARGUMENT ...]      its exit status
run_and_wait() {
  local child status
  "$@" &
  child=$!
  trap 'kill -TERM "$child" 2>/dev/null' INT TERM HUP
  # A signal ends a wait, while the command still has to clean up.
  while :; do
    wait "$child"
    status=$?
    kill -0 "$child" 2>/dev/null || break
  done
  trap - INT TERM HUP
  return "$status"
}
