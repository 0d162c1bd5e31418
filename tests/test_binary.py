"""Binary networks: the runtime equals the page's arithmetic to the bit on all instruction sets, and torch
within the rounding of floats.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyrt_reader
import pytest
import torch
from test_integers import Net, on_every_isa
from torch import Tensor, nn
from torch.nn import functional as F

import converters
import pyruntime
from converters.compress import BinaryConv2d, BinaryLinear, RPReLU, Sign, binary, clip_latent


def conv(c: int, m: int, k: int | tuple[int, int] = 3, **options: Any) -> BinaryConv2d:
    return BinaryConv2d(c, m, k, **({"sign": Sign(), "bias": False} | options))


def linear(k: int, m: int, **options: Any) -> BinaryLinear:
    return BinaryLinear(k, m, **({"sign": Sign(), "bias": False} | options))


def norm(channels: int, kind: type[nn.Module] = nn.BatchNorm2d) -> nn.Module:
    layer = kind(channels)
    with torch.no_grad():
        layer.running_mean.uniform_(-6, 6)  # type: ignore[operator, union-attr]
        layer.running_var.uniform_(1, 60)  # type: ignore[operator, union-attr]
        layer.weight.uniform_(-1, 1)  # type: ignore[operator, union-attr]
        layer.weight[0] = 0  # type: ignore[index]
        layer.bias.uniform_(-0.5, 0.5)  # type: ignore[operator, union-attr]
    return layer


class Comparison(nn.Module):
    """Signs as people write them."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


