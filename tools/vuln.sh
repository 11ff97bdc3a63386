#!/usr/bin/env bash
# vuln.sh: known vulnerabilities that our code calls, without asking any service but the Go module
# proxy: the database is a module, indexed here. A finding in a module fails; one in the standard
# library is printed with the Go version that mends it (tools/vulngate).
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD data=$(cd tools/vuln && go mod download -json golang.org/x/vulndb | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
db=.cache/vulndb
if [ "$(cat $db/.from 2>/dev/null)" != "$data" ]; then
  echo "index the vulnerability database"
  rm -rf $db && mkdir -p $db
  (cd tools/vuln && go tool indexdb -vulns "$data/data/osv" -out "$root/$db") >.cache/indexdb.log 2>&1 || { cat .cache/indexdb.log; exit 1; }
  echo "$data" >$db/.from
fi
go tool govulncheck -format json -db "file://$root/$db" ./... >.cache/vuln.json
cd tools && go run ./vulngate ../.cache/vuln.json
