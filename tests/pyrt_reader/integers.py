"""The integer ops of docs/format.md, section 4, in numpy: sums in int64, the rest in f32 as the page says."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from pyrt_reader.model import Op, Tensor, Value

f32 = np.float32


def fma(a: np.ndarray, b: Any, c: np.ndarray) -> np.ndarray:
    """f32 a*b + c, rounded once: in f64, where a*b is exact, with the sum rounded to odd before it becomes
    f32.
    """
    product, c = a.astype(np.float64) * np.asarray(b, np.float64), c.astype(np.float64)
    total = product + c
    part = total - product
    error = (product - (total - part)) + (c - part)  # of the f64 sum, exactly (Knuth's TwoSum)
    even = total.view(np.int64) % 2 == 0
    away = np.where((error > 0) == (total > 0), 1, -1)
    odd = np.where((error != 0) & even, total.view(np.int64) + away, total.view(np.int64)).view(np.float64)
    return np.where(np.isfinite(total), odd, total).astype(f32)


def rounded(s: np.ndarray, zero: int, low: int, high: int) -> np.ndarray:
    """clamp(rne(s) + zero, low, high) as u8; a NaN gives low."""
    q = np.rint(np.nan_to_num(s.astype(np.float64), nan=-np.inf)) + zero
    return np.clip(q, low, high).astype(np.uint8)


def scaled(
    sums: np.ndarray, shift: np.ndarray, multiplier: np.ndarray, bias: np.ndarray, axis: int
) -> np.ndarray:
    """fma(f32(shift + sum), multiplier, bias) with the sum modulo 2^32; axis is that of the rows."""
    shape = [-1 if d == axis else 1 for d in range(sums.ndim)]
    total = (sums + shift.reshape(shape).astype(np.int64)).astype(np.uint64).astype(np.uint32).view(np.int32)
    factors, added = (np.broadcast_to(v.reshape(shape), sums.shape) for v in (multiplier, bias))
    return fma(total.astype(f32), factors, added)


def product(op: Op, x: np.ndarray, x_zero: int, weight: np.ndarray, groups: int) -> np.ndarray:
    """int64 sums of qlinear or qconv2d. weight: int8 [M, K], columns (c/4, tap, c%4), or (tap) of a
    depthwise one.
    """
    if op.kind == "qlinear":
        features = x.shape[-1]
        assert weight.shape[1] == -(-features // 4) * 4
        return x.astype(np.int64) @ weight[:, :features].astype(np.int64).T
    kh, kw, sh, sw, top, left, bottom, right, dh, dw = op.ints(3)
    taps = kh * kw
    if weight.shape[1] == taps:
        filters = weight[:, None, :]
    else:
        fours = weight.reshape(len(weight), -1, taps, 4).transpose(0, 1, 3, 2)
        filters = fours.reshape(len(weight), -1, taps)[:, : x.shape[1] // groups]
    # In f64 integers up to 2^53 are exact, and these sums stay far below.
    planes = F.pad(torch.from_numpy(x).double(), (left, right, top, bottom), value=float(x_zero))
    kernel = torch.from_numpy(filters.reshape(*filters.shape[:2], kh, kw).astype(np.float64))
    return F.conv2d(planes, kernel, None, (sh, sw), 0, (dh, dw), groups).numpy().astype(np.int64)


def dynamic(x: np.ndarray, tensors: list[Tensor]) -> np.ndarray:
    """qlinear_dynamic before its activation: f32 [..., M] of f32 [..., K]."""
    weight, shift, multiplier, bias = (t.dense for t in tensors)
    x = x.astype(f32)
    scale = np.clip(np.abs(x).max(-1, keepdims=True), f32(1e-5), f32(2.0**100)) / f32(127)
    q = rounded(x * (f32(1) / scale), 128, 1, 255)
    sums = q.astype(np.int64) @ weight[:, : x.shape[-1]].astype(np.int64).T + 128 * weight[
        :, x.shape[-1] :
    ].sum(1)
    total = (sums + shift.ravel()).astype(np.uint64).astype(np.uint32).view(np.int32)
    factors = np.broadcast_to(scale, sums.shape)
    return fma(total.astype(f32) * multiplier.ravel(), factors, np.broadcast_to(bias.ravel(), sums.shape))


def run(op: Op, x: list[np.ndarray], tensors: list[Tensor], values: list[Value], out: Value) -> np.ndarray:
    """The output of an op that takes or gives u8. values, out: with `u8`, `scale` and `zero`."""
    if op.kind == "quantize":
        low, high = op.ints()
        return rounded(x[0].astype(f32) * (f32(1) / f32(out.scale)), out.zero, low, high)
    if op.kind == "dequantize":
        return (x[0].astype(np.int32) - values[0].zero).astype(f32) * f32(values[0].scale)
    if op.kind in ("qlinear", "qconv2d"):
        weight, shift, multiplier, bias = tensors
        sums = product(op, x[0], values[0].zero, weight.dense, weight.groups)
        axis = 1 if op.kind == "qconv2d" else sums.ndim - 1
        s = scaled(sums, shift.dense, multiplier.dense, bias.dense, axis)
        if not out.u8:
            return s
        if len(x) > 1:
            s = fma((x[1].astype(np.int32) - values[1].zero).astype(f32), f32(op.f(0)), s)
        return rounded(s, out.zero, op.i(1), op.i(2))
    if op.kind == "qadd":
        a, b = ((v.astype(np.int32) - value.zero).astype(f32) for v, value in zip(x, values, strict=True))
        return rounded(fma(b, f32(op.f(1)), a * f32(op.f(0))), out.zero, op.i(2), op.i(3))
    if op.kind == "qmean":
        count = x[0].shape[2] * x[0].shape[3]
        sums = x[0].astype(np.int64).sum((2, 3), keepdims=True) - count * values[0].zero
        return rounded(sums.astype(f32) / f32(count) * f32(op.f(0)), out.zero, op.i(1), op.i(2))
    if op.kind == "qtable":
        return op.attrs.view(np.uint8)[x[0]]
    if op.kind == "pad":
        pads = op.ints(1)
        return np.pad(x[0], list(zip(pads[::2], pads[1::2], strict=True)), constant_values=out.zero)
    if op.kind == "pool2d":
        _, kh, kw, sh, sw, ph, pw, dh, dw, ceil, _, _ = op.ints()
        y = F.max_pool2d(torch.from_numpy(x[0]).double(), (kh, kw), (sh, sw), (ph, pw), (dh, dw), bool(ceil))
        return y.numpy().astype(np.uint8)
    if op.kind == "concat":
        return np.concatenate(x, op.i(0))
    if op.kind == "slice":
        axis, start, stop, step = op.ints()
        return x[0][(slice(None),) * axis + (slice(start, stop, step),)]
    assert op.kind == "reshape"
    return x[0].reshape([x[0].shape[-2 - d] if d <= -2 else d for d in op.ints()])