chain = nn.Sequential
IMAGE = (2, 40, 9, 10)
BITS, FLOATS = {"binarize", "bconv2d"}, {"conv2d"}
# name: module, shape of x, ops that must be in the file
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], set[str]]] = {
    "conv": (lambda: conv(40, 70), IMAGE, BITS),
    "conv_bias": (lambda: conv(40, 33, bias=True, padding=1), IMAGE, BITS),
    "conv_padded_one": (lambda: conv(40, 70, padding=1, pad_value=1), IMAGE, BITS),
    "conv_padded_minus_one": (lambda: conv(40, 70, padding=(2, 1), pad_value=-1), IMAGE, BITS),
    "conv_strided": (lambda: conv(40, 70, padding=1, stride=2), IMAGE, BITS),
    "conv_1x1": (lambda: conv(40, 5, 1), IMAGE, BITS),
    "conv_1x1_strided": (lambda: conv(40, 64, 1, stride=2, scale="none"), IMAGE, BITS),
    "conv_5x2_dilated": (
        lambda: conv(40, 31, (5, 2), stride=(1, 3), padding=(4, 2), dilation=2, scale="learned"),
        IMAGE,
        BITS,
    ),
    "conv_all_padding": (lambda: conv(3, 8, 3, padding=4, dilation=3), (1, 3, 2, 2), BITS),
    "conv_groups": (lambda: conv(64, 66, padding=1, groups=2), (2, 64, 6, 7), BITS),
    "conv_groups_of_16": (lambda: conv(64, 64, padding=1, groups=4), (2, 64, 6, 7), {"binarize", *FLOATS}),
    "conv_one_channel": (lambda: conv(1, 1, padding=1), (1, 1, 5, 5), BITS),
    "bits_to_bits": (
        lambda: chain(
            conv(40, 70, padding=1), norm(70), conv(70, 96, padding=1, stride=2), norm(96), conv(96, 8)
        ),
        IMAGE,
        BITS,
    ),
    "bits_in_groups": (
        lambda: chain(conv(64, 128, groups=2, padding=1), norm(128), conv(128, 64, groups=4)),
        (2, 64, 7, 6),
        BITS,
    ),
    "hardtanh": (
        lambda: chain(conv(40, 64), norm(64), nn.Hardtanh(), conv(64, 64), nn.Hardtanh(0.5, 2), conv(64, 10)),
        IMAGE,
        BITS,
    ),
    "max_pool": (
        lambda: chain(
            nn.BatchNorm2d(40), Sign(), nn.MaxPool2d(3, 2, 1, ceil_mode=True), conv(40, 64, sign=None)
        ),
        IMAGE,
        {"binarize", "pool2d", "bconv2d"},
    ),
    "sign_of_max_pool": (
        lambda: chain(conv(40, 64), norm(64), nn.MaxPool2d(3, 2, 1, ceil_mode=True), conv(64, 8)),
        IMAGE,
        {"pool2d", *BITS},
    ),
    "less_of_max_pool": (
        lambda: chain(
            conv(40, 64),
            nn.MaxPool2d(2),
            Comparison(lambda x: torch.where(x < 0.5, 1.0, -1.0)),
            conv(64, 8, sign=None),
        ),
        IMAGE,
        {"pool2d", *BITS},
    ),
    "flatten": (
        lambda: chain(conv(40, 24), Sign(), nn.Flatten(), linear(24 * 56, 37, sign=None)),
        IMAGE,
        {"binarize", "bconv2d", "reshape", "blinear"},
    ),
    "linear": (lambda: linear(300, 70), (5, 300), {"binarize", "blinear"}),
    "linear_one": (
        lambda: chain(linear(301, 130), norm(130, nn.BatchNorm1d), linear(130, 10)),
        (1, 301),
        {"binarize", "blinear"},
    ),
    "linear_tokens": (lambda: chain(linear(64, 40), nn.GELU(), linear(40, 8)), (2, 7, 64), {"blinear"}),
    "bi_real": (
        lambda: Net(
            lambda x, c, n, d, m: m(d(n(c(x)) + x)) + x,
            conv(40, 40, padding=1),
            norm(40),
            conv(40, 40, 1),
            norm(40),
        ),
        IMAGE,
        BITS,
    ),
    "relu_before_norm": (
        lambda: Net(lambda x, c, n: n(F.relu(c(x))) + x, conv(40, 40, padding=1, pad_value=1), norm(40)),
        IMAGE,
        BITS,
    ),
    "react": (
        lambda: Net(
            lambda x, c, n, a: a(n(c(x)) + x),
            conv(40, 40, padding=1, sign=Sign(channels=40)),
            norm(40),
            RPReLU(40),
        ),
        IMAGE,
        BITS,
    ),
    "sign_read_twice": (
        lambda: Net(lambda x, s, c: c(s(x)) + s(x), Sign(), conv(40, 40, padding=1, sign=None)),
        IMAGE,
        {*BITS, "signs"},
    ),
    "greater": (
        lambda: chain(Comparison(lambda x: torch.where(x > 0.25, 1.0, -1.0)), conv(40, 8, sign=None)),
        IMAGE,
        BITS,
    ),
    "less": (
        lambda: chain(
            Comparison(lambda x: torch.where(x < 0, 1.0, -1.0)),
            conv(40, 8, padding=1, pad_value=1, sign=None),
        ),
        IMAGE,
        BITS,
    ),
    "as_float": (
        lambda: chain(Comparison(lambda x: (x >= 0).float() * 2 - 1), conv(40, 8, sign=None)),
        IMAGE,
        BITS,
    ),
    "heaviside": (
        lambda: chain(Comparison(lambda x: (x > 0.5).float()), conv(40, 8, sign=None)),
        IMAGE,
        {"binarize", "signs", *FLOATS},
    ),
    "torch_sign": (lambda: chain(nn.ReLU(), Comparison(torch.sign), conv(40, 8, sign=None)), IMAGE, FLOATS),
    "padded_in_float": (
        lambda: Net(
            lambda x, c: c(F.pad(torch.where(x >= 0, 1.0, -1.0), (1, 1, 1, 1), value=0.5)),
            conv(40, 8, sign=None),
        ),
        IMAGE,
        {"signs", *FLOATS},
    ),
}


def convert(module: nn.Module, x: Tensor, path: Path) -> pyrt_reader.File:
    converters.convert(module, x, path, progress=False)
    return pyrt_reader.read(path)


@pytest.mark.parametrize("name", CASES)
def test_to_the_bit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    make, shape, kinds = CASES[name]
    module, x = make().eval(), torch.randn(shape)
    file = convert(module, x, tmp_path / "net.pyrt")
    found = {op.kind for op in file.ops}
    assert kinds <= found
    assert "conv2d" in kinds or "conv2d" not in found
    exact = not {"conv2d", "unary", "linear", "affine"} & found and name != "linear_tokens"
    y = on_every_isa(tmp_path / "net.pyrt", x.numpy(), monkeypatch, exact)
    (expected,) = pyrt_reader.run(file, x.numpy()).values()
    if exact:
        np.testing.assert_array_equal(y, expected)
    with torch.no_grad():
        wanted = module(x).numpy()
    np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def twice(x: Tensor, sign: nn.Module, layer: nn.Module) -> Tensor:
    return layer(sign(x)) + x.mean()


