"""LSTM and GRU layers in whole models: lengths and batches from one file, compressed weights, refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import converters
import pyruntime
from converters.compress import share_layers


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
