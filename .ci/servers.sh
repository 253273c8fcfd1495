# Private servers for one run, for a script that sources this: PostgreSQL, Redis and a
# Redis Cluster on free ports of loopback, in a temporary folder. The script installs
# what is missing, by Debian package name, calls prepare and start_…, and end_servers
# when it ends.

say() { echo "$(basename "$0"): $*" >&2; }
die() { say "$@"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Debian keeps the server's programs out of PATH, a folder for each version.
pg_bin() {
  local newest
  newest=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)
  if [ -n "$newest" ]; then echo "$newest"; else dirname "$(command -v initdb || echo /none/initdb)"; fi
}

# The browser of the tests in internal/e2e, which look for the same names.
browser() { command -v chromium || command -v chromium-browser || command -v google-chrome || true; }

install_missing() {
  local missing=() root=() service
  have make || missing+=(make)
  have gcc && [ -e /usr/include/stdlib.h ] || missing+=(gcc libc6-dev)
  [ -x "$(pg_bin)/initdb" ] || missing+=(postgresql)
  have redis-server || missing+=(redis-server)
  [ -n "$(browser)" ] || missing+=(chromium)
  [ "${#missing[@]}" -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ]; then
    have sudo || die "please install: ${missing[*]}"
    root=(sudo)
  fi
  have apt-get || die "please install: ${missing[*]} (these are Debian's names)"
  say "installing ${missing[*]}"
  "${root[@]}" apt-get update -q >&2
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" >&2
  # The packages start servers of the machine's own; the tests use private ones.
  for service in postgresql redis-server; do
    case " ${missing[*]} " in *" $service "*)
      if [ -d /run/systemd/system ]; then "${root[@]}" systemctl disable --now "$service" >&2 || true
      elif have service; then "${root[@]}" service "$service" stop >&2 || true; fi ;;
    esac
  done
}

at_least() { # at_least NAME WANTED VERSION-TEXT
  local found
  found=$(sed -E 's/^[^0-9]*([0-9]+).*/\1/' <<<"$3")
  [ "$found" -ge "$2" ] || die "$1 $2 or newer is needed, this is: $3"
}

# A port below the range that the kernel gives to outgoing connections. Another
# process may take it first; then the server ends and the next one is tried.
some_port() { echo $((10000 + (RANDOM << 15 | RANDOM) % 20000)); }

work='' servers=() as=() password=''
prepare() { # makes the folder of the servers
  work=$(mktemp -d "${TMPDIR:-/tmp}/tailmarket-test.XXXXXX")
  chmod 711 "$work"
  mkdir -m 700 "$work/servers"
  password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  (umask 077; echo "$password" >"$work/servers/password")
  # PostgreSQL refuses to run as root: an unprivileged account owns the servers.
  if [ "$(id -u)" = 0 ]; then
    owner=nobody
    ! id postgres >/dev/null 2>&1 || owner=postgres
    as=(setpriv "--reuid=$owner" "--regid=$(id -g "$owner")" --clear-groups)
    chown -R "$owner" "$work/servers"
  fi
}

end_servers() {
  local pid
  for pid in "${servers[@]}"; do kill -INT "$pid" 2>/dev/null || true; done # PostgreSQL's "fast" shutdown
  for pid in "${servers[@]}"; do
    for _ in {1..100}; do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "$pid" 2>/dev/null || true
  done
  wait 2>/dev/null || true
  [ -z "$work" ] || rm -rf "$work"
}

# start LOG READY-COMMAND… -- SERVER-COMMAND…: succeeds when the server answers. A
# server dies with this script, even when the script is killed hard.
start() {
  local log=$1 ready=() pid; shift
  while [ "$1" != -- ]; do ready+=("$1"); shift; done
  shift
  (cd "$work/servers" && exec "${as[@]}" setpriv --pdeathsig INT "$@") >"$log" 2>&1 </dev/null &
  pid=$!
  for _ in {1..300}; do
    kill -0 "$pid" 2>/dev/null || return 1
    if "${ready[@]}" >/dev/null 2>&1; then servers+=("$pid"); return 0; fi
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
  return 1
}

