#!/usr/bin/env bash
# install.sh ROOT PACKAGE... -- PROGRAM...: apt-get for need.sh. ROOT is "sudo" or empty.
set -euo pipefail
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
# apt-get does not wait for another apt-get by itself; old lists give 404 or an old version.
"${root[@]}" apt-get update -qq -o DPkg::Lock::Timeout=300 </dev/null >&2
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
  -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "${packages[@]}" </dev/null >&2
lift
trap - EXIT
PRESENCE_INSTALLED=1 exec bash "$(dirname "$0")/need.sh" "$@"
