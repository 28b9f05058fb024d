# Where the test VMs keep their things, and how a command gets into a release of Debian that is not the host's.
# Sourced by tests/vm/{root,kernel,build,run}; bash.
# shellcheck shell=bash disable=SC2154 # vm_tool: the name of the script that sources this
#
# ${PENSTOCK_CACHE:-/var/cache/penstock}/
#   RELEASE/           root file system of the release that the host is not
#   kernel-RELEASE/    boot/vmlinuz-*, lib/modules/*, initrd.gz: Debian's cloud kernel, unpacked, never installed
#   ccache/            shared by all builds
#   accel              kvm or tcg, found out by booting

vm_releases=(bookworm trixie)
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
cache=${PENSTOCK_CACHE:-/var/cache/penstock}
# shellcheck disable=SC1091
host_release=$(. /etc/os-release && echo "${VERSION_CODENAME:-unknown}")

say() { echo "$vm_tool: $*" >&2; }
die() { say "$@"; exit 125; }

need_release() {
    case " ${vm_releases[*]} " in
    *" ${1:-} "*) ;;
    *) die "which release? one of: ${vm_releases[*]}" ;;
    esac
}

# build_tree RELEASE: where its binaries are, the same path on the host and in a VM.
build_tree() {
    if [ "$1" = "$host_release" ]; then
        echo "${PENSTOCK_BUILD:-$checkout/build-release}"
    else
        echo "$checkout/build-$1"
    fi
}

# lock NAME: held until this process ends; two runs share one cache.
lock() {
    mkdir -p "$cache"
    local fd
    exec {fd}>"$cache/.lock-$1"
    flock -n "$fd" || { say "waiting for another run that prepares $1"; flock "$fd"; }
}

# in_root RELEASE COMMAND...: in the cached root, with /proc, /dev, the cache and the checkout at their usual paths.
# The checkout is read-only there but for the build tree of that release. All mounts are in a private mount namespace
# and go away with the command.
in_root() {
    local release=$1
    shift
    local tree
    tree=$(build_tree "$release")
    mkdir -p "$cache/ccache" "$tree"
    # shellcheck disable=SC2016
    "$checkout/tests/vm/private" bash -euc '
        root=$1 cache=$2 checkout=$3 tree=$4
        shift 4
        mount --bind "$root" "$root"
        cd "$root"
        mount -t proc proc proc
        mount --rbind /dev dev
        mount -t sysfs -o ro sysfs sys || true
        mount -t tmpfs tmpfs run
        mount -t tmpfs tmpfs tmp
        if [ -e /etc/resolv.conf ]; then
            [ -e etc/resolv.conf ] || { rm -f etc/resolv.conf; : >etc/resolv.conf; }
            mount --bind "$(realpath /etc/resolv.conf)" etc/resolv.conf
        fi
        mkdir -p "./$cache/ccache" "./$checkout"
        mount --bind "$checkout" "./$checkout"
        mount -o remount,bind,ro "./$checkout"
        mount --bind "$tree" "./$tree"
        mount --bind "$cache/ccache" "./$cache/ccache"
        exec chroot . /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
            CCACHE_DIR="$cache/ccache" ${http_proxy:+http_proxy="$http_proxy"} PENSTOCK_BUILD="$tree" "$@"
    ' in_root "$cache/$release" "$cache" "$checkout" "$tree" "$@" </dev/null
}

# on_release RELEASE COMMAND...: on the host if it is of that release, else in the cached root.
on_release() {
    if [ "$1" = "$host_release" ]; then
        shift
        "$@" </dev/null
    else
        in_root "$@"
    fi
}
