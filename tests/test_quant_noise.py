"""Quant-Noise, iterative product quantization and shared layers: they help, and leave ordinary modules."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import converters
import pyruntime
from converters.compress import (
    iterative_product_quantize,
    product_quantize,
    prune,
    quant_noise,
    remove_quant_noise,
    share_layers,
)


def digits() -> tuple[Tensor, Tensor]:
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)


def fit(module: nn.Module, x: Tensor, y: Tensor, steps: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    module.train()
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    batches = np.random.default_rng(seed)
    for _ in range(steps):
        rows = torch.from_numpy(batches.integers(len(x), size=64))
        optimizer.zero_grad()
        F.cross_entropy(module(x[rows]), y[rows]).backward()
        optimizer.step()
    return module


def accuracy(module: nn.Module, x: Tensor, y: Tensor) -> float:
    module.eval()
    with torch.no_grad():
        return float((module(x).argmax(1) == y).double().mean())


def mlp(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 10))


def test_noise_helps_at_the_same_size() -> None:
    """Mean accuracy of three nets after product quantization, with and without noise in training."""
    x, y = digits()
    found: dict[str, list[float]] = {"none": [], "proxy": [], "product": []}
    for seed in range(3):
        for kind, results in found.items():
            module = fit(mlp(seed), x[:1200], y[:1200], 100, seed)
            if kind != "none":
                quant_noise(module, kind, 0.4, codewords=16)  # type: ignore[arg-type]
            fit(module, x[:1200], y[:1200], 150, seed + 100)
            remove_quant_noise(module)
            product_quantize(module, codewords=16, progress=False)
            results.append(accuracy(module, x[1200:], y[1200:]))
    mean = {kind: np.mean(results) for kind, results in found.items()}
    assert mean["proxy"] > mean["none"] + 0.05, mean
    assert mean["product"] > mean["none"] + 0.05, mean


def test_layer_by_layer_helps() -> None:
    """Five nets, eight codewords a layer: training between the layers makes up for most of what they lose.

    The labels are the outputs of the net before.
    """
    x, y = digits()
    found = []
    for seed in range(5):
        dense = fit(mlp(seed), x[:1200], y[:1200], 250, seed).eval()
        with torch.no_grad():
            labels = dense(x[:1200]).softmax(1)
        trained: list[str] = []

        def train(module: nn.Module, name: str) -> None:
            trained.append(name)  # noqa: B023
            fit(module, x[:1200], labels, 80, 1)  # noqa: B023

        at_once = product_quantize(copy.deepcopy(dense), codewords=8, progress=False)
        module = iterative_product_quantize(copy.deepcopy(dense), train, codewords=8)
        assert trained == ["0", "2", "4"]
        assert all(len(torch.unique(module[i].weight.reshape(-1, 8), dim=0)) <= 8 for i in (0, 2, 4))
        found.append([accuracy(net, x[1200:], y[1200:]) for net in (dense, at_once, module)])
    exact, before, after = np.array(found).T
    assert (exact - before).mean() > 0.05
    gain = after - before
    assert gain.mean() > 0.05 and gain.mean() > 3 * gain.std(ddof=1) / np.sqrt(len(gain)), found
    assert gain.mean() > 0.6 * (exact - before).mean(), found


@pytest.mark.parametrize("kind", ["int8", "int4", "product", "proxy"])
def test_noise_is_there_in_training_only(kind: str) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(32, 16))
    words = nn.Embedding(20, 16)
    whole = nn.ModuleList([module, words])
    names = [name for name, _ in whole.named_parameters()]
    before = {name: p.clone() for name, p in whole.state_dict().items()}
    optimizer = torch.optim.SGD(whole.parameters(), 0.0)
    quant_noise(whole, kind, 0.5, codewords=4)  # type: ignore[arg-type]
    assert all(
        not torch.equal(layer.weight, layer.parametrizations.weight.original)  # type: ignore[union-attr]
        for layer in (module[0], module[2], words)
    )
    changed = module[2].weight != module[2].parametrizations.weight.original  # type: ignore[union-attr]
    blocks = changed.reshape(16, 4, 8)
    assert not torch.equal(changed, module[2].weight != module[2].parametrizations.weight.original)  # type: ignore[union-attr]
    assert (
        0.25 < blocks.any(2).float().mean() < 0.75
    )  # blocks are chosen as a whole: single weights would be in all
    module(torch.randn(2, 3, 4, 4)).sum().backward()
    assert (module[2].parametrizations.weight.original.grad != 0).any(0).all()  # type: ignore[union-attr]
    copied = copy.deepcopy(whole)
    whole.eval()
    assert torch.equal(module[2].weight, before["0.2.weight"])  # type: ignore[arg-type]
    remove_quant_noise(whole)
    assert set(names) == {name for name, _ in whole.named_parameters()}
    assert all(torch.equal(before[name], p) for name, p in whole.state_dict().items())
    assert {id(p) for p in whole.parameters()} == {id(p) for g in optimizer.param_groups for p in g["params"]}
    assert type(words) is nn.Embedding
    assert not torch.equal(copied.train()[1].weight, before["1.weight"])  # a copy keeps its noise


def test_noise_on_top_of_a_mask() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(32, 16)
    prune(nn.Sequential(layer), 0.5)
    kept = layer.weight != 0
    quant_noise(nn.Sequential(layer), "int4", 0.3)
    remove_quant_noise(layer)
    assert torch.equal(layer.weight != 0, kept)


def test_errors() -> None:
    module = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 9))
    with pytest.raises(ValueError, match="kind is 'int2': it must be one of int8, int4, product, proxy"):
        quant_noise(module, "int2", 0.1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="p is 2: it must be a probability"):
        quant_noise(module, "proxy", 2)
    with pytest.raises(ValueError, match="'0' and '1' are not alike"):
        share_layers(module, [["0", "1"]])


class Encoder(nn.Module):
    """Four blocks behind tied embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(500, 32)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(32, 128), nn.GELU(), nn.Linear(128, 32)) for _ in range(4)
        )
        self.out = nn.Linear(32, 500)
        self.out.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids)
        for block in self.blocks:
            x = x + block(x)
        return self.out(x)


