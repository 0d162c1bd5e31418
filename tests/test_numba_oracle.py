"""Layers against plain loops compiled by numba: an oracle that shares nothing with torch or the C++ core."""

from pathlib import Path

import numba
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

import converters
import pyruntime

Array = npt.NDArray[np.float64]


def to_csr(matrix: Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Array]:
    """row_ptr [M + 1], columns [nnz] and values [nnz] of [M, K]."""
    row, col = np.nonzero(matrix)
    row_ptr = np.zeros(len(matrix) + 1, np.int64)
    np.add.at(row_ptr, row + 1, 1)
    return np.cumsum(row_ptr), col, matrix[row, col]


@numba.njit
def csr_times_dense(row_ptr, col, value, x):  # type: ignore[no-untyped-def]
    """[M, K] as CSR times [K, N]."""
    y = np.zeros((len(row_ptr) - 1, x.shape[1]))
    for m in range(len(row_ptr) - 1):
        for i in range(row_ptr[m], row_ptr[m + 1]):
            for n in range(x.shape[1]):
                y[m, n] += value[i] * x[col[i], n]
    return y


@numba.njit
def direct_conv2d(x, w, stride, padding, dilation, groups):  # type: ignore[no-untyped-def]
    """x [N, C, H, W], w [M, C / groups, KH, KW]; zero padding (Dumoulin and Visin, arXiv:1603.07285)."""
    batch, _, height, width = x.shape
    out_channels, in_channels, kh, kw = w.shape
    oh = (height + 2 * padding[0] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (width + 2 * padding[1] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((batch, out_channels, oh, ow))
    for n in range(batch):
        for m in range(out_channels):
            first = m // (out_channels // groups) * in_channels
            for i in range(oh):
                for j in range(ow):
                    for c in range(in_channels):
                        for a in range(kh):
                            for b in range(kw):
                                h = i * stride[0] + a * dilation[0] - padding[0]
                                v = j * stride[1] + b * dilation[1] - padding[1]
                                if 0 <= h < height and 0 <= v < width:
                                    y[n, m, i, j] += w[m, c, a, b] * x[n, first + c, h, v]
    return y


def thin_out(weight: torch.Tensor, zeros: float, values: int) -> None:
    """Sets a share of the weights to zero and rounds the others to `values` values (0: leaves them)."""
    with torch.no_grad():
        if values:
            weight.copy_((weight / weight.abs().max() * values / 2).round() * 0.02)
        weight[torch.rand(weight.shape) < zeros] = 0


def infer(module: nn.Module, x: torch.Tensor, path: Path, prefer: str) -> npt.NDArray[np.float32]:
    converters.convert(module.eval(), (x,), path, prefer=prefer, progress=False)
    with pyruntime.load(path, threads=2) as model:
        return model.infer(x.numpy())


def assert_close(y: npt.NDArray[np.float32], expected: Array, k: int) -> None:
    tolerance = 4 * np.finfo(np.float32).eps * (2 + np.sqrt(k)) * max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance)


WEIGHTS = [(0.0, 0), (0.9, 0), (0.0, 14), (0.9, 14), (1.0, 0)]


@pytest.mark.parametrize("prefer", ["size", "speed"])
@pytest.mark.parametrize(("zeros", "values"), WEIGHTS)
@pytest.mark.parametrize("batch", [1, 5, 40])
def test_linear(zeros: float, values: int, batch: int, prefer: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(311, 53), torch.randn(batch, 311)
    thin_out(layer.weight, zeros, values)
    y = infer(nn.Sequential(layer, nn.ReLU()), x, tmp_path / "linear.pyrt", prefer)
    weight, bias = layer.weight.detach().numpy().astype(np.float64), layer.bias.detach().numpy()
    expected = csr_times_dense(*to_csr(weight), x.numpy().T.astype(np.float64)).T + bias
    assert_close(y, np.maximum(expected, 0), 311)


CONVOLUTIONS = {
    "1x1": (lambda: nn.Conv2d(18, 20, 1), (18, 6, 7)),
    "3x3": (lambda: nn.Conv2d(12, 20, 3, padding=1), (12, 9, 8)),
    "stride": (lambda: nn.Conv2d(12, 20, (3, 5), stride=(2, 3), padding=(0, 2)), (12, 11, 13)),
    "dilation": (lambda: nn.Conv2d(12, 20, 3, padding=(4, 1), dilation=(2, 3)), (12, 9, 11)),
    "groups": (lambda: nn.Conv2d(12, 20, 3, stride=2, padding=1, groups=4), (12, 10, 10)),
    "depthwise": (lambda: nn.Conv2d(12, 24, 3, padding=1, groups=12), (12, 7, 9)),
}


@pytest.mark.parametrize("prefer", ["size", "speed"])
@pytest.mark.parametrize(("zeros", "values"), WEIGHTS)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_conv2d(name: str, zeros: float, values: int, prefer: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    factory, shape = CONVOLUTIONS[name]
    layer = factory()
    thin_out(layer.weight, zeros, values)
    x = torch.randn(3, *shape)
    y = infer(layer, x, tmp_path / "conv.pyrt", prefer)
    weight, bias = layer.weight.detach().numpy().astype(np.float64), layer.bias.detach().numpy()
    expected = direct_conv2d(
        x.numpy().astype(np.float64), weight, layer.stride, layer.padding, layer.dilation, layer.groups
    )
    assert_close(y, expected + bias[:, None, None], weight[0].size)
