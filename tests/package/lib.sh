# What the cases on a machine that systemd has booted share (prepare). Sourced by tests/package/{boot,setup}; bash.
# shellcheck shell=bash
# shellcheck source=tests/check/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../check/lib.sh"

seen() { wc -l </run/seen-by-provider; }
sent() { ip -n device -s -j link show eth0 | grep -oE '"tx":\{[^}]*' | grep -oE '"packets":[0-9]+' | cut -d: -f2; }
# silent NAME: the device sends for two seconds more, and the provider has seen nothing since the machine started.
silent() {
    local before after
    before=$(sent)
    sleep 2
    after=$(sent)
    clean "$1" "$([ "$after" -gt "$before" ] || echo "the device did not send: the case proves nothing"
        [ "$(seen)" = 0 ] || { echo "$(seen) clear frames:"; head -n 3 /run/seen-by-provider; })"
}
# eventually COMMAND...: within a minute and a half
eventually() {
    for _ in $(seq 180); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.5
    done
    return 1
}
usec() { systemctl show -P "$2" "$1"; }
gate_stands() { [ -n "$(ls /sys/fs/bpf/penstock 2>/dev/null)" ] && ip rule | grep -q 'lookup 20480'; }
gate_closed() { penstock status | grep -qE '^gate +closed'; }
wrong_unit() { systemctl status --no-pager "$1" 2>&1 | tail -n 15; journalctl --no-pager -u "$1" 2>&1 | tail -n 15; }
network_is_up() { systemctl is-active network-of-the-test.service; }
guard_came_first() {
    [ "$(systemctl is-active penstock-guard.service)" = active ] || wrong_unit penstock-guard.service
    [ "$(usec penstock-guard.service ActiveEnterTimestampMonotonic)" -lt "$(usec network-of-the-test.service ExecMainStartTimestampMonotonic)" ] ||
        echo "the network came first"
}
