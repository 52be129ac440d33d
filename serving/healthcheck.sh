#!/usr/bin/env bash
# healthcheck.sh          succeeds when at least one model can be asked; says which can and which cannot
# healthcheck.sh MODEL    succeeds when this one can
#
# One broken model must not take the others out of a load balancer: whoever needs to know of it asks by its name.
# The status code alone would not do: the model server answers 200 for a model whose every version failed to load.
set -uo pipefail

REST=${PORT:-8501} WANTED=${VOUCH_STATE:-/tmp}/models.config

# The image has no curl. HTTP/1.0, so that the server closes the connection after its answer.
status() (
  exec 3<>"/dev/tcp/127.0.0.1/$REST" || exit 1
  printf 'GET /v1/models/%s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$1" >&3
  timeout 2 cat <&3
) 2>/dev/null
describe() {
  local answer
  if ! answer=$(status "$1"); then
    echo "$1 does not answer on port $REST"
  elif [[ $answer =~ \"state\":\ *\"AVAILABLE\" ]]; then
    echo "$1 is available"
  else
    echo "$1 has no available version"
  fi
}

names=${1:-$(grep -oE '\bname[[:space:]]*:[[:space:]]*"[^"]*"' "$WANTED" 2>/dev/null | sed -E 's#[^"]*"(.*)"#\1#')}
[[ -n $names ]] || { echo "no model in $WANTED"; exit 1; }
# All at once, so that many slow models take no longer than one.
answers=$(while read -r name; do describe "$name" & done <<<"$names"; wait)
sort <<<"$answers"
grep -q ' is available$' <<<"$answers"
