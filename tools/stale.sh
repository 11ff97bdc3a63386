#!/usr/bin/env bash
# stale.sh: makes every generated file anew and fails when one differs from what was there.
set -euo pipefail
cd "$(dirname "$0")/.."
generated() {
  local f
  for f in web/sdk.js docs/reference/*; do
    [ ! -f "$f" ] || sha256sum "$f"
  done
}
mkdir -p .cache
generated >.cache/before
make gen >.cache/gen.log 2>&1 || { cat .cache/gen.log; exit 1; }
generated >.cache/after
diff .cache/before .cache/after || { echo "stale: commit what \`make gen\` wrote (above: before <, after >)"; exit 1; }
echo "generated files: all fresh ($(wc -l <.cache/after))"
