"""Pruned layers in pyruntime next to dense and sparse engines in the same run.

    python bench/sparse.py                                 # all shapes, 0 to 98 % zeros, one thread and all
    python bench/sparse.py --quick                         # a few of them, under a minute
    python bench/sparse.py --filter 3x3 --zeros 0.5 0.9 --threads 1
    python bench/sparse.py --pattern b16csr                # zeros in blocks of 16 outputs; b8csr, bcsr: 8, 4
    python bench/sparse.py --pattern 2:4                   # two of every four inputs
    python bench/sparse.py --encodings                     # 90 % zeros: values in a codebook, Huffman-coded
    python bench/sparse.py --save before                   # later: --compare before

The engines take turns and a time is the least of all calls, on one thread in cpu time. "layer" is the
time of pyruntime's layer alone, with its input and output in the layout that neighbours in a net give it;
that is what the sparse engines are timed with too, and convolutions give those their im2col matrix for
nothing. "call" also copies from and to numpy. x dense and x sparse are the times of the best engine of
each kind over "layer": above 1 is faster. GFLOP/s real count non-zeros, dense-equivalent all weights;
peak is the FMA peak, measured in the same run. Layers of one column rotate over copies that L2 cannot
hold.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import Any

os.environ.setdefault(
    "KMP_BLOCKTIME", "0"
)  # MKL's idle threads sleep instead of spinning on another engine's core
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import onnxruntime
import scipy.sparse
import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn.utils import parametrize
from tqdm import tqdm

import pyruntime
from bench import engines, sparse_engines
from bench.cases import Case, count_flops, pruned_layers, share_values
from bench.compare import COLD_BYTES, LANES, result_file
from bench.kernels import limit_threads
from bench.plots import plot_sparse
from bench.roofline import fma_gflops
from converters.compress import prune
from converters.encodings import bcsr
from converters.tune import write_as

Array = engines.Array
Row = dict[str, Any]
Call = Callable[[int], object]

ZEROS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
QUICK = ("256x64x3136", "1024x256x196", "3072x768x128", "4096x4096x1", "3x3 128@28")
DENSE = ("torch", "onnxruntime", "numpy")
TURNS = 6
TOLERANCE = 1e-3  # of the largest output
VALUES = 15  # of the weights that --encodings times
KINDS = ("csr+f32", "csr+codebook", "csr+codebook+huffman")


@dataclass(frozen=True)
class Timed:
    """A layer in an engine; `layer` makes a call and returns the milliseconds of the layer alone."""

    call: Call
    layer: Callable[[int], float] | None = None


def least(timed: dict[str, Timed], threads: int, seconds: float) -> tuple[dict[str, float], dict[str, float]]:
    """Least milliseconds of each call, and of the layers alone. The first call of a turn is not counted."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    calls = dict.fromkeys(timed, float("inf"))
    layers = {name: float("inf") for name, engine in timed.items() if engine.layer}
    turn = 0
    for _ in range(TURNS):
        for name, engine in timed.items():
            if threads > 1:
                time.sleep(0.02)  # the threads of the engine before still spin, waiting for work
            engine.call(turn)
            end = time.perf_counter() + seconds / TURNS
            while True:
                turn += 1
                start = clock()
                engine.call(turn)
                calls[name] = min(calls[name], (clock() - start) * 1e3)
                if engine.layer:
                    layers[name] = min(layers[name], engine.layer(turn))
                if time.perf_counter() >= end:
                    break
    return calls, layers


