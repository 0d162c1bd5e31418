"""Half-precision weights: compress.half and the f16 encodings it leads to."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import converters
import pyruntime
from converters.compress import half, prune, quantize


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 40, 3, padding=1), nn.BatchNorm2d(40), nn.ReLU(), nn.Flatten(), nn.Linear(40 * 64, 50)
    )


def test_file_is_half_as_large_and_exact(tmp_path: Path) -> None:
    module, x = net().eval(), torch.randn(3, 3, 8, 8)
    dense = converters.convert(module, x, tmp_path / "f32.pyrt", progress=False)
    halves = converters.convert(half(module), x, tmp_path / "f16.pyrt", progress=False)
    assert halves.file_bytes < 0.52 * dense.file_bytes
    with pyruntime.load(tmp_path / "f16.pyrt") as model, torch.no_grad():
        # Batch norm is not folded into the weights, which would take them off the f16 values.
        assert {layer.encoding for layer in model.profile(x.numpy()).layers} >= {"dense+f16"}
        expected = module.double()(x.double()).numpy()
        np.testing.assert_allclose(model.infer(x.numpy()), expected, atol=1e-5)


def test_weights_stay_on_f16_values_through_training() -> None:
    module = half(net())
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    before = module[4].weight.detach().clone()
    module(torch.randn(4, 3, 8, 8)).square().sum().backward()
    optimizer.step()
    after = module[4].weight.detach()
    assert not torch.equal(before, after)
    assert torch.equal(after, after.half().float())


def test_pruned_weights_stay_pruned() -> None:
    module = half(prune(net(), 0.8))
    assert (module[4].weight == 0).float().mean() >= 0.8


def test_weights_beyond_the_range_are_refused() -> None:
    module = net()
    with torch.no_grad():
        module[4].weight[0, 0] = 1e6
    with pytest.raises(ValueError, match=r"layer '4'.*65504"):
        half(module)


def test_layers_that_integers_leave_in_float_may_be_halves(tmp_path: Path) -> None:
    module, x = net().eval(), torch.randn(3, 3, 8, 8)
    integers = quantize(module, [x], skip=["4"], progress=False)
    half(integers, layers=["4"])
    converters.convert(integers, x, tmp_path / "mixed.pyrt", progress=False)
    with pyruntime.load(tmp_path / "mixed.pyrt") as model, torch.no_grad():
        encodings = {layer.name: layer.encoding for layer in model.profile(x.numpy()).layers}
        assert (encodings["0"], encodings["4"]) == ("dense+s8", "dense+f16")
        np.testing.assert_allclose(model.infer(x.numpy()), integers(x).numpy(), atol=1e-5)
