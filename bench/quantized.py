"""Integer layers and nets next to fp32, in pyruntime, torch and onnxruntime, in the same run.

    python bench/quantized.py                         # everything, one thread
    python bench/quantized.py --only nets --threads 2
    python bench/quantized.py --filter 256x64

The engines take turns (bench/compare.py); a time is the median of all calls in ms. fp32 is the better of
torch and onnxruntime; int8 of torch (static, eager, x86 backend) and onnxruntime (dynamic, and static QDQ
with per-channel weights). our q8, q4: weights alone in 8 and 4 bits, a scale for 64 columns, where there is
one column. "x fp32" and "x int8" are their times over ours. layer: our layer alone, without
copying and rounding input and output, as in a net; "its x" is the better int8 time over that. "x own": our
fp32 time over our int8 time, of the layer alone where there is one. error: root mean square over that of the
fp32 output, ours and the larger one of the others.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
import copy
import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from statistics import geometric_mean
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.ao.quantization import QConfigMapping, get_default_qconfig
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
from tqdm import tqdm

from bench import engines
from bench.cases import DENSE, DEPTHWISE, PLANES, Case, whole_nets
from bench.compare import alternate
from converters.compress import FakeQuantize, quantize, quantize_weights

PRODUCTS = tuple(shape for shape in DENSE if shape[0] != 300)
NETS = {"ResNet20", "ResNet50", "MobileNetV1", "MobileNetV2"}
FP32 = ("torch", "onnxruntime")
INT8 = ("torch int8", "onnxruntime dynamic", "onnxruntime QDQ")
Runs = dict[str, engines.Run]
Row = dict[str, Any]


def cases() -> Iterator[Case]:
    """The products and depthwise layers of bench/cases.py, and four nets."""
    for m, k, n in PRODUCTS:
        size = PLANES.get(n)
        layer = nn.Conv2d(k, m, 1) if size else nn.Linear(k, m)
        shape = (1, k, size, size) if size else (n, k)
        yield Case(f"{m}x{k}x{n}", "products", lambda layer=layer: layer, shape)
    for size, channels, stride, kernel in DEPTHWISE:
        layer = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels)
        name = f"dw{kernel}x{kernel}/{stride} {channels}@{size}"
        yield Case(name, "depthwise", lambda layer=layer: layer, (1, channels, size, size))
    yield from (case for case in whole_nets(0) if case.name in NETS)


class Feed(CalibrationDataReader):
    """Calibration batches for onnxruntime."""

    def __init__(self, batches: list[engines.Array], name: str) -> None:
        self.feeds = iter([{name: batch} for batch in batches])

    def get_next(self) -> dict[str, engines.Array] | None:
        return next(self.feeds, None)


def onnx_integers(onnx: Path, batches: list[engines.Array], dense: bool) -> dict[str, Path]:
    """Quantized copies of an ONNX file. Dynamic quantization is for products of matrices."""
    import onnx as onnx_package

    name = onnx_package.load(str(onnx)).graph.input[0].name
    made = {"onnxruntime QDQ": onnx.with_suffix(".qdq.onnx")}
    quantize_static(
        str(onnx),
        str(made["onnxruntime QDQ"]),
        Feed(batches, name),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    if dense:
        made["onnxruntime dynamic"] = onnx.with_suffix(".dynamic.onnx")
        quantize_dynamic(str(onnx), str(made["onnxruntime dynamic"]), per_channel=True)
    return made


def torch_integers(module: nn.Module, batches: list[engines.Array]) -> nn.Module:
    """Torch's own static quantization."""
    torch.backends.quantized.engine = "x86"
    mapping = QConfigMapping().set_global(get_default_qconfig("x86"))
    example = (torch.from_numpy(batches[0]),)
    prepared = prepare_fx(copy.deepcopy(module), mapping, example)
    for batch in batches:
        prepared(torch.from_numpy(batch))
    return convert_fx(prepared)


def rounded_output(module: nn.Module, batches: list[engines.Array]) -> nn.Module:
    """What rounds a module's output to u8, as the next layer would have it."""
    output = FakeQuantize()
    for output.counting in (False, True):
        for batch in batches:
            output(module(torch.from_numpy(batch)))
    output.calibrate("minmax")
    return output


