"""Handwritten digits: scikit-learn's own, MNIST in its idx.gz files, MNIST as npz."""

import gzip
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Digits:
    """Images f32 [N, 1, 28, 28] in 0..1 and labels i64 [N]. Nothing is chosen by looking at the test part."""

    name: str
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor


def sklearn_digits() -> Digits:
    """The 1,797 digits of scikit-learn (UCI, 8x8), bilinearly enlarged to 28x28; a third is held out."""
    images, labels = load_digits(return_X_y=True)
    small = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    x = F.interpolate(small, size=(28, 28), mode="bilinear", align_corners=False)
    train, test = train_test_split(np.arange(len(x)), test_size=1 / 3, stratify=labels, random_state=0)
    y = torch.tensor(labels)
    return Digits("scikit-learn digits", x[train], y[train], x[test], y[test])


def mnist_idx(folder: Path) -> Digits:
    """MNIST from its four usual files, train-images-idx3-ubyte.gz and so on."""

    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return _mnist(*(torch.from_numpy(read_idx(folder / f"{name}-ubyte.gz")) for name in names))


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """A gzipped IDX file (LeCun's MNIST page): the bytes 0, 0, 8, rank; sizes as big-endian u32; bytes."""
    with gzip.open(path) as file:
        raw = bytearray(file.read())
    if raw[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is not an IDX file of unsigned bytes")
    rank = raw[3]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(np.frombuffer(raw, ">u4", rank, 4))


def mnist_npz() -> Digits:
    """60,000 training and the first 5,000 test images from PYRUNTIME_DATA, default ../shared/data."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("PYRUNTIME_DATA", root / "../shared/data")) / "mnist"
    train, test = np.load(folder / "mnist_train60000.npz"), np.load(folder / "mnist_test_first5000.npz")
    return _mnist(*(torch.from_numpy(part[key]) for part in (train, test) for key in ("x", "y")))


def _mnist(train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor) -> Digits:
    def scale(images: Tensor) -> Tensor:
        return images.view(-1, 1, 28, 28).float() / 255

    return Digits("MNIST", scale(train_x), train_y.long(), scale(test_x), test_y.long())
