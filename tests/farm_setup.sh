# What the farm scripts share: a sweep, its runs here and on a farm, and their comparison. Sourced with PROGRAM RUNS IMAGES; SECATEUR
# names a program, too, and LOCAL a folder that keeps the runs of a local sweep for other calls with the same RUNS and IMAGES.
set -euo pipefail
program=$(realpath "${1:-${SECATEUR:-target/release/secateur}}")
n=${2:-24}
images=${3:-4000}
work=$(mktemp -d)
local=${LOCAL:-$work/local}
pids=()
clean_up() {
    kill -KILL "${pids[@]}" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
fail() { echo "$*" && exit 1; }

cat >"$work/sweep.toml" <<EOF
preset = "smoke"
[set]
seed = [$(seq -s , 0 $((n - 1)))]
"train.epochs" = [3]
"data.limit" = [$images]
"model.width" = [0.2]
checkpoint_secs = [0.3]
EOF

# follow RUNS ARGUMENT…: begins a farm in the background; `said` and `log` are what it says.
follow() {
    local runs=$1
    shift
    : >"$work/said"
    "$program" run --sweep "$work/sweep.toml" "$@" --runs "$work/$runs" --json >"$work/said" 2>"$work/log" &
    follower=$!
    pids+=("$follower")
}
finished() { { grep -l '"outcome":"finished"' "$work"/farmed/*/events.jsonl 2>/dev/null || true; } | wc -l; }
# wait_for N: so many runs of the farm are finished.
wait_for() {
    local tries=0
    until [ "$(finished)" -ge "$1" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 6000 ] || fail "$(finished) runs are finished, expected $1: $(tail -5 "$work/said")"
        kill -0 "$follower" 2>/dev/null || fail "the farm ended early: $(tail -5 "$work/log")"
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
n_folders() { find "$work/farmed" -maxdepth 1 -name '*_smoke_*' | wc -l; }
# all_ended_once ARGUMENT…: the farm is awaited; each run has one folder, and the same command runs nothing again.
all_ended_once() {
    wait "$follower" || fail "the farm failed: $(tail -5 "$work/log")"
    [ "$(grep -c '"event":"ended"' "$work/said")" -eq "$n" ] || fail "not all runs were said to have ended"
    [ "$(n_folders)" -eq "$n" ] || fail "another number of run folders than $n"
    resumed=$({ grep -l '"event":"resumed"' "$work"/farmed/*/events.jsonl || true; } | wc -l)
    [ "$resumed" -ge 1 ] || fail "no run went on after an interruption"
    echo "all $n runs ended, $resumed of them after an interruption"
    follow farmed "$@"
    wait "$follower" || fail "the same command again fails: $(tail -5 "$work/log")"
    [ "$(grep -c '"event":"ended"' "$work/said")" -eq "$n" ] || fail "the same command again does not say all endings"
    [ "$(n_folders)" -eq "$n" ] || fail "a finished run was run again"
}
equal_to_local() {
    [ -d "$local" ] || "$program" run --sweep "$work/sweep.toml" --runs "$local" --json >/dev/null 2>&1
    local run farmed
    for run in "$local"/*_smoke_*; do
        farmed=$(grep -lx "seed = $(seed "$run")" "$work"/farmed/*/config.toml)
        [ "$(echo "$farmed" | wc -l)" -eq 1 ] || fail "seed $(seed "$run") was run twice: $farmed"
        farmed=$(dirname "$farmed")
        [ "$(grep -c '"outcome":"finished"' "$farmed/events.jsonl")" -eq 1 ] || fail "$farmed ended twice"
        cmp "$run/models/smoke.safetensors" "$farmed/models/smoke.safetensors"
        cmp <(said "$run") <(said "$farmed")
    done
    echo "events and weights of all $n runs equal those of a local sweep"
}
# stopped_by_following ARGUMENT…: Ctrl-C on what follows a farm; whether its runs are stopped is for the caller to see.
stopped_by_following() {
    follow stopped "$@"
    until grep -q '"state":"running"' "$work/said"; do
        kill -0 "$follower" 2>/dev/null || fail "the farm ended early: $(tail -5 "$work/log")"
        sleep 0.2
    done
    kill -INT "$follower"
    local code=0
    wait "$follower" || code=$?
    [ "$code" -eq 130 ] || fail "a stopped farm ends with $code, expected 130"
}
