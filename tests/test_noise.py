"""converters.compare: the noise of each layer of a file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import converters
import pyruntime
from converters.compress import quantize


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3, 2)),
        *(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5)),
    ).eval()


def test_worst_layers_first(module: nn.Module, tmp_path: Path) -> None:
    data = [torch.randn(4, 3, 16, 16) for _ in range(3)]
    ratios = []
    for bits in (7, 4, 2):
        integers = quantize(module, data, weight_bits={"3": bits}, progress=False)
        converters.convert(integers, data[0], tmp_path / "net.pyrt", progress=False)
        found = converters.compare(module, tmp_path / "net.pyrt", data, progress=False)
        assert [layer.snr for layer in found.layers] == sorted(layer.snr for layer in found.layers)
        assert {layer.name for layer in found.layers} == {"0", "3", "7"}
        (first,) = (layer for layer in found.layers if layer.name == "0")
        assert first.kind == "qconv2d" and first.snr > 30
        ratios.append({layer.name: layer.snr for layer in found.layers}["3"])
        assert "0" not in found.below(30)
        assert "outputs" in str(found)
    assert ratios[0] > 30 and ratios[0] > ratios[1] + 6 > ratios[2] + 12


def test_a_float_file_has_no_noise(module: nn.Module, tmp_path: Path) -> None:
    x = torch.randn(2, 3, 16, 16)
    converters.convert(module, x, tmp_path / "net.pyrt", progress=False)
    found = converters.compare(module, tmp_path / "net.pyrt", [(x,)], progress=False)
    assert found.below(1000) == [] and found.outputs["output"] == float("inf")


def test_errors(module: nn.Module, tmp_path: Path) -> None:
    x = torch.randn(2, 3, 16, 16)
    converters.convert(nn.Sequential(nn.ReLU()), x, tmp_path / "net.pyrt", progress=False)
    with pytest.raises(converters.ConvertError, match="no layer in common"):
        converters.compare(module, tmp_path / "net.pyrt", [x], progress=False)
    with pytest.raises(converters.ConvertError, match="no batch"):
        converters.compare(module, tmp_path / "net.pyrt", [], progress=False)


def test_trace(module: nn.Module, tmp_path: Path) -> None:
    """Every op's output, integers as floats; the last one is the network's."""
    x = torch.randn(2, 3, 16, 16)
    converters.convert(quantize(module, [x], progress=False), x, tmp_path / "net.pyrt", progress=False)
    with pyruntime.load(tmp_path / "net.pyrt") as model:
        rows = model.trace(x.numpy())
        np.testing.assert_array_equal(rows[-1].value, model.infer(x.numpy()))
    assert [row.kind for row in rows] == ["quantize", "qconv2d", "qconv2d", "qmean", "reshape", "qlinear"]
    step = rows[0].value.ravel()[rows[0].value.ravel() != 0]
    assert np.abs(rows[0].value - x.numpy()).max() < np.abs(step).min()
