"""Weights of two and three values a row are found, whatever made them, and take one and two bits each."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import converters
import pyruntime
from converters.compress import binary
from converters.encodings import ternary

ENCODINGS = {"mean": "dense+binary", "ternary": "dense+ternary", "ttq": "dense+ternary"}


def net() -> nn.Sequential:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(400)
    nn.init.uniform_(norm.weight, -2.0, 2.0)
    nn.init.uniform_(norm.running_mean, -1.0, 1.0)
    return nn.Sequential(nn.Linear(300, 400, bias=False), norm, nn.ReLU(), nn.Linear(400, 200))


def convert(module: nn.Module, path: Path) -> set[str]:
    """The encodings of the weights in a file that gives what the module gives."""
    x = torch.randn(2, 300)
    report = converters.convert(module.eval(), (x,), path, prefer="speed", progress=False)
    with pyruntime.load(path) as model:
        wanted = module(x).detach().numpy()
        np.testing.assert_allclose(model.infer(x.numpy()), wanted, atol=1e-5 * np.abs(wanted).max())
    return {layer.encoding for layer in report.layers if layer.shape[1] > 1}


@pytest.mark.parametrize("kind", ENCODINGS)
def test_layers_of_compress_binary(kind: str, tmp_path: Path) -> None:
    """BWN, TWN and TTQ: float activations, and batch norm of either sign in the scales."""
    options = {"scale": "mean"} if kind == "mean" else {"weights": kind}
    module = binary(net(), ["0", "3"], activations="float", **options)
    assert convert(module, tmp_path / "net.pyrt") == {ENCODINGS[kind]}


@pytest.mark.parametrize(
    ("values", "encoding"), [((-1.0, 1.0), "dense+binary"), ((0.0, 0.5, 2.0), "dense+ternary")]
)
def test_plain_weights(values: tuple[float, ...], encoding: str, tmp_path: Path) -> None:
    module = net()
    with torch.no_grad():
        for layer in (module[0], module[3]):
            step = torch.rand(len(layer.weight), 1) + 0.1
            layer.weight.copy_(
                torch.tensor(values)[torch.randint(len(values), layer.weight.shape)] * step / 10
            )
    assert convert(module, tmp_path / "net.pyrt") == {encoding}


def row(*values: float) -> np.ndarray:
    return np.array([values * 4], np.float32)


def test_what_is_found() -> None:
    def planes(matrix: np.ndarray) -> int:
        found = ternary.find(matrix)
        return 0 if found is None else len(found.bits)

    assert planes(row(0.5, -0.5, 0.5)) == 1
    assert planes(row(0.0, 0.0, 0.0)) == 1  # all of it +0
    assert planes(row(0.5, 0.0, 0.5)) == 2
    assert planes(row(3.0, 2.0, 0.0)) == 2
    assert planes(np.vstack([row(1.0, -1.0, 1.0), row(0.0, -7.0, 2.0)])) == 2
    assert planes(row(3.0, 2.0, 1.0)) == 0
    assert planes(np.vstack([row(1.0, -1.0, 1.0)] * 9 + [row(3.0, 2.0, 1.0)])) == 0
    assert planes(row(np.nan, 1.0, 1.0)) == 0
    assert planes(row(1.0, -1.0)[:, :7]) == 0  # so short rows gain nothing
