"""What compare.py runs: single layers of real nets, and whole nets, dense or pruned."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench import nets

# M, K, N of a product; N = 56*56 and so on are 1x1 convolutions of such a plane.
DENSE = (
    *((256, 64, 3136), (512, 128, 784), (1024, 256, 196), (2048, 512, 49)),
    *((3072, 768, 128), (768, 3072, 128), (4096, 4096, 1), (300, 784, 1), (300, 784, 64)),
)
PLANES = {3136: 56, 784: 28, 196: 14, 49: 7}
SPATIAL = ((64, 56), (128, 28), (256, 14), (512, 7))  # channels in and out, size of the plane
# height and width, channels, stride, kernel
DEPTHWISE = (
    *((112, 32, 1, 3), (112, 64, 2, 3), (56, 128, 1, 3), (28, 256, 1, 3), (14, 512, 1, 3), (7, 1024, 1, 3)),
    *((28, 240, 1, 5), (14, 672, 1, 5)),
)
# Products of bench/sparse.py, which has the 3x3 convolutions of SPATIAL too.
PRUNED = (
    *(
        (256, 64, 3136),
        (512, 128, 784),
        (1024, 256, 196),
        (2048, 512, 49),
        (3072, 768, 128),
        (768, 3072, 128),
    ),
    *((3072, 768, 16), (4096, 4096, 32), (300, 784, 64), (4096, 4096, 1), (3072, 768, 1), (300, 784, 1)),
)
FULL_SIZE = {"SqueezeNetV1_0": 227, "EfficientNetB3": 300, "InceptionV3": 299}
NETS = (
    *(nets.ResNet18, nets.ResNet50, nets.VGG16, nets.SqueezeNetV1_0, nets.SqueezeNetV1_1),
    *(nets.MobileNetV1, nets.MobileNetV2, nets.MobileNetV3Large, nets.MobileNetV3Small),
    *(nets.EfficientNetB0, nets.EfficientNetB3, nets.ShuffleNetV2, nets.GoogLeNet, nets.InceptionV3),
    *(nets.DenseNet121, nets.UNet, nets.ResNet20, nets.ResNet56, nets.LeNet5),
)
PRUNED_NETS = (nets.ResNet50, nets.MobileNetV1, nets.VGG16)
SMALL_NETS = {"ResNet20": (3, 32), "ResNet56": (3, 32), "LeNet5": (1, 28)}


@dataclass(frozen=True)
class Case:
    """A module to time, and the shape of its input. Groups have their own geometric mean."""

    name: str
    group: str
    make: Callable[[], nn.Module]
    input_shape: tuple[int, ...]


def layers(zeros: float) -> Iterator[Case]:
    """Layers of common nets; with `zeros`, products and spatial convolutions, pruned, and no others."""
    note = f" {zeros:.0%} zeros" if zeros else ""
    for m, k, n in DENSE:
        size = PLANES.get(n)
        shape = (1, k, size, size) if size else (n, k)
        yield Case(f"{m}x{k}x{n}{note}", f"dense{note}", _product(m, k, size, zeros), shape)
    for stride in (1, 2):
        for channels, size in SPATIAL:
            conv = _conv(channels, channels, 3, stride, 1, zeros)
            name = f"3x3/{stride} {channels}@{size}{note}"
            yield Case(name, f"3x3{note}", conv, (1, channels, size, size))
    if zeros:
        return
    yield Case("7x7/2 3->64@224", "3x3", _conv(3, 64, 7, 2, 1, 0), (1, 3, 224, 224))
    for size, channels, stride, kernel in DEPTHWISE:
        conv = _conv(channels, channels, kernel, stride, channels, 0)
        name = f"dw{kernel}x{kernel}/{stride} {channels}@{size}"
        yield Case(name, "depthwise", conv, (1, channels, size, size))


def pruned_layers(zeros: float) -> Iterator[Case]:
    """The layers of bench/sparse.py: products in the groups `gemm` and `one column`, and 3x3 convolutions."""
    for m, k, n in PRUNED:
        size = PLANES.get(n)
        shape = (1, k, size, size) if size else (n, k)
        yield Case(f"{m}x{k}x{n}", "gemm" if n > 1 else "one column", _product(m, k, size, zeros), shape)
    for channels, size in SPATIAL:
        conv = _conv(channels, channels, 3, 1, 1, zeros)
        yield Case(f"3x3 {channels}@{size}", "3x3", conv, (1, channels, size, size))


def whole_nets(zeros: float) -> Iterator[Case]:
    """All nets dense; with `zeros`, those of the pruning literature, their layers pruned."""
    for make in PRUNED_NETS if zeros else NETS:
        yield net_case(make, zeros)


def net_case(make: Callable[[], nn.Module], zeros: float) -> Case:
    """A whole net at batch 1 and full resolution."""
    name = make.__name__
    channels, size = SMALL_NETS.get(name, (3, FULL_SIZE.get(name, 224)))
    shape = (1, channels, size, size)
    note = f" {zeros:.0%} zeros" if zeros else ""
    return Case(f"{name}{note}", f"nets{note}", _net(make, shape, zeros), shape)


def _product(m: int, k: int, plane: int | None, zeros: float) -> Callable[[], nn.Module]:
    return lambda: prune(nn.Conv2d(k, m, 1) if plane else nn.Linear(k, m), zeros)


def _conv(
    inputs: int, outputs: int, kernel: int, stride: int, groups: int, zeros: float
) -> Callable[[], nn.Module]:
    return lambda: prune(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups), zeros)


def _net(make: Callable[[], nn.Module], shape: tuple[int, ...], zeros: float) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        net = nets.randomize(make(), torch.randn(shape, generator=torch.Generator().manual_seed(1)))
        for module in net.modules():
            if isinstance(module, nn.Linear) or (
                isinstance(module, nn.Conv2d) and module.in_channels > 3 and module.groups == 1
            ):
                prune(module, zeros)
        return net

    return build


@torch.no_grad()
def prune(layer: nn.Module, zeros: float) -> nn.Module:
    """Sets the smallest weights of a layer to zero, in place; returns it in eval mode."""
    weight = layer.weight
    if zeros:
        cut = weight.abs().flatten().kthvalue(round(zeros * weight.numel())).values
        weight[weight.abs() <= cut] = 0
    return layer.eval()


@torch.no_grad()
def share_values(layer: nn.Module, count: int) -> nn.Module:
    """Rounds the non-zeros of a layer to at most `count` evenly spaced values, in place; returns it."""
    weight = layer.weight
    scale = weight.abs().max() / (count // 2)
    grid = (weight / scale).round() * scale
    weight.copy_(torch.where((grid == 0) & (weight != 0), scale * weight.sign(), grid))
    return layer


def count_flops(module: nn.Module, x: Tensor) -> int:
    """2 x multiplications of the convolutions and linear layers, zeros counted."""
    total = 0

    def add(layer: nn.Module, _: object, y: Tensor) -> None:
        nonlocal total
        features = y.shape[1] if isinstance(layer, nn.Conv2d) else y.shape[-1]
        total += 2 * layer.weight.numel() * (y.numel() // features)

    counted = copy.deepcopy(module)
    for layer in counted.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(add)
    with torch.no_grad():
        counted(x)
    return total
