"""What Quant-Noise and iterative product quantization give: accuracy at one size, on handwritten digits.

python bench/quant_noise.py [--data digits|mnist] [--seeds N] [--json FILE]

A net is trained several times from the same initial weights and batches, without noise and with noise of each
kind. Then all are quantized to the same size. Means over seeds, in percent of the test images; `gain` is the
mean of the differences to the net without noise, seed by seed, and `+-` its standard error.
"""

# ruff: noqa: E402

import argparse
import copy
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from converters.compress import (
    iterative_product_quantize,
    product_quantize,
    quant_noise,
    quantize_weights,
    remove_quant_noise,
)
from examples.data import Digits, mnist_npz, sklearn_digits

BLOCK, CODEWORDS = 8, 16
BATCH = 64
# Of each way to quantize, the kinds of noise to train with and their rates.
NOISES = {
    "product codebook": [("none", 0.0), ("proxy", 0.1), ("proxy", 0.4), ("product", 0.1), ("product", 0.4)],
    "4 bits": [("none", 0.0), ("int4", 0.5), ("int4", 1.0)],
}


def net() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
    )


def fit(module: nn.Module, data: Digits, steps: int, rate: float, seed: int) -> None:
    torch.manual_seed(seed)
    module.train()
    optimizer = torch.optim.Adam(module.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
    batches = np.random.default_rng(seed)
    for _ in range(steps):
        rows = torch.from_numpy(batches.integers(len(data.train_x), size=BATCH))
        optimizer.zero_grad()
        F.cross_entropy(module(data.train_x[rows]), data.train_y[rows]).backward()
        optimizer.step()
        schedule.step()


def accuracy(module: nn.Module, x: Tensor, y: Tensor) -> float:
    module.eval()
    with torch.no_grad():
        return 100 * float((module(x).argmax(1) == y).double().mean())


def trained(data: Digits, kind: str, p: float, steps: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    module = net()
    if kind != "none":
        fit(module, data, steps // 2, 2e-3, seed)
        quant_noise(module, kind, p, BLOCK, CODEWORDS)  # type: ignore[arg-type]
        fit(module, data, steps // 2, 1e-3, seed + 1000)
        return remove_quant_noise(module)
    fit(module, data, steps // 2, 2e-3, seed)
    fit(module, data, steps // 2, 1e-3, seed + 1000)
    return module


def compress(module: nn.Module, how: str) -> nn.Module:
    module = copy.deepcopy(module)
    if how == "4 bits":
        return quantize_weights(module, bits=4)
    return product_quantize(module, BLOCK, CODEWORDS, progress=False)


def measure(data: Digits, steps: int, seeds: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in tqdm(range(seeds), desc="seeds", disable=None):
        nets: dict[tuple[str, float], nn.Module] = {}
        for how, noises in NOISES.items():
            for noise in noises:
                if noise not in nets:
                    nets[noise] = trained(data, *noise, steps, seed)
                small = compress(nets[noise], how)
                pair = (
                    accuracy(nets[noise], data.test_x, data.test_y),
                    accuracy(small, data.test_x, data.test_y),
                )
                found.setdefault(
                    f"{how}, {noise[0]} {noise[1]:g}" if noise[1] else f"{how}, no noise", []
                ).append(pair)
        # All have as many steps of training after they are quantized.
        for noise in (("none", 0.0), ("product", 0.4)):
            dense, behind = nets[noise], "" if noise[0] == "none" else f", {noise[0]} {noise[1]:g}"
            before = accuracy(dense, data.test_x, data.test_y)

            def train(module: nn.Module, name: str) -> None:
                fit(module, data, steps // 8, 5e-4, seed)  # noqa: B023

            at_once = compress(dense, "product codebook")
            for _ in range(3):
                train(at_once, "")
            one_by_one = iterative_product_quantize(copy.deepcopy(dense), train, BLOCK, CODEWORDS)
            for how, module in (("then trained", at_once), ("layer by layer", one_by_one)):
                pair = before, accuracy(module, data.test_x, data.test_y)
                found.setdefault(f"product codebook, {how}{behind}", []).append(pair)
    for name, pairs in found.items():
        dense_accuracy, small_accuracy = np.array(pairs).T
        without = np.array(found[name.split(",")[0] + ", no noise"])[:, 1]
        gain = small_accuracy - without
        rows.append(
            {
                "name": name,
                "dense": dense_accuracy.mean(),
                "compressed": small_accuracy.mean(),
                "gain": gain.mean(),
                "error": gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else float("nan"),
                "better": int((gain > 0).sum()),
                "seeds": len(gain),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=["digits", "mnist"], default="digits")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    data, steps = (mnist_npz(), 3000) if args.data == "mnist" else (sklearn_digits(), 1000)
    rows = measure(data, steps, args.seeds)
    table = Table(title=f"{data.name}, {args.seeds} seeds")
    for column in ("quantized, noise in training", "before %", "after %", "gain", "+-", "seeds better"):
        table.add_column(column, justify="left" if column.startswith("quant") else "right")
    for row in rows:
        numbers = [f"{row[key]:.2f}" for key in ("dense", "compressed", "gain", "error")]
        table.add_row(str(row["name"]), *numbers, f"{row['better']} of {row['seeds']}")
    Console().print(table)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
