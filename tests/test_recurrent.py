"""LSTM and GRU layers in whole models: lengths and batches from one file, compressed weights, refusals."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import converters
import pyruntime
from converters.compress import (
    cluster,
    half,
    product_quantize,
    prune,
    quant_noise,
    quantize_dynamic,
    quantize_weights,
    remove_quant_noise,
    share_layers,
)


class Speech(nn.Module):
    """Two recurrent layers over frames, and a classifier of the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(6, 24, batch_first=True, bidirectional=True)
        self.second = nn.GRU(48, 40, batch_first=True)
        self.head = nn.Linear(40, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, (_, c) = self.first(x)
        z, last = self.second(y)
        return self.head(z[:, -1]), c, last


SIZES = {0: Dim.AUTO(min=1, max=65535), 1: Dim.AUTO(min=1, max=4096)}


def test_any_length_and_batch_from_one_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Speech().eval()
    with torch.no_grad():
        module.second.weight_hh_l0 *= torch.rand(120, 40) > 0.8
        module.second.weight_ih_l0.copy_((module.second.weight_ih_l0 * 40).round() / 40)
    report = converters.convert(
        module,
        torch.randn(2, 7, 6),
        tmp_path / "net.pyrt",
        dynamic_shapes=(SIZES,),
        prefer="size",
        progress=False,
    )
    encodings = {layer.name: layer.encoding for layer in report.layers}
    assert encodings["second.weight_hh_l0"].startswith(("csr", "bcsr"))
    assert "codebook" in encodings["second.weight_ih_l0"]
    with pyruntime.load(tmp_path / "net.pyrt") as model:
        for batch, length in ((1, 1), (1, 50), (2, 33), (9, 3), (3, 16)):
            x = torch.randn(batch, length, 6)
            with torch.no_grad():
                expected = module(x)
            found = model.infer(x.numpy())
            assert isinstance(found, dict)
            for a, b in zip(expected, found.values(), strict=True):
                np.testing.assert_allclose(b, a, atol=1e-5)


def test_the_length_is_dynamic_for_every_reader(tmp_path: Path) -> None:
    """Slices that count from the end, of sequences shorter than they ask for."""

    class Ends(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return x[:, -1], x[:, -3:-1] * 2, x[:, 1:-1] + 1

    converters.convert(
        Ends(), torch.randn(2, 9, 4), tmp_path / "net.pyrt", dynamic_shapes=(SIZES,), progress=False
    )
    with pyruntime.load(tmp_path / "net.pyrt") as model:
        for length in (4, 12):
            x = torch.randn(3, length, 4)
            for a, b in zip(Ends()(x), model.infer(x.numpy()).values(), strict=True):  # type: ignore[union-attr]
                np.testing.assert_array_equal(b, a)


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.LSTM(16, 16, batch_first=True), nn.LSTM(16, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.b(self.a(x)[0])[0]
        return y


def test_shared_recurrent_layers_are_stored_once(tmp_path: Path) -> None:
    x, sizes = torch.randn(2, 5, 16), []
    for chunks in ([], [["a", "b"]]):
        module = share_layers(Stack().eval(), chunks)
        sizes.append(converters.convert(module, x, tmp_path / "net.pyrt", progress=False).file_bytes)
    assert sizes[0] - sizes[1] > 2 * 4 * 64 * 16


class Tagger(nn.Module):
    """Two layers, both directions, and one more kind."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(16, 24, 2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(48, 32, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.gru(self.lstm(x)[0])[0]
        return y


WEIGHTS = [
    f"lstm.weight_{kind}_l{i}{end}" for i in (0, 1) for end in ("", "_reverse") for kind in ("ih", "hh")
]
WEIGHTS += ["gru.weight_ih_l0", "gru.weight_hh_l0"]
STEPS: dict[str, tuple[Callable[[nn.Module], object], str]] = {
    "prune": (lambda net: prune(net, 0.9), "csr"),
    "prune, blocks": (lambda net: prune(net, 0.8, block=(8, 1)), "b8csr"),
    "cluster": (lambda net: cluster(net, bits=4, progress=False), "codebook"),
    "half": (half, "f16"),
    "quantize_weights": (lambda net: quantize_weights(net, 4, group=32), "q4"),
    "product_quantize": (lambda net: product_quantize(net, 4, 16, progress=False), "pq"),
}


def train(module: nn.Module) -> None:
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    module(torch.randn(3, 5, 16)).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("step", STEPS)
def test_every_compression_reaches_recurrent_weights(step: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    compress, encoding = STEPS[step]
    module = Tagger()
    compress(module)
    before = copy.deepcopy(module)
    train(module)
    compressed = copy.deepcopy(module).eval()
    x = torch.randn(3, 5, 16)
    with torch.no_grad():
        expected = compressed(x)
        assert not torch.equal(expected, before(x))
        assert torch.equal(expected, module(x))
    report = converters.convert(compressed, x, tmp_path / "net.pyrt", prefer="size", progress=False)
    found = {layer.name: layer.encoding for layer in report.layers}
    assert [name for name in WEIGHTS if encoding not in found[name]] == []
    with pyruntime.load(tmp_path / "net.pyrt") as model:
        np.testing.assert_allclose(model.infer(x.numpy()), expected, atol=2e-6)


def test_recurrent_weights_have_names_of_their_own() -> None:
    module = Tagger()
    prune(module, {"gru.weight_hh_l0": 0.5})
    assert (module.gru.weight_hh_l0 == 0).float().mean() == 0.5
    assert (module.gru.weight_ih_l0 != 0).all()
    with pytest.raises(ValueError, match=r"'gru' is not .* there are: lstm.weight_ih_l0, .*gru.weight_hh_l0"):
        prune(module, {"gru": 0.5})
    with pytest.raises(ValueError, match="has no linear"):
        quantize_dynamic(module)


def test_noise_on_recurrent_weights_comes_and_goes() -> None:
    torch.manual_seed(0)
    module = Tagger()
    before, x = module.state_dict(), torch.randn(3, 5, 16)
    exact = module(x)
    quant_noise(module, "int4", 0.5)
    assert not torch.equal(module(x), module(x))
    other = copy.deepcopy(module)
    assert remove_quant_noise(module).state_dict().keys() == before.keys()
    assert torch.equal(module(x), exact)
    train(module)
    assert not torch.equal(module(x), exact)
    # The copy keeps its noise, and its weights.
    assert not torch.equal(other(x), other(x))
    assert torch.equal(other.eval()(x), exact)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.LSTM(4, 6, proj_size=2, batch_first=True), "proj_size is not supported"),
        (nn.RNN(4, 6, batch_first=True), "nn.LSTM and nn.GRU are supported"),
    ],
)
def test_what_is_refused(layer: nn.Module, message: str, tmp_path: Path) -> None:
    with pytest.raises(converters.ConvertError, match=message):
        converters.convert(layer, torch.randn(2, 3, 4), tmp_path / "net.pyrt", progress=False)
