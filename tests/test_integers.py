"""Integer networks: the runtime equals the page's arithmetic to the bit, and torch's fake quantization
within a step.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyrt_reader
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

import converters
import pyruntime
from bench.nets import ResNetCifar
from converters.compress import quantize
from pyruntime import _core

Floats = npt.NDArray[np.float32]
ISAS = _core.available_isas()


class Fake(nn.Module):
    """torch's fake quantization of an activation, with numbers of our choice."""

    def __init__(self, scale: float = 0.05, zero: int = 128, low: int = 0, high: int = 255) -> None:
        super().__init__()
        self.arguments = scale, zero, low, high

    def forward(self, x: Tensor) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(x, *self.arguments)


class Rows(nn.Module):
    """Parametrization: weights on a grid per row, integers from -`most` to `most`."""

    def __init__(self, rows: int, most: int) -> None:
        super().__init__()
        self.most = most
        self.register_buffer("scale", torch.linspace(0.4, 1.6, rows) * 0.2 / most)
        self.register_buffer("zero", torch.zeros(rows, dtype=torch.int32))

    def forward(self, w: Tensor) -> Tensor:
        low = -128 if self.most == 127 else -self.most
        return torch.fake_quantize_per_channel_affine(w, self.scale, self.zero, 0, low, self.most)


