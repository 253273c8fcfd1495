#!/usr/bin/env bash
# Runs every test on a machine that may have nothing but Go: installs what is
# missing by Debian package name, starts private servers on free ports in a
# temporary folder, runs the tests, and takes everything down again. Arguments go
# to "go test"; without any it is all packages.
set -euo pipefail
cd "$(dirname "$0")"

need() { # need COMMAND PACKAGE…: installs the packages when the command is missing
  local cmd=$1; shift
  command -v "$cmd" >/dev/null 2>&1 && return
  missing+=("$@")
}
pgbin() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1; }

missing=()
need make make
need gcc gcc libc6-dev
need redis-server redis-server
[ -n "$(pgbin)" ] || missing+=(postgresql)
if [ "${#missing[@]}" -gt 0 ]; then
  sudo=(); [ "$(id -u)" = 0 ] || sudo=(sudo)
  if ! command -v apt-get >/dev/null || { [ "${#sudo[@]}" -gt 0 ] && ! command -v sudo >/dev/null; }; then
    echo "test.sh: please install: ${missing[*]}" >&2; exit 1
  fi
  echo "test.sh: installing ${missing[*]}" >&2
  "${sudo[@]}" apt-get update -q >/dev/null
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" >/dev/null
fi

work=$(mktemp -d); chmod 755 "$work"
port() { python3 - 2>/dev/null <<'P' || echo $(( 20000 + RANDOM % 20000 ))
import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])
P
}
# PostgreSQL refuses to run as root: an unprivileged account owns the cluster.
as=()
if [ "$(id -u)" = 0 ]; then
  owner=nobody; id postgres >/dev/null 2>&1 && owner=postgres
  as=(setpriv --reuid="$owner" --regid="$(id -g "$owner")" --clear-groups)
  mkdir "$work/pg"; chown "$owner" "$work/pg"
else
  mkdir "$work/pg"
fi
bin=$(pgbin); redis_pid=
stop() {
  [ -n "$redis_pid" ] && kill "$redis_pid" 2>/dev/null || true
  [ -f "$work/pg/data/postmaster.pid" ] && "${as[@]}" "$bin/pg_ctl" -D "$work/pg/data" -m immediate -w stop >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

pgport=$(port)
(cd "$work/pg"
 "${as[@]}" "$bin/initdb" -D "$work/pg/data" -U postgres -A trust --locale=C -E UTF8 >/dev/null
 "${as[@]}" "$bin/pg_ctl" -D "$work/pg/data" -w -l "$work/pg/log" -o "-p $pgport -c listen_addresses=127.0.0.1 -c unix_socket_directories=$work/pg -c fsync=off -c max_connections=300" start >/dev/null) \
 || { cat "$work/pg/log" >&2; exit 1; }
redisport=$(port)
redis-server --port "$redisport" --bind 127.0.0.1 --save '' --appendonly no --dir "$work" >"$work/redis.log" 2>&1 &
redis_pid=$!

export TAILMARKET_TEST_POSTGRES_URL="postgres://postgres@127.0.0.1:$pgport/postgres"
export TAILMARKET_TEST_REDIS_URL="redis://127.0.0.1:$redisport/0"
export TAILMARKET_TEST_REQUIRE=1
[ "$#" -gt 0 ] || set -- ./...
go test -race -shuffle=on -timeout=15m "$@"
