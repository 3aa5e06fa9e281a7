"""Networks of torchvision and small ones by hand: exported by PyTorch, imported, pruned and exported by Secateur, and run by
ONNX Runtime before and after.

    networks.py SECATEUR HELPER OUT [NAME ...]

Weights are random, also those that are filled into the light architectures of the onnx package. Every network must come in with logits within 1e-4 (relative) of ONNX Runtime's, and go out, whole and pruned
to half of its MACs, with the logits that Secateur says. Times are ONNX Runtime's, one thread, median.
"""

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

TOLERANCE = 1e-4

# What widths are multiples of: as many numbers as the processor has in a vector is what ONNX Runtime's layout has in a block.
MULTIPLE = int(os.environ.get("MULTIPLE", 8))

# The second of PyTorch's exporters wants a package of its own.
EXPORTERS = ("trace", "dynamo") if importlib.util.find_spec("onnxscript") else ("trace",)


class Yolo(nn.Module):
    """Backbone, neck with nearest upsampling and joins, split blocks with residual sums, three heads."""

    class Conv(nn.Sequential):
        def __init__(self, a, b, k=1, s=1):
            super().__init__(nn.Conv2d(a, b, k, s, k // 2, bias=False), nn.BatchNorm2d(b), nn.SiLU())

    class C2f(nn.Module):
        def __init__(self, a, b):
            super().__init__()
            self.first, self.last = Yolo.Conv(a, b), Yolo.Conv(b // 2 * 3, b)
            self.inner = nn.Sequential(Yolo.Conv(b // 2, b // 2, 3), Yolo.Conv(b // 2, b // 2, 3))

        def forward(self, x):
            left, right = self.first(x).chunk(2, 1)
            return self.last(torch.cat([left, right, right + self.inner(right)], 1))

    class Pyramid(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.first, self.last = Yolo.Conv(c, c // 2), Yolo.Conv(c * 2, c)
            self.pool = nn.MaxPool2d(5, 1, 2)

        def forward(self, x):
            parts = [self.first(x)]
            for _ in range(3):
                parts.append(self.pool(parts[-1]))
            return self.last(torch.cat(parts, 1))

    def __init__(self, heads=1, is_flat=False):
        super().__init__()
        self.is_flat = is_flat
        c, f = Yolo.Conv, Yolo.C2f
        self.stem = nn.Sequential(c(3, 16, 3, 2), c(16, 32, 3, 2), f(32, 32), c(32, 64, 3, 2), f(64, 64))
        self.deep = nn.Sequential(c(64, 128, 3, 2), f(128, 128), Yolo.Pyramid(128))
        self.up, self.merge = nn.Upsample(scale_factor=2), f(192, 64)
        self.down, self.join = c(64, 64, 3, 2), f(192, 128)
        self.heads = nn.ModuleList([nn.Conv2d(n, 24, 1) for n in (64, 128)][:heads])

    def forward(self, x):
        p3 = self.stem(x)
        p4 = self.deep(p3)
        n3 = self.merge(torch.cat([self.up(p4), p3], 1))
        n4 = self.join(torch.cat([self.down(n3), p4], 1))
        out = [head(n) for head, n in zip(self.heads, (n3, n4))]
        if self.is_flat:
            # As YOLOv8 has it: one list of all pixels of all maps.
            out = [torch.cat([y.view(y.shape[0], y.shape[1], -1) for y in out], 2)]
        return out[0] if len(out) == 1 else tuple(out)


class Heads(nn.Module):
    """A detector of torchvision up to its boxes and scores, each a list of the anchors of all maps."""

    def __init__(self, net):
        super().__init__()
        self.backbone, self.head = net.backbone, net.head

    def forward(self, x):
        out = self.head(list(self.backbone(x).values()))
        return out["bbox_regression"], out["cls_logits"]


class Segmenter(nn.Module):
    """Maps of three sizes, enlarged between pixels and joined, as semantic segmenters do; a map goes out."""

    def __init__(self):
        super().__init__()
        conv = lambda a, b, s=1: nn.Sequential(nn.Conv2d(a, b, 3, s, 1), nn.BatchNorm2d(b), nn.ReLU())
        self.a, self.b, self.c = conv(3, 16, 2), conv(16, 32, 2), conv(32, 32, 2)
        self.merge, self.last = conv(80, 24), nn.Conv2d(24, 5, 1)

    def forward(self, x):
        between = nn.functional.interpolate
        a = self.a(x)
        b = self.b(a)
        c = self.c(b)
        parts = [a, between(b, size=a.shape[2:], mode="bilinear"), between(c, scale_factor=4, mode="bilinear", align_corners=True)]
        return between(self.last(self.merge(torch.cat(parts, 1))), scale_factor=2, mode="bilinear")


class UNet(nn.Module):
    """Transposed convolutions, joins, dilated and oblong kernels, PReLU."""

    def __init__(self):
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.PReLU(16), nn.Conv2d(16, 16, 3, padding=2, dilation=2), nn.ELU())
        self.b = nn.Sequential(
            nn.MaxPool2d(2), nn.Conv2d(16, 32, (1, 5), padding=(0, 2)), nn.Conv2d(32, 32, (5, 1), padding=(2, 0)), nn.Mish()
        )
        self.up = nn.ConvTranspose2d(32, 16, 2, 2)
        self.c = nn.Sequential(nn.Conv2d(32, 16, 3, padding=1), nn.LeakyReLU(0.1), nn.Conv2d(16, 4, 1))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
        with torch.no_grad():
            self.a[1].weight.uniform_(0.05, 0.4)

    def forward(self, x):
        a = self.a(x)
        return self.head(self.c(torch.cat([a, self.up(self.b(a))], 1)))


def networks():
    """Name, how it is built, size of its images."""
    found = {
        "unet": (UNet, 64),
        "yolo": (Yolo, 64),
        "detector": (lambda: Yolo(2), 64),
        "joined": (lambda: Yolo(2, True), 64),
        "segmenter": (Segmenter, 64),
    }
    try:
        from torchvision import models
    except ImportError:
        print("torchvision is not there: only the small networks")
        return found
    names = """alexnet vgg16 vgg16_bn resnet18 resnet50 resnext50_32x4d wide_resnet50_2 mobilenet_v2 mobilenet_v3_small
        efficientnet_b0 regnet_y_400mf mnasnet1_0 densenet121 squeezenet1_1 googlenet shufflenet_v2_x1_0 convnext_tiny"""
    more = {"googlenet": {"aux_logits": False, "init_weights": False}}
    for name in names.split():
        found[name] = (lambda name=name: getattr(models, name)(weights=None, **more.get(name, {})), 224)
    ssd = models.detection.ssdlite320_mobilenet_v3_large
    found["ssdlite320_mobilenet_v3_large"] = (lambda: Heads(ssd(weights=None, weights_backbone=None)), 320)
    return found


def lively(net):
    """Random weights whose signals neither vanish nor grow, and norms with statistics of their own."""
    torch.manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.7, 1.4)
        # A detector's own are smaller: with these, 64 and 32 bits of PyTorch itself differ by 1e-4.
        elif isinstance(module, (nn.Conv2d, nn.Linear)) and not isinstance(net, Heads):
            nn.init.kaiming_normal_(module.weight)
    return net.eval()


def light(out):
    """Real architectures that come with the onnx package, with weights filled in and without the softmax at their ends."""
    for path in sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx")):
        model = onnx.load(path)
        graph, random = model.graph, np.random.default_rng(1)
        shapes = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
        readers = {name: (node.op_type, at) for node in graph.node for at, name in enumerate(node.input)}
        kept = []
        for node in graph.node:
            if node.op_type != "ConstantOfShape":
                kept.append(node)
                continue
            shape = [int(n) for n in shapes[node.input[0]]]
            match readers[node.output[0]]:
                case ("Conv" | "Gemm", 1):
                    values = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
                case ("BatchNormalization", 1 | 4) | ("Unsqueeze", _):
                    values = random.uniform(0.6, 1.3, shape)
                case _:
                    values = random.uniform(-0.1, 0.1, shape)
            graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.float32), node.output[0]))
        if kept[-1].op_type == "Softmax":
            graph.output[0].name = kept.pop().input[0]
        del graph.node[:]
        graph.node.extend(kept)
        filled = out / path.name
        onnx.save(model, filled)
        yield path.stem, filled


def run(session, images):
    image = session.get_inputs()[0]
    if isinstance(image.shape[0], int) and image.shape[0] < len(images):
        return np.concatenate([run(session, images[i : i + 1]) for i in range(len(images))])
    outputs = session.run(None, {image.name: images})
    return np.concatenate([output.reshape(len(images), -1) for output in outputs], 1)


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def milliseconds(sessions, images):
    """Processor time of each on one thread, in turns, so that other work on the machine counts for none or for all of them."""
    times = []
    while len(times) < 4 or (np.sum(times) < 2 and len(times) < 60):
        turn = []
        for of in sessions:
            start = time.process_time()
            run(of, images)
            turn.append(time.process_time() - start)
        times.append(turn)
    return 1e3 * np.median(times[1:], 0)


def off(got, want):
    return float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-6))