def on_grid(layer: nn.Module, most: int = 64) -> nn.Module:
    """`layer` with random weights that reach the ends of the grid."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    with torch.no_grad():
        weight.uniform_(-0.3, 0.3)
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", Rows(len(weight), most))
    return layer


class Net(nn.Module):
    """function(x, *parts)."""

    def __init__(self, function: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.parts)


def chain(*parts: nn.Module) -> nn.Module:
    return nn.Sequential(*parts)


def conv(c: int, m: int, k: int | tuple[int, int] = 3, most: int = 64, **options: Any) -> nn.Module:
    return on_grid(nn.Conv2d(c, m, k, **options), most)


IMAGE = (3, 8, 9, 10)
# name: module, shape of x, ops that must be in the file
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], set[str]]] = {
    "linear": (lambda: chain(Fake(), on_grid(nn.Linear(19, 21)), Fake()), (5, 19), {"qlinear"}),
    "linear_to_float": (lambda: chain(Fake(), on_grid(nn.Linear(19, 21))), (33, 19), {"qlinear"}),
    "linear_one": (
        lambda: chain(Fake(), on_grid(nn.Linear(130, 50, bias=False)), Fake(0.1, 0)),
        (1, 130),
        {"qlinear"},
    ),
    "linear_tokens": (lambda: chain(Fake(), on_grid(nn.Linear(16, 8)), Fake()), (2, 7, 16), {"qlinear"}),
    "conv": (lambda: chain(Fake(), conv(8, 13, padding=1), nn.ReLU(), Fake(0.02, 0)), IMAGE, {"qconv2d"}),
    "conv_1x1": (lambda: chain(Fake(), conv(8, 16, 1), nn.ReLU6(), Fake(0.02, 3)), IMAGE, {"qconv2d"}),
    "conv_wide": (lambda: chain(Fake(), conv(8, 16, most=127, padding=1), Fake()), IMAGE, {"qconv2d"}),
    "conv_narrow": (lambda: chain(Fake(), conv(8, 16, most=7, padding=1), Fake()), IMAGE, {"qconv2d"}),
    "conv_3_channels": (
        lambda: chain(Fake(0.01, 255), conv(3, 6, padding=2), Fake()),
        (2, 3, 9, 10),
        {"qconv2d"},
    ),
    "conv_strided": (lambda: chain(Fake(), conv(8, 12, stride=2, padding=1), Fake()), IMAGE, {"qconv2d"}),
    "conv_1x1_strided": (lambda: chain(Fake(), conv(8, 12, 1, stride=2), Fake()), IMAGE, {"qconv2d"}),
    "conv_5x2_dilated": (
        lambda: chain(Fake(0.03, 0), conv(8, 12, (5, 2), stride=(1, 3), padding=(3, 1), dilation=2), Fake()),
        IMAGE,
        {"qconv2d"},
    ),
    "conv_grouped": (lambda: chain(Fake(), conv(8, 24, padding=1, groups=2), Fake()), IMAGE, {"qconv2d"}),
    "conv_to_float": (
        lambda: chain(Fake(), conv(8, 7, padding=1), nn.Softmax(1)),
        IMAGE,
        {"qconv2d", "softmax"},
    ),
    "conv_in_groups_of_two": (
        lambda: chain(Fake(), conv(8, 8, groups=4), Fake()),
        IMAGE,
        {"conv2d", "dequantize"},
    ),
    "batch_norm_behind": (lambda: chain(Fake(), conv(8, 8), nn.BatchNorm2d(8), Fake()), IMAGE, {"qconv2d"}),
    "depthwise": (
        lambda: chain(Fake(), conv(8, 8, padding=1, groups=8), nn.ReLU(), Fake()),
        IMAGE,
        {"qconv2d"},
    ),
    "depthwise_wide": (
        lambda: chain(Fake(), conv(8, 8, most=127, padding=1, groups=8), Fake()),
        IMAGE,
        {"qconv2d"},
    ),
    "depthwise_5x5_strided": (
        lambda: chain(Fake(0.05, 255), conv(6, 6, 5, stride=2, padding=2, groups=6), Fake()),
        (2, 6, 11, 12),
        {"qconv2d"},
    ),
    "depthwise_residual": (
        lambda: Net(lambda x, f, c, g: g(c(f(x)) + f(x)), Fake(), conv(8, 8, padding=1, groups=8), Fake()),
        IMAGE,
        {"qconv2d"},
    ),
    "residual": (
        lambda: Net(
            lambda x, f, c, g: g(F.relu(c(f(x)) + f(x))), Fake(), conv(8, 8, padding=1), Fake(0.07, 0)
        ),
        IMAGE,
        {"qconv2d"},
    ),
    "add": (
        lambda: Net(
            lambda x, f, a, b, g: g(F.relu(a(F.max_pool2d(f(x), 2)) + b(F.max_pool2d(f(x), 2)))),
            *(Fake(), chain(conv(8, 8, 1), Fake(0.03)), chain(conv(8, 8, 1), Fake(0.04, 7)), Fake(0.04, 0)),
        ),
        IMAGE,
        {"qconv2d", "qadd", "pool2d"},
    ),
    "max_pool": (
        lambda: chain(Fake(0.04, 200), nn.MaxPool2d(3, 2, 1, ceil_mode=True), conv(8, 8), Fake()),
        IMAGE,
        {"pool2d", "qconv2d"},
    ),
    "max_pool_dilated": (
        lambda: chain(Fake(), nn.MaxPool2d((2, 3), (1, 2), (1, 1), (2, 1)), conv(8, 8), Fake()),
        IMAGE,
        {"pool2d", "qconv2d"},
    ),
    "mean": (
        lambda: chain(
            Fake(), nn.AdaptiveAvgPool2d(1), Fake(0.02), nn.Flatten(), on_grid(nn.Linear(8, 5)), Fake()
        ),
        IMAGE,
        {"qmean", "reshape", "qlinear"},
    ),
    "mean_of_large": (
        lambda: chain(
            Fake(1e-4, 20),
            nn.AdaptiveAvgPool2d(1),
            Fake(1e-4),
            nn.Flatten(),
            on_grid(nn.Linear(5, 4)),
            Fake(),
        ),
        (1, 5, 31, 37),
        {"qmean", "reshape", "qlinear"},
    ),
    "mean_of_axes": (
        lambda: Net(
            lambda x, f, g, fc: fc(g(f(x).mean((2, 3)))), Fake(), Fake(0.01, 90), on_grid(nn.Linear(8, 5))
        ),
        IMAGE,
        {"qmean", "reshape", "qlinear"},
    ),
    "flatten": (
        lambda: chain(Fake(), nn.Flatten(), on_grid(nn.Linear(720, 10)), Fake()),
        IMAGE,
        {"reshape", "qlinear"},
    ),
    "table": (
        lambda: chain(Fake(), nn.Hardswish(), Fake(0.03, 10), conv(8, 8), Fake()),
        IMAGE,
        {"qtable", "qconv2d"},
    ),
    "two_grids": (
        lambda: chain(Fake(), Fake(0.11, 100, 0, 200), conv(8, 8), Fake()),
        IMAGE,
        {"qtable", "qconv2d"},
    ),
    "four_bits": (
        lambda: chain(Fake(0.4, 8, 0, 15), conv(8, 8), nn.ReLU(), Fake(0.3, 0, 0, 15)),
        IMAGE,
        {"qconv2d"},
    ),
    "signed": (
        lambda: chain(Fake(0.05, 0, -128, 127), conv(8, 8), Fake(0.05, -3, -128, 127)),
        IMAGE,
        {"qconv2d"},
    ),
    "concat": (
        lambda: Net(
            lambda x, f, a, b, g: g(torch.cat([a(f(x)), f(x), b(f(x))], 1)),
            *(Fake(), chain(conv(8, 8, 1), Fake()), chain(conv(8, 4, 1), Fake()), conv(20, 4)),
        ),
        IMAGE,
        {"concat", "qconv2d"},
    ),
    "concat_odd": (
        lambda: Net(
            lambda x, f, a, b, g: g(torch.cat([a(f(x)), b(f(x)), f(x)], 1)),
            *(
                Fake(),
                chain(conv(8, 6, 1), Fake(0.02)),
                chain(conv(8, 5, 1), Fake()),
                chain(Fake(), conv(19, 4, padding=1)),
            ),
        ),
        IMAGE,
        {"concat", "qconv2d", "qtable"},
    ),
    "concat_rows": (
        lambda: Net(lambda x, f, c: c(torch.cat([f(x), f(x)], 2)), Fake(), conv(8, 4, padding=1)),
        IMAGE,
        {"concat", "qconv2d"},
    ),
    "slice": (
        lambda: Net(lambda x, f, c: c(f(x)[:, 4:8, ::2, 1:]), Fake(), conv(4, 4, padding=1)),
        IMAGE,
        {"slice", "qconv2d"},
    ),
    "slice_odd": (
        lambda: Net(lambda x, f, c: c(f(x)[:, 1::2]), Fake(), conv(4, 4)),
        IMAGE,
        {"slice", "qconv2d"},
    ),
    "pad": (
        lambda: Net(lambda x, f, c: c(F.pad(f(x), (1, 0, 2, 1, 3, 2))), Fake(0.05, 77), conv(13, 4)),
        IMAGE,
        {"pad", "qconv2d"},
    ),
    "only_fake": (lambda: chain(Fake(), nn.Sigmoid()), IMAGE, {"quantize", "dequantize", "unary"}),
}


FLOAT_AT_THE_END = {"conv_to_float", "conv_in_groups_of_two", "only_fake"}


def convert(module: nn.Module, x: Tensor, path: Path) -> pyrt_reader.File:
    converters.convert(module, x, path, progress=False)
    return pyrt_reader.read(path)


def on_every_isa(path: Path, x: Floats, monkeypatch: pytest.MonkeyPatch, exact: bool = True) -> Floats:
    """The output, which must be the same bytes on all instruction sets."""
    outputs = []
    for isa in ISAS:
        monkeypatch.setenv("PYRUNTIME_ISA", isa)
        with pyruntime.load(path, threads=2) as model:
            assert model.isa == isa
            outputs.append(model.infer(x))
    for isa, y in zip(ISAS, outputs, strict=True):
        if exact:
            np.testing.assert_array_equal(y, outputs[0], err_msg=isa)
    return outputs[0]


@pytest.mark.parametrize("name", CASES)
def test_to_the_bit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    make, shape, kinds = CASES[name]
    module, x = make().eval(), 4 * torch.randn(shape)
    file = convert(module, x, tmp_path / "net.pyrt")
    assert kinds <= {op.kind for op in file.ops}
    y = on_every_isa(tmp_path / "net.pyrt", x.numpy(), monkeypatch, exact=name not in FLOAT_AT_THE_END)
    (expected,) = pyrt_reader.run(file, x.numpy()).values()
    if name in FLOAT_AT_THE_END:
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    else:
        np.testing.assert_array_equal(y, expected)
    # torch rounds sums of floats: seldom to a neighbour on the last grid, and what later layers make of that.
    with torch.no_grad():
        fake = module(x).numpy()
    scale = np.abs(fake).max()
    assert np.median(np.abs(y - fake)) <= 1e-5 * scale
    np.testing.assert_allclose(y, fake, rtol=0, atol=0.07 * scale)


def test_extremes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All weights at an end, all inputs at an end: where 16-bit arithmetic would saturate."""
    for most, sign in ((127, 1), (127, -1), (64, 1), (64, -1)):
        layer = on_grid(nn.Conv2d(64, 16, 3, padding=1), most)
        with torch.no_grad():
            layer.parametrizations.weight.original.fill_(sign * 9.0)  # type: ignore[union-attr, operator]
        module = chain(Fake(1.0, 0), layer, Fake(200.0, 128)).eval()
        x = torch.full((2, 64, 5, 6), 1000.0)
        x[1] = 0
        file = convert(module, x, tmp_path / "net.pyrt")
        y = on_every_isa(tmp_path / "net.pyrt", x.numpy(), monkeypatch)
        np.testing.assert_array_equal(y, pyrt_reader.run(file, x.numpy())["output"])
        with torch.no_grad():
            np.testing.assert_allclose(y, module(x).numpy(), rtol=0, atol=200)


