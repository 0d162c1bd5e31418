"""Linear and conv in every encoding, on every instruction set of this machine, against torch in float64."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from test_ops import ISAS, infer, reference
from torch import nn
from torch.export import ExportedProgram

import converters
import pyruntime
from converters import capture, pipeline
from converters.compress import GroupGrid


@dataclass(frozen=True)
class Weight:
    """How a weight is made: its share of zeros, its number of distinct non-zero values (0: no two alike).

    blocks: so many rows have their zeros in the same places, where they can; over four are not neighbours.
    grid: the bits of integers and how many columns share a scale. pairs: two of every four columns are zeros.
    row: the values of a row, times a number of its own.
    """

    zeros: float
    values: int
    half: bool = False
    blocks: int = 1
    grid: tuple[int, int | None] | None = None
    pairs: bool = False
    row: tuple[float, ...] = ()

    def apply(self, weight: torch.Tensor) -> None:
        if self.values:
            book = torch.linspace(-1, 1, self.values + 1)[1:] * 0.3 + 0.01
            # Squared, so that low indices are much more frequent: Huffman coding has something to gain.
            index = (torch.rand(weight.shape) ** 3 * self.values).long().clamp(max=self.values - 1)
            weight.copy_(book[index])
        if self.grid:
            weight.copy_(GroupGrid(weight, *self.grid)(weight))
        if self.row:
            step = torch.rand(len(weight), *[1] * (weight.dim() - 1)) + 0.1
            weight.copy_(torch.tensor(self.row)[torch.randint(len(self.row), weight.shape)] * step * 0.1)
        if self.half:
            weight.copy_(weight.half())
        block = self.blocks if len(weight) % self.blocks == 0 else 1
        dropped = torch.rand(len(weight) // block, *weight.shape[1:]).repeat_interleave(block, 0) < self.zeros
        if block > 4 and len(weight) % 2 == 0:
            dropped = dropped[torch.randperm(len(weight))]
        if self.pairs and weight.dim() == 2 and weight.shape[1] % 4 == 0:
            dropped = torch.rand(len(weight), weight.shape[1] // 4, 4).argsort(2).flatten(1) < 2
        weight[dropped] = 0


WEIGHTS = {
    "dense": Weight(0, 0),
    "dense_codebook1": Weight(0, 2),
    "dense_codebook3": Weight(0, 7),
    "dense_codebook4": Weight(0, 16),
    "dense_codebook8": Weight(0, 200),
    "dense_f16": Weight(0, 0, half=True),
    "sparse": Weight(0.9, 0),
    "sparse_f16": Weight(0.9, 0, half=True),
    "very_sparse": Weight(0.998, 0),
    "sparse_codebook2": Weight(0.8, 3),
    "sparse_codebook5": Weight(0.9, 31),
    "sparse_codebook8": Weight(0.7, 255),
    "zeros": Weight(1, 0),
    "grid4_64": Weight(0, 0, grid=(4, 64)),
    "grid4_32_sparse": Weight(0.3, 0, grid=(4, 32)),
    "grid8": Weight(0, 0, grid=(8, None)),
    "grid8_128": Weight(0, 0, grid=(8, 128)),
    "binary": Weight(0, 0, row=(-1.0, 1.0)),
    "ternary": Weight(0, 0, row=(-1.0, 0.0, 1.0)),
    "ternary_unequal": Weight(0, 0, row=(-0.25, 0.0, 1.0)),
    "blocks": Weight(0.8, 0, blocks=4),
    "blocks_f16": Weight(0.9, 0, half=True, blocks=4),
    "blocks_of_8": Weight(0.8, 0, blocks=8),
    "blocks_of_16_codebook4": Weight(0.9, 15, blocks=16),
    "pairs": Weight(0.5, 0, pairs=True),
    "pairs_codebook4": Weight(0.5, 15, pairs=True),
    "blocks_codebook4": Weight(0.8, 15, blocks=4),
}

LAYERS = {
    "linear": (lambda: nn.Linear(37, 19), (37,)),
    "linear_blocks": (lambda: nn.Linear(44, 48), (44,)),
    "linear_long_rows": (lambda: nn.Linear(1500, 20), (1500,)),
    "linear_one_row": (lambda: nn.Linear(600, 1, bias=False), (600,)),
    "conv1x1": (lambda: nn.Conv2d(24, 33, 1), (24, 7, 5)),
    "conv3x3": (lambda: nn.Conv2d(12, 20, 3, padding=1), (12, 9, 11)),
    "conv3x3_stride2": (lambda: nn.Conv2d(12, 20, 3, stride=2, padding=1), (12, 9, 11)),
    "conv5x5_valid": (lambda: nn.Conv2d(6, 17, 5), (6, 8, 8)),
    "conv_grouped": (lambda: nn.Conv2d(12, 36, 3, padding=2, dilation=2, groups=3), (12, 7, 8)),
    "conv7x7_stride4": (lambda: nn.Conv2d(3, 16, (7, 5), stride=(4, 3), padding=(3, 1)), (3, 19, 17)),
    "conv_tiny_image": (lambda: nn.Conv2d(10, 16, 3, padding=1), (10, 2, 2)),
    "depthwise": (lambda: nn.Conv2d(18, 18, 3, padding=1, groups=18), (18, 9, 10)),
    "depthwise_multiplier": (lambda: nn.Conv2d(7, 14, 5, stride=2, padding=2, groups=7), (7, 9, 10)),
    "depthwise_tiny_image": (lambda: nn.Conv2d(18, 18, 3, padding=1, groups=18), (18, 2, 2)),
}


class AllLayers(nn.Module):
    """Every layer on an input of its own, so that one conversion serves them all.

    A convolution is followed by another, which shows whether it leaves its gaps as zeros.
    """

    def __init__(self, weight: Weight) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        for name, (factory, shape) in LAYERS.items():
            layer = factory()
            with torch.no_grad():
                weight.apply(layer.weight)
            if len(shape) == 3:
                layer = nn.Sequential(layer, nn.ReLU(), nn.Conv2d(layer.out_channels, 3, 3, padding=1))
            self.layers[name] = layer

    def forward(self, *x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(layer(t) for layer, t in zip(self.layers.values(), x, strict=True))


def inputs_of(batch: int) -> tuple[torch.Tensor, ...]:
    return tuple(torch.randn(batch, *shape) for _, shape in LAYERS.values())


@pytest.fixture(scope="module")
def exported() -> tuple[AllLayers, ExportedProgram]:
    """All layers, and their program, which has the weights that the module has at the time."""
    module = AllLayers(WEIGHTS["dense"]).eval()
    program, _ = capture.export(module, inputs_of(2), dynamic_batch=True, dynamic_shapes=None)
    return module, capture.functional(program)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_layers_equal_torch(
    weight: str,
    exported: tuple[AllLayers, ExportedProgram],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    module, program = exported
    module.load_state_dict(AllLayers(WEIGHTS[weight]).state_dict())
    graph = pipeline.lower_fused(program)
    batches = [inputs_of(batch) for batch in (1, 2, 3, 4, 7, 8, 9, 33, 70)]
    expected = [reference(module, x) for x in batches]
    # Of all batches: the few outputs of a small one may all nearly cancel.
    largest = [max(float(np.abs(y).max()) for y in outputs) for outputs in zip(*expected, strict=True)]
    for prefer, isa in itertools.product(("size", "speed"), ISAS):
        path = tmp_path / f"{prefer}.pyrt"
        if not path.exists():
            pipeline.write(graph, path, prefer, progress=False)
        monkeypatch.setenv("PYRUNTIME_ISA", isa)
        with pyruntime.load(path, threads=2) as model:
            for x, outputs in zip(batches, expected, strict=True):
                batch = len(x[0])
                if isa == "ref" and batch > 9:
                    continue
                for layer, y, e, scale in zip(LAYERS, infer(model, x), outputs, largest, strict=True):
                    message = f"{layer}, {prefer}, {isa}, {batch}"
                    np.testing.assert_allclose(y, e, rtol=0, atol=1e-5 * scale, err_msg=message)


class Residual(nn.Module):
    def __init__(self, first: nn.Conv2d) -> None:
        super().__init__()
        self.first = first
        self.second = nn.Conv2d(64, 64, 3, padding=1)
        self.third = nn.Conv2d(64, 64, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.first(x))
        return self.third(torch.relu(self.second(y) + y))


@pytest.mark.parametrize("size", [(29, 30), (28, 32), (26, 63), (7, 7)])
@pytest.mark.parametrize(
    "first",
    [
        lambda: nn.Conv2d(32, 64, 3, padding=1),
        lambda: nn.Conv2d(32, 64, 3, stride=2, padding=1),
        lambda: nn.Conv2d(16, 64, 5, padding=2),
        lambda: nn.Conv2d(64, 64, 3, padding=2, dilation=2, groups=2),
        lambda: nn.Conv2d(32, 64, 3, padding=6, dilation=6),
        lambda: nn.Conv2d(64, 64, (5, 1), padding=(2, 0)),
    ],
)
def test_rows_of_an_image_as_lines_of_a_tile(
    first: Callable[[], nn.Conv2d], size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    module = Residual(first()).eval()
    with torch.no_grad():
        for layer in (module.first, module.second, module.third):
            WEIGHTS["sparse"].apply(layer.weight)
    path = tmp_path / "net.pyrt"
    inputs = [(torch.randn(batch, module.first.in_channels, *size),) for batch in (1, 3)]
    converters.convert(module, inputs[0], path, prefer="size", progress=False)
    for x in inputs:
        expected = reference(module, x)[0]
        for isa in {"avx2", "avx512"} & set(ISAS):
            monkeypatch.setenv("PYRUNTIME_ISA", isa)
            results = []
            for threads in (1, 3):
                with pyruntime.load(path, threads=threads) as model:
                    kernels = [layer.kernel for layer in model.profile(x[0].numpy()).layers]
                    assert any("csr_lines" in kernel for kernel in kernels)
                    results += [infer(model, x)[0] for _ in range(2)]  # the second in a used arena
            np.testing.assert_allclose(results[0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
            for y in results[1:]:
                np.testing.assert_array_equal(y, results[0])


@pytest.mark.parametrize("weight", ["sparse", "sparse_codebook5"])
@pytest.mark.parametrize("size", [(3, 4), (4, 6)])
def test_products_of_one_tile_read_deltas(
    weight: str, size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """9 to 32 columns, the gaps of a later 3x3 convolution between them, or many images."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(40, 64, 1), nn.ReLU(), nn.Conv2d(64, 48, 3, padding=1), nn.GELU()).eval()
    alone = nn.Sequential(nn.Conv2d(40, 64, 1), nn.GELU()).eval()
    with torch.no_grad():
        for layer in (module[0], alone[0]):
            WEIGHTS[weight].apply(layer.weight)
    found = set()
    for net, name in ((module, "gaps"), (alone, "alone")):
        path = tmp_path / f"{name}.pyrt"
        inputs = [(torch.randn(batch, 40, *size),) for batch in (1, 2, 3)]
        converters.convert(net, inputs[1], path, prefer="size", progress=False)
        for x, isa in itertools.product(inputs, ISAS):
            monkeypatch.setenv("PYRUNTIME_ISA", isa)
            with pyruntime.load(path, threads=2) as model:
                found |= {layer.kernel for layer in model.profile(x[0].numpy()).layers}
                expected = reference(net, x)[0]
                y = infer(model, x)[0]
            np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * np.abs(expected).max(), err_msg=isa)
    assert {f"csr_deltas_f32_1x32__{isa}" for isa in {"avx2", "avx512"} & set(ISAS)} <= found


@pytest.mark.parametrize("weight", WEIGHTS)
def test_result_does_not_depend_on_threads_or_batch_neighbours(weight: str, tmp_path: Path) -> None:
    """Bit-identical for any number of threads, and on every repetition."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(16, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 48, 3, stride=2)).eval()
    with torch.no_grad():
        WEIGHTS[weight].apply(module[0].weight)
        WEIGHTS[weight].apply(module[2].weight)
    x = torch.randn(3, 16, 33, 31)
    path = tmp_path / "net.pyrt"
    converters.convert(module, (x,), path, progress=False)
    results = []
    for threads in (1, 2, 3, 5):
        with pyruntime.load(path, threads=threads) as model:
            results += [infer(model, (x,))[0] for _ in range(3)]
    for y in results[1:]:
        np.testing.assert_array_equal(y, results[0])
