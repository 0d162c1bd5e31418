"""compress.quantize_weights, and grids with scales per group found in plain weights."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import converters
import pyruntime
from converters.compress import quantize_weights
from converters.encodings import scaled


def net() -> nn.Sequential:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(12, 40, 3, bias=False), nn.BatchNorm2d(40)
    nn.init.uniform_(norm.weight, 0.5, 2.0)
    return nn.Sequential(
        conv, norm, nn.ReLU(), nn.Flatten(), nn.Linear(360, 200), nn.ReLU(), nn.Linear(200, 7)
    )


@pytest.mark.parametrize(
    ("bits", "group", "encoding"),
    [(4, 64, "dense+q4g64"), (3, 32, "dense+q4g32"), (8, None, "dense+q8"), (6, 128, "dense+q8g128")],
)
def test_becomes_integers_with_scales(bits: int, group: int | None, encoding: str, tmp_path: Path) -> None:
    module = quantize_weights(net(), bits, group=group).eval()
    x = torch.randn(1, 12, 5, 5)
    report = converters.convert(module, (x,), tmp_path / "net.pyrt", prefer="size", progress=False)
    found = [layer.encoding for layer in report.layers if layer.shape[1] > (group or 1)]
    assert found and set(found) == {encoding}
    with pyruntime.load(tmp_path / "net.pyrt") as model:
        wanted = module(x).detach().numpy()
        np.testing.assert_allclose(model.infer(x.numpy()), wanted, atol=1e-5 * np.abs(wanted).max())


def test_bits_by_name_leave_the_other_layers_alone() -> None:
    module = net()
    before = copy.deepcopy(module)
    quantize_weights(module, {"4": 4, "6": 8})
    assert torch.equal(module[0].weight, before[0].weight)
    for layer, bits in ((4, 4), (6, 8)):
        found = scaled.find(module[layer].weight.detach().numpy())
        assert found is not None and found.bits == bits and found.halves
    assert scaled.find(before[4].weight.detach().numpy()) is None


def test_training_moves_the_weights_along_the_grid() -> None:
    module = quantize_weights(nn.Sequential(nn.Linear(96, 8)), 4, group=32).train()
    optimizer = torch.optim.SGD(module.parameters(), 0.5)
    x, y = torch.randn(64, 96), torch.randn(64, 8)
    losses = []
    for _ in range(30):
        loss = nn.functional.mse_loss(module(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert scaled.find(module[0].weight.detach().numpy()) is not None


def test_scales_that_rounding_hides_are_found() -> None:
    """Any f32 scale, and groups whose largest integer is not that of the bits."""
    random = np.random.default_rng(0)
    integers = random.integers(-100, 101, (300, 70)).astype(np.float32)
    step = random.random((300, 1)).astype(np.float32)
    found = scaled.find(integers * step)
    assert found is not None and (found.bits, found.columns) == (8, 96)
    rebuilt = found.integers.astype(np.float32) * found.scales
    assert np.array_equal(rebuilt, integers * step)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bits": 9}, "bits of layer '0' is 9: must be 2 to 8"),
        ({"group": 48}, "group must be one of 32, 64, 128, 256, or None, not 48"),
        ({"bits": {"1": 4}}, "'1' is not a linear, conv2d, LSTM or GRU layer"),
        ({"bits": {"4": 4}, "layers": ["4", "6"]}, "bits has no number for layer '6'"),
    ],
)
def test_says_what_is_wrong(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quantize_weights(net(), **arguments)
