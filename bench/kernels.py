"""Single layers in every encoding, next to dense and sparse baselines in the same run.

python bench/kernels.py [--json FILE] [--seconds S]

Every layer runs at batch 1 with 90 % zeros, with 15 values, with both and with neither. A time is the median
of calls spread over the run, engines alternating, weights warm. `x dense` is the time of the faster of torch
and numpy dense over the engine's; GFLOP/s count all weights (dense-equivalent) or the non-zeros only (real);
GB/s are bytes of weights. Convolutions of numpy, scipy, torch csr and numba include im2col.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numba
import numpy as np
import numpy.typing as npt
import scipy.sparse
import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits
from torch import nn
from tqdm import tqdm

import pyruntime
from bench import sparse_engines
from converters.tune import write_as

Array = npt.NDArray[np.float32]

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear 4096x4096": (lambda: nn.Linear(4096, 4096, bias=False), (1, 4096)),
    "linear 784x300": (lambda: nn.Linear(784, 300, bias=False), (1, 784)),
    "conv 3x3 128->128, 28x28": (lambda: nn.Conv2d(128, 128, 3, padding=1, bias=False), (1, 128, 28, 28)),
    "conv 1x1 256->64, 56x56": (lambda: nn.Conv2d(256, 64, 1, bias=False), (1, 256, 56, 56)),
}
ZEROS = 0.9


def dense(weight: torch.Tensor) -> torch.Tensor:
    return weight


def sparse(weight: torch.Tensor) -> torch.Tensor:
    return torch.where(torch.rand(weight.shape) < ZEROS, 0, weight)


def clustered(weight: torch.Tensor) -> torch.Tensor:
    """15 normally distributed values, like trained weights: Huffman coding has something to gain."""
    return (torch.randn(weight.shape) * 2.5).round().clamp(-7, 7) * 0.01 + 0.001


def sparse_clustered(weight: torch.Tensor) -> torch.Tensor:
    return sparse(clustered(weight))


def in_blocks(weight: torch.Tensor) -> torch.Tensor:
    """Zeros of 16 outputs at a time."""
    rows = -(-len(weight) // 16)
    kept = torch.rand(rows, *weight.shape[1:]) >= ZEROS
    return weight * kept.repeat_interleave(16, 0)[: len(weight)]


def two_of_four(weight: torch.Tensor) -> torch.Tensor:
    kept = torch.rand(len(weight), weight[0].numel() // 4, 4).argsort(2) < 2
    return weight * kept.reshape(weight.shape)


def on_grid(bits: int, weight: torch.Tensor) -> torch.Tensor:
    """Integers, the largest of them in every row, with a scale per row of 64 columns."""
    most = 2 ** (bits - 1) - 1
    groups = torch.randint(-most, most + 1, (len(weight), weight[0].numel())).float()
    groups[:, ::64] = most
    scales = (torch.rand(len(weight), -(-groups.shape[1] // 64)) / 100 + 0.01).half().float()
    return (groups * scales.repeat_interleave(64, 1)[:, : groups.shape[1]]).reshape(weight.shape)


def of_row(values: list[float], weight: torch.Tensor) -> torch.Tensor:
    """A few values, times a number of each row."""
    scales = torch.rand(len(weight), *[1] * (weight.dim() - 1)) / 10 + 0.01
    return torch.tensor(values)[torch.randint(len(values), weight.shape)] * scales


def codewords(weight: torch.Tensor) -> torch.Tensor:
    """256 codewords of eight neighbours."""
    book = torch.randn(256, 8) / 16
    return book[torch.randint(256, (weight.numel() // 8,))].reshape(weight.shape)


WEIGHTS = {
    "dense": dense,
    "90 % zeros": sparse,
    "15 values": clustered,
    "90 % zeros, 15 values": sparse_clustered,
    "90 % zeros in blocks of 16": in_blocks,
    "two of four": two_of_four,
    "8 bits": partial(on_grid, 8),
    "4 bits": partial(on_grid, 4),
    "+-a": partial(of_row, [-1.0, 1.0]),
    "-a, 0, a": partial(of_row, [-1.0, 0.0, 1.0]),
    "codewords of 8": codewords,
}


@dataclass(frozen=True)
class Engine:
    """A way to compute a layer: `call` returns y and reads `weight_bytes`."""

    name: str
    weight_bytes: int
    call: Callable[[], object]


@dataclass(frozen=True)
class Layer:
    """A module with its weight as a matrix [M, K], its input and torch's output, flat."""

    name: str
    weights: str
    module: nn.Module
    matrix: Array
    x: torch.Tensor
    y: Array

    @classmethod
    @cache
    def make(cls, name: str, weights: str) -> Layer:
        factory, shape = LAYERS[name]
        torch.manual_seed(0)
        module, x = factory().eval().requires_grad_(False), torch.randn(shape)
        module.weight.copy_(WEIGHTS[weights](module.weight))
        matrix = module.weight.reshape(len(module.weight), -1).numpy()
        return cls(name, weights, module, matrix, x, module(x).numpy().ravel())

    @property
    def nnz(self) -> int:
        return int(np.count_nonzero(self.matrix))

    def columns(self) -> Array:
        """The operand [K, N] of the layer as a matrix product; a copy where windows overlap."""
        x = self.x.numpy()
        if isinstance(self.module, nn.Linear):
            return x.T
        assert isinstance(self.module, nn.Conv2d)
        (kh, kw), (ph, pw) = self.module.kernel_size, self.module.padding
        x = np.pad(x[0], ((0, 0), (ph, ph), (pw, pw))) if ph or pw else x[0]
        windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), (1, 2), writeable=True)
        return windows.transpose(0, 3, 4, 1, 2).reshape(self.matrix.shape[1], -1)


