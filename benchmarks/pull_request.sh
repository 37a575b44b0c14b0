#!/usr/bin/env bash
# Runs one matrix at two revisions on this machine and compares the results: what a pull request's check does, and anyone can do at home.
#
#   benchmarks/pull_request.sh BASE [MATRIX [OUT]]     or     make compare BASE=main
#
# HEAD is the working tree as it is; BASE is a git revision, checked out beside it for the time. Each side trains with its own lrbench, in
# the same environment, and with its own file of the matrix; a BASE without one takes that of HEAD. Writes to OUT (build/compare):
# base/ and head/ (the studies), changes.md, page/ (the same with a picture), changes.json, and run.log. Where GITHUB_STEP_SUMMARY is set, changes.md is the job's summary too.
#
# PYTHON names the interpreter, FAIL_ON what must not be (worse,crashed), WORKERS how many train at once.
# Exit codes: 0 nothing of that; 1 something of that; 2 it could not be compared. changes.md is there in each case and says which.
set -euo pipefail
cd "$(dirname "$0")/.."

base=${1:?give the revision to compare with, such as main}
matrix=${2:-benchmarks/pull-request.toml}
out=${3:-build/compare}
python=${PYTHON:-.venv/bin/python}
fail_on=${FAIL_ON-worse,crashed}

head=$PWD
case $python in */*) python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python") ;; esac
mkdir -p "$out"
rm -rf "$out/base" "$out/head" "$out/page" "$out/changes.md" "$out/changes.json" "$out/run.log"
out=$(cd "$out" && pwd)
log=$out/run.log
tree=$(mktemp -d)/base

finish() {
  git worktree remove --force "$tree" 2> /dev/null || true
  rm -rf "$(dirname "$tree")"
}
trap finish EXIT

summary() {
  if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then cat "$out/changes.md" >> "$GITHUB_STEP_SUMMARY"; fi
}

give_up() { # why; what went wrong last stands in the log, and goes into the body
  {
    printf '**lrbench:** %s\n\n```\n' "$1"
    tail -n 20 "$log" 2> /dev/null | cut -c 1-500
    printf '```\n'
  } > "$out/changes.md"
  summary
  echo "$1 (see $log)" >&2
  exit 2
}

train() { # the folder of the code, where results go
  local folder=$1 results=$2 file=$1/$matrix
  [ -f "$file" ] || file=$head/$matrix
  # Runs that crash are results, and lrbench says last that there were some; any other failure is one.
  (cd "$folder" && PYTHONPATH=$folder "$python" -m lrbench run "$file" --results "$results" --device cpu ${WORKERS:+--workers "$WORKERS"}) \
    >> "$log" 2>&1 || tail -n 1 "$log" | grep --quiet 'runs crashed'
}

commit=$(git rev-parse --verify --quiet "$base^{commit}") || { : > "$log"; give_up "there is no revision $base to compare with"; }
git worktree add --quiet --detach "$tree" "$commit" >> "$log" 2>&1 || give_up "the base, ${commit:0:10}, cannot be checked out"
train "$tree" "$out/base" || give_up "the base, ${commit:0:10}, cannot run $matrix"
train "$head" "$out/head" || give_up "$matrix cannot be run"

compare() { PYTHONPATH=$head "$python" -m lrbench compare base head "$@" 2>> "$log"; }
cd "$out" # so that the two are called base and head
status=0
compare --format md --fail-on "$fail_on" --output "$out/page" > "$out/changes.md" || status=$?
[ "$status" -le 1 ] || give_up "the results cannot be compared"
compare --format json > "$out/changes.json"
summary
cat "$out/changes.md"
exit "$status"
