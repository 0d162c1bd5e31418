"""Inputs and outputs that lie in the caller's arrays: nothing outside of them is touched."""

import ctypes
import mmap
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import converters
import pyruntime

LAYERS = {
    "depthwise": (nn.Conv2d(24, 24, 3, padding=1, groups=24), (1, 24, 15, 13)),
    "depthwise 5x5/2": (nn.Conv2d(9, 18, 5, stride=2, padding=2, groups=9), (1, 9, 31, 22)),
    "1x1": (nn.Conv2d(24, 40, 1), (1, 24, 4, 12)),
    "1x1 of odd columns": (nn.Conv2d(24, 40, 1), (1, 24, 7, 7)),
    "3x3/2": (nn.Conv2d(8, 16, 3, stride=2, padding=1), (1, 8, 21, 19)),
    "3x3": (nn.Conv2d(16, 32, 3, padding=1), (1, 16, 20, 28)),
    "linear": (nn.Linear(67, 45), (1, 67)),
    "linear of tokens": (nn.Linear(67, 45), (1, 16, 67)),
    "max pool": (nn.MaxPool2d(3, 2, 1), (1, 5, 17, 17)),
    "average pool": (nn.AvgPool2d(2), (1, 5, 16, 18)),
    "relu": (nn.ReLU(), (1, 5, 9, 7)),
    "mean": (nn.AdaptiveAvgPool2d(1), (1, 70, 7, 7)),
}


def at_a_guard(values: np.ndarray, end: bool) -> np.ndarray:
    """A copy that ends, or begins, at a page that faults on any access."""
    page = mmap.PAGESIZE
    inner = -(-values.nbytes // page) * page
    memory = mmap.mmap(-1, inner + 2 * page)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for guard in (base, base + page + inner):
        assert libc.mprotect(guard, page, 0) == 0, ctypes.get_errno()
    offset = page + (inner - values.nbytes if end else 0)
    copy = np.frombuffer(memory, np.float32, values.size, offset).reshape(values.shape)
    copy[...] = values
    return copy


@pytest.mark.parametrize("end", [True, False], ids=["end", "begin"])
@pytest.mark.parametrize("name", LAYERS)
def test_only_the_input_is_read(name: str, end: bool, tmp_path: Path) -> None:
    module, shape = LAYERS[name]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    converters.convert(module.eval(), x, tmp_path / "m.pyrt", progress=False)
    guarded = at_a_guard(x.numpy(), end)
    with torch.no_grad():
        expected = module(x).numpy()
    for threads in (1, 2):
        with pyruntime.load(tmp_path / "m.pyrt", threads=threads) as model:
            first = model.infer(guarded)
            second = model.infer(guarded)
        np.testing.assert_allclose(first, expected, atol=1e-5)
        # An output of its own each time, and an input that nothing was written to.
        assert first.ctypes.data != second.ctypes.data
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(guarded, x.numpy())
