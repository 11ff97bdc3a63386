#!/usr/bin/env bash
# model.sh: the departure of a connection in Promela (docs/model), every interleaving of it: each configuration
# must hold, and each mutation, which is the model without one guard, must break the invariant that is named beside it.
#   model.sh             what CI runs: small configurations, all mutations
#   model.sh --long [N]  bigger configurations, by hand: N minutes (8) for each, two at a time, 3 GB
#   model.sh --trail M   the shortest story in which mutation M (or a configuration) goes wrong
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C
dir=.cache/model memory=2000 mode=${1:-}

# name: flags
small="
takeover: ATTEMPTS=2 SETLEAVE LOST UPDATE=1
crash:    ATTEMPTS=2 CRASHES=1
stall:    ATTEMPTS=2 LAPSES=1 REAPERS=1
close:    ATTEMPTS=2 CLOSE
fence:    ATTEMPTS=3 REAPERS=1
"
long="
takeover: ATTEMPTS=3 SETLEAVE REAPERS=1
close:    ATTEMPTS=3 CLOSE REAPERS=1
crash:    ATTEMPTS=3 CRASHES=1 REAPERS=1
stall:    ATTEMPTS=2 LAPSES=2 CRASHES=1 CLOSE LOST SETLEAVE
"
# mutation: flags | the invariant that it must break | the guard that it takes away
mutations="
JOIN_INC:    ATTEMPTS=2           | acknowledged_lost | inc in join
LEAVE_INC:   ATTEMPTS=2           | reported_gone     | inc in leave
FINISH_INC:  ATTEMPTS=2 CLOSE     | forgot_too_early  | inc in finish
VALID:       ATTEMPTS=1 CRASHES=1 | condemned_wrote   | validUntil against condemn
TRACK:       ATTEMPTS=2           | ghost             | track before join
UNTRACK:     ATTEMPTS=2           | ghost             | untrack after leave
LEAVING:     ATTEMPTS=1 CLOSE     | ghost             | leaving before the leaves of a close
TIME:        ATTEMPTS=2 CLOSE     | forgot_too_early  | inc from TIME
FENCE:       ATTEMPTS=2           | forgot_too_early  | fence
CLAIM_TIME:  ATTEMPTS=2 CLOSE     | ghost             | claim time
NEWEST:      ATTEMPTS=2           | stolen            | newest
FROM:        ATTEMPTS=3 REAPERS=1 | earlier_life      | from
ADOPTED:     ATTEMPTS=3 REAPERS=1 | came_back         | from behind the adopts
HELPER:      ATTEMPTS=3 REAPERS=1 | reported_gone     | the helper's one reply
SWEEP_FIRST: ATTEMPTS=2           | ghost             | no room is forgotten before the sweep
X:           ATTEMPTS=2           | ghost             | x in the untrack of the sweep
LOOK_AGAIN:  ATTEMPTS=2           | unswept           | the fence stays while a room with x is listed
OWNED:       ATTEMPTS=2           | ghost             | live in the untrack of the fence
"

# build NAME "FLAGS" GCC...: .cache/model/NAME/pan
build() {
  local at=$dir/$1 flags=() flag
  for flag in $2; do flags+=("-D$flag"); done
  shift 2
  rm -rf "$at" && mkdir -p "$at"
  cp docs/model/departure.pml "$at"
  (cd "$at" && spin -a "${flags[@]}" departure.pml && gcc -w -O1 -DSAFETY -DNOREDUCE -DMEMLIM=$memory "$@" -o pan pan.c) >"$at/build" 2>&1
}

# search NAME PAN...: runs it. 10,000 steps are far more than any run has.
search() {
  local at=$dir/$1 TIMEFORMAT=%U
  shift
  { time { (cd "$at" && ./pan -m10000 -E -n "$@") >"$at/out" 2>&1 || :; }; } 2>"$at/seconds"
}

# found NAME: how its search ended. broken is the invariant, and cut why the search is no answer; both empty: all of it holds.
found() {
  local at=$dir/$1
  broken='' cut='' states=0 depth=0 seconds=0
  [ -x "$at/pan" ] || { cut="it does not compile, see $at/build"; return 0; }
  seconds=$(<"$at/seconds")
  states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$at/out" | head -1)
  depth=$(sed -n 's/.*depth reached \([0-9]*\),.*/\1/p' "$at/out")
  broken=$(sed -n 's/^pan:1: assertion violated *!(\([a-z_]*\)).*/\1/p' "$at/out")
  if [ -n "$broken" ]; then
    :
  elif grep -qi 'max search depth' "$at/out"; then
    cut="the limit of depth"
  elif grep -Eqi 'MEMLIM|out of memory|cannot allocate' "$at/out"; then
    cut="the limit of memory"
  elif grep -q '^Time limit' "$at/out"; then
    cut="the limit of time"
  elif ! grep -q 'errors: 0$' "$at/out"; then
    cut="no result, see $at/out"
  fi
}

# both COMMAND: for each line of standard input (name|flags|…), two at a time.
both() {
  local line
  while IFS= read -r line; do
    [ "$(jobs -rp | wc -l)" -lt 2 ] || wait -n || :
    "$@" "$line" &
  done
  wait
}