def torch_dense(layer: Layer) -> Engine:
    return Engine("torch", layer.matrix.nbytes, lambda: layer.module(layer.x))


def numpy_dense(layer: Layer) -> Engine:
    return Engine("numpy", layer.matrix.nbytes, lambda: layer.matrix @ layer.columns())


def sparse_engine(name: str, layer: Layer) -> Engine:
    w = scipy.sparse.csr_array(layer.matrix)
    product = sparse_engines.ENGINES[name](w)
    return Engine(name, csr_bytes(w), lambda: product(layer.columns()))


def csr_bytes(w: scipy.sparse.csr_array) -> int:
    return w.data.nbytes + w.indices.nbytes + w.indptr.nbytes


def in_pyruntime(kind: str, layer: Layer) -> Engine:
    """Converted in the encoding `kind`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer.pyrt"
        write_as(layer.module, layer.x, kind, path)
        model = pyruntime.load(path, threads=torch.get_num_threads())
    x = layer.x.numpy()
    step = model.profile(x).layers[0]
    return Engine(f"pyruntime {step.encoding}", step.bytes, lambda: model.infer(x))


# What makes the engines, and the weights that suit them.
WAYS: dict[str, tuple[Callable[[Layer], Engine], str]] = {
    "torch": (torch_dense, "dense"),
    "numpy": (numpy_dense, "dense"),
    "scipy csr": (partial(sparse_engine, "scipy csr"), "90 % zeros"),
    "torch csr": (partial(sparse_engine, "torch csr"), "90 % zeros"),
    "numba csr": (partial(sparse_engine, "numba csr"), "90 % zeros"),
    "panels+f32": (partial(in_pyruntime, "panels+f32"), "dense"),
    "panels+codebook": (partial(in_pyruntime, "panels+codebook"), "15 values"),
    "panels+codebook+huffman": (partial(in_pyruntime, "panels+codebook+huffman"), "15 values"),
    "csr+f32": (partial(in_pyruntime, "csr+f32"), "90 % zeros"),
    "csr+f32+huffman": (partial(in_pyruntime, "csr+f32+huffman"), "90 % zeros"),
    "csr+codebook": (partial(in_pyruntime, "csr+codebook"), "90 % zeros, 15 values"),
    "csr+codebook+huffman": (partial(in_pyruntime, "csr+codebook+huffman"), "90 % zeros, 15 values"),
    "b16csr+f32": (partial(in_pyruntime, "b16csr+f32"), "90 % zeros in blocks of 16"),
    "2:4+f32": (partial(in_pyruntime, "2:4+f32"), "two of four"),
    "panels+q8": (partial(in_pyruntime, "panels+q8"), "8 bits"),
    "panels+q4": (partial(in_pyruntime, "panels+q4"), "4 bits"),
    "panels+binary": (partial(in_pyruntime, "panels+binary"), "+-a"),
    "panels+ternary": (partial(in_pyruntime, "panels+ternary"), "-a, 0, a"),
    "panels+product": (partial(in_pyruntime, "panels+product"), "codewords of 8"),
}


def ways(name: str) -> list[str]:
    """The WAYS that suit a layer: whole blocks of 16 rows; two of four inputs without taps between them."""
    weight = LAYERS[name][0]().weight
    unfit = {"b16csr+f32": weight.shape[0] % 16 != 0, "2:4+f32": weight[0, 0].numel() > 1}
    return [way for way in WAYS if not unfit.get(way)]


def make_engine(way: str, name: str) -> tuple[Layer, Engine]:
    """A layer of LAYERS and an engine that computes what torch computes."""
    make, weights = WAYS[way]
    layer = Layer.make(name, weights)
    engine = make(layer)
    y = np.asarray(engine.call()).ravel()
    np.testing.assert_allclose(y, layer.y, rtol=0, atol=1e-4 * np.abs(layer.y).max(), err_msg=way)
    return layer, engine


@contextmanager
def limit_threads(n: int) -> Iterator[None]:
    """Holds torch, BLAS and numba to n threads."""
    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(n)
    numba.set_num_threads(n)
    with threadpool_limits(n):
        yield
    torch.set_num_threads(before[0])
    numba.set_num_threads(before[1])


def medians(calls: list[Callable[[], object]], seconds: float, threads: int) -> list[float]:
    """Milliseconds of each call, the calls taking turns for about `seconds` each.

    A turn is several calls, of which the first is not counted: it finds the caches as the engine before left
    them. In a pause before it the idle threads of the engine before, which spin for a while, go to sleep.
    On one thread it is cpu time: other programs do not count.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    times: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds * len(calls)
    while len(times[-1]) < 15 or time.perf_counter() < end:
        for call, own in zip(calls, times, strict=True):
            if threads > 1:
                time.sleep(0.02)
            call()
            for _ in range(5):
                start = clock()
                call()
                own.append((clock() - start) * 1e3)
    return [float(np.median(own)) for own in times]