def test_sign_of_max_pool_is_a_max_pool_of_bits(tmp_path: Path) -> None:
    """And not where -1 is the sign of the larger numbers, or where the maximum itself is read, too."""
    for name, kinds in (
        ("sign_of_max_pool", ["binarize", "bconv2d", "pool2d", "bconv2d"]),
        ("less_of_max_pool", ["binarize", "bconv2d", "pool2d", "binarize", "bconv2d"]),
    ):
        file = convert(CASES[name][0]().eval(), torch.randn(IMAGE), tmp_path / "net.pyrt")
        assert [op.kind for op in file.ops] == kinds
    both = Net(lambda x, p, s, c: twice(p(x), s, c), nn.MaxPool2d(2), Sign(), conv(40, 8, 1, sign=None))
    file = convert(both.eval(), torch.randn(IMAGE), tmp_path / "net.pyrt")
    assert [op.kind for op in file.ops][:3] == ["pool2d", "binarize", "bconv2d"]


def test_any_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = chain(conv(40, 70, padding=1), norm(70), conv(70, 9, padding=1)).eval()
    file = convert(module, torch.randn(IMAGE), tmp_path / "net.pyrt")
    assert [op.kind for op in file.ops] == ["binarize", "bconv2d", "bconv2d"]  # never float in between
    with pyruntime.load(tmp_path / "net.pyrt", threads=2) as model:
        for batch in (1, 2, 17):
            x = np.random.default_rng(batch).standard_normal((batch, *IMAGE[1:])).astype(np.float32)
            np.testing.assert_array_equal(model.infer(x), pyrt_reader.run(file, x)["output"])


@pytest.mark.parametrize("features", [1, 31, 32, 33, 64, 95])
def test_sign_of_zero_and_ties(features: int, tmp_path: Path) -> None:
    """Sums that are exactly the mean, inputs that are exactly 0: on the side of +1, as in torch."""
    layer = nn.BatchNorm1d(8, eps=1e-30)  # torch refuses 0
    with torch.no_grad():
        layer.running_mean.copy_(torch.arange(8.0) - 4)  # type: ignore[union-attr, operator]
        layer.weight.copy_(torch.tensor([1.0, -1.0] * 4))
    module = chain(linear(features, 8, scale="none"), layer, linear(8, 5, scale="none")).eval()
    generator = np.random.default_rng(features)
    x = generator.integers(-1, 2, (64, features)).astype(np.float32)
    file = convert(module, torch.from_numpy(x[:2]), tmp_path / "net.pyrt")
    assert [op.kind for op in file.ops] == ["binarize", "blinear", "blinear"]
    with pyruntime.load(tmp_path / "net.pyrt") as model, torch.no_grad():
        np.testing.assert_array_equal(model.infer(x), module(torch.from_numpy(x)).numpy())


