"""The ops of docs/format.md with torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from pyrt_reader import bits, integers
from pyrt_reader.model import File, Op, check


def run(
    file: File, inputs: np.ndarray | Sequence[np.ndarray], dtype: torch.dtype = torch.float32
) -> dict[str, np.ndarray]:
    """The outputs by name, computed with torch in `dtype`, on integers as docs/format.md says to the bit."""
    arrays = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
    env: dict[int, torch.Tensor] = {}
    symbols: dict[int, int] = {}
    for number, array in zip(file.inputs, arrays, strict=True):
        value = file.values[number]
        check(array.ndim == value.rank, value.name, "rank")
        for size, expected in zip(array.shape, value.dims, strict=True):
            if expected < 0:
                _, low, high = file.symbols[-1 - expected]
                check(
                    symbols.setdefault(-1 - expected, size) == size and low <= size <= high,
                    value.name,
                    "size",
                )
            else:
                check(size == expected, value.name, "size")
        env[number] = torch.from_numpy(np.ascontiguousarray(array)).to(dtype)
    for op in file.ops:
        values = [file.values[v] for v in op.inputs]
        if file.values[op.output].bits or any(v.bits for v in values):
            tensors = [file.tensors[t] for t in op.tensors]
            axis = file.values[op.output].channel_axis
            result = bits.run(
                op, [env[v].numpy() for v in op.inputs], tensors, file.values[op.output].bits, axis
            )
            y = torch.from_numpy(np.ascontiguousarray(result))
            env[op.output] = (
                y
                if y.dtype == torch.int8
                else _activate(op, 1, y).to(dtype)
                if op.kind != "signs"
                else y.to(dtype)
            )
            continue
        if file.values[op.output].u8 or any(v.u8 for v in values):
            arrays = [env[v].numpy() for v in op.inputs]
            tensors = [file.tensors[t] for t in op.tensors]
            result = integers.run(op, arrays, tensors, values, file.values[op.output])
            y = torch.from_numpy(np.ascontiguousarray(result))
            env[op.output] = y if y.dtype == torch.uint8 else y.to(dtype)
            continue
        if op.kind == "qlinear_dynamic":
            tensors = [file.tensors[t] for t in op.tensors]
            sums = integers.dynamic(env[op.inputs[0]].numpy(), tensors)
            env[op.output] = _activate(op, 0, torch.from_numpy(sums).to(dtype))
            continue
        weights = [torch.from_numpy(np.array(file.dense(t))).to(dtype) for t in op.tensors]
        y = _run_op(op, [env[v] for v in op.inputs], weights, file)
        check(y.dim() == file.values[op.output].rank, op.name, "rank of the output")
        env[op.output] = y
    return {file.values[v].name: env[v].numpy() for v in file.outputs}


def _activate(op: Op, at: int, y: torch.Tensor) -> torch.Tensor:
    code, p0, p1 = op.i(at), op.f(at + 1), op.f(at + 2)
    functions: list[Callable[[torch.Tensor], torch.Tensor]] = [
        lambda y: y,
        lambda y: y.clamp(p0, p1),
        lambda y: torch.where(y >= 0, y, p0 * y),
        torch.sigmoid,
        torch.tanh,
        lambda y: y * torch.sigmoid(y),
        lambda y: y * (y + 3).clamp(0, 6) / 6,
        lambda y: (y + 3).clamp(0, 6) / 6,
        lambda y: y * (1 + torch.erf(y / 2**0.5)) / 2,
        lambda y: F.gelu(y, approximate="tanh"),
        lambda y: torch.where(y > 0, y, p0 * torch.expm1(y)),
        torch.exp,
        torch.sqrt,
        torch.abs,
        lambda y: F.softplus(y, p0, p1),
        lambda y: y * torch.tanh(F.softplus(y)),
    ]
    return functions[code](y)


def _recurrent(op: Op, x: list[torch.Tensor], w: list[torch.Tensor]) -> torch.Tensor:
    """Torch's formulas of LSTMCell and GRUCell, one step after the other."""
    cell, reverse, both = op.ints()
    steps = x[0].flip(0) if reverse else x[0]
    zeros = steps.new_zeros(steps.shape[1], w[0].shape[1])
    h, c = ([s[0] for s in x[1:]] + [zeros, zeros][len(x) - 1 :])[:2]
    states = []
    for gates in steps:
        own = h @ w[0].T + (w[1].flatten() if len(w) > 1 else 0)
        if cell == 0:
            i, f, g, o = (gates + own).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        else:
            (r, u), n = (gates + own).chunk(3, 1)[:2], gates.chunk(3, 1)[2]
            h = u.sigmoid() * h + (1 - u.sigmoid()) * (n + r.sigmoid() * own.chunk(3, 1)[2]).tanh()
        states.append(torch.cat([h, c], 1) if both else h)
    y = torch.stack(states)
    return y.flip(0) if reverse else y


def _finish_product(
    op: Op, y: torch.Tensor, x: list[torch.Tensor], w: list[torch.Tensor], per_row: tuple[int, ...]
) -> torch.Tensor:
    """act(scale * y + bias + residual); bias and scale have one element per row."""
    if len(w) > 2:
        y = y * w[2].reshape(per_row)
    if len(w) > 1:
        y = y + w[1].reshape(per_row)
    return _activate(op, 0, y + x[1] if len(x) > 1 else y)


FUNCTIONS = [
    *(torch.add, torch.sub, torch.mul, torch.div, torch.pow),
    *(torch.eq, torch.ne, torch.lt, torch.le, torch.gt, torch.ge),
]