def test_any_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = chain(
        Fake(), conv(8, 16, padding=1), nn.ReLU(), Fake(0.03, 0), conv(16, 16, stride=2), Fake()
    ).eval()
    file = convert(module, torch.randn(IMAGE), tmp_path / "net.pyrt")
    with pyruntime.load(tmp_path / "net.pyrt") as model:
        for batch in (1, 2, 17):
            x = np.random.default_rng(batch).standard_normal((batch, *IMAGE[1:])).astype(np.float32)
            np.testing.assert_array_equal(model.infer(x), pyrt_reader.run(file, x)["output"])


def test_quantize_dequantize_pairs(tmp_path: Path) -> None:
    """The ops that torch.ao's PT2E flow leaves in an exported program."""
    import torch.ao.quantization.fx._decomposed

    ops = torch.ops.quantized_decomposed

    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("w", torch.randint(-127, 128, (6, 8, 3, 3), dtype=torch.int8))
            self.register_buffer("s", torch.linspace(0.001, 0.003, 6))
            self.register_buffer("z", torch.zeros(6, dtype=torch.int64))

        def forward(self, x: Tensor) -> Tensor:
            q = ops.quantize_per_tensor(x, 0.05, -5, -128, 127, torch.int8)
            x = ops.dequantize_per_tensor(q, 0.05, -5, -128, 127, torch.int8)
            w = ops.dequantize_per_channel(self.w, self.s, self.z, 0, -127, 127, torch.int8)
            y = F.relu(F.conv2d(x, w))
            q = ops.quantize_per_tensor(y, 0.02, 0, 0, 255, torch.uint8)
            return ops.dequantize_per_tensor(q, 0.02, 0, 0, 255, torch.uint8)

    torch.manual_seed(0)
    module, x = Pairs().eval(), torch.randn(IMAGE)
    file = convert(module, x, tmp_path / "net.pyrt")
    assert [op.kind for op in file.ops] == ["quantize", "qconv2d", "dequantize"]
    with pyruntime.load(tmp_path / "net.pyrt") as model:
        y = model.infer(x.numpy())
    np.testing.assert_array_equal(y, pyrt_reader.run(file, x.numpy())["output"])
    assert np.abs(y - module(x).numpy()).max() <= 0.021


