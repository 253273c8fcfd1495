#!/usr/bin/env bash
# Runs every test on a machine that may have nothing but Go: installs what is
# missing by Debian package name, starts private servers on free ports of
# loopback in a temporary folder, runs the tests, and takes everything down again.
#
#   ./test.sh                          all packages
#   ./test.sh ./internal/due -run X    arguments go to "go test"
#
# Tests find the servers in TAILMARKET_TEST_POSTGRES_URL, TAILMARKET_TEST_REDIS_URL
# and TAILMARKET_TEST_REDIS_CLUSTER_URL; a URL that is set already is used and its
# server not started.
# TAILMARKET_TEST_REQUIRE=1 says that a test which misses its server fails
# instead of skipping: nothing vanishes quietly from this run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

. .ci/servers.sh

tests='' status=0
cleanup() {
  trap '' INT TERM HUP
  [ -z "$tests" ] || kill -KILL -- "-$tests" 2>/dev/null || true # what the tests left behind
  end_servers
}
# The tests are a process group of their own, so that all of it can be ended.
interrupted() {
  trap '' INT TERM HUP
  if [ -n "$tests" ]; then
    kill -INT -- "-$tests" 2>/dev/null || true
    for _ in {1..50}; do kill -0 -- "-$tests" 2>/dev/null || break; sleep 0.1; done
  fi
  exit "$1" # cleanup follows
}
trap cleanup EXIT
trap 'interrupted 130' INT
trap 'interrupted 143' TERM HUP

have go || die "please install Go ($(sed -n 's/^go //p' go.mod) or newer)"
install_missing
at_least Chromium 120 "$("$(browser)" --version)"
export CGO_ENABLED=1 # the race detector needs it
prepare
[ -n "${TAILMARKET_TEST_POSTGRES_URL:-}" ] || start_postgres
[ -n "${TAILMARKET_TEST_REDIS_URL:-}" ] || start_redis
[ -n "${TAILMARKET_TEST_REDIS_CLUSTER_URL:-}" ] || start_redis_cluster
export TAILMARKET_TEST_REQUIRE=1

packages=(./...)
for argument in "$@"; do
  case $argument in ./* | */... | github.com/*) packages=() ;; esac
done
set -m # a process group for the tests; Ctrl-C reaches them through the trap
go test -race -shuffle=on -timeout=15m "$@" "${packages[@]}" </dev/null &
tests=$!
set +m
wait "$tests" || status=$?
exit "$status"
