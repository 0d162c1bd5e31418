"""LSTM and GRU layers in pyruntime next to torch and onnxruntime, on one thread.

python bench/recurrent.py [--steps 100] [--rounds 5] [--quick]

Each row is a layer, `--steps` steps and a batch. The engines take turns; a time is the least of all calls, in
ms for the whole sequence. Then the same layer with 90 % of its weights pruned, and with weights of 16 values,
as compressed models have them; x is the best dense engine's time over it.
"""

# ruff: noqa: E402

import argparse
import copy
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import pyruntime
from bench import engines


class First(nn.Module):
    """The sequence that a recurrent layer gives."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)[0]
        return y


def pruned(module: nn.Module, zeros: float) -> nn.Module:
    module = copy.deepcopy(module)
    for name, p in module.named_parameters():
        if "weight" in name:
            bound = p.data.abs().flatten().kthvalue(int(zeros * p.numel())).values
            p.data *= p.data.abs() > bound
    return module


def sixteen_values(module: nn.Module) -> nn.Module:
    module = copy.deepcopy(module)
    for name, p in module.named_parameters():
        if "weight" in name:
            step = p.data.abs().max() / 7.5
            p.data = ((p.data / step - 0.5).round().clamp(-8, 7) + 0.5) * step
    return module


def least(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    best = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], 1e3 * (time.perf_counter() - start))
    return best


def measure(
    cell: type[nn.Module], inputs: int, hidden: int, batch: int, steps: int, rounds: int
) -> list[str]:
    torch.manual_seed(0)
    module = First(cell(inputs, hidden, batch_first=batch == 1)).eval()
    x = np.random.default_rng(0).standard_normal((1, steps, inputs) if batch == 1 else (steps, batch, inputs))
    x = x.astype(np.float32)
    forms = {"dense": module, "90 % zeros": pruned(module, 0.9), "16 values": sixteen_values(module)}
    with tempfile.TemporaryDirectory() as folder:
        onnx = engines.export_onnx(module, x, Path(folder) / "net.onnx")
        calls: dict[str, Callable[[], object]] = {}
        (torch_run,) = engines.torch_runs(module, 1)
        (onnx_run,) = engines.onnxruntime_runs(onnx, 1, 1)
        calls["torch"], calls["onnxruntime"] = lambda: torch_run(x), lambda: onnx_run(x)
        for name, form in forms.items():
            model = pyruntime.load(engines.convert(form, x, Path(folder) / f"{name}.pyrt"), threads=1)
            calls[name] = lambda model=model: model.infer(x)  # type: ignore[misc]
        best = least(calls, rounds)
    dense = min(best["torch"], best["onnxruntime"])
    cells = [f"{best[name]:.2f}" for name in ("torch", "onnxruntime")]
    cells += [f"{best[name]:.2f} ({dense / best[name]:.1f}x)" for name in forms]
    return [f"{cell.__name__} {inputs} -> {hidden}, batch {batch}", *cells]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one layer")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    table = Table(title=f"{args.steps} steps, {pyruntime.__version__}, ms")
    for column in ("layer", "torch", "onnxruntime", "pyruntime dense", "90 % zeros", "16 values"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    sizes = [(nn.LSTM, 256, 512, 1), (nn.LSTM, 128, 128, 1), (nn.GRU, 256, 512, 1), (nn.LSTM, 256, 512, 16)]
    for size in sizes[: 1 if args.quick else None]:
        table.add_row(*measure(*size, args.steps, args.rounds))
    Console().print(table)


if __name__ == "__main__":
    main()
