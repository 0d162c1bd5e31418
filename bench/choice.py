"""What `convert` chooses for itself (prefer="auto") next to the same net with dense layers alone.

    python bench/choice.py                                    # small nets and MobileNets, under four minutes
    python bench/choice.py --nets ResNet50 --zeros 0.5 0.9
    python bench/choice.py --nets ResNet50 --zeros 0.7 --layers 10

Batch 1, one thread, cpu time. The two files of a net take turns; "ratio" is the median time of the dense one
over that of the chosen one: never below 1, but for noise, is what the cost table promises. --layers lists
those layers that lose most, or gain least, with the reason that the report of `convert` gives.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import geometric_mean
from typing import Any

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
from bench.cases import NETS, net_case
from bench.compare import alternate
from converters.tune import write_as

DEFAULT = ("LeNet5", "ResNet20", "MobileNetV1", "MobileNetV2", "SqueezeNetV1_1")
ZEROS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9)
PROFILES = 40
Row = dict[str, Any]


def measure(net: type[nn.Module], zeros: float, seconds: float, folder: Path) -> Row:
    """Times of the two files, ms, and of their layers. Raises SystemExit if they do not agree."""
    case, name = net_case(net, zeros), net.__name__
    module = case.make().eval()
    x = torch.randn(case.input_shape, generator=torch.Generator().manual_seed(0))
    files = {"dense": folder / "dense.pyrt", "auto": folder / "auto.pyrt"}
    write_as(module, x, "panels+f32", files["dense"])
    report = converters.convert(module, x, files["auto"], dynamic_batch=False, progress=False, verify=False)
    why = {layer.name.removesuffix(".weight"): layer.why for layer in report.layers}
    models = {which: pyruntime.load(file, threads=1) for which, file in files.items()}
    array = x.numpy()
    wanted, found = (model.infer(array) for model in models.values())
    if not np.abs(found - wanted).max() <= 1e-3 * np.abs(wanted).max():  # type: ignore[operator]
        raise SystemExit(f"{case.name}: the files disagree")
    times = alternate({which: lambda _, m=m: m.infer(array) for which, m in models.items()}, 1, seconds)
    profiles = {which: [] for which in models}
    for _ in range(PROFILES):
        for which, model in models.items():
            profiles[which].append(model.profile(array).layers)
    layers = []
    for i, layer in enumerate(profiles["auto"][0]):
        if layer.name in why:
            dense, auto = (min(run[i].ms for run in profiles[which]) for which in ("dense", "auto"))
            layers.append(
                {
                    "name": layer.name,
                    "encoding": layer.encoding,
                    "dense_ms": dense,
                    "auto_ms": auto,
                    "why": why[layer.name],
                }
            )
    for model in models.values():
        model.close()
    ms = {which: float(np.median(t)) for which, t in times.items()}
    return {
        "name": name,
        "zeros": zeros,
        "ms": ms,
        "ratio": ms["dense"] / ms["auto"],
        "min_ratio": min(times["dense"]) / min(times["auto"]),
        "bytes": {which: file.stat().st_size for which, file in files.items()},
        "layers": layers,
    }


def net_table(rows: list[Row]) -> Table:
    out = Table(title='prefer="auto" next to dense layers alone, median ms', title_justify="left")
    out.add_column("net")
    for title in ("zeros", "dense", "auto", "ratio", "ratio of least", "bytes", "layers not dense"):
        out.add_column(title, justify="right")
    for row in rows:
        sparse = sum(not layer["encoding"].startswith(("dense+f32", "rows+f32")) for layer in row["layers"])
        out.add_row(
            row["name"],
            f"{row['zeros']:.0%}",
            *(f"{row['ms'][name]:.3f}" for name in ("dense", "auto")),
            f"{row['ratio']:.2f}",
            f"{row['min_ratio']:.2f}",
            f"{row['bytes']['auto'] / row['bytes']['dense']:.0%}",
            f"{sparse} of {len(row['layers'])}",
        )
    least = min(row["ratio"] for row in rows)
    out.add_row(
        f"[b]geometric mean, least {least:.2f}",
        *[""] * 3,
        *(f"{geometric_mean(row[key] for row in rows):.2f}" for key in ("ratio", "min_ratio")),
    )
    return out


def layer_table(row: Row, count: int) -> Table:
    title = f"{row['name']}, {row['zeros']:.0%} zeros: layers that lose most"
    out = Table(title=title, title_justify="left")
    for name in ("layer", "encoding"):
        out.add_column(name)
    for name in ("dense ms", "auto ms", "ratio"):
        out.add_column(name, justify="right")
    out.add_column("why")
    losses = sorted(row["layers"], key=lambda layer: layer["dense_ms"] - layer["auto_ms"])
    for layer in losses[:count]:
        dense, auto = layer["dense_ms"], layer["auto_ms"]
        out.add_row(
            layer["name"],
            layer["encoding"],
            f"{dense:.4f}",
            f"{auto:.4f}",
            f"{dense / auto:.2f}",
            layer["why"],
        )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [net.__name__ for net in NETS]
    parser.add_argument(
        "--nets", nargs="+", choices=names, default=DEFAULT, metavar="NET", help=", ".join(names)
    )
    parser.add_argument("--zeros", type=float, nargs="+", default=ZEROS, metavar="FRACTION")
    parser.add_argument("--seconds", type=float, default=1.5, help="per net and fraction of zeros")
    parser.add_argument("--layers", type=int, default=0, metavar="N", help="list N layers of each")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    work = [(net, zeros) for net in NETS if net.__name__ in arguments.nets for zeros in arguments.zeros]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for net, zeros in tqdm(work, disable=None):
            rows.append(measure(net, zeros, arguments.seconds, Path(folder)))
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(net_table(rows))
    if arguments.layers:
        for row in rows:
            console.print(layer_table(row, arguments.layers))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
