"""The instruction sets of this machine next to each other: every encoding of the layers of bench/kernels.py.

python bench/isas.py [--seconds S]

One thread, batch 1, median cpu times; the sets take turns within a layer. The last column is the time of ref,
plain C++, over that of the last set.
"""

# ruff: noqa: E402

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from bench.kernels import LAYERS, limit_threads, make_engine, medians, ways
from pyruntime._core import available_isas


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=0.5, help="per layer, encoding and instruction set")
    seconds = parser.parse_args().seconds
    isas = available_isas()
    if len(isas) < 2:
        sys.exit(f"nothing to compare: this machine has {', '.join(isas)}")
    table = Table(title="One thread, batch 1, ms")
    for title in ("layer", "encoding"):
        table.add_column(title)
    for title in (*isas, f"{isas[0]} / {isas[-1]}"):
        table.add_column(title, justify="right")
    with limit_threads(1), torch.no_grad():
        for name, way in tqdm(
            [(layer, way) for layer in LAYERS for way in ways(layer) if "+" in way], disable=None
        ):
            engines = []
            for isa in isas:
                os.environ["PYRUNTIME_ISA"] = isa
                engines.append(make_engine(way, name)[1])
            times = medians([engine.call for engine in engines], seconds, threads=1)
            cells = [f"{ms:.3f}" for ms in times]
            table.add_row(
                name, engines[0].name.removeprefix("pyruntime "), *cells, f"{times[0] / times[-1]:.1f}"
            )
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    main()
