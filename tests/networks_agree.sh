#!/usr/bin/env bash
# Networks of torchvision (and a U-Net and a detector of our own), exported by PyTorch in both of its ways: imported, exported,
# pruned to half of their MACs and exported again, ONNX Runtime computes what Secateur does, to 1e-4. Says how fast both are there.
#
#   PYTHON=… tests/networks_agree.sh [NAME ...]     a Python with torch, onnx, onnxruntime, onnxscript and numpy; torchvision if
#                                                   its networks are wanted; all networks if none is named
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
if ! "$python" -c 'import numpy, onnx, onnxruntime, torch' 2>/dev/null; then
  echo "skipped: $python has not all of torch, onnx, onnxruntime and numpy"
  exit 0
fi
programs=${PROGRAMS:-}
if [ -z "$programs" ]; then
  cargo build --release --bin secateur --example networks
  programs=${CARGO_TARGET_DIR:-target}/release
fi
programs=$(realpath "$programs")
out=$(mktemp -d); trap 'rm -rf "$out"' EXIT
PYTHONDONTWRITEBYTECODE=1 "$python" -W ignore tests/reference/networks.py "$programs/secateur" "$programs/examples/networks" "$out" "$@"
