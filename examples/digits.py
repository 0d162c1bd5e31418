"""The demo: two nets learn handwritten digits, shrink by Deep Compression, run from their compressed files.

python examples/digits.py                on scikit-learn's digits, enlarged to 28x28
python examples/digits.py --data DIR     on MNIST, from its four idx.gz files in DIR

Needs the extras `convert` and `cli` (rich prints the table). Leaves the files in build/demo.
"""

# ruff: noqa: E402

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

import pyruntime
from bench.nets import LeNet5, LeNet300
from examples import numpy_nets
from examples.data import mnist_idx, sklearn_digits
from examples.peak_memory import peak_bytes
from examples.road import travel
from examples.training import Recipe

NETS = {
    "MLP (LeNet-300-100)": (
        LeNet300,
        numpy_nets.lenet300,
        Recipe(
            sparsity={"fc1": 0.94, "fc2": 0.88, "fc3": 0.4},
            bits={"fc1": 4, "fc2": 4, "fc3": 4},
            train=3000,
            prune=2000,
            finetune=3000,
            share=1000,
        ),
    ),
    "CNN (LeNet-5)": (
        LeNet5,
        numpy_nets.lenet5,
        Recipe(
            sparsity={"conv1": 0.5, "conv2": 0.9, "fc1": 0.97, "fc2": 0.8},
            bits={"conv1": 5, "conv2": 4, "fc1": 4, "fc2": 4},
            train=1400,
            prune=1000,
            finetune=800,
            share=300,
        ),
    ),
}
Rows = dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with MNIST's four idx.gz files")
    folder = parser.parse_args().data
    # Nets this small gain little from a second thread, and lose much where another program keeps it waiting.
    torch.set_num_threads(1)
    data = mnist_idx(folder) if folder else sklearn_digits()
    out = ROOT / "build" / "demo"
    out.mkdir(parents=True, exist_ok=True)

    nets: dict[str, dict[str, Rows]] = {}
    for title, (make_net, in_numpy, recipe) in NETS.items():
        path = out / f"{make_net.__name__.lower()}.pyrt"
        print(f"{title}: train, compress, convert to {path.relative_to(ROOT)}")
        road, net = travel(make_net, data, recipe, path)
        nets[title] = {
            "size": {
                "parameters": f"{road.parameters:,}",
                "fp32 bytes": f"{road.dense_bytes:,}",
                "file bytes": f"{road.file_bytes:,}",
                "ratio": f"{road.ratio:.1f}x",
            },
            "accuracy": {
                "torch, dense": f"{road.accuracy_dense:.2f} %",
                "torch, compressed": f"{road.accuracy_compressed:.2f} %",
                "pyruntime": f"{road.accuracy_pyruntime:.2f} %",
            },
            "torch and pyruntime": {
                "equal predictions": f"{road.equal_predictions} of {road.images}",
                "max abs difference of logits": f"{road.max_difference:.1e}",
            },
            "latency, batch 1": latency(net, in_numpy, path, data.test_x[:1]),
            "latency, batch 64": latency(net, in_numpy, path, data.test_x[:64]),
            "peak memory": memory(net, in_numpy, path, data.test_x[:1]),
        }

    table = Table(
        title=f"{data.name}: {len(data.train_x):,} images to train, {len(data.test_x):,} held out",
        caption=f"One seed; one held-out image is {100 / len(data.test_x):.2f} points. Latency: one thread, "
        "median, the engines taking turns; torch and numpy run the same weights dense. Peak memory: a fresh "
        "process that loads the model and infers one image.",
    )
    table.add_column("")
    for title in nets:
        table.add_column(title, justify="right")
    for section, rows in next(iter(nets.values())).items():
        for row in rows:
            table.add_row(f"{section}: {row}", *(net[section][row] for net in nets.values()))
        table.add_section()
    Console(width=None if sys.stdout.isatty() else 100).print(table)


def latency(net: nn.Module, in_numpy: Callable, path: Path, x: Tensor) -> Rows:
    """Median time of one inference of x, the engines taking turns so that all see the same machine."""
    weights = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    with pyruntime.load(path, threads=1) as model, threadpool_limits(1), torch.inference_mode():
        engines = {
            "pyruntime": lambda: model.infer(x.numpy()),
            "torch": lambda: net(x),
            "numpy": lambda: in_numpy(weights, x.numpy()),
        }
        times: dict[str, list[float]] = {name: [] for name in engines}
        for _ in range(200):
            for name, infer in engines.items():
                start = time.perf_counter()
                infer()
                times[name].append(time.perf_counter() - start)
    return {name: f"{1e3 * statistics.median(seconds):.3f} ms" for name, seconds in times.items()}


def memory(net: nn.Module, in_numpy: Callable, path: Path, x: Tensor) -> Rows:
    """Peak resident memory of fresh processes, next to one that only imports numpy."""
    images, npz, pt = (path.with_suffix(suffix) for suffix in (".npy", ".npz", ".pt"))
    np.save(images, x.numpy())
    np.savez(npz, **{name: tensor.numpy() for name, tensor in net.state_dict().items()})
    torch.save(net.state_dict(), pt)
    engines = {
        "Python and numpy alone": "",
        "pyruntime": f"""
import pyruntime
pyruntime.load({str(path)!r}, threads=1).infer(x)""",
        "torch": f"""
import torch
from bench.nets import {type(net).__name__} as Net
net = Net()
net.load_state_dict(torch.load({str(pt)!r}))
with torch.inference_mode():
    net(torch.from_numpy(x))""",
        "numpy": f"""
from examples.numpy_nets import {in_numpy.__name__} as net
net(np.load({str(npz)!r}), x)""",
    }
    return {name: f"{peak_bytes(code, images) / 1e6:.1f} MB" for name, code in engines.items()}


if __name__ == "__main__":
    main()
