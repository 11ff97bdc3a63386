#!/usr/bin/env bash
# run.sh: a private Redis, two nodes on it and the demo page, until Ctrl-C; then nodes first, Redis last.
# RUN_PORT and RUN_ADMIN move the ports: each is the first of two.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/lib.sh
c1=${RUN_PORT:-9000} a1=${RUN_ADMIN:-9090} redis=6390 pids=()
c2=$((c1 + 1)) a2=$((a1 + 1))
for p in "$c1" "$c2" "$a1" "$a2"; do ! open "$p" || { echo "port $p is taken: stop what listens there, or: make run RUN_PORT=9100 RUN_ADMIN=9190" >&2; exit 1; }; done
mkdir -p .run
# shellcheck disable=SC2317 # the trap calls it
stop() {
  trap '' EXIT INT TERM
  for part in 1:2 0:1; do # nodes, then Redis
    for p in "${pids[@]:${part%:*}:${part#*:}}"; do kill -INT "$p" 2>/dev/null || :; done # TERM would drain the nodes
    for p in "${pids[@]:${part%:*}:${part#*:}}"; do wait "$p" 2>/dev/null || :; done
  done
  echo "stopped."
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
apart=$(command -v setsid) || apart='env' # the terminal's Ctrl-C must not reach Redis before the nodes are done
while open $redis; do redis=$((redis + 1)); done
$apart "${PRESENCE_REDIS:-redis-server}" --port $redis --bind 127.0.0.1 --dir .run --save '' --appendonly no \
  --notify-keyspace-events Ex --loglevel warning >.run/redis.log 2>&1 & pids+=($!)
await redis "$redis" PING +PONG $!
export PRESENCE_REDIS_URL=redis://127.0.0.1:$redis/0 PRESENCE_DEMO=true PRESENCE_LOG_FORMAT=text
export PRESENCE_AUTH_KEYS=${PRESENCE_AUTH_KEYS:-localapp.localkey:localonlysecret000000000}
export PRESENCE_DEMO_NODES="n1=:$c1,n2=:$c2"
node() { # node ID CLIENT ADMIN
  PRESENCE_NODE_ID=$1 PRESENCE_LISTEN_CLIENT=127.0.0.1:$2 PRESENCE_LISTEN_ADMIN=127.0.0.1:$3 \
    $apart bin/presence serve >".run/$1.log" 2>&1 & pids+=($!)
  await "$1" "$3" $'GET /readyz HTTP/1.0\r\n' 'HTTP/1.? 200*' $!
}
node n1 "$c1" "$a1"
node n2 "$c2" "$a2"
bash tools/banner.sh "$c1" "$c2" "$a1" "$a2" "$redis"
wait -n || :
echo "something ended by itself; the logs are in .run/" >&2; exit 1
