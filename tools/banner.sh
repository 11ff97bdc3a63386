#!/usr/bin/env bash
# banner.sh CLIENT1 CLIENT2 ADMIN1 ADMIN2 REDIS: what to do next, once everything listens.
set -euo pipefail
cat <<TXT

  The page     http://localhost:$1    (node n1)
               http://localhost:$2    (node n2): open both, and see one room on two nodes
  Websocket    ws://localhost:$1/core  ws://localhost:$2/core
  API key      localapp.localkey:localonlysecret000000000   (for development: everyone knows it)
  Metrics      http://localhost:$3/metrics  http://localhost:$4/metrics
  The state    redis-cli -p $5 --scan --pattern 'presence:*'
  Logs         .run/n1.log  .run/n2.log  .run/redis.log

  Ctrl-C stops all of it.

TXT
