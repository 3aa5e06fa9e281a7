#!/usr/bin/env bash
# A million damaged files for each reader of foreign bytes (model files, ONNX and its numbers, burn packs, state dicts and their
# ZIP, IDX, CIFAR and its tar, pictures, experiments, sweeps, tournaments, tables of times, event logs, control files): no panic,
# and no more memory than a file is worth.
#
#   tests/fuzz.sh [CASES] [READER] [FROM]     e.g. tests/fuzz.sh 1000000 onnx_files 1000000: the second million
#
# Some readers want files: with TMPDIR on a file system in memory a million takes minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
SECATEUR_FUZZ_CASES=${1:-1000000} SECATEUR_FUZZ_FROM=${3:-0} RUST_BACKTRACE=0 cargo test --release --test fuzz -- "${2:-}"
