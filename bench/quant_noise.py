"""What Quant-Noise and iterative product quantization give: accuracy at one size, on handwritten digits.

python bench/quant_noise.py [--data digits|mnist] [--seeds N] [--json FILE]

A net is trained several times from the same initial weights and batches, without noise and with noise of each
kind. Then all are quantized to the same size. Means over seeds, in percent of the test images; `gain` is the
mean of the differences to the net without noise, seed by seed, and `+-` its standard error.

"layer by layer" is iterative product quantization, "then trained" all layers at once and as many steps of
training. Both are done to the same net of three layers, and to one of eight with residuals and half as many
codewords; labels are the outputs of the net before. Five seeds take 2.5 minutes of one core.
"""

# ruff: noqa: E402

import argparse
import copy
import json
import sys
from collections.abc import Callable
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
DEEP_CODEWORDS = 8
BATCH = 64
# Of each way to quantize, the kinds of noise to train with and their rates.
NOISES = {
    "product codebook": [("none", 0.0), ("proxy", 0.4), ("product", 0.4)],
    "4 bits": [("none", 0.0), ("int4", 0.5)],
}


def net() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
    )


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(self.layer(x))


def deep() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), *(Residual(64) for _ in range(6)), nn.Linear(64, 10)
    )


def fit(
    module: nn.Module, data: Digits, steps: int, rate: float, seed: int, teacher: nn.Module | None = None
) -> None:
    torch.manual_seed(seed)
    module.train()
    optimizer = torch.optim.Adam(module.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
    batches = np.random.default_rng(seed)
    for _ in range(steps):
        rows = torch.from_numpy(batches.integers(len(data.train_x), size=BATCH))
        optimizer.zero_grad()
        labels = data.train_y[rows]
        if teacher is not None:
            with torch.no_grad():
                labels = teacher(data.train_x[rows]).softmax(1)
        F.cross_entropy(module(data.train_x[rows]), labels).backward()
        optimizer.step()
        schedule.step()


def accuracy(module: nn.Module, x: Tensor, y: Tensor) -> float:
    module.eval()
    with torch.no_grad():
        return 100 * float((module(x).argmax(1) == y).double().mean())


def trained(
    data: Digits, kind: str, p: float, steps: int, seed: int, make: Callable[[], nn.Module] = net
) -> nn.Module:
    torch.manual_seed(seed)
    module = make()
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


def both_ways(dense: nn.Module, data: Digits, steps: int, seed: int, codewords: int) -> dict[str, nn.Module]:
    """Quantized at once and layer by layer, with as many steps of training. Half of them come layer by layer,
    the others after the last one.
    """
    layers = sum(isinstance(part, nn.Linear) for part in dense.modules())

    def train(module: nn.Module, name: str) -> None:
        fit(module, data, steps // 4 // layers, 2e-3, seed, dense)

    at_once = product_quantize(copy.deepcopy(dense), BLOCK, codewords, progress=False)
    fit(at_once, data, steps // 4 + steps // 4 // layers * layers, 2e-3, seed, dense)
    one_by_one = iterative_product_quantize(copy.deepcopy(dense), train, BLOCK, codewords)
    fit(one_by_one, data, steps // 4, 2e-3, seed, dense)
    return {"then trained": at_once, "layer by layer": one_by_one}


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
        for noise in (("none", 0.0), ("product", 0.4)):
            behind = "" if noise[0] == "none" else f", {noise[0]} {noise[1]:g}"
            deep_net = trained(data, *noise, steps, seed, deep)
            for title, dense, codewords in (
                ("product codebook", nets[noise], CODEWORDS),
                ("eight layers", deep_net, DEEP_CODEWORDS),
            ):
                before = accuracy(dense, data.test_x, data.test_y)
                if dense is deep_net:
                    small = product_quantize(copy.deepcopy(dense), BLOCK, codewords, progress=False)
                    pair = before, accuracy(small, data.test_x, data.test_y)
                    found.setdefault(f"{title}, {behind.removeprefix(', ') or 'no noise'}", []).append(pair)
                for how, small in both_ways(dense, data, steps, seed, codewords).items():
                    pair = before, accuracy(small, data.test_x, data.test_y)
                    found.setdefault(f"{title}, {how}{behind}", []).append(pair)
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
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