def test_lfc(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trained binary network on MNIST: as accurate as published, and its sums are the reference's."""
    folder = data_dir / "mnist"
    net = np.load(folder / "lfc_w1a1_784_1024_1024_1024_10.npz")
    images = np.load(folder / "mnist_test_first5000.npz")
    pixels = next(images[k] for k in images if images[k].ndim == 3).reshape(5000, 784)
    labels = next(images[k] for k in images if images[k].ndim == 1)
    sizes = (784, 1024, 1024, 1024, 10)
    weights = [2.0 * np.unpackbits(net[f"w{i}"], axis=1)[:, :k] - 1 for i, k in enumerate(sizes[:-1])]
    layers: list[nn.Module] = [Comparison(lambda x: torch.where(x >= 128, 1.0, -1.0))]
    for i, weight in enumerate(weights):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        layer.weight.data = torch.from_numpy(weight.astype(np.float32))
        layers.append(layer)
        if i < 3:  # s matching bits are a sum of 2s - K
            shift = nn.BatchNorm1d(1024, eps=1e-30)  # torch refuses 0
            shift.running_mean = torch.from_numpy((2 * net[f"t{i}"] - weight.shape[1]).astype(np.float32))
            layers += [shift, Sign()]
    module = chain(*layers).eval()
    x = pixels.astype(np.float32)
    file = convert(module, torch.from_numpy(x[:3]), tmp_path / "lfc.pyrt")
    assert [op.kind for op in file.ops] == ["binarize"] + 4 * ["blinear"]
    on_every_isa(tmp_path / "lfc.pyrt", x[:100], monkeypatch)
    monkeypatch.delenv("PYRUNTIME_ISA")
    with pyruntime.load(tmp_path / "lfc.pyrt") as model:
        y = model.infer(x)
    state = (pixels >= 128).astype(np.float64)  # holds these sums exactly, and numpy multiplies them fast
    for i, weight in enumerate(weights):
        matching = (2 * state - 1) @ weight.T / 2 + weight.shape[1] / 2
        state = (matching >= net[f"t{i}"]).astype(np.float64) if i < 3 else matching
    np.testing.assert_array_equal(y, 2 * state - 1024)
    accuracy = 100 * float((y.argmax(1) == labels).mean())
    print(f"{accuracy:.2f} %, {(tmp_path / 'lfc.pyrt').stat().st_size:,} bytes")
    assert accuracy >= 97.7


# --- training ---


class InputScale(nn.Module):
    """A block of XNOR-Net with K, the mean size of the input under the kernel at each position."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv = norm(64), conv(64, 40, padding=1, sign=Sign())

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return self.conv(x) * F.avg_pool2d(x.abs().mean(1, keepdim=True), 3, 1, 1)


def test_input_scale_of_xnor_nets(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, x = InputScale().eval(), torch.randn(2, 64, 9, 7)
    file = convert(module, x, tmp_path / "net.pyrt")
    assert "bconv2d" in {op.kind for op in file.ops}
    with pyruntime.load(tmp_path / "net.pyrt") as model:
        np.testing.assert_allclose(model.infer(x.numpy()), module(x).detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("estimator", ["clip", "approx", "identity"])
def test_gradients_of_signs(estimator: Any) -> None:
    x = torch.tensor([-1.5, -0.75, -0.0, 0.25, 1.0, 2.0], requires_grad=True)
    y = Sign(estimator)(x)
    y.sum().backward()
    assert y.tolist() == [-1, -1, 1, 1, 1, 1]
    wanted = {"clip": [0, 1, 1, 1, 1, 0], "approx": [0, 0.5, 2, 1.5, 0, 0], "identity": [1] * 6}[estimator]
    assert x.grad is not None and x.grad.tolist() == wanted


def test_stochastic_signs() -> None:
    torch.manual_seed(0)
    sign, x = Sign(stochastic=True), torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0]).repeat(4000, 1)
    np.testing.assert_allclose(sign(x).mean(0), [-1, -0.5, 0, 0.5, 1], atol=0.05)
    np.testing.assert_array_equal(sign.eval()(x)[0], [-1, -1, 1, 1, 1])


def test_weights_on_their_sets() -> None:
    torch.manual_seed(0)
    for scale in ("mean", "learned", "none"):
        layer = conv(8, 6, scale=scale)
        latent = layer.parametrizations.weight.original  # type: ignore[union-attr]
        size = latent.abs().mean((1, 2, 3), keepdim=True) if scale != "none" else 1.0
        torch.testing.assert_close(layer.weight, torch.where(latent >= 0, 1.0, -1.0) * size)
    twn = linear(64, 6, weights="ternary")
    latent = twn.parametrizations.weight.original.detach()  # type: ignore[union-attr, operator]
    for row, w in zip(twn.weight.detach(), latent, strict=True):
        kept = w.abs() > 0.7 * w.abs().mean()
        torch.testing.assert_close(
            row, torch.where(kept, torch.sign(w) * w.abs()[kept].mean(), torch.zeros(64))
        )
    ttq = linear(64, 6, weights="ttq", sign=None)
    assert len(ttq.weight.unique()) == 3
    ttq(torch.randn(3, 64)).square().sum().backward()
    form = ttq.parametrizations.weight  # type: ignore[union-attr]
    assert all(p.grad is not None and p.grad.any() for p in form.parameters())  # type: ignore[union-attr]


def test_binary_replaces_layers() -> None:
    torch.manual_seed(0)
    plain = chain(
        nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Flatten(), nn.Linear(128, 4)
    )
    module = binary(copy.deepcopy(plain), ["1"], scale="learned", shift=True, pad_value=1)
    assert [isinstance(layer, BinaryConv2d) for layer in module] == [False, True, False, False]  # type: ignore[arg-type]
    form = module[1].parametrizations.weight  # type: ignore[union-attr, index]
    torch.testing.assert_close(form.original, plain[1].weight)
    torch.testing.assert_close(form[0].scale, plain[1].weight.abs().mean((1, 2, 3), keepdim=True))
    optimizer = torch.optim.SGD(module.parameters(), 500.0)
    module(torch.randn(2, 3, 4, 4)).square().sum().backward()
    optimizer.step()
    assert form.original.abs().max() > 1
    clip_latent(module)
    assert form.original.abs().max() == 1
    again = copy.deepcopy(plain)
    with pytest.raises(ValueError, match="'nope' is not a linear or conv2d layer"):
        binary(again, ["nope"])
    with pytest.raises(ValueError, match="pad_value must be"):
        binary(again, pad_value=2)
    with pytest.raises(ValueError, match="'1' has a parametrization already"):
        binary(module, ["1"])