# steps NAME "FLAGS": its trail, one step a line.
steps() {
  local flags=() flag
  for flag in $2; do flags+=("-D$flag"); done
  (cd "$dir/$1" && spin -k departure.pml.trail "${flags[@]}" departure.pml) |
    sed -n 's/^ *//; s/op 0/op/; s/op 1/track/; s/op 2/join/; s/op 3/leave/; s/op 4/leave of the room/; s/op 5/untrack/; s/op 6/adopt/
      s/op 7/leave of the old/; s/op 8/adopted/; s/sweep 1/sweep reads/; s/sweep [23]/sweep leaves/; s/sweep 4/sweep untracks/
      s/sweep 5/sweep untracks the fence/; s/, lost 0$//; s/, lost 1$/, its answer is lost/; /^\(client\|time\|hold\|reaper\|node\|stamp\)[ :]/p
      s/^.*assert(!(\(.*\))).*/assertion: \1/p'
}

# lines TABLE: name|flags|…, without the blanks.
lines() { sed -n 's/^\([a-zA-Z_]*\): */\1|/; s/ *| */|/gp' <<<"$1"; }

# One line of a table, searched whole, or for its shortest trail.
deep() {
  local name flags _
  IFS='|' read -r name flags _ <<<"$1"
  build "$name" "$flags" && search "$name"
}
shortest() {
  local name flags _
  IFS='|' read -r name flags _ <<<"$1"
  [[ $name = [a-z]* ]] || flags+=" MUT_$name"
  build "$name" "$flags BREADTH" -DBFS && search "$name"
}
# As deep, but a state is 3 bits of 1 GB, and what is tried first is drawn: so a search that is cut is no corner of the whole.
sampled() {
  local name flags _
  IFS='|' read -r name flags _ <<<"$1"
  build "long-$name" "$flags" -DBITSTATE -DP_RAND -DT_RAND && search "long-$name" -w33 -k3 "-Q$minutes" "-RS$RANDOM"
}

bash tools/need.sh spin gcc
mkdir -p $dir

if [ "$mode" = --trail ]; then
  line=$(lines "$small$mutations" | grep "^${2:-}|") || { echo "no such mutation or configuration: ${2:-}"; exit 2; }
  shortest "$line"
  IFS='|' read -r name flags _ <<<"$line"
  found "$name"
  [[ $name = [a-z]* ]] || flags+=" MUT_$name"
  if [ -n "$broken" ]; then steps "$name" "$flags"; else echo "$name: ${cut:-holds}"; fi
  exit 0
fi

n=0 failed=0
if [ "$mode" = --long ]; then
  minutes=${2:-8} memory=2000
  lines "$long" | both sampled
  while IFS='|' read -r name flags; do
    n=$((n + 1))
    found "long-$name"
    factor=$(sed -n 's/^hash factor: \([0-9.]*\).*/\1/p' "$dir/long-$name/out")
    if [ -n "$broken" ] || [ -n "$cut" ] && [ "$cut" != "the limit of time" ]; then
      failed=$((failed + 1))
      printf 'FAILS   %-9s %s   %s\n' "$name" "${broken:-$cut}" "$flags"
      [ -z "$broken" ] || steps "long-$name" "$flags"
      continue
    fi
    # A state is taken for a known one when its 3 bits are set by others.
    missed=$(awk -v f="$factor" 'BEGIN { p = (1 - exp(-3 / f)) ^ 3; print p < 1e-9 ? "none" : sprintf("1 in %.0f", 1 / p) }')
    printf 'holds   %-9s %s: %s states, depth %d, at the end %s was missed, %.0f s   %s\n' "$name" \
      "$(if [ -n "$cut" ]; then echo "a part"; else echo whole; fi)" "$states" "$depth" "$missed" "$seconds" "$flags"
  done < <(lines "$long")
  echo "model: $((n - failed)) of $n big configurations hold, as far as they were searched"
  exit $failed
fi

lines "$small" | both deep
lines "$mutations" | both shortest
while IFS='|' read -r name flags; do
  n=$((n + 1))
  found "$name"
  if [ -z "$broken$cut" ]; then
    printf 'holds   %-9s %9d states, depth %3d, %5.1f s   %s\n' "$name" "$states" "$depth" "$seconds" "$flags"
    continue
  fi
  failed=$((failed + 1))
  printf 'FAILS   %-9s %s   %s\n' "$name" "${broken:-$cut}" "$flags"
  [ -z "$broken" ] || steps "$name" "$flags"
done < <(lines "$small")
m=0 caught=0
while IFS='|' read -r name flags wanted guard; do
  m=$((m + 1))
  found "$name"
  if [ "$broken" = "$wanted" ]; then
    caught=$((caught + 1))
    printf 'caught  %-11s by %-17s after %2d steps, %4.1f s   without: %s\n' "$name" "$broken" "$depth" "$seconds" "$guard"
  else
    printf 'MISSED  %-11s %s, and not %s   without: %s\n' "$name" "${broken:-${cut:-holds}}" "$wanted" "$guard"
  fi
done < <(lines "$mutations")
echo "model: $((n - failed)) of $n configurations hold, $caught of $m mutations caught"
[ $failed = 0 ] && [ $caught = $m ]
