"""Weights of integer layers as CSR, as indices into a book, or both: the bits are those of dense s8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyrt_reader
import pytest
import torch
from test_integers import Fake, chain, on_every_isa
from torch import Tensor, nn

import converters
import pyruntime
from converters import tune
from converters.compress import BinaryConv2d, BinaryLinear, Sign, cluster, prune, quantize, quantize_dynamic

FORMS = {
    "csr+s8": "csr8+s8",
    "csr+s8+huffman": "csr8+s8+huffman",
    "csr+s8book": "csr8+s8book",
    "csr+s8book+huffman": "csr8+s8book",
    "panels+s8book": "dense+s8book",
    "panels+s8book+huffman": "dense+s8book",
}


class Grid(nn.Module):
    """Parametrization: the weight it was given, which is integers times a scale per row."""

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("zero", torch.zeros(len(scale), dtype=torch.int32))

    def forward(self, w: Tensor) -> Tensor:
        return torch.fake_quantize_per_channel_affine(w, self.scale, self.zero, 0, -128, 127)


def sparse(layer: nn.Module, zeros: float, values: int) -> nn.Module:
    """`layer` with so many of its integers 0, and the others of so many values, -128 and 127 among them."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    scale = torch.linspace(0.4, 1.6, len(weight)) * 0.002
    index = (torch.rand(weight.shape) ** 2 * values).long().clamp(max=values - 1)
    integers = torch.linspace(-128, 127, values).round()[index]
    integers[torch.rand(weight.shape) < zeros] = 0
    integers.view(-1)[:2] = torch.tensor([-128.0, 127.0])
    integers[1] = 0
    with torch.no_grad():
        weight.copy_(integers * scale.reshape(-1, *[1] * (weight.dim() - 1)))
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", Grid(scale))
    return layer


def net(zeros: float, values: int) -> nn.Module:
    """Three channels at first; a stride and groups of short panels; taps of 300 columns; a linear layer."""
    return chain(
        Fake(),
        sparse(nn.Conv2d(3, 24, 3, padding=1), zeros, values),
        nn.ReLU(),
        Fake(0.02, 0),
        sparse(nn.Conv2d(24, 40, 3, stride=2, padding=1, groups=2), zeros, values),
        Fake(),
        sparse(nn.Conv2d(40, 33, (1, 9), padding=(0, 4)), zeros, values),
        Fake(),
        nn.Flatten(),
        sparse(nn.Linear(33 * 20, 19), zeros, values),
        Fake(),
    ).eval()


