#!/usr/bin/env bash
# Weights out of PyTorch into Secateur, and ONNX out of Secateur into ONNX Runtime: the same logits within 1e-4, with and
# without FBS gates, and the same active channels.
#
#   PYTHON=… tests/python_agrees.sh     a Python with torch, onnx, onnxruntime and numpy; python3 if not given
#
# Uses target/debug/secateur, which is built first, unless SECATEUR names another program.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
if ! "$python" -c 'import numpy, onnx, onnxruntime, torch' 2>/dev/null; then
  echo "skipped: $python has not all of torch, onnx, onnxruntime and numpy"
  exit 0
fi
if [ -z "${SECATEUR:-}" ]; then
  cargo build
  SECATEUR=${CARGO_TARGET_DIR:-target}/debug/secateur
fi
out=$(mktemp -d); trap 'rm -rf "$out"' EXIT
PYTHONDONTWRITEBYTECODE=1 "$python" -W ignore tests/reference/agree.py "$(realpath "$SECATEUR")" "$PWD" "$out"
