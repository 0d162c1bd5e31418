"""A LeNet whose layers between the first and the last number are bits, next to its twin in float.

python examples/binary_digits.py                on scikit-learn's digits, enlarged to 28x28
python examples/binary_digits.py --data DIR     on MNIST, from its four idx.gz files in DIR

Trains both (about a minute), converts the binary one, runs the file on the held-out images. Needs the extra
`convert` and scikit-learn. Leaves the file in build/demo.
"""

# ruff: noqa: E402

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import converters
import pyruntime
from converters.compress import BinaryConv2d, BinaryLinear, Sign, clip_latent, half
from examples.data import Digits, mnist_idx, sklearn_digits

BATCH, FEW, MANY = 32, 600, 3600  # training steps of each net, for digits and for MNIST


def lenet(binary: bool) -> nn.Sequential:
    """Images [N, 1, 28, 28] to logits [N, 10]; 1,111,008 weights."""
    conv, linear = (BinaryConv2d, BinaryLinear) if binary else (nn.Conv2d, nn.Linear)

    def act() -> nn.Module:
        return Sign() if binary else nn.ReLU()

    net = nn.Sequential(
        nn.Conv2d(1, 32, 5, bias=False),
        nn.BatchNorm2d(32),
        nn.MaxPool2d(2),
        act(),
        conv(32, 64, 5, bias=False),
        nn.BatchNorm2d(64),
        nn.MaxPool2d(2),
        act(),
        nn.Flatten(),
        linear(1024, 1024, bias=False),
        nn.BatchNorm1d(1024),
        act(),
        linear(1024, 10, bias=False),
        nn.BatchNorm1d(10),
    )
    if binary:
        half(net, ["0"])
    return net


def train(net: nn.Module, data: Digits, steps: int) -> None:
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    net.train()
    for _ in range(steps):
        batch = torch.randint(len(data.train_x), (BATCH,))
        optimizer.zero_grad()
        F.cross_entropy(net(data.train_x[batch]), data.train_y[batch]).backward()
        optimizer.step()
        schedule.step()
        clip_latent(net)
    net.eval()


def accuracy(logits: Tensor, labels: Tensor) -> float:
    return 100 * float((logits.argmax(1) == labels).float().mean())


@dataclass
class Result:
    """Accuracies in percent; bytes of the float net's parameters."""

    plain: float
    bits: float
    found: float  # by pyruntime, of the file
    float_size: int


def compare(data: Digits, steps: int, path: Path) -> Result:
    """Trains both nets, writes the binary one to `path`; prints what they reach on the held-out images."""
    nets: dict[bool, nn.Sequential] = {}
    for binary in (False, True):
        torch.manual_seed(0)
        nets[binary] = lenet(binary)
        train(nets[binary], data, steps)
    report = converters.convert(nets[True], data.test_x[:2], path, prefer="size", progress=False)
    with torch.no_grad(), pyruntime.load(path) as model:
        plain, bits = (nets[binary](data.test_x) for binary in (False, True))
        found = torch.from_numpy(model.infer(data.test_x.numpy()))
    float_size, size = 4 * sum(p.numel() for p in nets[False].parameters()), path.stat().st_size
    result = Result(*(accuracy(y, data.test_y) for y in (plain, bits, found)), float_size)
    print(report)
    print(f"{data.name}: {len(data.train_x):,} images to train, {len(data.test_x):,} held out")
    print(f"float, torch         {result.plain:.2f} %   {float_size:,} bytes")
    print(f"binary, torch        {result.bits:.2f} %")
    print(f"binary, pyruntime    {result.found:.2f} %   {size:,} bytes, {float_size / size:.1f}x smaller")
    print(f"equal predictions    {int((found.argmax(1) == bits.argmax(1)).sum()):,} of {len(found):,}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with MNIST's four idx.gz files")
    folder = parser.parse_args().data
    path = ROOT / "build" / "demo" / "binary_lenet.pyrt"
    path.parent.mkdir(parents=True, exist_ok=True)
    if folder:
        compare(mnist_idx(folder), MANY, path)
    else:
        compare(sklearn_digits(), FEW, path)


if __name__ == "__main__":
    main()
