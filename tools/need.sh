#!/usr/bin/env bash
# need.sh PROGRAM...: see to it that each program is there, or say what to type and exit 1.
# It installs only what is missing, only with apt-get, and only as root (or by sudo, never in CI).
# No daemon is left behind: redis-tools holds the server's binary without a service, and a
# policy of "start nothing" stands while apt-get runs.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p .cache/bin
export PATH="$PWD/.cache/bin:$PATH" DEBIAN_FRONTEND=noninteractive LC_ALL=C
have() {
  case $1 in
    gcc) printf '#include <stdlib.h>\nint main(void){return 0;}\n' | gcc -x c - -o .cache/cc 2>/dev/null ;;
    redis-server) # Debian's server is the file redis-check-rdb under another name
      [ -z "${PRESENCE_REDIS:-}" ] || ln -sf "$(realpath "$PRESENCE_REDIS")" .cache/bin/redis-server
      command -v redis-server >/dev/null || { rdb=$(command -v redis-check-rdb) && ln -sf "$rdb" .cache/bin/redis-server; } ;;
    spin) spin -V 2>/dev/null | grep -q "^Spin Version" ;; # there are others of this name
    chromium) command -v "${CHROMIUM:-chromium}" >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
  esac
}
package() {
  case $1 in
    gcc) echo gcc libc6-dev ;; redis-server) echo redis-tools ;; luacheck) echo lua-check ;; *) echo "$1" ;;
  esac
}
missing=() packages=()
for p in "$@"; do have "$p" || { missing+=("$p"); read -ra more <<<"$(package "$p")"; packages+=("${more[@]}"); }; done
[ ${#missing[@]} -gt 0 ] || exit 0
[ -z "${PRESENCE_INSTALLED:-}" ] || { echo "installed ${packages[*]}, but still missing: ${missing[*]}" >&2; exit 1; }
root=()
[ "$(id -u)" = 0 ] || { [ -z "${CI:-}" ] && command -v sudo >/dev/null && root=(sudo); } || root=(none)
if ! command -v apt-get >/dev/null || [ "${root[*]-}" = none ]; then
  echo "missing: ${missing[*]}. Type one of these, then try again:" >&2
  echo "  Debian, Ubuntu  sudo apt-get install ${packages[*]}" >&2
  echo "  Fedora          sudo dnf install ${missing[*]/redis-server/redis}" >&2
  echo "  macOS           brew install ${missing[*]/redis-server/redis}" >&2
  [[ " ${missing[*]} " != *" redis-server "* ]] || echo "  any system      PRESENCE_REDIS=/path/to/redis-server make run" >&2
  exit 1
fi
exec bash tools/install.sh "${root[*]-}" "${packages[@]}" -- "$@"
