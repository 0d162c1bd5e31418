"""pyruntime next to torch and onnxruntime in the same run: single layers, and whole nets at batch 1.

    python bench/compare.py                          # everything, on one thread and on all
    python bench/compare.py --only layers --filter 3x3 --threads 1
    python bench/compare.py --only nets --zeros 0.9  # pruned
    python bench/compare.py --save before            # later: --compare before

The engines take turns. A time is the median of all calls (and the least), on one thread its cpu time.
ratio is the time of the better of torch and onnxruntime over that of pyruntime: above 1 is faster. GFLOP/s
counts zeros; peak is the FMA peak, measured in the same run. "layer" is the time of a single layer without
copying input and output, as in a net that layer has neighbours, and "its ratio" sets that against the same
times of the others.
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
from pathlib import Path
from statistics import geometric_mean
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import onnxruntime
import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from tqdm import tqdm

import pyruntime
from bench import engines
from bench.cases import Case, count_flops, layers, whole_nets
from bench.plots import plot_ratios
from bench.roofline import fma_gflops

RESULTS = ROOT / "bench" / "results"
ROUNDS = 12
COLD_BYTES = 8 << 20  # copies of a layer for a few columns together take more than an L2 cache
LANES = {"ref": 1, "neon": 4, "neondot": 4, "avx2": 8, "avxvnni": 8}  # all others: 16
TOLERANCE = 1e-3  # of the largest output
Row = dict[str, Any]


def alternate(
    calls: dict[str, Callable[[int], object]], threads: int, seconds: float
) -> dict[str, list[float]]:
    """Milliseconds of every call, the engines in turns; the first call of a turn is not counted."""
    # All engines run in the calling thread when they have one; its cpu time leaves other programs out.
    clock = time.thread_time if threads == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in calls}
    turn = 0
    for _ in range(ROUNDS):
        for name, call in calls.items():
            time.sleep(0.02)  # the threads of the engine before still spin, waiting for work
            call(turn)
            end = time.perf_counter() + seconds / ROUNDS / len(calls)
            while True:
                turn += 1
                start = clock()
                call(turn)
                times[name].append((clock() - start) * 1e3)
                if time.perf_counter() >= end:
                    break
    return times


def measure(case: Case, threads: list[int], seconds: float, folder: Path) -> list[Row]:
    """One row for each number of threads. Raises if an engine does not compute what torch computes."""
    torch.manual_seed(0)
    module = case.make().eval()
    inputs = [torch.randn(case.input_shape).numpy() for _ in range(4)]
    flops = count_flops(module, torch.from_numpy(inputs[0]))
    weight_bytes = sum(4 * p.numel() for p in module.parameters())
    single = isinstance(module, nn.Conv2d | nn.Linear)
    few_columns = flops <= 16 * weight_bytes // 2
    copies = min(16, -(-COLD_BYTES // weight_bytes)) if single and few_columns else 1
    onnx = engines.export_onnx(module, inputs[0], folder / "model.onnx")
    file = engines.convert(module, inputs[0], folder / "model.pyrt")
    rows = []
    for count in threads:
        torch.set_num_threads(count)
        models = engines.pyruntime_models(file, copies, count)
        runs: dict[str, list[engines.Run]] = {
            "torch": engines.torch_runs(module, copies),
            "onnxruntime": engines.onnxruntime_runs(onnx, copies, count),
            "pyruntime": [model.infer for model in models],  # type: ignore[misc]
        }
        check(case, runs, inputs[0])

        def caller(own: list[engines.Run]) -> Callable[[int], object]:
            return lambda turn: own[turn % len(own)](inputs[turn % len(inputs)])

        times = alternate({name: caller(own) for name, own in runs.items()}, count, seconds)
        median = {name: float(np.median(t)) for name, t in times.items()}
        least = {name: min(t) for name, t in times.items()}
        row: Row = {
            "name": case.name,
            "group": case.group,
            "threads": count,
            "isa": models[0].isa,
            "flops": flops,
            "file_bytes": file.stat().st_size,
            "ms": median,
            "min_ms": least,
            "calls": {name: len(t) for name, t in times.items()},
            "ratio": min(median["torch"], median["onnxruntime"]) / median["pyruntime"],
            "min_ratio": min(least["torch"], least["onnxruntime"]) / least["pyruntime"],
        }
        if single:
            profiles = [models[i % copies].profile(inputs[i % 4]) for i in range(40)]
            row["layer_ms"] = float(np.median([sum(x.ms for x in p.layers if x.flops) for p in profiles]))
            row["layer_ratio"] = min(median["torch"], median["onnxruntime"]) / row["layer_ms"]
        rows.append(row)
        for model in models:
            model.close()
    for left in folder.iterdir():
        left.unlink()
    return rows


def check(case: Case, runs: dict[str, list[engines.Run]], x: engines.Array) -> None:
    expected = runs["torch"][0](x)
    for name, own in runs.items():
        error = np.abs(own[0](x) - expected).max()
        if not error <= TOLERANCE * np.abs(expected).max():
            raise SystemExit(f"{case.name}: {name} differs from torch by {error:.3g}")


def table(rows: list[Row], peaks: dict[str, float], old: dict[tuple[str, int], Row] | None) -> Table:
    out = Table(title="pyruntime, torch and onnxruntime: median ms", title_justify="left")
    out.add_column("case")
    titles = [
        "threads",
        "torch",
        "onnxruntime",
        "pyruntime",
        "ratio",
        "ratio of least",
        "GFLOP/s",
        "% of peak",
    ]
    single = any("layer_ms" in row for row in rows)
    for title in [
        *titles,
        *(["layer", "its ratio"] if single else []),
        *(["change"] if old is not None else []),
    ]:
        out.add_column(title, justify="right")
    for row in rows:
        gflops = row["flops"] / row["ms"]["pyruntime"] / 1e6
        cells = [
            row["name"],
            str(row["threads"]),
            *(f"{row['ms'][name]:.3f}" for name in engines.ENGINES),
            f"{row['ratio']:.2f}",
            f"{row['min_ratio']:.2f}",
            f"{gflops:.1f}",
            f"{100 * gflops / peaks[str(row['threads'])]:.0f}",
        ]
        if single:
            known = "layer_ms" in row
            cells += [f"{row['layer_ms']:.3f}", f"{row['layer_ratio']:.2f}"] if known else ["", ""]
        if old is not None:
            before = old.get((row["name"], row["threads"]))
            cells.append(f"{before['ms']['pyruntime'] / row['ms']['pyruntime']:.2f}x" if before else "new")
        out.add_row(*cells)
    for (group, count), ratios in groups(rows).items():
        means = [f"{geometric_mean(r):.2f}" for r in zip(*ratios, strict=True)]
        name = f"[b]{group}: geometric mean, least {min(r[0] for r in ratios):.2f}"
        out.add_row(name, str(count), "", "", "", *means)
    return out


def groups(rows: list[Row]) -> dict[tuple[str, int], list[tuple[float, float]]]:
    """(ratio, ratio of least) of the cases of each group and number of threads."""
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for row in rows:
        found.setdefault((row["group"], row["threads"]), []).append((row["ratio"], row["min_ratio"]))
    return found


def result_file(name: str) -> Path:
    return RESULTS / f"{name}.json"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cpus = len(os.sched_getaffinity(0))
    parser.add_argument("--only", choices=("layers", "nets"), help="default: both")
    parser.add_argument("--filter", default="", metavar="TEXT", help="only cases with TEXT in their name")
    parser.add_argument("--zeros", type=float, default=0.0, metavar="FRACTION", help="prune the weights")
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, cpus}), metavar="N")
    parser.add_argument("--seconds", type=float, default=1.5, help="per case and number of threads")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="a PNG")
    parser.add_argument("--save", metavar="NAME", help="keep the result in bench/results/")
    parser.add_argument("--compare", metavar="NAME", help="show the change against a saved result")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    old = None
    if arguments.compare:
        saved = json.loads(result_file(arguments.compare).read_text())
        old = {(row["name"], row["threads"]): row for row in saved["rows"]}
    cases = [
        case
        for kind, listed in (("layers", layers), ("nets", whole_nets))
        if arguments.only in (None, kind)
        for case in listed(arguments.zeros)
        if arguments.filter.lower() in case.name.lower()
    ]
    if not cases:
        raise SystemExit(f"no case has {arguments.filter!r} in its name")
    load = [os.getloadavg()[0]]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for case in (bar := tqdm(cases, unit="case", disable=None)):
            bar.set_postfix_str(case.name)
            rows += measure(case, arguments.threads, arguments.seconds, Path(folder))
    load.append(os.getloadavg()[0])
    isa = rows[0]["isa"]
    peaks = {str(n): fma_gflops(LANES.get(isa, 16), n) for n in arguments.threads}
    result = {
        "cpu": platform.processor() or platform.machine(),
        "isa": isa,
        "load": load,
        "versions": {m.__name__: m.__version__ for m in (pyruntime, torch, onnxruntime, np)},
        "peak_gflops": peaks,
        "geometric_means": [
            {"group": group, "threads": count, "ratio": geometric_mean(r[0] for r in ratios)}
            for (group, count), ratios in groups(rows).items()
        ],
        "rows": rows,
    }
    Console(width=None if sys.stdout.isatty() else 150).print(table(rows, peaks, old))
    peak_text = ", ".join(f"{peak:.0f} on {n}" for n, peak in peaks.items())
    print(f"isa {isa}; FMA peak in GFLOP/s by threads: {peak_text}; load {load[0]:.1f}, then {load[1]:.1f}")
    if arguments.save:
        RESULTS.mkdir(exist_ok=True)
    for path in (arguments.json, result_file(arguments.save) if arguments.save else None):
        if path:
            path.write_text(json.dumps(result, indent=2) + "\n")
    if arguments.plot:
        plot_ratios(rows, f"pyruntime ({isa}) next to the best other engine", arguments.plot)


if __name__ == "__main__":
    main()
