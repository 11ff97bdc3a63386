#!/usr/bin/env bash
# install.sh ROOT PACKAGE... -- PROGRAM...: apt-get for need.sh. ROOT is "sudo" or empty.
set -euo pipefail
cd "$(dirname "$0")/.."
read -ra root <<<"$1"
shift
packages=()
while [ "$1" != -- ]; do packages+=("$1"); shift; done
shift
# Exit code 101 tells Debian's service scripts to start nothing. A policy that is there already stays.
policy=/usr/sbin/policy-rc.d
lift() { :; }
if [ ! -e $policy ]; then
  lift() { "${root[@]}" rm -f $policy; }
  trap lift EXIT
  printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee $policy >/dev/null
  "${root[@]}" chmod 755 $policy
fi
echo "need: apt-get install ${packages[*]} (no daemon is started)" >&2
apt() { "${root[@]}" env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -y -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"; }
# Update first: old lists give 404 or, worse, an old version. apt-get does not wait for another one by itself.
{ apt update && apt install --no-install-recommends "${packages[@]}"; } </dev/null >.cache/apt.log 2>&1 || { cat .cache/apt.log >&2; exit 1; }
lift
trap - EXIT
PRESENCE_INSTALLED=1 exec bash tools/need.sh "$@"
