#!/usr/bin/env bash
# `secateur-time-worker` as a static program for aarch64, run by an emulator as if on a device: a model in and a table out over a
# pipe. A search here counts by that table, refuses it for another network, and finds the same with it again.
# Needs the Rust target aarch64-unknown-linux-gnu, gcc-aarch64-linux-gnu and qemu-user (Debian's packages).
# Usage: tests/time_worker.sh [PROGRAM=target/release/secateur]; SECATEUR names a program, too, and TIME_WORKER one that is built.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$(realpath "${1:-${SECATEUR:-target/release/secateur}}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
target=aarch64-unknown-linux-gnu
worker=${TIME_WORKER:-}
if [ -z "$worker" ]; then
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc RUSTFLAGS="-C target-feature=+crt-static" \
        cargo build --release --quiet --locked --target "$target" -p secateur-infer --bin secateur-time-worker
    folder=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
    worker=$folder/$target/release/secateur-time-worker
fi
file "$worker" | grep -q 'aarch64.*static' || { echo "$worker is not static" && exit 1; }

model=assets/models/fbs-fashion.safetensors
qemu-aarch64 "$worker" 1 <"$model" >"$work/device.json"
"$program" time-worker --threads 1 <"$model" >"$work/here.json"
kernel() { sed 's/.*"kernel":"\([^"]*\)".*/\1/' "$1"; }
[ "$(kernel "$work/device.json")" = neon ] || { echo "the device ran $(kernel "$work/device.json"), expected neon" && exit 1; }
echo "a static program of $(stat -c %s "$worker") bytes times layers by $(kernel "$work/device.json"); here it is $(kernel "$work/here.json")"

search() { # TABLE RUNS: the trials; without a table this machine is timed
    "$program" run densities-fashion --set start=bundled --set data.valid=500 --json --runs "$work/runs-$2" ${1:+--set "latency_table=$1"} \
        --set 'method.target={unit="ms",times=1.5}' --set method.search.trials=10 --set method.images=100 2>"$work/log" >"$work/said" ||
        { tail -1 "$work/log" >&2 && return 2; }
    grep '"event":"trial"' "$work/said" | sed 's/^{"seq":[0-9]*,"at":[0-9.e-]*,//'
}
search "$work/device.json" first >"$work/first"
search "$work/device.json" again >"$work/again"
[ -s "$work/first" ] || { echo "no trial" && exit 1; }
cmp "$work/first" "$work/again"
search "$work/here.json" here >"$work/local"
! cmp -s "$work/first" "$work/local" || { echo "another machine's table makes no difference" && exit 1; }
echo "$(wc -l <"$work/first") trials, the same for the same table, others for that of this machine"

# This machine's own table, measured by a run, is one over a pipe, too: given back as a file it gives the same search.
search "" own >"$work/own"
python3 - "$work" <<'PY'
import glob, json, struct, sys
for file in sorted(glob.glob(sys.argv[1] + "/runs-own/*/checkpoints/*.safetensors")):
    head = open(file, "rb").read()
    meta = json.loads(head[8:8 + struct.unpack("<Q", head[:8])[0]])["__metadata__"]
    for line in json.loads(meta["secateur-run"])["lines"]:
        if line["stage"] == "timing layers" and line["over"]:
            json.dump(line["facts"], open(sys.argv[1] + "/own.json", "w"))
PY
search "$work/own.json" piped >"$work/piped"
cmp "$work/own" "$work/piped"
echo "a run's own table, given as a file, gives the same $(wc -l <"$work/own") trials"

sed 's/"name":"[^"]*"/"name":"other"/' "$work/device.json" >"$work/other.json"
if search "$work/other.json" other 2>"$work/refused"; then echo "a table of another network is taken" && exit 1; fi
grep -q 'is of another network' "$work/refused" || { echo "refused for another reason: $(cat "$work/refused")" && exit 1; }
echo "a table of another network is refused: $(cat "$work/refused")"