@dataclass(frozen=True)
class Result:
    """One row of the table; rates are per second."""

    layer: str
    engine: str
    weights: str
    threads: int
    ms: float
    times_dense: float
    dense_gflops: float
    real_gflops: float
    weight_bytes: int
    weight_gbytes: float


def measure(name: str, threads: int, seconds: float) -> list[Result]:
    with limit_threads(threads), torch.no_grad():
        found = [make_engine(way, name) for way in tqdm(ways(name), leave=False, disable=None)]
        times = medians([engine.call for _, engine in found], seconds, threads)
    best = min(ms for ms, (_, engine) in zip(times, found, strict=True) if engine.name in ("torch", "numpy"))
    results = []
    for ms, (layer, engine) in zip(times, found, strict=True):
        columns = layer.y.size // len(layer.matrix)
        results.append(
            Result(
                layer=name,
                engine=engine.name,
                weights=layer.weights,
                threads=threads,
                ms=ms,
                times_dense=best / ms,
                dense_gflops=2e-6 * layer.matrix.size * columns / ms,
                real_gflops=2e-6 * layer.nnz * columns / ms,
                weight_bytes=engine.weight_bytes,
                weight_gbytes=1e-6 * engine.weight_bytes / ms,
            )
        )
    return results


def print_table(layer: str, results: list[Result]) -> None:
    """A row per engine; the columns of the first number of threads, then those of the others."""
    counts = sorted({r.threads for r in results})
    table = Table(title=f"{layer}, batch 1")
    for title in ("engine", "weights"):
        table.add_column(title)
    for title in ("weights MB", *(f"{title} ({n}T)" for n in counts for title in ("ms", "x dense"))):
        table.add_column(title, justify="right")
    for title in ("dense GFLOP/s", "real GFLOP/s", "weights GB/s"):
        table.add_column(f"{title} (1T)", justify="right")
    for row in (r for r in results if r.threads == counts[0]):
        same = [r for r in results if (r.engine, r.weights) == (row.engine, row.weights)]
        cells = [cell for r in same for cell in (f"{r.ms:.3f}", f"{r.times_dense:.2f}")]
        rates = (f"{row.dense_gflops:.1f}", f"{row.real_gflops:.1f}", f"{row.weight_gbytes:.2f}")
        table.add_row(row.engine, row.weights, f"{row.weight_bytes / 1e6:.3f}", *cells, *rates)
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--seconds", type=float, default=0.5, help="per engine, layer and number of threads")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", "Sparse")  # torch: its CSR tensors are in beta state
    everything: list[Result] = []
    counts = sorted({1, torch.get_num_threads()})
    progress = tqdm([(layer, n) for layer in LAYERS for n in counts], unit="run", disable=None)
    for layer, threads in progress:
        progress.set_description(f"{layer}, {threads} threads")
        everything += measure(layer, threads, args.seconds)
    for layer in LAYERS:
        print_table(layer, [r for r in everything if r.layer == layer])
    if args.json:
        about = {"processor": platform.processor() or platform.machine(), "torch": torch.__version__}
        args.json.write_text(json.dumps(about | {"results": [asdict(r) for r in everything]}, indent=1))


if __name__ == "__main__":
    main()
