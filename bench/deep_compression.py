"""LeNet-300-100 and LeNet-5 on MNIST next to the figures of the Deep Compression paper (ICLR 2016, table 1).

python bench/deep_compression.py [--json FILE]

Trains from scratch, compresses, converts for size and infers the test images with pyruntime. MNIST is found
through PYRUNTIME_DATA. Densities and bits were chosen on the last 5,000 training images, not on test images.
"""

# ruff: noqa: E402

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch
from rich.console import Console
from rich.table import Table

from bench.nets import LeNet5, LeNet300
from examples.data import mnist_npz
from examples.road import travel
from examples.training import Recipe


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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", default=ROOT / "build" / "bench" / "deep_compression.json"
    )
    target = parser.parse_args().json
    target.parent.mkdir(parents=True, exist_ok=True)

    # Nets this small gain little from a second thread, and lose much where another program keeps it waiting.
    torch.set_num_threads(1)
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
