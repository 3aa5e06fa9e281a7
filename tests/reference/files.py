"""Files as our program reads and writes them: pictures, IDX images, tables of logits, model files."""

import csv
import gzip
import json
import struct
import zlib
from pathlib import Path

import numpy as np


def write_png(path, pixels):
    """`pixels` is uint8, [c, h, w], of one or three channels."""
    c, h, w = pixels.shape
    rows = np.transpose(pixels, (1, 2, 0)).reshape(h, w * c)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", w, h, 8, {1: 0, 3: 2}[c], 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))


def write_pictures(folder, images, classes=10):
    """A folder of pictures whose test images come in the order of `images`, uint8 [n, c, h, w]; n a multiple of `classes`."""
    each = len(images) // classes
    for split in ("train", "test"):
        for i, image in enumerate(images):
            place = Path(folder, split, f"{i // each:02}")
            place.mkdir(parents=True, exist_ok=True)
            write_png(place / f"{i % each:04}.png", image)


def read_idx(path):
    """Images or labels of an IDX file, raw or gzipped."""
    data = (gzip.open if str(path).endswith(".gz") else open)(path, "rb").read()
    dims = struct.unpack(f">{data[3]}I", data[4 : 4 + 4 * data[3]])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(dims)


def read_logits(path):
    """Rows of `eval --logits` in the order of the images."""
    with open(path, newline="") as file:
        rows = list(csv.reader(file))[1:]
    rows.sort(key=lambda row: int(row[1]))
    return np.array([[float(v) for v in row[3:]] for row in rows], np.float32)


def read_active(path):
    """{gate: [set of channels of each image]} of `eval --active`, images in their order."""
    gates = {}
    with open(path, newline="") as file:
        for _, image, gate, channels in list(csv.reader(file))[1:]:
            gates.setdefault(gate, []).append((int(image), {int(c) for c in channels.split()}))
    return {gate: [channels for _, channels in sorted(rows, key=lambda row: row[0])] for gate, rows in gates.items()}


def read_model(path):
    """Header and tensors of a model file."""
    data = Path(path).read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8 : 8 + size])
    header = json.loads(head.pop("__metadata__")["secateur"])
    kinds = {"F32": np.float32, "U8": np.uint8}
    tensors = {}
    for name, t in head.items():
        start, end = t["data_offsets"]
        tensors[name] = np.frombuffer(data[8 + size + start : 8 + size + end], kinds[t["dtype"]]).reshape(t["shape"])
    return header, tensors


def write_model(path, header, tensors):
    """The inverse of [`read_model`]; every tensor as float32."""
    head, body = {"__metadata__": {"secateur": json.dumps(header)}}, b""
    for name in sorted(tensors):
        data = np.ascontiguousarray(tensors[name], np.float32).tobytes()
        head[name] = {"dtype": "F32", "shape": list(tensors[name].shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + body)


def gated(header, tensors, shift, seed):
    """A model file's parts with a random FBS gate behind the norm of every convolution; one without a norm gets one first."""
    rng = np.random.default_rng(seed)
    spec, old = header["spec"], header["spec"]["nodes"]
    nodes, moved, tensors = [], [], dict(tensors)

    def gate(conv, source):
        """Behind the last node, the norm of `conv`, which reads `source`."""
        name, (outputs, inputs) = f"{conv['name']}.gate", tensors[f"{conv['name']}.weight"].shape[:2]
        nodes.append({"name": name, "kind": "gate", "shift": shift, "inputs": [len(nodes) - 1, source]})
        tensors[f"{name}.phi"] = rng.uniform(-0.1, 0.1, (inputs, outputs)).astype(np.float32)
        tensors[f"{name}.rho"] = rng.uniform(-0.2, 1.0, outputs).astype(np.float32)
        tensors[f"{name}.beta"] = rng.uniform(-0.3, 0.3, outputs).astype(np.float32)

    for i, node in enumerate(old):
        node = {**node, "inputs": [moved[j] for j in node["inputs"]]}
        nodes.append(node)
        name, before = node["name"], old[i - 1]
        if node["kind"] == "norm" and before["kind"] == "conv":
            node["affine"] = False
            tensors.pop(f"{name}.gamma"), tensors.pop(f"{name}.beta")
            gate(before, moved[before["inputs"][0]])
        elif node["kind"] == "conv" and old[i + 1]["kind"] != "norm":
            node["bias"] = False
            tensors.pop(f"{name}.bias", None)
            outputs = tensors[f"{name}.weight"].shape[0]
            nodes.append({"name": f"{name}.norm", "kind": "norm", "eps": 1e-3, "affine": False, "inputs": [len(nodes) - 1]})
            for percent in (round(100 * density) for density in header["densities"]):
                tensors[f"stats@{percent}.{name}.norm.mean"] = rng.uniform(-0.2, 0.2, outputs).astype(np.float32)
                tensors[f"stats@{percent}.{name}.norm.var"] = rng.uniform(0.5, 2.0, outputs).astype(np.float32)
            gate(node, node["inputs"][0])
        moved.append(len(nodes) - 1)
    header = {**header, "spec": {**spec, "nodes": nodes}, "method": "fbs"}
    return header, tensors
