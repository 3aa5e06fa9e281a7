#!/usr/bin/env python3
"""Times an ONNX file in ONNX Runtime, for `secateur export --time-with "python3 assets/time_onnxruntime.py"`.

Called as `time_onnxruntime.py [--threads N] FILE.onnx BATCH`. Prints one JSON object: {"ms": [milliseconds of each run]}.
Needs the packages onnxruntime and numpy.
"""

import argparse
import json
import time

import numpy as np
import onnxruntime as ort

parser = argparse.ArgumentParser()
parser.add_argument("file")
parser.add_argument("batch", type=int)
parser.add_argument("--threads", type=int, default=0, help="0: as many as ONNX Runtime takes")
parser.add_argument("--secs", type=float, default=2.0, help="time to measure for")
args = parser.parse_args()

options = ort.SessionOptions()
options.intra_op_num_threads = args.threads
session = ort.InferenceSession(args.file, options, providers=["CPUExecutionProvider"])
[image] = session.get_inputs()
shape = [args.batch, *(int(n) for n in image.shape[1:])]
pixels = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
feed = {image.name: pixels}
for _ in range(3):
    session.run(None, feed)
runs = []
start = time.perf_counter()
while len(runs) < 5 or time.perf_counter() - start < args.secs:
    at = time.perf_counter()
    session.run(None, feed)
    runs.append((time.perf_counter() - at) * 1e3)
print(json.dumps({"ms": [round(ms, 4) for ms in runs]}))
