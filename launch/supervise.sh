#!/usr/bin/env bash
# Keeps a job running on a machine without a scheduler: see --help.
set -u

usage() {
  cat <<'EOT'
Usage: launch/supervise.sh [options] [--] COMMAND...
       launch/supervise.sh mpirun -n 4 build/bin/desta-train configs/quickstart.yaml

Runs COMMAND and starts it again when it dies, until it ends with 0 (done) or 2 (bad input).

  --budget N        at most N restarts after a death (default 10)
  --backoff S       seconds before the first restart (default 2); doubled with every further one
  --backoff-cap S   the longest wait (default 300)
  --run FOLDER      the run folder (run.folder of the configuration), from which the step is read; by
                    default it is taken from the job's own line "run folder ..." in its log
  --help

75 ("start me again") starts it at once, or after the first wait when it had run for less than that,
and does not count. Three ends in a row at the same step end the whole: it would not get further. The
step is that of the last line of metrics.jsonl or, when there is none, of the newest checkpoint.
Without a run folder (another program, a job that logs nothing) only the budget counts.

TERM, INT, HUP and USR1 are passed on as USR1, which desta-train answers by saving (mpirun gives its
ranks little time after TERM), and then nothing is started again. A further TERM, INT or HUP is passed
on as TERM. The exit code is the last one of COMMAND, or 2 for a wrong option.
EOT
}

say() { echo "supervise: $*" >&2; }

is_number() { [[ $1 =~ ^[0-9]+$ ]]; }

budget=10
backoff=2
backoff_cap=300
run=
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h)
      usage
      exit 0
      ;;
    --budget | --backoff | --backoff-cap | --run)
      if [ $# -lt 2 ]; then
        say "$1 needs a value; see --help"
        exit 2
      fi
      if [ "$1" != --run ] && ! is_number "$2"; then
        say "$1 $2: not a whole number of 0 or more"
        exit 2
      fi
      name=${1#--}
      printf -v "${name//-/_}" '%s' "$2"
      shift 2
      ;;
    --)
      shift
      break
      ;;
    -*)
      say "unknown option $1; see --help"
      exit 2
      ;;
    *) break ;;
  esac
done
if [ $# -eq 0 ]; then
  say "no command to run; see --help"
  exit 2
fi

# The job's log passes through here unchanged; the line that names the run folder is kept.
own=$(mktemp -d)
note=$own/run-folder
pipe=$own/log
trap 'rm -rf "$own"' EXIT
watch_log() {
  local line
  while IFS= read -r line || [ -n "$line" ]; do
    printf '%s\n' "$line" >&2
    if [[ $line =~ \ info:\ run\ folder\ (.*)$ ]]; then
      printf '%s' "${BASH_REMATCH[1]}" >"$note"
    fi
  done
}

# Waits until the log of a job that has ended is read; not for long, for something that it started may
# live on and hold it open.
drain_log() {
  for _ in {1..50}; do
    kill -0 "$watcher" 2>/dev/null || return
    sleep 0.1
  done
}

# The last step that the run has done; empty when nothing is known of it.
last_step() {
  local folder=${run:-$(cat "$note" 2>/dev/null)} step newest=()
  if [ -z "$folder" ]; then
    return
  fi
  step=$(tail -n 20 "$folder/metrics.jsonl" 2>/dev/null | grep -o '"step": *[0-9]*' | tail -n 1)
  if [ -z "$step" ]; then
    newest=("$folder"/checkpoints/step-*) # in the order of their names; unmatched, the pattern itself
    step=${newest[-1]##*-}
  fi
  step=${step##*[!0-9]}
  echo "$((10#${step:-0}))"
}

child=
asked=
pass_on() {
  local signal=USR1
  if [ -n "$asked" ] && [ "$1" != USR1 ]; then
    signal=TERM
  fi
  asked=$1
  interrupted=1
  if [ -n "$child" ]; then
    kill -s "$signal" "$child" 2>/dev/null
  fi
}
for signal in TERM INT HUP USR1; do
  trap "pass_on $signal" "$signal"
done

# Waits for the job to end and sets `code`. A trapped signal cuts `wait` short; 127 says that a child
# has been waited for already.
await() {
  local status
  while :; do
    interrupted=
    wait "$child" 2>/dev/null # without the shell's own word on how it died
    status=$?
    if [ "$status" -ne 127 ] || [ -z "$code" ]; then
      code=$status
    fi
    if [ -z "$interrupted" ]; then
      break
    fi
  done
}

restarts=0
wait_seconds=$backoff
stuck_step=
stuck=0
set -m # the job gets a process group of its own: Ctrl-C reaches it through us alone
while :; do
  started=$SECONDS
  code=
  rm -f "$pipe"
  mkfifo "$pipe"
  watch_log <"$pipe" &
  watcher=$!
  "$@" </dev/null 2>"$pipe" &
  child=$!
  if [ -n "$asked" ]; then
    kill -s USR1 "$child" 2>/dev/null # it came before there was a child
  fi
  await
  drain_log
  child=
  case $code in
    0) exit 0 ;;
    2 | 126 | 127)
      say "ended with code $code: bad input, which another start would not mend"
      exit "$code"
      ;;
  esac
  if [ -n "$asked" ]; then
    say "stopped by SIG$asked with code $code; the same command goes on from there"
    exit "$code"
  fi
  step=$(last_step)
  if [ -n "$step" ] && [ "$step" = "$stuck_step" ]; then
    stuck=$((stuck + 1))
  else
    stuck=1
    stuck_step=$step
  fi
  at=${step:+ after step $step}
  if [ -n "$step" ] && [ "$stuck" -eq 3 ]; then
    say "ended three times running$at, now with code $code: giving up; see its last error"
    exit "$code"
  fi
  pause=0
  if [ "$code" -eq 75 ]; then
    if [ $((SECONDS - started)) -lt "$backoff" ]; then
      pause=$backoff
    fi
    say "asks to be started again$at"
  else
    if [ "$restarts" -ge "$budget" ]; then
      say "died with code $code$at; the budget of $budget restarts is used up: giving up"
      exit "$code"
    fi
    restarts=$((restarts + 1))
    pause=$wait_seconds
    wait_seconds=$((wait_seconds * 2 < backoff_cap ? wait_seconds * 2 : backoff_cap))
    say "died with code $code$at; restart $restarts of $budget in $pause s"
  fi
  # Second by second: a trap runs between two commands, so a signal is heard within one.
  for ((second = 0; second < pause; ++second)); do
    [ -z "$asked" ] || break
    sleep 1
  done
  if [ -n "$asked" ]; then
    say "stopped by SIG$asked between two starts"
    exit "$code"
  fi
done