def test_a_scale_per_channel_of_an_activation_is_refused(tmp_path: Path) -> None:
    class PerChannel(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fake_quantize_per_channel_affine(
                x, torch.ones(8), torch.zeros(8, dtype=torch.int32), 1, 0, 255
            )

    with pytest.raises(converters.ConvertError, match="fake_quantize_per_channel"):
        converters.convert(PerChannel(), torch.randn(IMAGE), tmp_path / "net.pyrt", progress=False)


def cifar(folder: Path, name: str) -> tuple[Tensor, npt.NDArray[Any]]:
    """Images as the net takes them, and their labels."""
    data = np.load(folder / name)
    images = next(data[key] for key in data if data[key].ndim == 4).astype(np.float32) / 255
    labels = next(data[key] for key in data if data[key].ndim == 1)
    mean, std = np.float32((0.485, 0.456, 0.406)), np.float32((0.229, 0.224, 0.225))
    return torch.from_numpy(((images - mean) / std).transpose(0, 3, 1, 2).copy()), labels


@pytest.mark.parametrize(("bits", "points"), [(7, 0.5), (5, 1.0)])
def test_resnet20(bits: int, points: float, data_dir: Path, tmp_path: Path) -> None:
    """A trained net on real images: all of it in integers, as accurate as in float within `points` per
    cent.
    """
    folder = data_dir / "cifar10"
    module = ResNetCifar().eval()
    module.load_state_dict(load_file(folder / "resnet20_cifar10.safetensors"), strict=False)
    calibration, _ = cifar(folder, "cifar10_train_lossless_2000.npz")
    integers = quantize(module, calibration[:512].split(64), weight_bits=bits, progress=False)
    file = convert(integers, calibration[:2], tmp_path / "net.pyrt")
    moves = {"slice", "pad", "reshape"}
    assert {op.kind for op in file.ops} == {"quantize", "qconv2d", "qmean", "qlinear"} | moves
    x, labels = cifar(folder, "cifar10_test_jpegq75_2000.npz")
    with pyruntime.load(tmp_path / "net.pyrt") as model:
        y = np.concatenate([model.infer(part.numpy()) for part in x.split(100)])
    np.testing.assert_array_equal(y[:3], pyrt_reader.run(file, x[:3].numpy())["output"])
    logits = np.load(folder / "resnet20_fp32_logits_test2000.npz")
    (reference,) = (logits[key] for key in logits if logits[key].shape == (2000, 10))
    lost = 100 * ((reference.argmax(1) == labels).mean() - (y.argmax(1) == labels).mean())
    print(f"{bits} bits: {lost:+.2f} points lost, {(tmp_path / 'net.pyrt').stat().st_size:,} bytes")
    assert lost <= points
