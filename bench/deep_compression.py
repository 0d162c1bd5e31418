"""Deep Compression: nets of the paper (ICLR 2016, table 1) trained on MNIST, and the sizes of large nets.

    python bench/deep_compression.py [--json FILE]
    python bench/deep_compression.py --nets ResNet50 MobileNetV1 VGG16

The first trains LeNet-300-100 and LeNet-5 from scratch, compresses, converts for size and infers the test
images with pyruntime, next to the paper's figures. MNIST is found through PYRUNTIME_DATA. Densities and bits
were chosen on the last 5,000 training images, not on test images.

The second takes nets with random weights, which have no accuracy to lose, at 90 % zeros and 5 bits for each
of the others (31 values, evenly spaced), Huffman-coded: bytes, the peak memory of a fresh process next to the
memory contract, and the median time of an image on one thread next to dense nets in other engines.
"""

# ruff: noqa: E402

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from tqdm import tqdm

import converters
import pyruntime
from bench import engines
from bench.cases import NETS as LARGE
from bench.cases import net_case, share_values
from bench.compare import alternate, check
from bench.nets import LeNet5, LeNet300
from examples.data import mnist_npz
from examples.road import travel
from examples.training import Recipe
from pyruntime.measure import peak_memory

ZEROS, VALUES = 0.9, 31


class Paper(NamedTuple):
    """What table 1 of the paper reports; accuracy in percent."""

    ratio: int
    dense: float
    compressed: float


NETS = {
    "LeNet-300-100": (
        LeNet300,
        Recipe(
            sparsity={"fc1": 0.95, "fc2": 0.90, "fc3": 0.5},
            bits={"fc1": 4, "fc2": 4, "fc3": 5},
            train=10000,
            prune=8000,
            finetune=8000,
            share=1500,
            batch=100,
            lr=2e-3,
        ),
        Paper(40, 98.36, 98.42),
    ),
    "LeNet-5": (
        LeNet5,
        Recipe(
            sparsity={"conv1": 0.5, "conv2": 0.9, "fc1": 0.97, "fc2": 0.85},
            bits={"conv1": 5, "conv2": 4, "fc1": 4, "fc2": 4},
            train=3000,
            prune=3000,
            finetune=1500,
            share=500,
            batch=100,
        ),
        Paper(39, 99.20, 99.26),
    ),
}


def measure_large(net: type[nn.Module], seconds: float) -> dict[str, Any]:
    """Bytes, memory and times of a net; raises SystemExit if engines disagree."""
    case = net_case(net, ZEROS)
    module = case.make().eval()
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            share_values(layer, VALUES)
    inputs = torch.randn(case.input_shape, generator=torch.Generator().manual_seed(0)).numpy()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.pyrt")
        report = converters.convert(
            module, torch.from_numpy(inputs), path, dynamic_batch=False, prefer="size", verify=False
        )
        memory = peak_memory(path, threads=1)
        onnx = engines.export_onnx(module, inputs, Path(folder, "net.onnx"))
        runs = {
            "torch": engines.torch_runs(module, 1),
            "onnxruntime": engines.onnxruntime_runs(onnx, 1, 1),
        }
        with pyruntime.load(path, threads=1) as model:
            runs["pyruntime"] = [model.infer]
            check(case, runs, inputs)
            calls = {name: lambda _, run=own[0]: run(inputs) for name, own in runs.items()}
            times = alternate(calls, 1, seconds)
    ms = {name: float(np.median(t)) for name, t in times.items()}
    return {
        "dense_bytes": report.dense_bytes,
        "file_bytes": report.file_bytes,
        "ratio": report.ratio,
        "peak_memory": None if memory is None else memory.peak,
        "contract": None if memory is None else memory.peak - memory.difference,
        "ms": ms,
        "x_dense": min(ms["torch"], ms["onnxruntime"]) / ms["pyruntime"],
    }


def large_table(results: dict[str, dict[str, Any]]) -> Table:
    table = Table(title=f"{ZEROS:.0%} zeros, {VALUES} other values, Huffman-coded; batch 1, one thread")
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")

    def row(title: str, cell: Callable[[dict[str, Any]], str]) -> None:
        table.add_row(title, *(cell(result) for result in results.values()))

    row("fp32 bytes", lambda r: f"{r['dense_bytes']:,}")
    row("file bytes", lambda r: f"{r['file_bytes']:,}")
    row("ratio", lambda r: f"{r['ratio']:.1f}x")
    row("peak memory of a process", lambda r: f"{r['peak_memory']:,}")
    row("by the contract", lambda r: f"{r['contract']:,}")
    for engine in ("torch", "onnxruntime"):
        row(f"{engine}, dense, ms", lambda r, engine=engine: f"{r['ms'][engine]:.2f}")
    row("pyruntime, ms", lambda r: f"{r['ms']['pyruntime']:.2f}")
    row("x best dense", lambda r: f"{r['x_dense']:.2f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = {net.__name__: net for net in LARGE}
    parser.add_argument("--nets", nargs="+", choices=names, metavar="NET", help=", ".join(names))
    parser.add_argument("--seconds", type=float, default=6, help="of timing, for each of --nets")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", default=ROOT / "build" / "bench" / "deep_compression.json"
    )
    arguments = parser.parse_args()
    target = arguments.json
    target.parent.mkdir(parents=True, exist_ok=True)

    # Nets this small gain little from a second thread, and lose much where another program keeps it waiting.
    torch.set_num_threads(1)
    if arguments.nets:
        sizes = {
            name: measure_large(names[name], arguments.seconds) for name in tqdm(arguments.nets, disable=None)
        }
        Console(width=None if sys.stdout.isatty() else 100).print(large_table(sizes))
        target.write_text(json.dumps(sizes, indent=2) + "\n")
        return
    data = mnist_npz()
    results = {}
    table = Table(title=f"Deep Compression on MNIST, {len(data.test_x):,} test images, one seed")
    table.add_column("")
    columns: list[dict[str, str]] = []
    for name, (make_net, recipe, paper) in NETS.items():
        start = time.perf_counter()
        road, _ = travel(make_net, data, recipe, target.with_name(f"{make_net.__name__.lower()}.pyrt"))
        seconds = time.perf_counter() - start
        results[name] = {**asdict(road), "ratio": road.ratio, "loss": road.loss, "seconds": seconds}
        table.add_column(name, justify="right")
        columns.append(
            {
                "fp32 bytes": f"{road.dense_bytes:,}",
                "file bytes": f"{road.file_bytes:,}",
                "ratio (paper)": f"{road.ratio:.1f}x ({paper.ratio}x)",
                "accuracy %: torch, dense (paper)": f"{road.accuracy_dense:.2f} ({paper.dense:.2f})",
                "accuracy %: torch, compressed": f"{road.accuracy_compressed:.2f}",
                "accuracy %: pyruntime (paper)": f"{road.accuracy_pyruntime:.2f} ({paper.compressed:.2f})",
                "points lost": f"{road.loss:.2f}",
                "equal predictions": f"{road.equal_predictions} of {road.images}",
                "max abs difference of logits": f"{road.max_difference:.1e}",
                "seconds": f"{seconds:.0f}",
            }
        )
    for row in columns[0]:
        table.add_row(row, *(column[row] for column in columns))
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    target.write_text(json.dumps(results, indent=2) + "\n")
    print(f"written to {target}")


if __name__ == "__main__":
    main()
