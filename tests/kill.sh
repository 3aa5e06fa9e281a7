#!/bin/sh
# Kills a training run and an AutoCompress run at random moments, goes on each time, and compares events and weights with
# runs that were never interrupted. Then kills an export, an import and a figure: their file is the one before or the one to be,
# and nothing stays beside it. Usage: tests/kill.sh [KILLS=30] [PROGRAM=target/release/secateur]
set -eu
kills=${1:-30}
program=${2:-target/release/secateur}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The work that was said: without times, numbers, what interruptions leave, and what is read before the start, which only a run
# that begins says.
said() {
    sed -n '/"event":"started"/,$p' "$1"/events.jsonl | grep -v -e '"event":"resumed"' -e '"event":"ended"' -e '"event":"warning"' -e '"event":"note"' |
        sed -e 's/^{"seq":[0-9]*,"at":[0-9.e-]*,//'
}

# random SEED BELOW: a number from 0 on.
random() {
    awk -v seed="$1$$" -v below="$2" 'BEGIN { srand(seed); printf "%.4f", below * rand() }'
}

# some_time PID FOLDER SEED: until the run has said up to 20 more events, however long that takes here, and up to 0.3 seconds
# more; every fourth time only the latter, as it starts.
some_time() {
    log=$(echo "$2"/*/events.jsonl)
    if [ $(($3 % 4)) -ne 0 ]; then
        there=$(wc -l 2>/dev/null <"$log" || echo 0)
        more=$(random "$3" 20)
        while kill -0 "$1" 2>/dev/null; do
            log=$(echo "$2"/*/events.jsonl)
            [ "$(wc -l 2>/dev/null <"$log" || echo 0)" -gt $((there + ${more%.*})) ] && break
            sleep 0.02
        done
    fi
    sleep "$(random "$3" 0.3)"
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
            some_time "$pid" "$folder" $((runs * 1000 + done))
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
        grep -o '^{"seq":[0-9]*' "$run/events.jsonl" | awk -F: '$2 != NR - 1 { exit 1 }' ||
            { echo "$preset: an event is missing or there twice" && exit 1; }
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

# check_file FILE COMMAND…: the command writes the file.
check_file() {
    file=$1
    shift
    mkdir "$(dirname "$file")"
    began=$(date +%s.%N)
    "$program" "$@" --to "$file" >/dev/null 2>&1
    takes=$(echo "$began $(date +%s.%N)" | awk '{ print $2 - $1 }')
    cp "$file" "$work/new"
    echo "what was there before" >"$work/old"
    whole=0
    done=0
    while [ "$done" -lt "$kills" ]; do
        done=$((done + 1))
        cp "$work/old" "$file"
        "$program" "$@" --to "$file" >/dev/null 2>&1 &
        pid=$!
        sleep "$(random "$done" "$takes")"
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
        if cmp -s "$work/new" "$file"; then
            whole=$((whole + 1))
        else
            cmp "$work/old" "$file" || { echo "$1: half a file" && exit 1; }
        fi
    done
    "$program" "$@" --to "$file" >/dev/null 2>&1
    cmp "$work/new" "$file" || { echo "$1: another file" && exit 1; }
    left=$(find "$(dirname "$file")" -type f | wc -l)
    [ "$left" -eq 1 ] || { echo "$1: $left files are left" && exit 1; }
    echo "$1: killed $done times, $whole times after its file had its name"
}

run=$(echo "$work"/whole-smoke/*)
check_file "$work/exported/model.onnx" export "$run/models/smoke.safetensors"
check_file "$work/imported/model.safetensors" import "$work/exported/model.onnx"
check_file "$work/drawn/curves.png" figure "$run" --plot curves
