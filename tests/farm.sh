#!/usr/bin/env bash
# A sweep on a farm of three HyperQueue workers on this machine. One worker is killed in the middle, then the server, which is
# started again from its journal with new workers: all runs end once, with the events and weights of a local sweep.
# Needs `hq` on PATH. Usage: tests/farm.sh [PROGRAM=target/release/secateur] [RUNS=24] [IMAGES=4000]
set -euo pipefail
program=$(realpath "${1:-target/release/secateur}")
n=${2:-24}
images=${3:-4000}
work=$(mktemp -d)
export HQ_SERVER_DIR=$work/server RUST_BACKTRACE=0
pids=()
trap 'kill -KILL "${pids[@]}" 2>/dev/null; rm -rf "$work"' EXIT

server() {
    hq server start --host 127.0.0.1 --journal "$work/journal" >>"$work/server.log" 2>&1 &
    server=$!
    pids+=("$server")
    hq server wait >/dev/null
}
worker() {
    hq worker start --cpus 1 >>"$work/worker.log" 2>&1 &
    worker=$!
    pids+=("$worker")
}
finished() { { grep -l '"outcome":"finished"' "$work"/farmed/*/events.jsonl 2>/dev/null || true; } | wc -l; }
wait_for() { # HOW MANY finished runs
    local tries=0
    until [ "$(finished)" -ge "$1" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 3000 ] || { echo "$(finished) runs are finished, expected $1" && tail -5 "$work/said" && exit 1; }
        sleep 0.2
    done
}
# The work that was said: without times, numbers and what interruptions leave. A run that was killed before it had said anything
# has its images open when it goes on, and does not say so: the work begins with what comes then.
said() {
    sed -n '/"event":"started"/,$p' "$1"/events.jsonl | grep -v -e '"event":"resumed"' -e '"event":"ended"' -e '"event":"warning"' -e '"event":"note"' |
        sed -e 's/^{"seq":[0-9]*,"at":[0-9.e-]*,//'
}
seed() { sed -n 's/^seed = //p' "$1/config.toml"; }

cat >"$work/sweep.toml" <<EOF
preset = "smoke"
[set]
seed = [$(seq -s , 0 $((n - 1)))]
"train.epochs" = [3]
"data.limit" = [$images]
"model.width" = [0.2]
checkpoint_secs = [0.3]
EOF

server
for _ in 1 2 3; do worker; done
first=$worker
"$program" run --sweep "$work/sweep.toml" --farm hq --runs "$work/farmed" --json >"$work/said" 2>"$work/log" &
follower=$!
wait_for $((n / 6))
kill -KILL "$first"
echo "a worker is killed after $(finished) runs"
wait_for $((n / 2))
kill -KILL "$server"
echo "the server is killed after $(finished) runs"
sleep 2
server
for _ in 1 2 3; do worker; done
wait "$follower" || { echo "the farm failed" && tail -5 "$work/log" && exit 1; }
[ "$(grep -c '"event":"ended"' "$work/said")" -eq "$n" ] || { echo "not all runs were said to have ended" && exit 1; }
[ "$(ls -d "$work"/farmed/*_smoke_* | wc -l)" -eq "$n" ] || { echo "another number of run folders than $n" && exit 1; }
resumed=$({ grep -l '"event":"resumed"' "$work"/farmed/*/events.jsonl || true; } | wc -l)
echo "all $n runs ended, $resumed of them after an interruption"

"$program" run --sweep "$work/sweep.toml" --farm hq --runs "$work/farmed" --json 2>&1 | grep -c '"event":"ended"' | grep -qx "$n"
[ "$(ls -d "$work"/farmed/*_smoke_* | wc -l)" -eq "$n" ] || { echo "a finished run was run again" && exit 1; }

"$program" run --sweep "$work/sweep.toml" --runs "$work/local" --json >/dev/null 2>&1
for local in "$work"/local/*_smoke_*; do
    farmed=$(grep -lx "seed = $(seed "$local")" "$work"/farmed/*/config.toml)
    [ "$(echo "$farmed" | wc -l)" -eq 1 ] || { echo "seed $(seed "$local") was run twice: $farmed" && exit 1; }
    farmed=$(dirname "$farmed")
    [ "$(grep -c '"outcome":"finished"' "$farmed/events.jsonl")" -eq 1 ] || { echo "$farmed ended twice" && exit 1; }
    cmp "$local/models/smoke.safetensors" "$farmed/models/smoke.safetensors"
    cmp <(said "$local") <(said "$farmed")
done
echo "events and weights of all $n runs equal those of a local sweep"

# Stopping the follower stops them all.
"$program" run --sweep "$work/sweep.toml" --farm hq --runs "$work/stopped" --json >"$work/said" 2>"$work/log" &
follower=$!
until grep -q '"state":"running"' "$work/said"; do sleep 0.2; done
kill -INT "$follower"
code=0
wait "$follower" || code=$?
[ "$code" -eq 130 ] || { echo "a stopped farm ends with $code, expected 130" && exit 1; }
hq --output-mode=json job list | grep -q '"running": [1-9]' && echo "tasks are still at work" && exit 1
echo "a farm that is stopped stops its runs"
hq server stop >/dev/null
