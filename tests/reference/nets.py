"""The zoo's networks as PyTorch modules, with random weights and norm statistics in which no number hides a mistake."""

import torch
from torch import nn


def randomize(net, seed):
    """Draws all that training would have changed."""
    torch.manual_seed(seed)
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.uniform_(module.bias, -0.3, 0.3)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return net.eval()


class Lenet5(nn.Module):
    def __init__(self, classes, width):
        super().__init__()
        a, b, hidden = (round(n * width) for n in (20, 50, 500))
        self.conv0, self.conv1 = nn.Conv2d(1, a, 5), nn.Conv2d(a, b, 5)
        self.hidden, self.classifier = nn.Linear(b * 16, hidden), nn.Linear(hidden, classes)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.conv0(x).relu(), 2)
        x = nn.functional.max_pool2d(self.conv1(x).relu(), 2)
        return self.classifier(self.hidden(x.flatten(1)).relu())


class NormedConv(nn.Conv2d):
    """A convolution whose norm is its member `norm`: the names our own files have."""

    def __init__(self, *args, pads, **kwargs):
        super().__init__(*args, bias=False, **kwargs)
        self.norm, self.pads = nn.BatchNorm2d(self.out_channels), pads

    def forward(self, x):
        return self.norm(super().forward(nn.functional.pad(x, self.pads))).relu()


class MCifarnet(nn.Module):
    """Eight convolutions; the first without padding, the others padded as TensorFlow's SAME, for even or odd sizes."""

    def __init__(self, classes, width, size):
        super().__init__()
        filters = [round(n * width) for n in (64, 64, 128, 128, 128, 192, 192, 192)]
        channels = [3, *filters]
        for i in range(8):
            stride = 2 if i in (2, 5) else 1
            if i == 0:
                pads, size = (0, 0, 0, 0), size - 2
            else:
                total = max((-(-size // stride) - 1) * stride + 3 - size, 0)
                pads, size = (total // 2, total - total // 2) * 2, -(-size // stride)
            setattr(self, f"conv{i}", NormedConv(channels[i], channels[i + 1], 3, stride=stride, pads=pads))
        self.classifier = nn.Linear(filters[-1], classes)

    def forward(self, x):
        for i in range(8):
            x = getattr(self, f"conv{i}")(x)
        return self.classifier(x.mean((2, 3)))


class Vgg16(nn.Module):
    """torchvision's names. `hidden` is none for the small head, or the width of two hidden layers on a map of 7×7."""

    def __init__(self, classes, width, hidden=None):
        super().__init__()
        layers, channels = [], 3
        for filters, convs in [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]:
            filters = round(filters * width)
            for _ in range(convs):
                layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU(True)]
                channels = filters
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        if hidden is None:
            self.classifier = nn.Linear(channels, classes)
        else:
            self.classifier = nn.Sequential(
                nn.Linear(channels * 49, hidden), nn.ReLU(True), nn.Dropout(),
                nn.Linear(hidden, hidden), nn.ReLU(True), nn.Dropout(),
                nn.Linear(hidden, classes),
            )

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class Block(nn.Module):
    """A basic block (two 3×3) or a bottleneck (1×1, 3×3, 1×1), torchvision's names."""

    def __init__(self, channels, filters, stride, bottleneck):
        super().__init__()
        out = 4 * filters if bottleneck else filters
        shapes = [(filters, 1, 1), (filters, 3, stride), (out, 1, 1)] if bottleneck else [(filters, 3, stride), (out, 3, 1)]
        self.depth, here = len(shapes), channels
        for i, (width, kernel, step) in enumerate(shapes, 1):
            setattr(self, f"conv{i}", nn.Conv2d(here, width, kernel, step, kernel // 2, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(width))
            here = width
        self.downsample = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = y.relu() if i < self.depth else y
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class Resnet(nn.Module):
    def __init__(self, classes, width, bottleneck, blocks, large_images=False):
        super().__init__()
        stem = round(64 * width)
        self.large_images = large_images
        self.conv1 = nn.Conv2d(3, stem, 7, 2, 3, bias=False) if large_images else nn.Conv2d(3, stem, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        channels = stem
        for stage, n in enumerate(blocks):
            filters, parts = round(64 * 2**stage * width), []
            # Our bottleneck rounds 4·filters once, as PyTorch's does when the width divides.
            for i in range(n):
                parts.append(Block(channels, filters, 2 if stage and i == 0 else 1, bottleneck))
                channels = 4 * filters if bottleneck else filters
            setattr(self, f"layer{stage + 1}", nn.Sequential(*parts))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        if self.large_images:
            x = nn.functional.max_pool2d(x, 3, 2, 1)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))


class Stranger(nn.Module):
    """What is in nobody's zoo: depthwise and grouped convolutions, ReLU6, odd strides, a flat norm, a view by size."""

    def __init__(self, classes):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, 3, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU6())
        self.depth = nn.Sequential(nn.Conv2d(12, 12, 5, 1, 2, groups=12), nn.BatchNorm2d(12), nn.ReLU6())
        self.point = nn.Sequential(nn.Conv2d(12, 12, 1, bias=False), nn.BatchNorm2d(12))
        self.pairs = nn.Conv2d(12, 8, 3, 2, 1, groups=4)
        self.pool = nn.AvgPool2d(2)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(8 * 3 * 3, 16, bias=False), nn.ReLU(), nn.Linear(16, classes))

    def forward(self, x):
        x = self.stem(x)
        x = x + self.point(self.depth(x))
        x = self.pool(self.pairs(x).relu())
        return self.head(x.view(x.size(0), -1))


def zoo():
    """name, architecture, network, shape of an image."""
    return [
        ("lenet5", "lenet5", Lenet5(10, 1.0), (1, 28, 28)),
        ("m-cifarnet", "m-cifarnet", MCifarnet(10, 0.5, 32), (3, 32, 32)),
        ("m-cifarnet of odd size", "m-cifarnet", MCifarnet(10, 0.25, 29), (3, 29, 29)),
        ("vgg16", "vgg16", Vgg16(10, 0.25), (3, 32, 32)),
        ("vgg16 of torchvision", "vgg16", Vgg16(10, 1 / 16, hidden=32), (3, 224, 224)),
        ("resnet18", "resnet18", Resnet(10, 0.25, False, [2, 2, 2, 2]), (3, 32, 32)),
        ("resnet18 of torchvision", "resnet18", Resnet(10, 0.25, False, [2, 2, 2, 2], True), (3, 96, 96)),
        ("resnet50", "resnet50", Resnet(10, 0.25, True, [3, 4, 6, 3]), (3, 32, 32)),
        ("resnet50 of torchvision", "resnet50", Resnet(10, 0.125, True, [3, 4, 6, 3], True), (3, 96, 96)),
    ]