start_postgres() {
  local bin port
  bin=$(pg_bin)
  at_least PostgreSQL 15 "$("$bin/postgres" --version)"
  (cd "$work/servers" && "${as[@]}" "$bin/initdb" -D "$work/servers/pg" -U postgres -A password --pwfile="$work/servers/password" \
    --locale=C -E UTF8 --no-sync) >"$work/initdb.log" 2>&1 || { cat "$work/initdb.log" >&2; die "initdb refused"; }
  for _ in {1..5}; do
    port=$(some_port)
    if start "$work/postgres.log" "$bin/pg_isready" -q -h "$work/servers" -p "$port" -- \
      "$bin/postgres" -D "$work/servers/pg" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories="$work/servers" \
      -c max_connections=300 -c fsync=off -c synchronous_commit=off -c full_page_writes=off; then
      export TAILMARKET_TEST_POSTGRES_URL="postgres://postgres:$password@127.0.0.1:$port/postgres?sslmode=disable"
      say "$("$bin/postgres" --version) on port $port"
      return
    fi
  done
  cat "$work/postgres.log" >&2; die "PostgreSQL did not start"
}

start_redis() {
  local port
  at_least Redis 7 "$(redis-server --version)"
  for _ in {1..5}; do
    port=$(some_port)
    cat >"$work/servers/redis.conf" <<CONF
port $port
bind 127.0.0.1
unixsocket $work/servers/redis.sock
requirepass $password
save ""
appendonly no
CONF
    if start "$work/redis.log" redis-cli -s "$work/servers/redis.sock" ping -- redis-server "$work/servers/redis.conf"; then
      export TAILMARKET_TEST_REDIS_URL="redis://:$password@127.0.0.1:$port/0"
      say "$(redis-server --version | cut -d ' ' -f 1-3) on port $port"
      return
    fi
  done
  cat "$work/redis.log" >&2; die "Redis did not start"
}

# A Cluster of three nodes without replicas. Its second port would be 10000 higher,
# where the kernel gives ports away, so it is chosen too.
start_redis_cluster() {
  local try ports
  for try in {1..3}; do
    redis_cluster "$work/servers/cluster$try" && {
      export TAILMARKET_TEST_REDIS_CLUSTER_URL="redis://:$password@127.0.0.1:${ports[0]}?addr=127.0.0.1:${ports[1]}&addr=127.0.0.1:${ports[2]}"
      say "Redis Cluster on ports ${ports[*]}"
      return
    }
  done
  cat "$work"/cluster.log "$work"/node*.log >&2; die "the Redis Cluster did not start"
}

redis_cluster() { # redis_cluster FOLDER: sets ports; fails when one of them was taken
  local n other dir
  ports=()
  for n in 0 1 2; do
    ports+=("$(some_port)")
    dir=$1/$n
    mkdir -p "$dir"
    cat >"$dir/redis.conf" <<CONF
port ${ports[n]}
cluster-port $(some_port)
cluster-enabled yes
cluster-node-timeout 5000
bind 127.0.0.1
unixsocket $dir/redis.sock
dir $dir
requirepass $password
masterauth $password
save ""
appendonly no
CONF
    [ "${#as[@]}" = 0 ] || chown -R "$owner" "$1"
    start "$work/node$n.log" redis-cli -s "$dir/redis.sock" ping -- redis-server "$dir/redis.conf" || return 1
  done
  REDISCLI_AUTH=$password timeout 30 redis-cli --cluster create "${ports[@]/#/127.0.0.1:}" --cluster-yes \
    >"$work/cluster.log" 2>&1 </dev/null || return 1
  for n in 0 1 2; do # each node must have heard that all are there
    for _ in {1..100}; do
      other=$(REDISCLI_AUTH=$password redis-cli -s "$1/$n/redis.sock" cluster info)
      grep -q cluster_state:ok <<<"$other" && grep -q cluster_known_nodes:3 <<<"$other" && continue 2
      sleep 0.1
    done
    return 1
  done
}
