# Functions shared by the benchmarks. To be sourced.
# shellcheck shell=bash disable=SC2034
#
# The server runs on core 0, the load and Redis run on core 1.

# Many short rounds, because the speed of a shared machine changes within seconds.
readonly ROUNDS=${ROUNDS:-15} SECONDS_EACH=${SECONDS_EACH:-1}
readonly OUT=target/bench
# The profile of the server that is measured.
readonly PROFILE=${PROFILE:-release}
readonly LARDER=${LARDER:-target/$PROFILE/larder}
readonly BASELINE_PROFILE=${BASELINE_PROFILE:-release}
readonly BASELINE=${BASELINE:-target/bench/baseline/${BASELINE_PROFILE/#dev/debug}/baseline}
readonly PATH_PREFIX=/larder.v1.CacheService
mkdir -p "$OUT"

work=$(mktemp -d)
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

fail() {
  echo "bench: $1" >&2
  exit 1
}

# until_true COMMAND...: repeats the command until it succeeds, for up to 10 s.
until_true() {
  local deadline=$((SECONDS + 10))
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || fail "waited too long for: $*"
  done
}

declare -A address pid

start_baseline() {
  taskset -c 0 "$BASELINE" serve >"$work/bare.out" &
  pid[bare]=$! pids+=($!)
  until_true test -s "$work/bare.out"
  address[bare]=$(<"$work/bare.out")
}

# start_larder NAME STORE [VARIABLE=VALUE...]: runs on the cores in $cores.
start_larder() {
  env LARDER_LISTEN=127.0.0.1:0 LARDER_ADMIN_LISTEN=127.0.0.1:0 LARDER_STORE="$2" \
    LARDER_LOG__FORMAT=json "${@:3}" taskset -c "${cores:-0}" "$LARDER" 2>"$work/$1.log" &
  pid[$1]=$! pids+=($!)
  until_true grep -q '"message":"serving"' "$work/$1.log"
  address[$1]=$(sed -nE 's/.*"listen":"([^"]+)".*/\1/p' "$work/$1.log")
}

# cpu_ns PID...: prints the total CPU time of the processes. A thread may end during the read.
cpu_ns() {
  local process
  for process in "$@"; do cat "/proc/$process"/task/*/schedstat 2>/dev/null || true; done |
    awk '{ sum += $1 } END { printf "%.0f", sum }'
}

median() {
  sort -g | awk '{ v[NR] = $1 }
    END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# rss_mb PID: prints the resident memory of a process.
rss_mb() { awk '/^VmRSS/ { printf "%.1f", $2 / 1024 }' "/proc/$1/status"; }

# start_redis CORE: sets $redis_port and $redis_socket.
start_redis() {
  local tries=0
  # Another process may take the port before redis-server binds it.
  until redis_port=$((20000 + RANDOM)) && ! redis-cli -p "$redis_port" ping >/dev/null 2>&1 &&
    start_redis_on "$redis_port" "$1"; do
    ((++tries < 10)) || fail "redis-server found no free port"
  done
}

start_redis_on() {
  redis_socket="$work/redis-$1.sock"
  taskset -c "$2" redis-server --port "$1" --bind 127.0.0.1 --unixsocket "$redis_socket" \
    --save "" --appendonly no --daemonize no >"$work/redis.log" &
  pids+=($!)
  until_true redis-cli -s "$redis_socket" ping
  redis-cli -p "$1" ping >/dev/null 2>&1
}

# load CONNECTIONS STREAMS FRAME PATH ADDRESS CORES: sends requests for one round, and prints the
# number of responses and their bytes.
load() {
  local out="$work/h2load.$BASHPID.out"
  # h2load has no timeout for a connection that the server never accepts.
  timeout $((SECONDS_EACH + 60)) taskset -c "$6" h2load -c "$1" -m "$2" -t 1 -D "$SECONDS_EACH" \
    --warm-up-time 0 -d "$work/$3.frame" -H 'content-type: application/grpc' -H 'te: trailers' \
    "http://$5$4" >"$out" ||
    fail "the load did not end, or failed: $*"
  awk '
    /^requests:/ { done = $8; failed = $10 }
    /^traffic:/ { gsub(/[()]/, " "); data = $(NF - 1) }
    END {
      if (failed > 0 || done == 0) { print "requests failed" > "/dev/stderr"; exit 1 }
      print done, data
    }' "$out"
}

build() {
  echo "building ($PROFILE)" >&2
  cargo build --profile "$PROFILE" --locked --quiet
  cargo build --profile "$BASELINE_PROFILE" --locked --quiet \
    --manifest-path benches/baseline/Cargo.toml --target-dir target/bench/baseline
}
