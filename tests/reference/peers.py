#!/usr/bin/env python3
"""The other side of `secateur bench`: the same work in PyTorch and ONNX Runtime, on random numbers, one JSON object a line.

  python tests/reference/peers.py infer  [--batch 1 64] [--threads 1 2]      dense inference, both
  python tests/reference/peers.py train  [--batch 64] [--threads 2]          dense steps, and FBS at d = 0.5 by masking
  python tests/reference/peers.py search [--threads 2]                       evaluations of masks on 1,000 images

Needs torch; for `infer` also onnx and onnxruntime. Take turns with `secateur bench`, on a machine that does nothing else.
"""
import argparse
import io
import itertools
import json
import resource
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F


def peak_mb():
    """The most memory this process has had, as Linux counts it, in kB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


LIBRARIES_MB = peak_mb()

# M-CifarNet (arXiv 1810.05331): filters, stride and padding of its 3x3 convolutions.
LAYERS = ((64, 1, 0), (64, 1, 1), (128, 2, 1), (128, 1, 1), (128, 1, 1), (192, 2, 1), (192, 1, 1), (192, 1, 1))


class Layer(nn.Module):
    """Convolution, norm, ReLU; with `keep`, the whole convolution under an FBS gate that lets so many channels through."""

    def __init__(self, inputs, filters, stride, padding, keep):
        super().__init__()
        self.conv = nn.Conv2d(inputs, filters, 3, stride, padding, bias=False)
        self.norm = nn.BatchNorm2d(filters, affine=keep is None)
        self.keep = keep
        if keep is not None:
            self.predictor = nn.Linear(inputs, filters)
            self.shift = nn.Parameter(torch.zeros(filters))

    def forward(self, x):
        y = self.norm(self.conv(x))
        if self.keep is None:
            return y.relu()
        saliency = self.predictor(x.abs().mean(dim=(2, 3))).relu()
        least = saliency.kthvalue(saliency.shape[1] - self.keep + 1, dim=1, keepdim=True).values
        wins = (saliency >= least).float()
        scale, shift = (saliency * wins)[..., None, None], (self.shift * wins)[..., None, None]
        return (y * scale + shift).relu()


class Network(nn.Module):
    def __init__(self, width, inputs, density=None):
        super().__init__()
        layers = []
        for filters, stride, padding in LAYERS:
            filters = int(filters * width)
            keep = None if density is None else -int(-filters * density // 1)
            layers.append(Layer(inputs, filters, stride, padding, keep))
            inputs = filters
        self.layers, self.classes = nn.ModuleList(layers), nn.Linear(inputs, 10)

    def forward(self, x, masks=()):
        for layer, mask in itertools.zip_longest(self.layers, masks):
            x = layer(x)
            if mask is not None:
                x = x * mask
        return self.classes(x.mean(dim=(2, 3)))


def say(work, seconds, images, **facts):
    """Median, 10th and 90th percentile of what `work` takes."""
    for _ in range(3):
        work()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 9 or time.perf_counter() < end:
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1e3)
    tenths = statistics.quantiles(times, n=10)
    median = statistics.median(times)
    rounded = {"median_ms": round(median, 3), "p10_ms": round(tenths[0], 3), "p90_ms": round(tenths[-1], 3)}
    print(json.dumps({**facts, **rounded, "images_per_s": round(images / median * 1e3, 1),
                      "peak_mb": peak_mb(), "libraries_mb": LIBRARIES_MB}), flush=True)


def infer(args, threads, batch):
    import onnxruntime

    net, x = Network(args.width, 3).eval(), torch.randn(batch, 3, 32, 32)
    with torch.inference_mode():
        say(lambda: net(x), args.seconds, batch, peer="torch", task="infer", batch=batch, threads=threads)
    file = io.BytesIO()
    torch.onnx.export(net, (x,), file, input_names=["x"], dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    feed = {"x": x.numpy()}
    say(lambda: session.run(None, feed), args.seconds, batch, peer="onnxruntime", task="infer", batch=batch, threads=threads)


def train(args, threads, batch):
    x, labels = torch.randn(batch, 3, 32, 32), torch.randint(10, (batch,))
    for density in (None, 0.5):
        net = Network(args.width, 3, density)
        descent = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)

        def step():
            descent.zero_grad()
            F.cross_entropy(net(x), labels).backward()
            descent.step()

        say(step, args.seconds, batch, peer="torch", task="train", batch=batch, threads=threads, density=density or 1.0)


def search(args, threads, batch):
    width = args.width / 2
    net, x = Network(width, 1).eval(), torch.randn(1000, 1, 28, 28)
    for times in (1, 4, 8):
        # Filters of all layers in one share: MACs go with its square.
        keep = times**-0.5
        chosen = [(torch.rand(layer.conv.out_channels) < keep).float() for layer in net.layers]
        masks = [mask[None, :, None, None] for mask in chosen]

        def by_outputs():
            return [net(part, masks).argmax(1) for part in x.split(batch)]

        masked = Network(width, 1).eval()

        def by_weights():
            for to, layer, mask in zip(masked.layers, net.layers, chosen):
                torch.mul(layer.conv.weight, mask[:, None, None, None], out=to.conv.weight)
                torch.mul(layer.norm.weight, mask, out=to.norm.weight)
            return [masked(part).argmax(1) for part in x.split(batch)]

        with torch.inference_mode():
            for name, work in (("outputs", by_outputs), ("weights", by_weights)):
                facts = {"peer": "torch", "task": "search", "batch": batch, "threads": threads, "macs_ratio": times}
                say(work, args.seconds, 1000, **facts, masks=name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["infer", "train", "search"])
    parser.add_argument("--width", type=float, default=1.0, help="search halves it")
    parser.add_argument("--batch", type=int, nargs="+", default=[64])
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    for threads, batch in itertools.product(args.threads, args.batch):
        torch.set_num_threads(threads)
        {"infer": infer, "train": train, "search": search}[args.task](args, threads, batch)


if __name__ == "__main__":
    main()
