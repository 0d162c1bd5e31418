"""Binary layers and networks next to the same in float, one run, batch 1, one thread.

python bench/binary.py [--seconds S] [--layers] [--integers] [--nets]

A binary convolution is timed with everything around it: sign and packing of its input, batch norm, sign; as
a chain of ten such layers, so that what a call costs does not count. Engines alternate; a time is the
median. Cycles are those of a loop of FMAs of which the processor does two a cycle (8 lanes), in the same run.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import converters
import pyruntime
from bench import engines, roofline
from bench.nets.binary import BiReal18, QuickNet
from converters import tune
from converters.compress import BinaryConv2d, BinaryLinear, Sign, cluster, quantize

CONVS = ((56, 64), (28, 128), (14, 256), (7, 512))
CHAIN = 10  # layers of a kind behind each other


def settle(module: nn.Module) -> nn.Module:
    """Batch norms with statistics that leave something to do."""
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, (nn.BatchNorm2d, nn.BatchNorm1d)):
            layer.running_mean.normal_()  # type: ignore[union-attr, operator]
            layer.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
            nn.init.uniform_(layer.weight, 0.5, 1.5)
    return module.eval()


def conv_chain(channels: int, bits: bool) -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(CHAIN):
        if bits:
            layers.append(BinaryConv2d(channels, channels, 3, padding=1, bias=False, sign=Sign()))
        else:
            layers.append(nn.Conv2d(channels, channels, 3, padding=1, bias=False))
        layers.append(nn.BatchNorm2d(channels))
        if not bits:
            layers.append(nn.ReLU())
    return settle(nn.Sequential(*layers))


def median_ms(runs: dict[str, engines.Run], x: engines.Array, seconds: float) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(x)
    end = time.perf_counter() + seconds * len(runs)
    while time.perf_counter() < end or len(times[next(iter(runs))]) < 3:
        for name, run in runs.items():
            start = time.perf_counter()
            run(x)
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(t)) for name, t in times.items()}


class Bench:
    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder, self.seconds, self.count = folder, seconds, 0

    def compare(
        self, plain: nn.Module, binary: nn.Module, shape: tuple[int, ...]
    ) -> tuple[dict[str, float], Path]:
        """Times in ms by engine: torch and onnxruntime run `plain`, pyruntime `binary`; and its file."""
        self.count += 1
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        path = self.folder / f"{self.count}.pyrt"
        example = torch.from_numpy(x)
        converters.convert(
            binary, example, path, dynamic_batch=False, prefer="size", progress=False, verify=False
        )
        onnx = engines.export_onnx(plain, x, self.folder / f"{self.count}.onnx")
        (ours,) = engines.pyruntime_models(path, 1, 1)
        runs: dict[str, engines.Run] = {
            "torch": engines.torch_runs(plain, 1)[0],
            "onnxruntime": engines.onnxruntime_runs(onnx, 1, 1)[0],
            "pyruntime": lambda x: ours.infer(x),
        }
        return median_ms(runs, x, self.seconds), path


def layers(bench: Bench, hz: float) -> Table:
    table = Table(title="layers, ms", caption=f"{pyruntime.__version__}; cycles of {hz / 1e9:.2f} GHz")
    heads = (
        "layer",
        "torch fp32",
        "onnxruntime fp32",
        "bits",
        "x the best fp32",
        "bit-MAC/cycle, with all around it",
    )
    for head in heads:
        table.add_column(head, justify="left" if head == "layer" else "right")
    speedups = []
    for size, channels in CONVS:
        times, _ = bench.compare(
            conv_chain(channels, False), conv_chain(channels, True), (1, channels, size, size)
        )
        one = {name: t / CHAIN for name, t in times.items()}
        best = min(one["torch"], one["onnxruntime"]) / one["pyruntime"]
        speedups.append(best)
        rate = (3 * channels * size) ** 2 / (one["pyruntime"] * 1e-3 * hz)
        row = [f"{one[n]:.3f}" for n in ("torch", "onnxruntime", "pyruntime")]
        table.add_row(f"conv 3x3 {channels}->{channels}, {size}x{size}", *row, f"{best:.1f}", f"{rate:.0f}")
    table.add_row("geometric mean of the four", "", "", "", f"{np.exp(np.mean(np.log(speedups))):.1f}", "")
    kinds = {
        "linear": lambda: BinaryLinear(4096, 4096, bias=False, sign=Sign()),
        "binary weights x f32": lambda: BinaryLinear(4096, 4096, bias=False),
        "ternary weights x f32": lambda: BinaryLinear(4096, 4096, bias=False, weights="ternary"),
    }
    for name, make in kinds.items():
        for columns in (1, 16):
            plain = settle(nn.Linear(4096, 4096, bias=False))
            times, _ = bench.compare(plain, settle(make()), (columns, 4096))
            best = min(times["torch"], times["onnxruntime"]) / times["pyruntime"]
            rate = 4096**2 * columns / (times["pyruntime"] * 1e-3 * hz)
            row = [f"{times[n]:.3f}" for n in ("torch", "onnxruntime", "pyruntime")]
            table.add_row(f"{name} 4096x4096, {columns} columns", *row, f"{best:.1f}", f"{rate:.0f}")
    return table


def integers(bench: Bench) -> Table:
    """Weights of two and three values in an integer layer: as bytes, and in one and two bits."""
    table = Table(title="linear 4096x4096 on u8, ms")
    for head in ("weights", "columns", "bytes each", "1 or 2 bits each", "ratio", "file, times smaller"):
        table.add_column(head, justify="left" if head == "weights" else "right")
    kinds: tuple[Literal["binary", "ternary"], ...] = ("binary", "ternary")
    for weights in kinds:
        layer = nn.Sequential(BinaryLinear(4096, 4096, bias=False, weights=weights))
        for columns in (1, 16, 256):
            x = torch.randn(columns, 4096)
            module = quantize(layer, [x], progress=False)
            paths = {kind: bench.folder / f"{kind}.pyrt" for kind in ("bytes", "bits")}
            converters.convert(
                module, x, paths["bytes"], dynamic_batch=False, prefer="speed", progress=False, verify=False
            )
            tune.write_as(module, x, "panels+s8book", paths["bits"])
            runs = {kind: engines.pyruntime_models(path, 1, 1)[0].infer for kind, path in paths.items()}
            times = median_ms(runs, x.numpy(), bench.seconds)
            size = {kind: path.stat().st_size for kind, path in paths.items()}
            row = (f"{times['bytes']:.3f}", f"{times['bits']:.3f}", f"{times['bits'] / times['bytes']:.2f}")
            table.add_row(weights, str(columns), *row, f"{size['bytes'] / size['bits']:.1f}")
    return table


def nets(bench: Bench) -> Table:
    table = Table(
        title="networks at 224x224, ms; floats in codebooks of 256; file against 4 bytes a parameter"
    )
    for head in (
        "net",
        "torch fp32",
        "onnxruntime fp32",
        "bits",
        "x the best fp32",
        "file bytes",
        "x smaller",
    ):
        table.add_column(head, justify="left" if head == "net" else "right")
    for name, make in (("Bi-Real-18 style", BiReal18), ("QuickNet style", QuickNet)):
        plain, binary = settle(make(False)), settle(make(True))
        floats = [n for n, layer in binary.named_modules() if type(layer) in (nn.Conv2d, nn.Linear)]
        cluster(binary, bits=8, layers=[n for n in floats if binary.get_submodule(n).weight.numel() > 4096])  # type: ignore[operator, union-attr]
        binary.eval()
        times, path = bench.compare(plain, binary, (1, 3, 224, 224))
        best = min(times["torch"], times["onnxruntime"]) / times["pyruntime"]
        size, dense = path.stat().st_size, 4 * sum(p.numel() for p in plain.parameters())
        row = [f"{times[n]:.2f}" for n in ("torch", "onnxruntime", "pyruntime")]
        table.add_row(name, *row, f"{best:.1f}", f"{size:,}", f"{dense / size:.1f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="per engine and row")
    parser.add_argument("--layers", action="store_true", help="only the layers")
    parser.add_argument("--integers", action="store_true", help="only the layers on u8")
    parser.add_argument("--nets", action="store_true", help="only the networks")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=140)
    hz = roofline.fma_gflops(8, 1) * 1e9 / 32
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), arguments.seconds)
        console.print(f"instruction set: {os.environ.get('PYRUNTIME_ISA') or 'the best'}")
        every = not (arguments.layers or arguments.integers or arguments.nets)
        if arguments.layers or every:
            console.print(layers(bench, hz))
        if arguments.integers or every:
            console.print(integers(bench))
        if arguments.nets or every:
            console.print(nets(bench))


if __name__ == "__main__":
    main()
