#!/usr/bin/env bash
# Starts tensorflow_model_server on what is released under MODEL_BASE_PATH, in a container or on a bare machine.
#
#   entrypoint.sh [further flags of tensorflow_model_server]
#   entrypoint.sh --print-config      only print the models.config that the server would read
#
# PORT             REST port; platforms such as Cloud Run, Heroku, Railway and Render set it   8501
# GRPC_PORT        gRPC port                                                                   8500
# MODEL_BASE_PATH  <model>/<version>/, and models.config, which says what is released          /models
# MODEL_NAME       only this model; where nothing is released, its newest whole version        -
# VOUCH_SERVER     the command that starts the model server                                    tensorflow_model_server
# VOUCH_CONFIG     prometheus.config and batching.config                                       /etc/vouch
# VOUCH_STATE      a writable folder for the models.config that the server reads               /tmp
# VOUCH_BATCHING   true or false                                                               true
# VOUCH_POLL_S     how often the server reads its models.config again, in seconds              5
# VOUCH_DRAIN_S    on SIGTERM the server goes on for so long, for what is under way to end      5
#
# The model server has no signal handler: as process 1 it would ignore SIGTERM and be killed after the grace period.
set -uo pipefail

REST=${PORT:-8501} GRPC=${GRPC_PORT:-8500}
MODELS=${MODEL_BASE_PATH:-/models} ONLY=${MODEL_NAME:-}
CONFIG=${VOUCH_CONFIG:-/etc/vouch} STATE=${VOUCH_STATE:-/tmp}
BATCHING=${VOUCH_BATCHING:-true} POLL_S=${VOUCH_POLL_S:-5} DRAIN_S=${VOUCH_DRAIN_S:-5}
read -ra SERVER <<<"${VOUCH_SERVER:-tensorflow_model_server}"
MODELS=${MODELS%/} RELEASES=${MODELS%/}/models.config WANTED=$STATE/models.config ANSWERED=$STATE/answered
server="" stopping="" drain=""

say() { printf 'entrypoint: %s\n' "$*" >&2; }
die() {
  say "STOPPED: $1"
  say "  next: $2"
  exit 2
}

# ---- What is asked for must make sense before anything starts.
check_number() {
  if ! [[ $2 =~ ^(0|[1-9][0-9]{0,4})$ ]] || (($2 < $3 || $2 > $4)); then
    die "$1 is '$2'" "give a whole number from $3 to $4"
  fi
}
check() {
  check_number PORT "$REST" 1 65535
  check_number GRPC_PORT "$GRPC" 1 65535
  check_number VOUCH_POLL_S "$POLL_S" 1 3600
  check_number VOUCH_DRAIN_S "$DRAIN_S" 0 3600
  [[ $REST != "$GRPC" ]] || die "PORT and GRPC_PORT are both $REST" "give REST and gRPC a port each"
  [[ $BATCHING == true || $BATCHING == false ]] || die "VOUCH_BATCHING is '$BATCHING'" "say true or false"
  [[ $MODELS =~ ^/[A-Za-z0-9_./-]*$ ]] || die "MODEL_BASE_PATH is '$MODELS'" "give an absolute path without odd signs"
  [[ $ONLY =~ ^[A-Za-z0-9_.-]*$ ]] || die "MODEL_NAME is '$ONLY'" "give the name of a folder under $MODELS"
  [[ -d $STATE && -w $STATE ]] || die "$STATE cannot be written to" "mount a tmpfs there, or set VOUCH_STATE"
  local file
  for file in prometheus.config batching.config; do
    [[ -r $CONFIG/$file ]] || die "$CONFIG/$file cannot be read" "mount it there, or set VOUCH_CONFIG"
  done
  command -v "${SERVER[0]}" >/dev/null || die "${SERVER[0]} is not on PATH" "run the image built from Dockerfile, or install it"
}

