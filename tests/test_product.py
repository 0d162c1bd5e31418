"""Product codebooks: what is promised of `product_quantize`, and what `convert` makes of such weights."""

# ruff: noqa: E402

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `convert`")

import pyrt_reader
from test_format_writer import serialize
from test_ops import ISAS, infer
from torch import nn
from torch.nn.utils import parametrize

import converters
import pyruntime
from converters.compress import product_quantize
from converters.encodings import product

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
        (
            lambda net: product_quantize(net, layers=["gc"]),
            "'gc' is not a linear, conv2d, embedding, LSTM or GRU layer",
        ),
    ],
)
def test_errors_name_the_layer_and_leave_the_module_as_it_was(net, call, message):
    with pytest.raises(ValueError, match=message):
        call(net)
    assert not any(parametrize.is_parametrized(layer) for layer in net.values())


# what convert makes of them


class Layers(nn.Module):
    """Every kind of layer on an input of its own, of batch n."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(48, 37)
        self.long = nn.Linear(1536, 20)
        self.conv = nn.Sequential(nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 3, 1))
        self.grouped = nn.Conv2d(16, 40, 3, stride=2, groups=2)
        self.one = nn.Conv2d(32, 40, 1)
        self.table = nn.Embedding(300, 32)

    def forward(self, *x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        layers = (self.linear, self.long, self.conv, self.grouped, self.one, self.table)
        return tuple(layer(y) for layer, y in zip(layers, x, strict=True))

    @staticmethod
    def inputs(n: int) -> tuple[torch.Tensor, ...]:
        floats = [torch.randn(n, *shape) for shape in ((48,), (1536,), (16, 9, 11), (16, 7, 8), (32, 4, 5))]
        return (*floats, torch.randint(300, (n, 6)))


FORMS = {
    "f32": {"codewords": 64},
    "s8": {"codewords": 64, "int8_centroids": True},
    "7_bits": {"codewords": 100, "int8_centroids": True},
    "huffman": {"codewords": 40},
    "other_blocks": {
        "codewords": 30,
        "block": {"linear": 16, "long": 12, "table": 4, "one": 2, "conv.0": 18, "grouped": 9},
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_layers_equal_torch(form, tmp_path, monkeypatch):
    torch.manual_seed(0)
    module = Layers().eval()
    product_quantize(module, **FORMS[form], progress=False)
    if form == "huffman":  # uneven use of the codewords
        with torch.no_grad():
            for layer in (module.linear, module.long, module.conv[0], module.table):
                index = layer.parametrizations.weight[0].index
                index[torch.rand(index.shape) < 0.8] = 3
    path = tmp_path / "layers.pyrt"
    report = converters.convert(module, Layers.inputs(2), path, prefer="size", progress=False)
    found = {tensor.name: tensor.encoding for tensor in report.layers}
    assert all("+pq" in found[f"{name}.weight"] for name in ("linear", "long", "conv.0", "grouped", "table"))
    if form == "huffman":
        assert "huffman" in found["long.weight"] and "huffman" in found["table.weight"]
    file = pyrt_reader.read(path)
    for name, layer in {"linear": module.linear, "table": module.table, "grouped": module.grouped}.items():
        expected = layer.weight.detach().numpy()
        np.testing.assert_array_equal(file.tensor(f"{name}.weight"), expected.reshape(len(expected), -1))
    for n in (1, 2, 3, 4, 9, 33):
        x = Layers.inputs(n)
        with torch.no_grad():
            expected = module(*x)
        for isa in ISAS:
            if isa == "ref" and n > 4:
                continue
            monkeypatch.setenv("PYRUNTIME_ISA", isa)
            with pyruntime.load(path, threads=2) as model:
                y = infer(model, x)
            for i, (got, wanted) in enumerate(zip(y, expected, strict=True)):
                wanted = wanted.numpy()
                np.testing.assert_allclose(
                    got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max(), err_msg=f"{i}, {isa}, {n}"
                )


def test_auto_keeps_codewords(tmp_path):
    """They take as long as plain f32, within what the cost table tells apart, and few of the bytes."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 128, 1), nn.Flatten(2), nn.Linear(196, 196)
    )
    product_quantize(module, {"0": 9, "1": 8, "3": 4}, progress=False)
    report = converters.convert(module, torch.randn(1, 64, 14, 14), tmp_path / "m.pyrt", progress=False)
    found = {tensor.name: tensor.encoding for tensor in report.layers}
    assert all("+pq" in found[f"{name}.weight"] for name in (0, 1, 3)), found


def test_books_of_codewords_are_stored_on_their_grid():
    random = np.random.default_rng(0)
    index = random.integers(0, 50, (64, 10))
    steps = random.integers(-100, 101, (50, 8)).astype(np.float32)
    for codewords, bits in (
        (steps * np.float32(0.0123), 8),
        (random.standard_normal((50, 8)).astype(np.float16).astype(np.float32), 16),
        (random.standard_normal((50, 8)).astype(np.float32), 32),
    ):
        matrix = codewords[index].reshape(64, 80)
        found = product.find(matrix)
        assert found is not None
        assert found.codewords.shape == (50, 8)
        encoded = product.encode(matrix, 1, found, "panels", False)
        assert encoded.streams[0].bits == bits
        tensor = pyrt_reader.parse(serialize(encoded)).dense(0)
        np.testing.assert_array_equal(tensor, matrix)


def test_weights_of_no_codebook_are_left_alone():
    random = np.random.default_rng(0)
    assert product.find(random.standard_normal((64, 80)).astype(np.float32)) is None
    blocks = random.standard_normal((300, 8)).astype(np.float32)
    assert product.find(blocks[random.integers(0, 300, 640)].reshape(64, 80)) is None