@pytest.mark.parametrize("kind", FORMS)
def test_forms_to_the_bit(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    for zeros, values in ((0.8, 9), (0.9, 200)):  # indices of 4 bits and of 8
        module, x = net(zeros, values), 4 * torch.randn(7, 3, 8, 10)
        path = tmp_path / "net.pyrt"
        tune.write_as(module, x, kind, path, dynamic_batch=True)
        with pyruntime.load(path) as model:
            encodings = [layer.encoding for layer in model.profile(x.numpy()).layers if layer.encoding]
        assert all(e.startswith(FORMS[kind].removesuffix("+huffman")) for e in encodings), encodings
        coded = [e.endswith("+huffman") for e in encodings]
        assert any(coded) if kind.endswith("huffman") else not any(coded), encodings
        file = pyrt_reader.read(path)
        for batch in (1, 7):
            part = x[:batch].numpy()
            y = on_every_isa(path, part, monkeypatch)
            np.testing.assert_array_equal(y, pyrt_reader.run(file, part)["output"])


def test_wide_deltas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So few entries that fillers would cost more than columns of 16 bits."""
    torch.manual_seed(0)
    module, x = (
        chain(Fake(), sparse(nn.Linear(30_000, 20), 0.999, 150), Fake()).eval(),
        torch.randn(3, 30_000),
    )
    converters.convert(module, x, tmp_path / "net.pyrt", prefer="size", progress=False)
    file = pyrt_reader.read(tmp_path / "net.pyrt")
    assert file.tensors[0].streams[pyrt_reader.COLS].bits == 16
    y = on_every_isa(tmp_path / "net.pyrt", x.numpy(), monkeypatch)
    np.testing.assert_array_equal(y, pyrt_reader.run(file, x.numpy())["output"])


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 32, 3, padding=1)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.second, self.norm = nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64)
        self.fc, self.out = nn.Linear(64, 300), nn.Linear(300, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(self.first(x).relu()).relu()
        y = self.norm(self.second(y)).relu().mean((2, 3))
        return self.out(self.fc(y).relu())


def test_pruned_clustered_quantized(tmp_path: Path) -> None:
    """The whole road: the file gets smaller and its answers stay the same."""
    torch.manual_seed(0)
    x = torch.randn(16, 3, 12, 12)
    pruned = prune(Small().eval(), 0.9)
    for module, name in (
        (quantize(cluster(pruned, bits=4), [x]), "static"),
        (quantize_dynamic(nn.Sequential(nn.Linear(200, 300), nn.ReLU(), nn.Linear(300, 40))), "dynamic"),
    ):
        if name == "dynamic":
            x = torch.randn(5, 200)
        sizes, outputs = [], []
        for prefer in ("size", "speed"):
            path = tmp_path / f"{name}-{prefer}.pyrt"
            report = converters.convert(module, x, path, prefer=prefer, progress=False)  # type: ignore[arg-type]
            sizes.append(report.file_bytes)
            with pyruntime.load(path) as model:
                outputs.append(model.infer(x.numpy()))
        np.testing.assert_array_equal(*outputs)
        assert sizes[0] < sizes[1] * (0.5 if name == "static" else 1), (name, sizes)
        encodings = {layer.encoding for layer in report.layers}
        assert not any("csr" in e or "book" in e for e in encodings)  # speed


@pytest.mark.parametrize(("weights", "bits"), [("binary", 1), ("ternary", 2), ("ttq", 2)])
def test_binary_and_ternary_weights_times_u8(
    weights: str, bits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two and three values a row stay that through `quantize` and batch norm, and take 1 and 2 bits."""
    torch.manual_seed(0)
    module = chain(
        nn.Conv2d(3, 16, 3),
        nn.ReLU(),
        BinaryConv2d(16, 32, 3, bias=False, weights=weights),  # type: ignore[arg-type]
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        BinaryLinear(32 * 16, 64, weights=weights),  # type: ignore[arg-type]
        nn.ReLU(),
        nn.Linear(64, 10),
    ).eval()
    x = torch.randn(16, 3, 8, 8)
    quantized = quantize(module, [x], progress=False)
    converters.convert(quantized, x, tmp_path / "net.pyrt", prefer="size", progress=False)
    file = pyrt_reader.read(tmp_path / "net.pyrt")
    stored = {t.name: t for t in file.tensors}
    for name in ("2.weight", "6.weight"):
        assert stored[name].values == pyrt_reader.S8BOOK
        assert stored[name].streams[pyrt_reader.INDEX].bits == bits
    y = on_every_isa(tmp_path / "net.pyrt", x.numpy(), monkeypatch)
    np.testing.assert_array_equal(y, pyrt_reader.run(file, x.numpy())["output"])
    with torch.no_grad():
        close = quantized(x).numpy()
    assert np.abs(y - close).max() <= 0.02 * np.abs(close).max()


def test_quantize_leaves_layers_of_signs_to_bits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = chain(
        nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), BinaryConv2d(32, 32, 3, sign=Sign()), nn.BatchNorm2d(32),
        nn.ReLU(), nn.Conv2d(32, 8, 1),
    ).eval()  # fmt: skip
    x = torch.randn(8, 3, 9, 9)
    converters.convert(quantize(module, [x], progress=False), x, tmp_path / "net.pyrt", progress=False)
    kinds = {op.kind for op in pyrt_reader.read(tmp_path / "net.pyrt").ops}
    assert "bconv2d" in kinds and "qconv2d" in kinds


def test_quantize_refuses_padding_with_ones() -> None:
    module = chain(BinaryConv2d(8, 8, 3, padding=1, pad_value=1))
    with pytest.raises(ValueError, match="'0' is padded with 1; quantize needs zeros"):
        quantize(module, [torch.randn(1, 8, 5, 5)], progress=False)