class Layer:
    """A case by name: its module, W [M, K], the input as the module takes it and as X [K, N]."""

    def __init__(self, name: str, zeros: float, values: int = 0, pattern: str = "csr") -> None:
        torch.manual_seed(0)
        case = next(case for case in pruned_layers(zeros if pattern == "csr" else 0) if case.name == name)
        self.module = case.make()
        if pattern != "csr" and zeros:
            rows = {name: count for count, name in bcsr.STRUCTURES.items()}.get(pattern)
            pruned = prune(self.module, zeros, block=(rows, 1)) if rows else prune(self.module, n=2, m=4)
            parametrize.remove_parametrizations(pruned, "weight")
        if values:
            share_values(self.module, values)
        weight = self.module.weight.detach()
        self.matrix: Array = weight.reshape(len(weight), -1).numpy()
        self.x: Array = torch.randn(case.input_shape).numpy()
        self.columns = columns_of(self.module, self.x)
        with torch.inference_mode():
            self.y: Array = self.module(torch.from_numpy(self.x)).numpy()
        # The output as the product [M, N] of W and X.
        flat = self.y[0].reshape(len(weight), -1) if self.y.ndim == 4 else self.y.T
        self.product = flat - self.module.bias.detach().numpy()[:, None]

    @property
    def copies(self) -> int:
        return min(16, -(-COLD_BYTES // self.matrix.nbytes)) if self.columns.shape[1] == 1 else 1


def columns_of(module: nn.Module, x: Array) -> Array:
    """X [K, N] of a layer, contiguous."""
    if isinstance(module, nn.Linear):
        return np.ascontiguousarray(x.T)
    unfold = nn.Unfold(module.kernel_size, padding=module.padding, stride=module.stride)
    return unfold(torch.from_numpy(x))[0].contiguous().numpy()


def close(found: Array, wanted: Array, what: str) -> None:
    error = np.abs(found - wanted).max()
    if not error <= TOLERANCE * np.abs(wanted).max():
        raise SystemExit(f"{what} differs from torch by {error:.3g}")


def dense_engines(layer: Layer, threads: int, folder: Path) -> dict[str, Timed]:
    onnx = engines.export_onnx(layer.module, layer.x, folder / "model.onnx")
    found = {
        "torch": engines.torch_runs(layer.module, layer.copies),
        "onnxruntime": engines.onnxruntime_runs(onnx, layer.copies, threads),
    }
    timed = {}
    for name, runs in found.items():
        close(runs[0](layer.x), layer.y, name)
        timed[name] = Timed(lambda turn, runs=runs: runs[turn % len(runs)](layer.x))
    if layer.matrix.shape[1] == layer.x.shape[1]:  # no im2col
        matrices = [layer.matrix.copy() for _ in range(layer.copies)]
        timed["numpy"] = Timed(lambda turn: matrices[turn % len(matrices)] @ layer.columns)
    return timed


def peers(layer: Layer, what: str) -> dict[str, Timed]:
    timed = {}
    for name, make in sparse_engines.ENGINES.items():
        if name == "mkl csr" and sparse_engines.mkl() is None:
            continue
        products = [make(scipy.sparse.csr_array(layer.matrix)) for _ in range(layer.copies)]
        close(products[0](layer.columns), layer.product, f"{what}: {name}")
        timed[f"{name} {what}"] = Timed(lambda turn, p=products: p[turn % len(p)](layer.columns))
    return timed


def ours(layer: Layer, kind: str, threads: int, folder: Path) -> tuple[Timed, list[pyruntime.Model]]:
    """The layer in the encoding `kind`."""
    file = folder / "layer.pyrt"
    write_as(layer.module, torch.from_numpy(layer.x), kind, file)
    models = engines.pyruntime_models(file, layer.copies, threads)
    close(models[0].infer(layer.x), layer.y, f"pyruntime {kind}")

    def alone(turn: int) -> float:
        return sum(x.ms for x in models[turn % len(models)].profile(layer.x).layers if x.flops)

    return Timed(lambda turn: models[turn % len(models)].infer(layer.x), alone), models


def measure(case: Case, zeros: tuple[float, ...], pattern: str, threads: int, seconds: float) -> list[Row]:
    """A row for each sparsity, all in turns with the dense engines, on which it has no influence."""
    rows = []
    with tempfile.TemporaryDirectory() as name, limit_threads(threads):
        timed = dense_engines(Layer(case.name, 0), threads, Path(name))
        for fraction in zeros:
            folder = Path(name, str(fraction))
            folder.mkdir()
            layer = Layer(case.name, fraction, pattern=pattern)
            if fraction:
                timed |= peers(layer, f"{fraction:.0%}")
            kind = f"{pattern}+f32" if fraction else "panels+f32"
            own, models = ours(layer, kind, threads, folder)
            timed[f"pyruntime {fraction:.0%}"] = own
            step = next(x for x in models[0].profile(layer.x).layers if x.flops)
            rows.append(
                {
                    "name": case.name,
                    "group": case.group,
                    "zeros": fraction,
                    "threads": threads,
                    "isa": models[0].isa,
                    "kernel": step.kernel,
                    "encoding": step.encoding,
                    "nnz": int(np.count_nonzero(layer.matrix)),
                    "flops": count_flops(layer.module, torch.from_numpy(layer.x)),
                    "columns": layer.columns.shape[1],
                    "weight_bytes": step.bytes,
                }
            )
        calls, layers = least(timed, threads, seconds)
    for row in rows:
        note = f"{row['zeros']:.0%}"
        row["dense_ms"] = {name: calls[name] for name in DENSE if name in calls}
        row["sparse_ms"] = {
            name: calls[f"{name} {note}"] for name in sparse_engines.ENGINES if f"{name} {note}" in calls
        }
        row["call_ms"] = calls[f"pyruntime {note}"]
        row["layer_ms"] = layers[f"pyruntime {note}"]
        row["x_dense"] = min(row["dense_ms"].values()) / row["layer_ms"]
        row["x_sparse"] = min(row["sparse_ms"].values()) / row["layer_ms"] if row["sparse_ms"] else None
    return rows


def measure_encodings(case: Case, zeros: float, threads: int, seconds: float) -> Row:
    """The same weights by value, by index and Huffman-coded; and the dense engines."""
    with tempfile.TemporaryDirectory() as name, limit_threads(threads):
        layer = Layer(case.name, zeros, VALUES)
        timed = dense_engines(layer, threads, Path(name))
        dense = tuple(timed)
        row: Row = {"name": case.name, "zeros": zeros, "threads": threads, "weight_bytes": {}}
        for kind in KINDS:
            folder = Path(name, kind)
            folder.mkdir()
            timed[kind], models = ours(layer, kind, threads, folder)
            row["weight_bytes"][kind] = next(x for x in models[0].profile(layer.x).layers if x.flops).bytes
        calls, layers = least(timed, threads, seconds)
    row["dense_ms"] = {name: calls[name] for name in dense}
    row["layer_ms"] = layers
    return row


def break_even(rows: list[Row]) -> float | None:
    """The fraction of zeros from which on CSR is as fast as the best dense engine; rows of one shape."""
    sparse = [
        (row["zeros"], row["x_dense"]) for row in sorted(rows, key=lambda r: r["zeros"]) if row["zeros"]
    ]
    if not sparse or sparse[-1][1] < 1:
        return None
    above = sparse[-1]
    for point in reversed(sparse):
        if point[1] < 1:
            # Time is about linear in the number of non-zeros.
            (z0, x0), (z1, x1) = point, above
            return z0 + (z1 - z0) * (1 / x0 - 1) / (1 / x0 - 1 / x1)
        above = point
    return above[0]


def sparsity_table(rows: list[Row], peaks: dict[str, float], old: dict[Any, Row] | None) -> Table:
    out = Table(title="Pruned layers, least ms", title_justify="left")
    out.add_column("layer")
    titles = ("threads", "zeros", "best dense", "best sparse", "call", "layer", "x dense", "x sparse")
    rates = ("GFLOP/s real", "dense-eq.", "% of peak", "GB/s")
    for title in (*titles, *rates, *(["change"] if old is not None else [])):
        out.add_column(title, justify="right")
    for row in rows:
        ms = row["layer_ms"]
        real = 2e-6 * row["nnz"] * row["columns"] / ms
        peer = min(row["sparse_ms"].items(), key=lambda item: item[1], default=None)
        dense = min(row["dense_ms"].items(), key=lambda item: item[1])
        cells = [
            row["name"],
            str(row["threads"]),
            f"{row['zeros']:.0%}",
            f"{dense[1]:.3f} {dense[0]}",
            f"{peer[1]:.3f} {peer[0]}" if peer else "",
            f"{row['call_ms']:.3f}",
            f"{ms:.3f}",
            f"{row['x_dense']:.2f}",
            f"{row['x_sparse']:.2f}" if peer else "",
            f"{real:.0f}",
            f"{row['flops'] / ms / 1e6:.0f}",
            f"{100 * real / peaks[str(row['threads'])]:.0f}",
            f"{row['weight_bytes'] / ms / 1e6:.1f}",
        ]
        if old is not None:
            before = old.get((row["name"], row["zeros"], row["threads"]))
            cells.append(f"{before['layer_ms'] / ms:.2f}x" if before else "new")
        out.add_row(*cells)
    return out


def summary(rows: list[Row]) -> list[Row]:
    """Geometric means of each group, number of threads and sparsity; and the break-even of each shape."""
    found: list[Row] = []
    for group, threads in dict.fromkeys((row["group"], row["threads"]) for row in rows):
        own = [row for row in rows if (row["group"], row["threads"]) == (group, threads)]
        for zeros in sorted({row["zeros"] for row in own} - {0.0}):
            dense = [row["x_dense"] for row in own if row["zeros"] == zeros]
            sparse = [row["x_sparse"] for row in own if row["zeros"] == zeros]
            found.append(
                {
                    "group": group,
                    "threads": threads,
                    "zeros": zeros,
                    "x_dense": geometric_mean(dense),
                    "least_x_dense": min(dense),
                    "x_sparse": geometric_mean(sparse),
                    "least_x_sparse": min(sparse),
                }
            )
    return found


def print_summary(rows: list[Row], console: Console) -> None:
    table = Table(title="Geometric means (and the least) over the shapes", title_justify="left")
    table.add_column("group")
    for title in ("threads", "zeros", "x dense", "x sparse"):
        table.add_column(title, justify="right")
    for row in summary(rows):
        table.add_row(
            row["group"],
            str(row["threads"]),
            f"{row['zeros']:.0%}",
            f"{row['x_dense']:.2f} ({row['least_x_dense']:.2f})",
            f"{row['x_sparse']:.2f} ({row['least_x_sparse']:.2f})",
        )
    console.print(table)
    for threads in dict.fromkeys(row["threads"] for row in rows):
        own = [row for row in rows if row["threads"] == threads]
        points = []
        for name in dict.fromkeys(row["name"] for row in own):
            at = break_even([row for row in own if row["name"] == name])
            points.append(f"{name} {'never' if at is None else f'{at:.0%}'}")
        console.print(f"break-even with the best dense engine, {threads} threads: " + ", ".join(points))


def encodings_table(rows: list[Row]) -> Table:
    out = Table(title=f"{VALUES} values, layer alone, least ms and bytes", title_justify="left")
    out.add_column("layer")
    for title in ("threads", "zeros", "best dense", *KINDS, "codebook / f32", "huffman / codebook"):
        out.add_column(title, justify="right")
    for row in rows:
        ms = row["layer_ms"]
        out.add_row(
            row["name"],
            str(row["threads"]),
            f"{row['zeros']:.0%}",
            f"{min(row['dense_ms'].values()):.3f}",
            *(f"{ms[kind]:.3f} {row['weight_bytes'][kind]:,}" for kind in KINDS),
            f"{ms[KINDS[1]] / ms[KINDS[0]]:.2f}",
            f"{ms[KINDS[2]] / ms[KINDS[1]]:.2f}",
        )
    return out


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cpus = len(os.sched_getaffinity(0))
    parser.add_argument("--quick", action="store_true", help="a few shapes, 50 and 90 %% zeros, one thread")
    parser.add_argument("--filter", default="", metavar="TEXT", help="only layers with TEXT in their name")
    parser.add_argument("--zeros", type=float, nargs="+", metavar="FRACTION")
    parser.add_argument("--threads", type=int, nargs="+", metavar="N", help=f"default: {sorted({1, cpus})}")
    parser.add_argument("--seconds", type=float, default=0.25, help="per engine, sparsity and threads")
    parser.add_argument("--pattern", choices=("csr", *bcsr.STRUCTURES.values(), "2:4"), default="csr")
    parser.add_argument("--encodings", action="store_true", help="compare encodings instead of sparsities")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="a PNG or SVG")
    parser.add_argument("--save", metavar="NAME", help="keep the result in bench/results/")
    parser.add_argument("--compare", metavar="NAME", help="show the change against a saved result")
    arguments = parser.parse_args()
    if arguments.zeros is None:
        arguments.zeros = [0.9] if arguments.encodings else [0.5, 0.9] if arguments.quick else list(ZEROS)
    if arguments.threads is None:
        arguments.threads = [1] if arguments.quick else sorted({1, cpus})
    return arguments


def main() -> None:
    arguments = parse_arguments()
    old = None
    if arguments.compare:
        saved = json.loads(result_file(arguments.compare).read_text())
        old = {(row["name"], row["zeros"], row["threads"]): row for row in saved["rows"]}
    cases = [
        case
        for case in pruned_layers(0)
        if arguments.filter in case.name and (not arguments.quick or case.name in QUICK)
    ]
    zeros = tuple(arguments.zeros)
    if arguments.pattern == "2:4":  # convolutions have no form of their own for it
        zeros, cases = (0.5,), [case for case in cases if not case.name.startswith("3x3")]
    if not cases:
        raise SystemExit(f"no layer has {arguments.filter!r} in its name")
    console = Console(width=None if sys.stdout.isatty() else 170)
    if sparse_engines.mkl() is None:
        console.print("without MKL: no libmkl_rt here (pip install -e '.[mkl]')", markup=False)
    torch.set_grad_enabled(False)
    load = [os.getloadavg()[0]]
    rows: list[Row] = []
    for case, threads in (bar := tqdm([(c, t) for c in cases for t in arguments.threads], disable=None)):
        bar.set_postfix_str(f"{case.name}, {threads} threads")
        if arguments.encodings:
            rows += [measure_encodings(case, z, threads, arguments.seconds) for z in arguments.zeros]
        else:
            rows += measure(case, zeros, arguments.pattern, threads, arguments.seconds)
    load.append(os.getloadavg()[0])
    isa = pyruntime._core.available_isas()[-1] if arguments.encodings else rows[0]["isa"]
    peaks = {str(n): fma_gflops(LANES.get(isa, 16), n) for n in arguments.threads}
    result = {
        "cpu": platform.processor() or platform.machine(),
        "load": load,
        "versions": {m.__name__: m.__version__ for m in (pyruntime, torch, onnxruntime, np, scipy)},
        "peak_gflops": peaks,
        "geometric_means": [] if arguments.encodings else summary(rows),
        "rows": rows,
    }
    if arguments.encodings:
        console.print(encodings_table(rows))
    else:
        console.print(sparsity_table(rows, peaks, old))
        print_summary(rows, console)
    peak_text = ", ".join(f"{peak:.0f} on {n}" for n, peak in peaks.items())
    console.print(f"FMA peak in GFLOP/s by threads: {peak_text}; load {load[0]:.1f}, then {load[1]:.1f}")
    if arguments.save:
        result_file(arguments.save).parent.mkdir(exist_ok=True)
    for path in (arguments.json, result_file(arguments.save) if arguments.save else None):
        if path:
            path.write_text(json.dumps(result, indent=2) + "\n")
    if arguments.plot:
        plot_sparse(rows, arguments.plot)


if __name__ == "__main__":
    main()
