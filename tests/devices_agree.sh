#!/usr/bin/env bash
# Trains the same small FBS network on flex and on another device and compares the losses, step by step.
#
#   tests/devices_agree.sh            flex against wgpu; without a GPU install a software Vulkan driver first
#                                     (Debian: libvulkan1 mesa-vulkan-drivers)
#   tests/devices_agree.sh ndarray    flex against ndarray
#
# Initial weights, data order and dropout are drawn on the host, so both devices see the same numbers; only rounding differs.
set -euo pipefail
cd "$(dirname "$0")/.."
other=${1:-wgpu}
features=(--features "$([ "$other" = wgpu ] && echo gpu || echo ndarray)")
out=$(mktemp -d); trap 'rm -rf "$out"' EXIT
export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-$out}
cargo build --release "${features[@]}"
secateur=${CARGO_TARGET_DIR:-target}/release/secateur
"$secateur" devices | grep -E "^$other +yes" || { "$secateur" devices | grep "^$other"; echo "skipped: device $other is not there"; exit 0; }
for device in flex "$other"; do
  "$secateur" run smoke --device "$device" --json --runs "$out/runs" \
    --set data.limit=512 --set data.valid=64 --set train.epochs=2 --set train.batch=32 --set train.log_every=1 --set train.lr=0.02 \
    --set model.width=0.1 --set method.calibration=64 > "$out/$device.jsonl"
done
python3 - "$out/flex.jsonl" "$out/$other.jsonl" <<'PY'
import json, sys
runs = [[json.loads(line) for line in open(path)] for path in sys.argv[1:]]
steps = [[e for e in run if e["event"] == "step"] for run in runs]
assert len(steps[0]) == len(steps[1]) > 20, "different numbers of steps"
off = [abs(a["loss"] - b["loss"]) / a["loss"] for a, b in zip(*steps)]
# Rounding grows as training goes on: close at first, alike at the end.
print(f"steps {len(off)}: relative difference of the loss, first 5 steps {max(off[:5]):.2e}, all {max(off):.2e}")
assert max(off[:5]) < 1e-3, "the first steps differ"
assert sum(off) / len(off) < 0.05, "the runs drift apart"
assert all(run[-1]["outcome"] == "finished" for run in runs)
print("agree")
PY
