#!/usr/bin/env bash
# fuzz.sh: every fuzz target of the module for FUZZTIME each. Go takes one target a command.
set -euo pipefail
cd "$(dirname "$0")/.."
n=0
while IFS=: read -r file target; do
  n=$((n + 1))
  echo "fuzz $target in $(dirname "$file"), ${FUZZTIME:=60s}"
  go test -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" "./$(dirname "$file")" </dev/null
done < <(grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed 's|^\./||; s/func //')
[ $n -gt 0 ] || { echo "no fuzz target found"; exit 1; }
echo "fuzz: $n passed, 0 failed"