def test_shared_layers_are_stored_once(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, ids = Encoder().eval(), torch.arange(12).reshape(2, 6)
    sizes, parameters = [], []
    pairs = [["blocks.0", "blocks.1"], ["blocks.2", "blocks.3"]]
    for chunks in ([], pairs, [[f"blocks.{i}" for i in range(4)]]):
        share_layers(module, chunks)
        report = converters.convert(module, ids, tmp_path / "net.pyrt", progress=False)
        sizes.append(report.file_bytes)
        parameters.append(sum(layer.parameters for layer in report.layers))
        with pyruntime.load(tmp_path / "net.pyrt") as model:
            np.testing.assert_allclose(model.infer(ids.numpy()), module(ids).detach(), atol=1e-4)
    block = 4 * (2 * 32 * 128)
    assert abs(sizes[0] - sizes[1] - 2 * block) < 0.1 * block
    assert abs(sizes[1] - sizes[2] - block) < 0.1 * block
    assert parameters[0] - parameters[1] >= 2 * 2 * 32 * 128


def test_shared_layers_trained_with_noise_become_codewords(tmp_path: Path) -> None:
    """Chunks of layers, noise, then codewords on int8: the file has each chunk once, by its indices."""
    torch.manual_seed(0)
    module, ids = Encoder(), torch.randint(500, (8, 6))
    share_layers(module, [["blocks.0", "blocks.1"], ["blocks.2", "blocks.3"]])
    quant_noise(module, "proxy", 0.4)
    optimizer = torch.optim.Adam(module.parameters(), 1e-3)
    for _ in range(20):
        optimizer.zero_grad()
        loss = F.cross_entropy(module(ids).flatten(0, 1), ids.flatten())
        loss.backward()
        optimizer.step()
    remove_quant_noise(module)
    product_quantize(module, codewords=64, int8_centroids=True, progress=False)
    report = converters.convert(module.eval(), ids, tmp_path / "net.pyrt", prefer="size", progress=False)
    coded = [layer.name for layer in report.layers if "+pq" in layer.encoding]
    assert len(coded) == 5  # the table and two layers of each chunk
    assert report.file_bytes < 4 * (500 * 32 + 2 * 2 * 32 * 128) / 8
    with pyruntime.load(tmp_path / "net.pyrt") as model, torch.no_grad():
        np.testing.assert_allclose(model.infer(ids.numpy()), module(ids), atol=1e-4)
