"""The ops of docs/format.md, section 5, in numpy: values of bits are int8 of +1 and -1, sums are int64."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from pyrt_reader.integers import fma
from pyrt_reader.model import Op, Tensor

f32 = np.float32


def decode(data: np.ndarray, rows: int, cols: int, groups: int) -> np.ndarray:
    """int8 [M, K] of +1 and -1, columns in the file's order."""
    panels = data.reshape(groups, -1, -(-cols // 8), 32)
    bits = np.unpackbits(panels[..., None], axis=-1, bitorder="little")  # ..., row, 8 columns
    dense = bits.transpose(0, 1, 3, 2, 4).reshape(groups, -1, panels.shape[2] * 8)
    dense = dense[:, : rows // groups].reshape(rows, -1)[:, :cols].astype(np.int8)
    return np.asarray(2 * dense - 1, np.int8)


def sums(op: Op, x: np.ndarray, weight: np.ndarray, groups: int) -> np.ndarray:
    """int64 sums of blinear or bconv2d. weight: columns (c/32, tap, c%32) with channels filled up to 32s."""
    if op.kind == "blinear":
        return np.asarray(x.astype(np.int64) @ weight[:, : x.shape[-1]].astype(np.int64).T)
    pad_value, kh, kw, sh, sw, top, left, bottom, right, dh, dw = op.ints(4)
    wide = weight.reshape(len(weight), -1, kh * kw, 32).transpose(0, 1, 3, 2)
    filters = wide.reshape(len(weight), -1, kh, kw)[:, : x.shape[1] // groups]
    # In f64 integers are exact.
    planes = F.pad(torch.from_numpy(x).double(), (left, right, top, bottom), value=float(pad_value))
    kernel = torch.from_numpy(filters.astype(np.float64))
    return np.asarray(F.conv2d(planes, kernel, None, (sh, sw), 0, (dh, dw), groups).numpy().astype(np.int64))


def run(op: Op, x: list[np.ndarray], tensors: list[Tensor], to_bits: bool, axis: int) -> np.ndarray:
    """The output of an op that takes or gives bits, without its activation."""
    if op.kind == "binarize":
        shape = [-1 if d == axis else 1 for d in range(x[0].ndim)]
        at_least = tensors[0].dense.reshape(shape) if tensors else f32(0)
        return np.where(x[0].astype(f32) >= at_least, 1, -1).astype(np.int8)
    if op.kind == "signs":
        return x[0].astype(f32)
    if op.kind == "pool2d":
        _, kh, kw, sh, sw, ph, pw, dh, dw, ceil, _, _ = op.ints()
        y = F.max_pool2d(torch.from_numpy(x[0]).double(), (kh, kw), (sh, sw), (ph, pw), (dh, dw), bool(ceil))
        return y.numpy().astype(np.int8)
    if op.kind == "reshape":
        return x[0].reshape([x[0].shape[-2 - d] if d <= -2 else d for d in op.ints()])
    assert op.kind in ("blinear", "bconv2d")
    total = sums(op, x[0], tensors[0].dense, tensors[0].groups)
    shape = [-1 if d == axis else 1 for d in range(total.ndim)]
    if to_bits:
        return np.where(total >= tensors[1].dense.reshape(shape).astype(np.int64), 1, -1).astype(np.int8)
    s = np.maximum(total.astype(f32), f32(op.f(0)))
    scale, bias = (np.broadcast_to(t.dense.reshape(shape), s.shape) for t in tensors[1:])
    y = fma(s, scale, bias)
    return y + x[1].astype(f32) if len(x) > 1 else y
