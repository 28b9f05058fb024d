# What the checks share: the list of files and the lines they print. Sourced by tests/check/*; bash.
# shellcheck shell=bash
#
# A check prints `ok - name`, `not ok - name` or `skip - name: why` per case and ends with
# `N passed, N failed, N skipped`; its exit status is 1 if a case failed.

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
cd "$checkout" || exit 1
# shellcheck disable=SC2034
tree=${PENSTOCK_BUILD:-$checkout/build-release}
passed=0 failed=0 skipped=0

ok() { passed=$((passed + 1)); echo "ok - $1"; }
not_ok() { failed=$((failed + 1)); echo "not ok - $1"; }
skip() { skipped=$((skipped + 1)); echo "skip - $1: $2"; }
finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ]
}

# clean NAME FINDINGS: one case that passes if there are no findings, and prints them if there are.
clean() {
    if [ -z "$2" ]; then
        ok "$1"
    else
        sed 's/^/# /' <<<"$2"
        not_ok "$1"
    fi
}

# Files of the project, one a line: what git has or would take, or without git what is not built.
project_files() {
    if git -c safe.directory='*' rev-parse --git-dir >/dev/null 2>&1; then
        git -c safe.directory='*' ls-files --cached --others --exclude-standard
    else
        find . -name .git -prune -o -path './build*' -prune -o -name __pycache__ -prune -o -type f -print | sed 's,^\./,,'
    fi | grep -vE '^build[^/]*/' | sort -u | while read -r file; do
        [ ! -f "$file" ] || echo "$file"
    done
}

# Scripts by their first line: scripts INTERPRETER-PATTERN
scripts() {
    project_files | while read -r file; do
        read -r first <"$file" || true
        [[ "${first:-}" =~ ^#!.*[/\ ]($1) ]] && echo "$file"
    done 2>/dev/null
    true
}
