"""Product quantization: linear layers by codewords next to dense ones, of the sizes of RoBERTa-base.

python bench/product.py [--block 8] [--seconds 0.3]   # layers: ms by number of columns (tokens), one thread

A time is the median of calls spread over the run, engines taking turns. `of f32` is the time of our own dense
fp32 layer over that of the codewords: more is faster.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import pyruntime
from bench.kernels import limit_threads, medians
from converters.tune import write_as

SHAPES = ((768, 768), (3072, 768), (768, 3072))  # M, K of RoBERTa-base
COLUMNS = (1, 2, 3, 4, 8, 16, 128)


def onnx(layer: nn.Linear) -> Callable[[np.ndarray], object]:
    """The layer in onnxruntime, on one thread."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer.onnx"
        batch = {"input": {0: torch.export.Dim("n", max=65535)}}
        torch.onnx.export(
            layer, (torch.randn(2, layer.in_features),), path, dynamo=True, verbose=False,
            dynamic_shapes=batch, external_data=False,
        )  # fmt: skip
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path.read_bytes(), options, ["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})


def ours(layer: nn.Linear, kind: str) -> Callable[[np.ndarray], object]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer.pyrt"
        program_input = torch.randn(2, layer.in_features)
        write_as(layer, program_input, kind, path, dynamic_batch=True)
        model = pyruntime.load(path, threads=1)
    return model.infer


def layers(block: int, seconds: float) -> Table:
    """Times of the layers of RoBERTa-base."""
    table = Table(title=f"Linear layers in blocks of {block}, one thread, ms")
    for name in (
        "M x K",
        "tokens",
        "codewords",
        "f32",
        "torch",
        "onnxruntime",
        "of f32",
        "of the best dense",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for rows, cols in SHAPES:
        torch.manual_seed(0)
        dense = nn.Linear(cols, rows).requires_grad_(False)
        coded = nn.Linear(cols, rows).requires_grad_(False)
        coded.weight.copy_(
            torch.randn(256, block)[torch.randint(256, (rows * cols // block,))].view(rows, cols)
        )
        engines = [ours(coded, "panels+product"), ours(dense, "panels+f32")]
        engines += [lambda x, dense=dense: dense(torch.from_numpy(x)), onnx(dense)]
        for n in COLUMNS:
            x = np.random.default_rng(0).standard_normal((n, cols), np.float32)
            np.testing.assert_allclose(
                np.asarray(engines[0](x)), coded(torch.from_numpy(x)).numpy(), rtol=0, atol=1e-2
            )
            calls = [partial(engine, x) for engine in engines]
            times = medians(calls, seconds, 1)
            row = [f"{t:.3f}" for t in times]
            row += [f"{times[1] / times[0]:.2f}x", f"{min(times[1:]) / times[0]:.2f}x"]
            table.add_row(f"{rows} x {cols}", str(n), *row)
        table.add_section()
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--block", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0.3, help="for each engine and number of tokens")
    arguments = parser.parse_args()
    with limit_threads(1):
        Console(width=None if sys.stdout.isatty() else 100).print(layers(arguments.block, arguments.seconds))


if __name__ == "__main__":
    main()
