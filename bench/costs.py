"""Measures what each encoding costs on this machine and writes converters/costs.json.

    python bench/costs.py            # prints the table
    python bench/costs.py --write    # and writes it

Every encoding runs linear layers of several sizes at 1 and at 64 columns, on one thread; the three costs
of the model `time = layer_ns + entries * (entry_ns + (columns - 1) * column_ns)` are fitted to the best
of many runs.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import nn

import converters
import pyruntime
from converters.encodings import choose

TABLE = Path(converters.__file__).parent / "costs.json"
SIZES = [(64, 128), (256, 512), (1024, 1024)]  # M, K: in L1, in L2, beyond
COLUMNS = (1, 64)
# zeros and number of distinct values of a weight that an encoding is made for
WEIGHTS = {
    "panels+f32": (0.0, 0),
    "panels+f16": (0.0, 0),
    "panels+codebook": (0.0, 16),
    "panels+codebook+huffman": (0.0, 16),
    "csr+f32": (0.9, 0),
    "csr+f32+huffman": (0.9, 0),
    "csr+f16": (0.9, 0),
    "csr+f16+huffman": (0.9, 0),
    "csr+codebook": (0.9, 16),
    "csr+codebook+huffman": (0.9, 16),
    "rows+f32": (0.0, 0),
    "rows+f16": (0.0, 0),
    "rows+codebook": (0.0, 16),
}


class Only:
    """In place of `estimate_ns`: makes one encoding the cheapest, and notes its number of entries."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.entries = 0

    def __call__(self, kind: str, entries: int, columns: int) -> float:
        if kind == self.kind:
            self.entries = entries
        return 1.0 if kind == self.kind else 2.0


def layer_of(kind: str, rows: int, cols: int) -> tuple[nn.Module, tuple[int, ...]]:
    """A layer whose weight suits the encoding, and the shape of one input column (or image)."""
    zeros, values = WEIGHTS[kind]
    depthwise = kind.startswith("rows")
    layer = (
        nn.Conv2d(rows, rows, 3, padding=1, groups=rows, bias=False)
        if depthwise
        else nn.Linear(cols, rows, bias=False)
    )
    with torch.no_grad():
        if values:
            index = (torch.rand(layer.weight.shape) ** 2 * values).long()
            layer.weight.copy_(torch.linspace(-1, 1, values)[index.clamp(max=values - 1)] + 1e-3)
        if "f16" in kind:
            layer.weight.copy_(layer.weight.half())
        layer.weight[torch.rand(layer.weight.shape) < zeros] = 0
    return layer, ((rows, 8, 8) if depthwise else (cols,))


def best_ns(model: pyruntime.Model, x: np.ndarray) -> float:
    """Best time of the layer itself over many runs, ns."""
    times = []
    for _ in range(60):
        ops = model.profile(x).layers
        times.append(sum(op.ms for op in ops if op.encoding) * 1e6)
    return min(times)


def measure(kind: str) -> dict[str, float]:
    """The three costs of an encoding, ns."""
    system, times = [], []
    for rows, cols in SIZES:
        torch.manual_seed(0)
        layer, shape = layer_of(kind, rows, cols)
        for columns in COLUMNS:
            x = torch.randn(1 if len(shape) == 3 else columns, *shape)
            if len(shape) == 3:
                x = x[:, :, : (1 if columns == 1 else 8), : (1 if columns == 1 else 8)]
            with (
                tempfile.TemporaryDirectory() as folder,
                mock.patch.object(choose, "estimate_ns", only := Only(kind)),
            ):
                path = Path(folder) / "layer.pyrt"
                converters.convert(layer, (x,), path, prefer="speed", progress=False)
                with pyruntime.load(path, threads=1) as model:
                    entries = only.entries
                    system.append((1.0, entries, entries * (columns - 1)))
                    times.append(best_ns(model, x.numpy()))
    # Relative errors are what matters: every equation is divided by its time.
    relative = np.array(system) / np.array(times)[:, None]
    layer_ns, entry_ns, column_ns = np.linalg.lstsq(relative, np.ones(len(times)), rcond=None)[0]
    return {
        "layer_ns": round(max(float(layer_ns), 0.0)),
        "entry_ns": round(max(float(entry_ns), 0.0), 4),
        "column_ns": round(max(float(column_ns), 0.0), 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write converters/costs.json")
    arguments = parser.parse_args()
    table = json.loads(TABLE.read_text())
    for kind in WEIGHTS:
        table["encodings"][kind] = measure(kind)
        print(f"{kind:28}", table["encodings"][kind], flush=True)
    if arguments.write:
        table["measured"] = True
        table["cpu"] = f"{platform.machine()}, {pyruntime._core.available_isas()[-1]}, one thread"
        TABLE.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