def main(secateur, helper, out, wanted):
    out = Path(out)
    failed = []

    def call(program, *args):
        done = subprocess.run([program, *map(str, args)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{args[0]}: {done.stderr.strip()[-1500:]}")
        return done.stdout.strip()

    if len(EXPORTERS) == 1:
        print("onnxscript is not there: only what is exported by tracing")
    files = dict(light(out)) if not wanted or any(name.startswith("light_") for name in wanted) else {}
    for name, (build, size) in [*networks().items(), *((name, (path, 224)) for name, path in files.items())]:
        if wanted and name not in wanted:
            continue
        pixels = np.random.default_rng(1).standard_normal((4, 3, size, size), np.float32)
        pixels.tofile(out / "pixels")

        def logits(model, pixels=pixels):
            call(helper, "logits", model, out / "pixels", out / "logits")
            return np.fromfile(out / "logits", np.float32).reshape(len(pixels), -1)

        for exporter in ("file",) if name in files else EXPORTERS:
            label = f"{name} ({exporter})"
            path, model, back, cut, small = (
                out / f"{name}{end}" for end in (".onnx", ".safetensors", ".back.onnx", ".cut.safetensors", ".small.onnx")
            )
            try:
                if exporter == "file":
                    path = build
                else:
                    export(lively(build()), path, size, exporter)
                call(secateur, "import", path, "--to", model)
                ours = logits(model)
                differences = [off(ours, run(session(path), pixels))]
                call(secateur, "export", model, "--to", back)
                differences.append(off(run(session(back), pixels), ours))
                left = call(helper, "halve", model, cut, MULTIPLE)
                call(secateur, "export", cut, "--to", small)
                differences.append(off(run(session(small), pixels), logits(cut)))
                times = ""
                for n in (1, 32):
                    batch = np.resize(pixels, (n, *pixels.shape[1:]))
                    before, after = milliseconds([session(path), session(small)], batch)
                    times += f"batch {n}: {before:.1f} ms, pruned {after:.1f} ms, {before / after:.2f} times as fast; "
                good = max(differences) <= TOLERANCE
                came, went, pruned = differences
                print(f"{label}: in {came:.0e}, out {went:.0e}, pruned {pruned:.0e}; {left}; {times}", "" if good else "FAILED", flush=True)
                if not good:
                    failed.append(label)
            except Exception as e:  # One network's failure must not hide the next one's.
                failed.append(label)
                print(f"{label}: FAILED: {str(e)[:1500]}", flush=True)
    if failed:
        sys.exit(f"{len(failed)} failed: {', '.join(failed)}")


def export(net, path, size, exporter):
    example = torch.randn(2, 3, size, size)
    outputs = net(example)
    outputs = [f"y{i}" for i in range(len(outputs))] if isinstance(outputs, tuple) else ["y"]
    names = {"input_names": ["x"], "output_names": outputs}
    if exporter == "trace":
        axes = {name: {0: "n"} for name in ["x", *outputs]}
        torch.onnx.export(net, (example,), path, dynamo=False, opset_version=17, dynamic_axes=axes, **names)
    else:
        batch = torch.export.Dim("n")
        torch.onnx.export(net, (example,), path, dynamo=True, dynamic_shapes=({0: batch},), verbose=False, **names)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