def _attention(op: Op, x: list[torch.Tensor]) -> torch.Tensor:
    """Head by head: softmax(scale*q k^T + mask) v."""
    scale, (heads, kv_heads, causal, boolean) = op.f(0), op.ints(1)
    q, k, v = (
        t.unflatten(2, (n, -1)).transpose(1, 2) for t, n in zip(x, (heads, kv_heads, kv_heads), strict=False)
    )
    k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
    scores = scale * (q @ k.transpose(2, 3))
    if len(x) > 3:
        scores = torch.where(x[3] != 0, scores, -torch.inf) if boolean else scores + x[3]
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[2:]).triu(1).bool(), -torch.inf)
    weights = scores.softmax(-1).nan_to_num(0)  # where all keys are hidden
    return (weights @ v).transpose(1, 2).flatten(2)


def _run_op(op: Op, x: list[torch.Tensor], w: list[torch.Tensor], file: File) -> torch.Tensor:
    if op.kind == "linear":
        return _finish_product(op, F.linear(x[0], w[0]), x, w, (-1,))
    if op.kind == "conv2d":
        kh, kw, sh, sw, top, left, bottom, right, dh, dw = op.ints(3)
        groups = file.tensors[op.tensors[0]].groups
        weight = w[0].reshape(len(w[0]), -1, kh, kw)
        padded = F.pad(x[0], (left, right, top, bottom))
        y = F.conv2d(padded, weight, None, (sh, sw), 0, (dh, dw), groups)
        return _finish_product(op, y, x, w, (-1, 1, 1))
    if op.kind == "unary":
        return _activate(op, 0, x[0])
    if op.kind == "binary":
        check(x[0].dim() == x[1].dim(), op.name, "same rank")
        return _activate(op, 1, FUNCTIONS[op.i(0)](x[0], x[1]).to(x[0].dtype))
    if op.kind == "scalar":
        a, b = x[0], torch.tensor(op.f(2), dtype=x[0].dtype)
        a, b = (b, a) if op.i(1) else (a, b)
        return _activate(op, 3, FUNCTIONS[op.i(0)](a, b).to(x[0].dtype))
    if op.kind == "affine":
        axis = file.values[op.inputs[0]].channel_axis
        shape = [-1 if i == axis else 1 for i in range(x[0].dim())]
        return _activate(op, 0, x[0] * w[0].reshape(shape) + w[1].reshape(shape))
    if op.kind == "pool2d":
        mode, kh, kw, sh, sw, ph, pw, dh, dw, ceil, include, divisor = op.ints()
        if mode == 0:
            return F.max_pool2d(x[0], (kh, kw), (sh, sw), (ph, pw), (dh, dw), bool(ceil))
        check(dh == dw == 1, op.name, "no dilated average")
        return F.avg_pool2d(x[0], (kh, kw), (sh, sw), (ph, pw), bool(ceil), bool(include), divisor or None)
    if op.kind == "adaptive_pool2d":
        size = [op.i(1 + i) or x[0].shape[2 + i] for i in range(2)]
        return (F.adaptive_avg_pool2d if op.i(0) else F.adaptive_max_pool2d)(x[0], size)
    if op.kind == "concat":
        return torch.cat(x, op.i(0))
    if op.kind == "slice":
        axis, start, stop, step = op.ints()
        return x[0][(slice(None),) * axis + (slice(start, stop, step),)]
    if op.kind == "reshape":
        return x[0].reshape([x[0].shape[-2 - d] if d <= -2 else d for d in op.ints()])
    if op.kind == "permute":
        return x[0].permute(op.ints())
    if op.kind == "reduce":
        axes, keepdim = op.ints(2), bool(op.i(1))
        if not axes:
            return x[0]
        return [torch.mean, torch.sum, torch.amax][op.i(0)](x[0], axes, keepdim)
    if op.kind == "pad":
        pads = op.ints(1)
        flat = [p for d in range(len(pads) - 2, -1, -2) for p in pads[d : d + 2]]
        return F.pad(x[0], flat, value=op.f(0))
    if op.kind == "softmax":
        return (torch.log_softmax if op.i(1) else torch.softmax)(x[0], op.i(0))
    if op.kind == "interpolate":
        mode = ["nearest", "bilinear"][op.i(0)]
        align = {"align_corners": bool(op.i(1))} if mode == "bilinear" else {}
        if op.i(2):
            return F.interpolate(x[0], size=(op.i(2), op.i(3)), mode=mode, **align)
        return F.interpolate(x[0], scale_factor=(op.f(4), op.f(5)), mode=mode, **align)
    if op.kind == "norm":
        d = x[0] if op.i(0) else x[0] - x[0].mean(-1, keepdim=True)
        return d / (d.square().mean(-1, keepdim=True) + op.f(1)).sqrt() * w[0].flatten() + w[1].flatten()
    if op.kind == "attention":
        return _attention(op, x)
    if op.kind == "product":
        return x[0] @ x[1]
    if op.kind == "where":
        return torch.where(x[0] != 0, x[1], x[2])
    if op.kind == "range":
        axis, start, step = op.ints()
        return start + step * torch.arange(x[0].shape[axis], dtype=x[0].dtype)
    if op.kind == "cumsum":
        return x[0].cumsum(op.i(0))
    if op.kind == "embedding":
        table = w[0] * w[1] if len(w) > 1 else w[0]
        check(bool(((x[0] >= 0) & (x[0] < len(table))).all()), op.name, "rows exist")
        return table[x[0].long()]
    if op.kind == "recurrent":
        return _recurrent(op, x, w)
    check(op.kind == "constant", op.name, "known op")
    return w[0].reshape(op.ints())
