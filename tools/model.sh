#!/usr/bin/env bash
# model.sh: the departure of a connection in Promela (docs/model), every interleaving of it: each configuration
# must hold, and each mutation, which is the model without one guard, must not.
#   model.sh             what CI runs: small configurations, all mutations
#   model.sh --long      the big configurations, by hand: up to 12 GB
#   model.sh --trail M   the shortest story in which mutation M (or a configuration) goes wrong
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C
dir=.cache/model memory=1400 mode=${1:-}

# name: flags
small="
takeover: ATTEMPTS=2 SETLEAVE LOST UPDATE=1
crash:    ATTEMPTS=2 CRASHES=1
stall:    ATTEMPTS=2 LAPSES=1 REAPERS=1
close:    ATTEMPTS=2 CLOSE
fence:    ATTEMPTS=3 REAPERS=1
"
long="
takeover: ATTEMPTS=3 SETLEAVE LOST UPDATE=1
crash:    ATTEMPTS=3 CRASHES=1
stall:    ATTEMPTS=2 LAPSES=2 CRASHES=1 CLOSE LOST SETLEAVE
close:    ATTEMPTS=3 CLOSE
"
# mutation: flags | the guard that it takes away
mutations="
JOIN_INC:    ATTEMPTS=2                  | inc in join
LEAVE_INC:   ATTEMPTS=2                  | inc in leave
FINISH_INC:  ATTEMPTS=2 CLOSE            | inc in finish
VALID:       ATTEMPTS=1 CRASHES=1        | validUntil against condemn
TRACK:       ATTEMPTS=2                  | track before join
UNTRACK:     ATTEMPTS=2                  | untrack after leave
LEAVING:     ATTEMPTS=1 CLOSE            | leaving before the leaves of a close
TIME:        ATTEMPTS=2 CLOSE            | inc from TIME
FENCE:       ATTEMPTS=2                  | fence
CLAIM_TIME:  ATTEMPTS=2 CLOSE            | claim time
NEWEST:      ATTEMPTS=2                  | newest
FROM:        ATTEMPTS=3 REAPERS=1        | from
HELPER:      ATTEMPTS=3 REAPERS=1        | the helper's one reply
SWEEP_FIRST: ATTEMPTS=2                  | no room is forgotten before the sweep
X:           ATTEMPTS=2                  | x in the untrack of the sweep
"

# build NAME "FLAGS" GCC...: .cache/model/NAME/pan
build() {
  local at=$dir/$1 flags=() flag
  for flag in $2; do flags+=("-D$flag"); done
  shift 2
  rm -rf "$at" && mkdir -p "$at"
  cp docs/model/departure.pml "$at"
  (cd "$at" && spin -a "${flags[@]}" departure.pml >spin.log && gcc -w -DSAFETY -DNOREDUCE -DMEMLIM=$memory "$@" -o pan pan.c) ||
    { cat "$at/spin.log"; exit 1; }
}

# search NAME: runs it; states, depth and seconds (of the processor) are set. 10,000 steps are far more than any run has.
search() {
  local out=$dir/$1/out TIMEFORMAT=%U
  seconds=$({ time { (cd "$dir/$1" && ./pan -m10000 -E -n) >"$out" 2>&1 || :; }; } 2>&1)
  states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' "$out")
  depth=$(sed -n 's/.*depth reached \([0-9]*\),.*/\1/p' "$out")
  broken=$(sed -n 's/^pan:1: assertion violated *!(\([a-z_]*\)).*/\1/p' "$out")
}

# whole NAME: nothing cut the search short.
whole() { grep -q 'errors: 0$' "$dir/$1/out" && ! grep -Eqi 'max search depth|not completed|MEMLIM|out of memory' "$dir/$1/out"; }

lines() { sed -n 's/^\([a-zA-Z_]*\): *\([^|]*[^| ]\) *|* *\(.*\)$/\1|\2|\3/p' <<<"$1"; }

# steps NAME "FLAGS": its trail, one step a line.
steps() {
  local flags=() flag
  for flag in $2; do flags+=("-D$flag"); done
  (cd "$dir/$1" && spin -k departure.pml.trail "${flags[@]}" departure.pml) |
    sed -n 's/^ *//; s/op 0/op/; s/op 1/track/; s/op 2/join/; s/op 3/leave/; s/op 4/leave of the room/; s/op 5/untrack/; s/op 6/adopt/
      s/op 7/leave of the old/; s/, lost 0$//; s/, lost 1$/, its answer is lost/; /^\(client\|time\|hold\|reaper\|node\|stamp\)[ :]/p
      s/^.*assert(!(\(.*\))).*/assertion: \1/p'
}

bash tools/need.sh spin gcc
mkdir -p $dir
if [ "$mode" = --trail ]; then
  while IFS='|' read -r name flags _; do
    [ "$name" = "${2:-}" ] || continue
    [[ $name = [a-z]* ]] || flags+=" MUT_$name"
    build "$name" "$flags BREADTH" -O1 -DBFS
    search "$name"
    [ -n "$broken" ] || { echo "$name: holds"; exit 0; }
    steps "$name" "$flags"
    exit 0
  done < <(lines "$small"; lines "$mutations")
  echo "no such mutation or configuration: ${2:-}"
  exit 2
fi
configurations=$small
[ "$mode" != --long ] || { configurations=$long memory=12000 mutations=; }

# Two compilers at a time, then one search at a time.
while IFS='|' read -r name flags _; do
  [ "$(jobs -rp | wc -l)" -lt 2 ] || wait -n
  build "$name" "$flags" -O1 &
done < <(lines "$configurations")
while IFS='|' read -r name flags _; do
  [ "$(jobs -rp | wc -l)" -lt 2 ] || wait -n
  build "$name" "$flags MUT_$name BREADTH" -O1 -DBFS &
done < <(lines "$mutations")
wait

n=0 failed=0 caught=0 m=0
while IFS='|' read -r name flags _; do
  n=$((n + 1))
  search "$name"
  if whole "$name"; then
    printf 'holds   %-9s %9d states, depth %3d, %5.1f s   %s\n' "$name" "$states" "$depth" "$seconds" "$flags"
  else
    failed=$((failed + 1))
    printf 'FAILS   %-9s %s   %s\n' "$name" "${broken:-limit of depth or memory, see $dir/$name/out}" "$flags"
    [ -z "$broken" ] || steps "$name" "$flags"
  fi
done < <(lines "$configurations")
while IFS='|' read -r name flags guard; do
  m=$((m + 1))
  search "$name"
  if [ -n "$broken" ]; then
    caught=$((caught + 1))
    printf 'caught  %-11s by %-17s after %2d steps, %4.1f s   without: %s\n' "$name" "$broken" "$depth" "$seconds" "$guard"
  else
    printf 'MISSED  %-11s   without: %s\n' "$name" "$guard"
  fi
done < <(lines "$mutations")
echo "model: $((n - failed)) of $n configurations hold, $caught of $m mutations caught"
[ $failed = 0 ] && [ $caught = $m ]
