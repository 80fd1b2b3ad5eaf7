#!/bin/bash
# Runs a unit under a systemd of its own, and tells what became of it as lines `what: value`.
#
#   unshare --mount --pid --fork --mount-proc under_systemd.sh FOLDER UNIT CLI ADDRESS CONFIG
#
# It has to be the first process of namespaces of its own: all that it started ends with it.
# FOLDER gets the manager's files; CLI is rstmdb-cli; CONFIG is spoilt at the end.
set -euo pipefail
folder=$1 unit=$2 cli=$3 address=$4 config=$5
machine='{"states": ["a", "b"], "initial": "a", "transitions": [{"from": "a", "event": "GO", "to": "b"}]}'

mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/user/0
chmod 700 /run/user/0
export XDG_RUNTIME_DIR=/run/user/0 XDG_CONFIG_HOME=$folder
unset DBUS_SESSION_BUS_ADDRESS
units=$folder/systemd/user
mkdir -p "$units"

manager() { systemctl --user --no-pager "$@"; }
tell() { echo "$1: $(manager show rstmdb --property "$2" --value)"; }
# waits_for COMMAND...: until it succeeds, for 30 s.
waits_for() {
    for _ in {1..300}; do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    echo "failed: $*"
    exit 1
}
in_state() { [ "$(manager show rstmdb --property ActiveState --value)" = "$1" ]; }
restarted() { [ "$(manager show rstmdb --property NRestarts --value)" = "$1" ]; }
ask() { "$cli" --server "$address" --json "$@"; }

SYSTEMD_LOG_TARGET=console /lib/systemd/systemd --user --unit=basic.target \
    >"$folder/manager.log" 2>&1 &
waits_for manager is-system-running
echo "manager: running"

# What this machine cannot give alone (inside of a container, say) is left out, and told.
left_out=()
while IFS= read -r line; do
    printf '[Service]\nType=oneshot\nExecStart=/bin/true\n%s\n' "$line" >"$units/trial.service"
    manager daemon-reload
    manager start trial 2>/dev/null || left_out+=("${line%%=*}")
done < <(grep -E '^(Private|Protect|Restrict|System|Capability|NoNew|Memory|Lock|Keyring|RemoveIPC|Device|Limit|OOM|Tasks)' "$unit")
echo "left out: ${left_out[*]}"
grep -vE "^(User|Group${left_out[*]:+|$(IFS='|' && echo "${left_out[*]}")})=" "$unit" \
    >"$units/rstmdb.service"
manager daemon-reload

manager start rstmdb
tell started ActiveState
pid=$(manager show rstmdb --property MainPID --value)
echo "seccomp: $(awk '/^Seccomp:/ {print $2}' "/proc/$pid/status")"
echo "capabilities: $(awk '/^CapBnd:/ {print $2}' "/proc/$pid/status")"
echo "privileges: $(awk '/^NoNewPrivs:/ {print $2}' "/proc/$pid/status")"
ask put-machine -n m -v 1 "$machine" >/dev/null
ask create-instance -m m -V 1 -i i >/dev/null
ask compact --force >/dev/null
ask backup >/dev/null
manager reload rstmdb
tell reloaded ActiveState

ask apply-event -i i -e GO >/dev/null
manager kill --signal=KILL rstmdb
waits_for restarted 1
waits_for in_state active
echo "kept: $(ask get-instance i | grep -c '"state": "b"')"

manager stop rstmdb
tell stopped ActiveState
tell result Result

echo "nonsense: 1" >>"$config"
if manager start rstmdb 2>/dev/null; then echo "a wrong configuration was started"; fi
sleep 3 # longer than RestartSec
tell "with a wrong configuration" ActiveState
tell "restarts after that" NRestarts

manager exit
wait
