#!/bin/sh
# Kills a training run and an AutoCompress run at random moments, goes on each time, and compares events and weights with
# runs that were never interrupted. Usage: tests/kill.sh [KILLS=30] [PROGRAM=target/release/secateur]
set -eu
kills=${1:-30}
program=${2:-target/release/secateur}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The work that was said: without times, numbers and what interruptions leave.
said() {
    grep -v -e '"event":"resumed"' -e '"event":"ended"' -e '"event":"warning"' "$1"/events.jsonl |
        sed -e 's/^{"seq":[0-9]*,"at":[0-9.e-]*,//'
}

check() {
    preset=$1
    shift
    "$program" run "$preset" "$@" --runs "$work/whole-$preset" --json >/dev/null 2>&1
    whole=$(echo "$work/whole-$preset"/*)
    said "$whole" >"$work/expected"
    done=0
    runs=0
    while [ "$done" -lt "$kills" ]; do
        runs=$((runs + 1))
        folder=$work/killed-$preset-$runs
        "$program" run "$preset" "$@" --runs "$folder" --json >/dev/null 2>&1 &
        while true; do
            pid=$!
            sleep "$(awk -v seed="$runs$done$$" 'BEGIN { srand(seed); printf "%.2f", 0.3 + 2.2 * rand() }')"
            if ! kill -KILL "$pid" 2>/dev/null; then
                wait "$pid" && break
                echo "$preset: a run failed by itself" && exit 1
            fi
            wait "$pid" 2>/dev/null || true
            done=$((done + 1))
            run=$(echo "$folder"/*)
            if [ ! -f "$run/config.toml" ]; then
                # Killed before there was anything to go on with.
                rm -rf "$folder"
                "$program" run "$preset" "$@" --runs "$folder" --json >/dev/null 2>&1 &
            elif [ "$done" -ge "$kills" ]; then
                "$program" resume "$run" --json >/dev/null 2>&1
                break
            else
                "$program" resume "$run" --json >/dev/null 2>&1 &
            fi
        done
        run=$(echo "$folder"/*)
        said "$run" >"$work/got"
        cmp "$work/expected" "$work/got" || { echo "$preset: events differ" && exit 1; }
        cmp "$whole/models/$preset.safetensors" "$run/models/$preset.safetensors" || { echo "$preset: weights differ" && exit 1; }
    done
    echo "$preset: killed $done times in $runs runs, events and weights equal those of the run that was not"
}

small="--set checkpoint_secs=0.2 --set data.limit=2000 --set data.valid=300 --set train.batch=50 --set train.log_every=5"
# shellcheck disable=SC2086
check smoke $small --set train.epochs=4 --set model.width=0.15
# shellcheck disable=SC2086
check autocompress-fashion $small --set train.epochs=2 --set model.width=0.15 --set method.tolerance=1 \
    --set method.target.times=4 --set method.images=200 --set method.search.trials=30 --set method.purify.search.trials=20