# ---- What is on disk.
# A version that is still being copied is none yet: it is one when the files of its manifest are there, as pushed.
declare -A is_whole=() seen=()
whole() { # FOLDER
  local sums now
  [[ -r $1/assets.extra/manifest.json ]] || return 1
  [[ -z ${is_whole[$1]:-} ]] || return 0
  now=$(find "$1" -type f -printf '%P %s %T@\n' 2>/dev/null)
  [[ $now != "${seen[$1]:-}" ]] || return 1 # what was wrong has not been changed
  seen[$1]=$now
  sums=$(sed -n '/"checksums": {/,/}/s/^ *"\(.*\)": "\([0-9a-f]\{64\}\)",\{0,1\}$/\2  \1/p' "$1/assets.extra/manifest.json")
  [[ -n $sums ]] && (cd "$1" && sha256sum --check --status <<<"$sums") 2>/dev/null && is_whole[$1]=yes
}
newest() { # MODEL
  local version
  for version in $(cd "$MODELS/$1" 2>/dev/null && printf '%s\n' * | grep -xE '[1-9][0-9]*' | sort -rn); do
    whole "$MODELS/$1/$version" && echo "$version" && return
  done
}

# One line for each model of a models.config: name, versions, labels as NAME=VERSION, its text with the base path that
# it has here, and that path as the file has it. Who writes the file may see the folder under another path.
SEPARATOR=$'\x1f'
read_releases() {
  awk -v models="$MODELS" -v OFS="$SEPARATOR" '
    function bare(text) { gsub(/^"|"$/, "", text); return text }
    function value(token) {
      if (depth == 2 && key == "name") name = bare(token)
      if (depth == 2 && key == "base_path") {
        base = bare(token); last = base; sub(/\/+$/, "", last); sub(/.*\//, "", last)
        token = "\"" models "/" last "\""
      }
      if (inside[depth] == "specific" && key == "versions") versions = versions " " token
      if (inside[depth] == "version_labels" && key == "key") label = bare(token)
      if (inside[depth] == "version_labels" && key == "value") number = token
      return token
    }
    function take(token) {
      if (token == "," || token == ";") { if (list) text = text token; return }
      if (token == "}") {
        if (inside[depth] == "version_labels") labels = labels " " label "=" number
        if (depth-- == 2) { print name, versions, labels, text, base; return }
      } else if (token == "{") {
        inside[++depth] = key
        if (depth == 2) { name = versions = labels = text = base = ""; return }
      } else if (token == ":") follows = 1
      else if (token == "[") list = 1
      else if (token == "]") list = follows = 0
      else if (follows || list) { token = value(token); follows = 0 }
      else key = token
      if (depth >= 2) text = text " " token
    }
    {
      while (match($0, /^[ \t\r]*("([^"\\]|\\.)*"|[A-Za-z0-9_.+-]+|[]{},;:[])/)) {
        token = substr($0, 1, RLENGTH); $0 = substr($0, RLENGTH + 1)
        sub(/^[ \t\r]+/, "", token); take(token)
      }
    }' "$RELEASES"
}
entry() { # NAME VERSIONS LABELS
  local part text="name: \"$1\" base_path: \"$MODELS/$1\" model_platform: \"tensorflow\" model_version_policy { specific {"
  for part in $2; do text+=" versions: $part"; done
  text+=" } }"
  for part in $3; do text+=" version_labels { key: \"${part%=*}\" value: ${part#*=} }"; done
  echo "$text"
}

# ---- What is to be served: for each model its versions, its labels and its text. What is broken of one model leaves
# the others alone: it stays as it was if it was served, and else is left out; `problems` says so.
declare -A versions=() labels=() texts=() last=()
names="" problems="" as_released=""
keep() { # NAME VERSIONS LABELS TEXT
  names+="$1 " versions[$1]=$2 labels[$1]=$3 texts[$1]=$4
}
leave() { # NAME WHY
  as_released=""
  if [[ -n ${last[$1]:-} ]]; then
    keep "$1" "" "" "${last[$1]}"
    problems+="$1 stays as it was: $2"$'\n'
  else
    problems+="$1 is left out: $2"$'\n'
  fi
}
consider() { # NAME VERSIONS LABELS TEXT BASE
  local part good=""
  for part in $3; do
    whole "$MODELS/$1/${part#*=}" || { leave "$1" "version ${part#*=}, which is ${part%=*}, is not whole in $MODELS"; return; }
  done
  for part in $2; do whole "$MODELS/$1/$part" && good+=" $part"; done
  [[ -n $2 ]] || good=$(newest "$1")
  [[ -n $good ]] || { leave "$1" "no version is whole in $MODELS"; return; }
  [[ $5 == "$MODELS/$1" ]] || as_released=""
  if [[ -z $2 || $good == "$2" ]]; then
    keep "$1" "$2" "$3" "$4"
  else # one that is kept for a rollback only
    as_released=""
    keep "$1" "$good" "$3" "$(entry "$1" "$good" "$3")"
  fi
}
look() {
  local version name of_versions of_labels text base
  versions=() labels=() texts=() names="" problems="" as_released=yes
  if [[ -r $RELEASES ]]; then
    while IFS=$SEPARATOR read -r name of_versions of_labels text base; do
      if [[ -z $ONLY || $name == "$ONLY" ]]; then
        consider "$name" "$of_versions" "$of_labels" "$text" "$base"
      else
        as_released=""
      fi
    done < <(read_releases)
  elif [[ -n $ONLY ]]; then
    as_released="" version=$(newest "$ONLY")
    [[ -n $version ]] && keep "$ONLY" "$version" "" "$(entry "$ONLY" "$version" "")"
  fi
}
config() {
  local name
  echo "model_config_list {"
  for name in $names; do echo "  config { ${texts[$name]} }"; done
  echo "}"
}

# ---- What the server reads. It does so every POLL_S seconds, changed or not: a file older than what a release has told
# it by gRPC would take that release back. So it is the releases' own file where that can be served as it stands.
put() {
  rm -f "$WANTED.part"
  if [[ -n $as_released ]]; then ln -s "$RELEASES" "$WANTED.part"; else config >"$WANTED.part"; fi
  mv -T "$WANTED.part" "$WANTED" # whoever reads sees the old or the new
}
# The server's answer to GET /v1/models/$1, in one line without blanks. The image has no curl.
ask() (
  exec 3<>"/dev/tcp/127.0.0.1/$REST" || exit 1
  printf 'GET /v1/models/%s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$1" >&3
  timeout 2 cat <&3 | tr -d ' \r\n'
) 2>/dev/null
available() { ask "$1" | grep -oE '"version":"[0-9]+","state":"AVAILABLE"' | grep -oE '[0-9]+'; }
# MODEL LABEL: a status would be that of all versions, whatever the label
labelled() { ask "$1/labels/$2/metadata" | grep -oE '"model_spec":\{[^}]*"version":"[0-9]+"' | grep -oE '[0-9]+"$' | tr -d '"'; }

# A label in use cannot move to a version that is not available: the server refuses the whole file, and would for ever.
# One that was told of a release by gRPC has the version by now; another first loads it, under the labels that it has.
in_two_steps() { # succeeds once the server has all labels as they are wanted
  local name part now loaded is_early is_there settled=yes
  for name in $names; do
    loaded="" is_early="" is_there=yes
    for part in ${labels[$name]}; do
      now=$(labelled "$name" "${part%=*}")
      [[ $now != "${part#*=}" ]] || continue
      is_there=""
      [[ -n $now ]] || continue # a new label may point anywhere
      loaded=${loaded:-$(available "$name")}
      grep -qx "${part#*=}" <<<"$loaded" || is_early=yes
    done
    if [[ -n $is_there ]]; then
      last[$name]=${texts[$name]}
    else
      settled=""
      [[ -z $is_early ]] || first_step "$name" "$loaded"
    fi
  done
  [[ -n $settled ]]
}
first_step() { # NAME AVAILABLE-VERSIONS
  local part now held=""
  for part in $(tr ' ' '\n' <<<"stable candidate${labels[$1]}" | sed 's/=.*//' | sort -u); do
    now=$(labelled "$1" "$part") && held+=" $part=$now"
  done
  as_released=""
  texts[$1]=$(entry "$1" "$(tr ' ' '\n' <<<"$2${versions[$1]}" | sort -nu | paste -sd ' ')" "$held")
  problems+="$1: its labels stay until the server has loaded what they are to point to"$'\n'
}
# A second, or less if the releases change: until they are put where the server reads them, it reads what was before.
pause() {
  for _ in 1 2 3 4 5; do
    read -rt 0.2 -u "$never"
    [[ $(cat "$RELEASES" 2>/dev/null) == "$releases" ]] || return
  done
}
follow() {
  local wanted settled="" told="" named=$names never releases=""
  exec {never}<> <(:) # nothing ever comes: to wait without a process for each wait
  until (exec 3<>"/dev/tcp/127.0.0.1/$REST") 2>/dev/null; do sleep 0.2; done
  : >"$ANSWERED"
  while :; do
    pause
    releases=$(cat "$RELEASES" 2>/dev/null)
    look
    wanted="$as_released $(config)"
    if [[ -z $names ]]; then
      problems+="the server goes on with what it has: nothing else can be served"$'\n'
    elif [[ $wanted != "$settled" ]]; then
      in_two_steps && settled=$wanted
      put
      [[ $names == "$named" ]] || say "models: $names"
      named=$names
    fi
    [[ $problems == "$told" || -z $problems ]] || say "${problems%$'\n'}"
    told=$problems
  done
}

# ---- Stopping. The handlers do not wait: bash would put the next signal off until they had.
terminate() { # SIGTERM, from an orchestrator: what is under way may end
  [[ -z $stopping ]] || return
  stopping=yes
  say "stopping after $DRAIN_S s"
  { sleep "$DRAIN_S"; end; } >/dev/null 2>&1 &
  drain=$!
}
interrupt() { # SIGINT, from a person, or from one who lost patience
  stopping=yes
  end
}
end() { [[ -z $server ]] || kill -TERM "$server" 2>/dev/null; }

check
look
[[ -z $problems ]] || say "${problems%$'\n'}"
if [[ -z $names && ! -r $RELEASES && -z $ONLY ]]; then
  die "nothing is released: there is no $RELEASES" \
    "push a model (make demo), then run where it was pushed: python -m serving prepare"
elif [[ -z $names ]]; then
  die "no model that is released is whole under $MODELS${ONLY:+ by the name $ONLY}" \
    "push one (make demo) and mount var/serving on $MODELS, or build the image with it"
fi
[[ ${1:-} != --print-config ]] || { config; exit; }
trap terminate TERM
trap interrupt INT

arguments=(
  "--port=$GRPC" "--rest_api_port=$REST" "--enable_grpc_healthcheck_service=true"
  "--model_config_file=$WANTED" "--model_config_file_poll_wait_seconds=$POLL_S"
  "--allow_version_labels_for_unavailable_models=true" "--file_system_poll_wait_seconds=1"
  "--max_num_load_retries=2" "--load_retry_interval_micros=500000" # a broken version is soon given up
  "--monitoring_config_file=$CONFIG/prometheus.config"
)
[[ $BATCHING == false ]] || arguments+=(--enable_batching=true "--batching_parameters_file=$CONFIG/batching.config")
run() {
  "${SERVER[@]}" "${arguments[@]}" "$@" &
  server=$!
  [[ -z $stopping ]] || end
}
# A signal ends `wait` early: ask again until the server itself has ended.
await() {
  while
    wait "$server"
    code=$?
    kill -0 "$server" 2>/dev/null
  do :; done
}

rm -f "$ANSWERED"
put
say "models: $names"
say "REST on $REST, gRPC on $GRPC"
run "$@"
follow &
follower=$!
await
if [[ -z $stopping && ! -e $ANSWERED ]]; then
  # It does not start when one model cannot be loaded; a running one leaves out that one only.
  say "${SERVER[0]} ended with exit code $code before it answered: once more without models, which then come one by one"
  echo "model_config_list { }" >"$WANTED.part" && mv -T "$WANTED.part" "$WANTED"
  run "$@"
  await
fi
# shellcheck disable=SC2086 # no drain, no word
kill "$follower" $drain 2>/dev/null
[[ -n $stopping ]] || { say "${SERVER[0]} ended by itself with exit code $code"; exit "$code"; }
say "stopped"
