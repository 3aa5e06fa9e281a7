#!/usr/bin/env bash
# A sweep on a farm of three HyperQueue workers on this machine. One worker is killed in the middle, then the server, which is
# started again from its journal with new workers: all runs end once, with the events and weights of a local sweep. A search whose
# trials one, two and three workers measure has those of a local one; a tournament on the farm has the table of a local one.
# Needs `hq` on PATH. Usage: tests/farm.sh [PROGRAM=target/release/secateur] [RUNS=24] [IMAGES=4000]
cd "$(dirname "$0")/.."
. tests/farm_setup.sh
export HQ_SERVER_DIR=$work/server RUST_BACKTRACE=0

server() {
    hq server start --host 127.0.0.1 --journal "$work/journal" >>"$work/server.log" 2>&1 &
    server=$!
    pids+=("$server")
    hq server wait >/dev/null 2>&1
}
workers() { # HOW MANY
    for _ in $(seq "$1"); do
        hq worker start --cpus 1 >>"$work/worker.log" 2>&1 &
        worker=$!
        pids+=("$worker")
    done
    until [ "$(hq --output-mode=json worker list | grep -c '"started":')" -eq "$1" ]; do sleep 0.2; done
}

server
workers 3
first=$worker
follow farmed --farm hq
wait_for $((n / 6))
kill -KILL "$first"
echo "a worker is killed after $(finished) runs"
wait_for $((n / 2))
kill -KILL "$server"
echo "the server is killed after $(finished) runs"
sleep 2
server
workers 3
all_ended_once --farm hq
equal_to_local
stopped_by_following --farm hq
! hq --output-mode=json job list | grep -q '"running": [1-9]' || fail "tasks are still at work"
echo "a farm that is stopped stops its runs"

search() { # RUNS ARGUMENT…: the trials
    local runs=$work/search-$1
    shift
    "$program" run random-fashion --set "data.limit=$images" --set data.valid=1000 --set train.epochs=2 --set model.width=0.2 \
        --set method.trials=12 --set method.tuning=5 --set method.images=500 --set method.retrain.epochs=1 \
        --runs "$runs" "$@" --json >"$work/said" 2>"$work/log" || fail "a search failed: $(tail -3 "$work/log")"
    said "$(echo "$runs"/*_random-fashion_*)"
}
search alone >"$work/alone"
trials=$(grep -c '"event":"trial"' "$work/alone")
for i in 1 2 3; do
    hq worker stop all >/dev/null 2>&1
    until hq --output-mode=json worker list | tr -d ' \n' | grep -qx '\[\]'; do sleep 0.2; done
    workers "$i"
    search "$i" --farm hq >"$work/farmed-search"
    ! grep -q 'measured here' "$work/log" || fail "trials came back: $(grep 'measured here' "$work/log" | head -1)"
    cmp "$work/alone" "$work/farmed-search"
    by=$(grep -o '"worker":"[0-9]*"' "$work/said" | sort -u | wc -l)
    echo "a search over $i workers: $by of them measured its $trials trials, all events as without a farm"
done

cat >"$work/tournament.toml" <<EOF
name = "farmed"
targets = [4]
dense_seeds = [0, 1]
against = "uniform"
set = { "model.width" = 0.15, "data.limit" = $images, "data.valid" = 1000, "train.epochs" = 2 }
networks = { m-cifarnet = { preset = "dense-fashion" } }
budget = { trials = 4, epochs = 1, retrain = { epochs = 1, lr = 0.05 } }
methods = { uniform = { kind = "uniform" }, eagleeye = { kind = "random", trials = 4 } }
EOF
tournament() { # RUNS ARGUMENT…: the table
    local runs=$work/runs-$1
    shift
    "$program" tournament "$work/tournament.toml" --runs "$runs" "$@" --json >"$work/said" 2>"$work/log" ||
        fail "a tournament failed: $(tail -3 "$work/log")"
    "$program" tournament "$work/tournament.toml" --runs "$runs" --show --json 2>/dev/null
}
tournament here >"$work/here"
tournament there --farm hq >"$work/there"
cmp "$work/here" "$work/there"
echo "a tournament on the farm has the $(wc -l <"$work/here") lines of a local one"
hq server stop >/dev/null 2>&1
