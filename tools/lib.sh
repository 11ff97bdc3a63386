# shellcheck shell=bash
# lib.sh: what run.sh needs of the network, in bash alone (a bare machine has no curl).

# open PORT: does something listen on this port of the loopback address?
open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# ask PORT LINE: sends one line and prints the first line of the answer.
ask() {
  (
    exec 3<>"/dev/tcp/127.0.0.1/$1"
    printf '%s\r\n' "$2" >&3
    IFS= read -r -t 2 answer <&3
    printf '%s' "${answer%$'\r'}"
  ) 2>/dev/null
}

# await NAME PORT LINE PATTERN PID: until the answer matches, or the process has ended, or 15 s have passed.
await() {
  local end=$((SECONDS + 15)) answer
  while kill -0 "$5" 2>/dev/null && [ $SECONDS -lt $end ]; do
    answer=$(ask "$2" "$3") || :
    # shellcheck disable=SC2053 # a pattern is meant
    [[ $answer != $4 ]] || return 0
    sleep 0.05
  done
  echo "$1 did not start; the end of .run/$1.log:" >&2
  tail -n 5 ".run/$1.log" >&2
  return 1
}
