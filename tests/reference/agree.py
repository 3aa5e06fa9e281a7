"""Our program beside PyTorch and ONNX Runtime, on the same weights and images. Called by tests/python_agrees.sh."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

import files
import nets

SECATEUR, REPOSITORY, OUT = (Path(a) for a in sys.argv[1:4])
TOLERANCE = 1e-4
failures = []


def secateur(*args):
    """The last line of a command's JSON."""
    done = subprocess.run([SECATEUR, *map(str, args), "--json"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"secateur {' '.join(map(str, args))}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def check(what, got, want):
    """Whether two tables of logits are the same to rounding: 1e-4 of the largest, or of 1."""
    size = max(1.0, float(np.abs(want).max()))
    off = float(np.abs(got - want).max()) / size
    good = got.shape == want.shape and off <= TOLERANCE
    print(f"{'agree' if good else 'DIFFER'}  {what}: {off:.1e} of the largest logit, {len(got)} images")
    if not good:
        failures.append(what)


def ours(model, data, n, density=None, active=None):
    table = OUT / "logits.csv"
    args = ["eval", model, "--data", data, "--logits", table, "--limit", n]
    args += ["--density", density] if density else []
    args += ["--active", active] if active else []
    secateur(*args)
    return files.read_logits(table)


def runtime(path, x, outputs=("logits",)):
    """What ONNX Runtime makes of a checked file, in two batches of different size. Inner values may be asked for."""
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    for name in outputs[1:]:
        proto.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.get_outputs()[0].name == "logits"
    cut = len(x) // 3
    parts = [session.run(list(outputs), {"image": part}) for part in (x[:cut], x[cut:])]
    return [np.concatenate(pair) for pair in zip(*parts)]


def exported(model, density=None):
    path = OUT / "out.onnx"
    fact = secateur("export", model, "--to", path, *(["--density", density] if density else []))
    assert fact["n"] == 64 and fact["bytes"] == path.stat().st_size
    return path


def zoo():
    """Random weights written by PyTorch, read by us; written by us as ONNX, read by ONNX Runtime; the same with gates."""
    for seed, (what, arch, net, shape) in enumerate(nets.zoo()):
        nets.randomize(net, seed)
        n = 10 if shape[1] > 100 else 20
        images = np.random.default_rng(seed).integers(0, 256, (n, *shape), np.uint8)
        data, weights, model = OUT / f"data{seed}", OUT / "net.pt", OUT / "net.safetensors"
        files.write_pictures(data, images)
        torch.save(net.state_dict(), weights)
        secateur("import", weights, "--arch", arch, "--classes", 10, "--input", ",".join(map(str, shape)), "--to", model)
        x = images.astype(np.float32) / 255
        with torch.no_grad():
            want = net(torch.from_numpy(x)).numpy()
        got = ours(model, data, n)
        check(f"{what}, PyTorch", got, want)
        check(f"{what}, ONNX Runtime", runtime(exported(model), x)[0], got)
        for shift in ("eq1", "released"):
            fbs = OUT / "fbs.safetensors"
            files.write_model(fbs, *files.gated(*files.read_model(model), shift, seed))
            for density in (1, 0.5, 0.2):
                got = ours(fbs, data, n, density)
                check(f"{what} with {shift} gates at {density}, ONNX Runtime", runtime(exported(fbs, density), x)[0], got)


def stranger():
    """A network that PyTorch wrote as ONNX."""
    net = nets.randomize(nets.Stranger(10), 7)
    images = np.random.default_rng(7).integers(0, 256, (20, 3, 36, 36), np.uint8)
    data, path, model = OUT / "data-stranger", OUT / "stranger.onnx", OUT / "stranger.safetensors"
    files.write_pictures(data, images)
    x = torch.from_numpy(images.astype(np.float32) / 255)
    for keep_norms in (True, False):
        mode = torch.onnx.TrainingMode.PRESERVE if keep_norms else torch.onnx.TrainingMode.EVAL
        torch.onnx.export(net, x[:1], path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}}, training=mode, do_constant_folding=not keep_norms)
        secateur("import", path, "--to", model)
        with torch.no_grad():
            want = net(x).numpy()
        what = "norms kept" if keep_norms else "norms folded"
        got = ours(model, data, len(x))
        check(f"a stranger's ONNX, {what}, PyTorch", got, want)
        check(f"a stranger's ONNX, {what}, ONNX Runtime", runtime(exported(model), x.numpy())[0], got)


def bundled():
    """The bundled FBS model on a thousand test images: logits, and which channels are active."""
    model = REPOSITORY / "assets/models/fbs-fashion.safetensors"
    images = files.read_idx(REPOSITORY / "assets/fashion-mnist/t10k-images-idx3-ubyte.gz")[:1000, None]
    gates = [node["name"] for node in files.read_model(model)[0]["spec"]["nodes"] if node["kind"] == "gate"]
    for density in (1, 0.5, 0.2):
        path, table = exported(model, density), OUT / "active.csv"
        metadata = {p.key: p.value for p in onnx.load(path).metadata_props}
        mean, std = (np.array(json.loads(metadata[key]), np.float32)[:, None, None] for key in ("mean", "std"))
        assert len(json.loads(metadata["classes"])) == 10 and float(metadata["density"]) == density
        x = (images.astype(np.float32) / 255 - mean) / std
        logits, *pi = runtime(path, x, ("logits", *(f"{gate}.pi" for gate in gates)))
        got = ours(model, "fashion-mnist", len(x), density, table)
        check(f"fbs-fashion at {density}, ONNX Runtime", logits, got)
        active = files.read_active(table)
        theirs = {gate: [set(np.flatnonzero(row).tolist()) for row in rows] for gate, rows in zip(gates, pi)}
        images_off = {i for gate in gates for i, (a, b) in enumerate(zip(active[gate], theirs[gate])) if a != b}
        good = not images_off and all(len(active[gate]) == len(x) for gate in gates)
        print(f"{'agree' if good else 'DIFFER'}  fbs-fashion at {density}: active channels of {len(gates)} gates on {len(x)} images, {len(images_off)} images differ")
        if not good:
            failures.append(f"active channels at {density}")


bundled()
stranger()
zoo()
if failures:
    raise SystemExit(f"{len(failures)} differ: {'; '.join(failures)}")
print("all agree")