def measure(case: Case, threads: int, seconds: float, folder: Path) -> Row:
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    module = case.make().eval()
    batches = [torch.randn(case.input_shape).numpy() for _ in range(4)]
    single = isinstance(module, nn.Conv2d | nn.Linear)
    onnx = engines.export_onnx(module, batches[0], folder / "model.onnx")
    with torch.no_grad():
        chain = nn.Sequential(module) if single else module  # torch.fx does not take a layer apart
        integers: nn.Module = quantize(chain, [torch.from_numpy(b) for b in batches], progress=False)
        if case.group == "depthwise":
            integers = nn.Sequential(integers, rounded_output(integers, batches))
        files = {
            "pyruntime": engines.convert(module, batches[0], folder / "float.pyrt"),
            "pyruntime int8": engines.convert(integers, batches[0], folder / "int8.pyrt"),
        }
        runs: Runs = {"torch": engines.torch_runs(module, 1)[0]}
        runs["torch int8"] = engines.torch_runs(torch_integers(chain, batches), 1)[0]
    if isinstance(module, nn.Linear) and case.input_shape[0] == 1:
        for bits in (8, 4):
            weights = quantize_weights(copy.deepcopy(module), bits)
            name = f"pyruntime q{bits}"
            files[name] = engines.convert(weights, batches[0], folder / f"q{bits}.pyrt")
    runs["onnxruntime"] = engines.onnxruntime_runs(onnx, 1, threads)[0]
    for name, path in onnx_integers(onnx, batches, isinstance(module, nn.Linear)).items():
        runs[name] = engines.onnxruntime_runs(path, 1, threads)[0]
    models = {name: engines.pyruntime_models(path, 1, threads)[0] for name, path in files.items()}
    runs |= {name: model.infer for name, model in models.items()}  # type: ignore[misc]
    expected = runs["torch"](batches[0])

    def error(name: str) -> float:
        y = runs[name](batches[0])
        return float(np.sqrt(np.square(y - expected).mean() / np.square(expected).mean()))

    errors = {name: error(name) for name in runs}
    calls = {name: lambda turn, run=run: run(batches[turn % 4]) for name, run in runs.items()}
    times = alternate(calls, threads, seconds)
    row: Row = {
        "name": case.name,
        "group": case.group,
        "ms": {name: float(np.median(t)) for name, t in times.items()},
        "errors": errors,
        "bytes": {name: path.stat().st_size for name, path in files.items()},
    }
    if single:
        for name, model in models.items():
            profiles = [model.profile(batches[i % 4]) for i in range(40)]
            row["ms"][f"{name} layer"] = float(
                np.median([sum(x.ms for x in p.layers if x.flops) for p in profiles])
            )
    for model in models.values():
        model.close()
    return row


def best(row: Row, names: tuple[str, ...]) -> float:
    return min(row["ms"][name] for name in names if name in row["ms"])


def table(rows: list[Row], threads: int) -> Table:
    out = Table(title=f"int8, median ms, {threads} thread(s)", title_justify="left")
    out.add_column("case")
    for title in (
        "torch",
        "ort",
        "torch int8",
        "ort dynamic",
        "ort QDQ",
        "our fp32",
        "our int8",
        "layer",
        "our q8",
        "our q4",
    ):
        out.add_column(title, justify="right")
    for title in ("x fp32", "x int8", "its x", "x own", "error", "others", "bytes"):
        out.add_column(title, justify="right")
    ratios: dict[str, list[tuple[float, ...]]] = {}
    for row in rows:
        ms = row["ms"]
        mine = ms.get("pyruntime int8 layer", ms["pyruntime int8"])
        own = ms.get("pyruntime layer", ms["pyruntime"]) / mine
        fp32, int8 = (best(row, names) / ms["pyruntime int8"] for names in (FP32, INT8))
        alone = best(row, INT8) / mine
        ratios.setdefault(row["group"], []).append((fp32, int8, alone, own))
        mine_too = ("pyruntime", "pyruntime int8", "pyruntime int8 layer", "pyruntime q8", "pyruntime q4")
        columns = (*FP32, *INT8, *mine_too)
        others = max(row["errors"][name] for name in INT8 if name in row["errors"])
        out.add_row(
            row["name"],
            *(f"{ms[name]:.3f}" if name in ms else "" for name in columns),
            *(f"{x:.2f}" for x in (fp32, int8, alone, own)),
            f"{row['errors']['pyruntime int8']:.4f}",
            f"{others:.4f}",
            f"{row['bytes']['pyruntime int8']:,}",
        )
    for group, found in ratios.items():
        means = [f"{geometric_mean(column):.2f}" for column in zip(*found, strict=True)]
        out.add_row(f"[b]{group}: geometric mean", *[""] * 10, *means)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("products", "depthwise", "nets"))
    parser.add_argument("--filter", default="", metavar="TEXT", help="only cases with TEXT in their name")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.5, help="per case")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    chosen = [
        case
        for case in cases()
        if arguments.only in (None, case.group) and arguments.filter.lower() in case.name.lower()
    ]
    rows = []
    for case in (bar := tqdm(chosen, unit="case", disable=None)):
        bar.set_postfix_str(case.name)
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(case, arguments.threads, arguments.seconds, Path(folder)))
    if not rows:
        raise SystemExit("no such case")
    Console(width=None if sys.stdout.isatty() else 190).print(table(rows, arguments.threads))


if __name__ == "__main__":
    main()
