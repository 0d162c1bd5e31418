"""Product codebooks: what is promised of `product_quantize`, and what `convert` makes of such weights."""

# ruff: noqa: E402

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `convert`")

from torch import nn
from torch.nn.utils import parametrize

from converters.compress import product_quantize

BLOCKS = {"table": 8, "conv": 9, "one": 8, "fc": 8}


@pytest.fixture
def net() -> nn.ModuleDict:
    torch.manual_seed(0)
    layers = {"table": nn.Embedding(50, 32), "conv": nn.Conv2d(8, 24, 3), "fc": nn.Linear(64, 40)}
    layers |= {"one": nn.Conv2d(16, 24, 1), "depthwise": nn.Conv2d(20, 20, 3, groups=20)}
    return nn.ModuleDict(layers)


def blocks_of(layer: nn.Module, block: int) -> np.ndarray:
    return layer.weight.detach().reshape(-1, block).numpy()


def codebook_of(layer: nn.Module) -> nn.Parameter:
    return layer.parametrizations.weight.original


def test_every_block_is_a_codeword(net):
    before = copy.deepcopy(net)
    assert product_quantize(net, codewords=9) is net
    assert not parametrize.is_parametrized(net["depthwise"])
    for name, d in BLOCKS.items():
        old, new = blocks_of(before[name], d), blocks_of(net[name], d)
        codewords, index = np.unique(new, axis=0, return_inverse=True)
        assert codewords.shape == codebook_of(net[name]).shape == (9, d)
        # Each is the mean of its blocks, up to the k-means that found them.
        for i, codeword in enumerate(codewords):
            np.testing.assert_allclose(codeword, old[index.ravel() == i].mean(0), atol=1e-6)
        distances = ((old[:, None] - codewords) ** 2).sum(2)
        assert ((old - new) ** 2).sum() <= 1.02 * distances.min(1).sum()


def test_block_sizes_by_name_and_pattern(net):
    product_quantize(net, {"fc": 16, "[ot]*": 4}, codewords=9)
    sizes = {name: codebook_of(net[name]).shape[1] for name in net if parametrize.is_parametrized(net[name])}
    assert sizes == {"fc": 16, "one": 4, "table": 4}


def test_few_distinct_blocks_are_kept_exactly(net):
    with torch.no_grad():
        net["fc"].weight.copy_(torch.randn(200, 8)[torch.randint(200, (320,))].view(40, 64))
    before = net["fc"].weight.detach().clone()
    product_quantize(net, layers=["fc"])
    assert torch.equal(net["fc"].weight, before)


def test_int8_centroids_lie_on_one_grid(net):
    product_quantize(net, int8_centroids=True)
    for name in BLOCKS:
        weight = net[name].weight.detach()
        scale = codebook_of(net[name]).detach().abs().max() / 127
        steps = (weight / scale).round()
        assert torch.equal(steps * scale, weight)
        assert steps.abs().max() <= 127


def test_zero_blocks_stay_zero_through_training(net):
    with torch.no_grad():
        net["fc"].weight.view(-1, 8)[::3] = 0
    product_quantize(net, codewords=16)
    assert codebook_of(net["fc"]).shape == (15, 8)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    before = net["fc"].weight.detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        net["fc"](torch.randn(5, 64)).square().sum().backward()
        optimizer.step()
    after = blocks_of(net["fc"], 8)
    assert (after[::3] == 0).all()
    assert len(np.unique(after, axis=0)) == len(np.unique(before.reshape(-1, 8), axis=0))
    assert not torch.equal(net["fc"].weight, before)


@pytest.mark.parametrize("int8_centroids", [False, True])
def test_the_gradient_of_a_codeword_is_the_mean_over_its_blocks(net, int8_centroids):
    product_quantize(net, codewords=9, int8_centroids=int8_centroids)
    x = torch.randn(5, 64)
    net["fc"](x).square().sum().backward()
    weight = net["fc"].weight.detach().requires_grad_()
    (x @ weight.T + net["fc"].bias).square().sum().backward()
    index = net["fc"].parametrizations.weight[0].index.long()
    for i in range(9):
        expected = weight.grad.view(-1, 8)[index == i].mean(0)
        torch.testing.assert_close(codebook_of(net["fc"]).grad[i], expected)


def test_copies_and_state_dicts(net):
    other = copy.deepcopy(product_quantize(copy.deepcopy(net), codewords=9))
    with torch.no_grad():
        codebook_of(other["fc"]).mul_(2)
    product_quantize(net, codewords=9).load_state_dict(other.state_dict())
    assert torch.equal(net["fc"].weight, other["fc"].weight)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net: product_quantize(net, 7), "block of layer 'table' is 7"),
        (lambda net: product_quantize(net, {"fc": 1}), "block of layer 'fc' is 1"),
        (lambda net: product_quantize(net, {"gc*": 8}), r"block names 'gc\*'"),
        (lambda net: product_quantize(net, {"fc": 8}, layers=["fc"]), "goes without `layers`"),
        (lambda net: product_quantize(net, codewords=257), "codewords is 257"),
        (lambda net: product_quantize(net, layers=["gc"]), "'gc' is not a Linear, Conv2d, Embedding layer"),
    ],
)
def test_errors_name_the_layer_and_leave_the_module_as_it_was(net, call, message):
    with pytest.raises(ValueError, match=message):
        call(net)
    assert not any(parametrize.is_parametrized(layer) for layer in net.values())
