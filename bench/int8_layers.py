"""Every layer of whole nets in integers next to the same layer in fp32, both ours, and the sizes of files.

    python bench/int8_layers.py                             # exit status 1 if a layer is slower in integers
    PYRUNTIME_ISA=avx2 python bench/int8_layers.py --nets MobileNetV2

One thread, batch 1; the two files take turns, a time is the least of all runs in ms. Shown are the layers
that gain least; "x" is fp32 over int8. A layer counts as slower below 0.95, for times of a few microseconds
differ by as much from run to run. "conversions" are the ops that only integer nets have: quantize and
dequantize. Sizes: of the fp32 file over those with 8 and 4 bits a weight, biases and multipliers included;
random weights, so that there is nothing else to gain.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import pyruntime
from bench import engines
from bench.cases import Case, whole_nets
from converters.compress import quantize

NETS = ("ResNet50", "MobileNetV1", "MobileNetV2", "ResNet20")
SLOWER = 0.95  # less is not noise


def layer_times(models: list[pyruntime.Model], x: engines.Array, rounds: int) -> list[dict[str, float]]:
    """Least ms of each named op of each model; ops of one name, such as a conversion, are added."""
    least: list[dict[str, float]] = [{} for _ in models]
    for _ in range(rounds):
        for model, times in zip(models, least, strict=True):
            run: dict[str, float] = {}
            for op in model.profile(x).layers:
                name = f"conversion {op.kind}" if op.kind in ("quantize", "dequantize") else op.name
                run[name] = run.get(name, 0.0) + op.ms
            for name, ms in run.items():
                times[name] = min(ms, times.get(name, ms))
    return least


def integers(module: nn.Module, x: engines.Array, bits: int) -> nn.Module:
    return quantize(module, [torch.from_numpy(x)], weight_bits=bits, progress=False)


def measure(case: Case, rounds: int, shown: int, console: Console) -> bool:
    """Prints the table of a net. Returns whether no layer is slower than in fp32."""
    torch.manual_seed(0)
    module = case.make().eval()
    x = torch.randn(case.input_shape).numpy()
    with tempfile.TemporaryDirectory() as folder:
        with torch.no_grad():
            paths = {"fp32": engines.convert(module, x, Path(folder) / "fp32.pyrt")}
            for bits, name in ((7, "int8"), (4, "int4")):
                paths[name] = engines.convert(integers(module, x, bits), x, Path(folder) / f"{name}.pyrt")
        sizes = {name: path.stat().st_size for name, path in paths.items()}
        models = [pyruntime.load(paths[name], threads=1) for name in ("fp32", "int8")]
        fp32, int8 = layer_times(models, x, rounds)
        isa = models[0].isa
        for model in models:
            model.close()
    both = sorted((fp32[name] / int8[name], name) for name in fp32.keys() & int8.keys())
    out = Table(title=f"{case.name}, {isa}: {len(both)} layers", title_justify="left")
    for title in ("layer", "fp32", "int8", "x"):
        out.add_column(title, justify="left" if title == "layer" else "right")
    for ratio, name in both[:shown]:
        out.add_row(name, f"{fp32[name]:.4f}", f"{int8[name]:.4f}", f"{ratio:.2f}")
    conversions = sum(ms for name, ms in int8.items() if name.startswith("conversion "))
    out.add_row("conversions", "", f"{conversions:.4f}", "")
    totals = sum(fp32.values()), sum(int8.values())
    out.add_row("[b]all ops", *(f"{ms:.3f}" for ms in totals), f"{totals[0] / totals[1]:.2f}")
    console.print(out)
    smaller = (f"{name} {size:,} ({sizes['fp32'] / size:.2f}x)" for name, size in sizes.items())
    console.print("bytes: " + ", ".join(smaller), highlight=False)
    return both[0][0] >= SLOWER


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nets", nargs="+", choices=NETS, default=NETS)
    parser.add_argument("--rounds", type=int, default=40, help="runs of each net")
    parser.add_argument("--show", type=int, default=6, metavar="N", help="layers of each net")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 100)
    cases = {case.name: case for case in whole_nets(0)}
    good = [measure(cases[name], arguments.rounds, arguments.show, console) for name in arguments.nets]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
