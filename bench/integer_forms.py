"""Integer layers of dense s8, CSR of s8, indices into a book of s8, and CSR of these, in the same run.

python bench/integer_forms.py

Weights have 90 % zeros and few values, for indices of 4 bits. A time is the median of the layer alone, in
ms, forms taking turns; kB are those of its weights.
"""

# ruff: noqa: E402

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import pyruntime
from bench.cases import DENSE, PLANES
from converters.compress import quantize
from converters.tune import write_as

FORMS = (
    "panels+s8",
    "panels+s8book",
    "csr+s8",
    "csr+s8+huffman",
    "csr+s8book",
    "csr+s8book+huffman",
)
ZEROS = 0.9


def layer(m: int, k: int, n: int) -> tuple[nn.Module, torch.Tensor]:
    """The layer of a case of bench/cases.py with such weights, quantized, and an input."""
    size = PLANES.get(n)
    module = nn.Conv2d(k, m, 1) if size else nn.Linear(k, m)
    x = torch.randn((1, k, size, size) if size else (n, k))
    # Seven values, of which rounding to the grids of rows makes some more.
    index = torch.randn(module.weight.shape).mul(1.2).round().clamp(-3, 3)
    index[torch.rand(index.shape) < ZEROS] = 0
    index.flatten(1)[:, 0] = 3
    module.weight.data = index * 0.01
    return quantize(nn.Sequential(module), [x], progress=False), x


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=40)
    arguments = parser.parse_args()
    out = Table(title="integer layers, ms and kB of weights", title_justify="left")
    for title in ("case", *FORMS):
        out.add_column(title, justify="right")
    for m, k, n in DENSE:
        torch.manual_seed(0)
        module, x = layer(m, k, n)
        with tempfile.TemporaryDirectory() as folder:
            models = []
            for form in FORMS:
                path = Path(folder) / f"{form}.pyrt"
                write_as(module, x, form, path)
                models.append(pyruntime.load(path, threads=1))
            layers = [
                [next(op for op in model.profile(x.numpy()).layers if op.flops) for model in models]
                for _ in range(arguments.runs)
            ]
            for model in models:
                model.close()
        times = np.median([[op.ms for op in turn] for turn in layers], 0)
        cells = (f"{ms:.3f} {op.bytes / 1000:,.0f}" for ms, op in zip(times, layers[0], strict=True))
        out.add_row(f"{m}x{k}x{n}", *cells)
    Console(width=None if sys.stdout.isatty() else 150).print(out)


if __name__ == "__main__":
    main()
