"""Ops that move elements: reshape, permute, slice, concat, pad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from converters.graph import Dim, Value
from converters.lowering import signs
from converters.lowering.registry import (
    Compared,
    Constant,
    Context,
    Expanded,
    Range,
    Unsupported,
    lowers,
    need_value,
)
from converters.lowering.sequences import NE, constant_part

TO_END = 2**31 - 1


@lowers(
    "clone.default",
    "contiguous.default",
    "detach.default",
    "alias.default",
    "dropout.default",
    "identity.default",
    "lift_fresh_copy.default",
)
def same(c: Context, x: object, *_: Any) -> Any:
    """Ops that change nothing at inference."""
    return x


@lowers("_to_copy.default", "to.dtype", "to.dtype_layout", "to.device", "to.other", "type_as.default")
def cast(c: Context, x: object, *_: Any) -> Any:
    """Integers and booleans are f32 numbers here, so most casts change nothing."""
    source, target = c.dtypes[0], c.result_dtype
    if isinstance(x, Compared):
        return signs.choose(c, x, 1.0, 0.0)
    if source == target or isinstance(x, Range):
        return x
    if target == torch.bool:
        return c.emit("scalar", [need_value(x)], {"fn": NE, "reversed": 0, "s": 0.0})
    if source is not None and source.is_floating_point:
        raise Unsupported("rounding a float to an integer is not supported")
    return x


@lowers("native_dropout.default")
def native_dropout(c: Context, x: object, p: float, train: bool | None) -> tuple[Any, None]:
    if train:
        raise Unsupported("dropout is in training mode; export the module in eval mode")
    return x, None


@lowers(
    "view.default",
    "reshape.default",
    "_unsafe_view.default",
    "flatten.using_ints",
    "unflatten.int",
    "squeeze.default",
    "squeeze.dim",
    "squeeze.dims",
    "unsqueeze.default",
)
def reshape(c: Context, x: object, *_: Any) -> Value | Range:
    if isinstance(x, Range):
        return replace(x, shape=c.shapes[0])
    return c.reshape(need_value(x), c.shapes[0], c.examples[0])


@lowers("permute.default")
def permute(c: Context, x: object, axes: Sequence[int]) -> Value:
    x = need_value(x)
    return permute_value(c, x, [axis % x.rank for axis in axes])


def permute_value(c: Context, x: Value, axes: list[int]) -> Value:
    if axes == sorted(axes):
        return x
    output = Value(tuple(x.shape[a] for a in axes), tuple(x.example[a] for a in axes))
    return c.emit("permute", [x], {"axes": axes}, output=output)


@lowers("transpose.int")
def transpose(c: Context, x: object, first: int, second: int) -> Value:
    axes = list(range(need_value(x).rank))
    axes[first], axes[second] = axes[second], axes[first]
    return permute(c, x, axes)


@lowers("t.default", "numpy_T.default")
def t(c: Context, x: object) -> Value:
    return permute(c, x, range(need_value(x).rank)[::-1])


@lowers("expand.default", "expand_as.default")
def expand(c: Context, x: object, *_: Any) -> Value | Expanded:
    x = x.value if isinstance(x, Expanded) else c.materialize(x) if isinstance(x, Range) else x
    if not isinstance(x, Constant):
        x = need_value(x)
        if x.shape == c.shapes[0]:
            return x
        x = c.with_rank(x, len(c.shapes[0]))
    return Expanded(x, c.shapes[0])


@lowers("repeat.default")
def repeat(c: Context, x: object, times: Sequence[Dim]) -> Value | Expanded:
    """Copies side by side; along a dimension of one element that element is expanded."""
    y = c.with_rank(c.constant(x) if isinstance(x, Constant) else need_value(x), len(times))
    for axis, number in enumerate(times):
        if y.shape[axis] == 1 or number == 1:
            continue
        if not isinstance(number, int):
            raise Unsupported(
                "repeating more than one element as often as a size of the input is not supported"
            )
        shape, example = list(y.shape), list(y.example)
        shape[axis], example[axis] = c.shapes[0][axis], c.examples[0][axis]
        y = c.emit("concat", [y] * number, {"axis": axis}, output=Value(tuple(shape), tuple(example)))
    return y if y.shape == c.shapes[0] else Expanded(y, c.shapes[0])


@lowers("roll.default")
def roll(c: Context, x: object, shifts: Sequence[int], axes: Sequence[int] = ()) -> Value:
    y = need_value(x)
    if not axes or any(not isinstance(shift, int) for shift in shifts):
        raise Unsupported("roll is supported by fixed numbers along given dimensions")
    for shift, axis in zip(shifts, (a % y.rank for a in axes), strict=True):
        size = y.shape[axis]
        if not isinstance(size, int):
            raise Unsupported("roll along a dynamic dimension is not supported")
        if shift % size:
            end = shift % size
            parts = [_part(c, y, axis, size - end, end), _part(c, y, axis, 0, size - end)]
            y = c.emit("concat", parts, {"axis": axis}, output=Value(y.shape, y.example))
    return y


@lowers("slice.Tensor")
def slice_(
    c: Context, x: object, dim: int = 0, start: Dim | None = None, end: Dim | None = None, step: int = 1
) -> Any:
    if isinstance(x, Constant):
        if not isinstance(start or 0, int) or int(start or 0) < 0:
            raise Unsupported("a slice start counted from the end of a dynamic dimension is not supported")
        return constant_part(c, x, dim % x.tensor.dim(), int(start or 0), step)
    if isinstance(x, Range):
        if c.shapes[0] == x.shape:
            return x
        x = c.materialize(x)
    x = need_value(x)
    dim %= x.rank
    size = x.shape[dim]
    start = 0 if start is None else start
    if isinstance(size, int) and isinstance(start, int) and not isinstance(end, str):
        start, stop, _ = slice(start, end, step).indices(size)
    elif end is None or end == size or (isinstance(end, int) and end >= TO_END):
        stop = TO_END
    elif isinstance(end, int):
        stop = end
    else:
        raise Unsupported(f"a slice end of {end} in a dynamic dimension is not supported; use a fixed size")
    if not isinstance(start, int):
        raise Unsupported(
            f"a slice start of {start} in a dynamic dimension is not supported; use a fixed size"
        )
    if start == 0 and stop in (size, TO_END) and step == 1:
        return x
    return c.emit("slice", [x], {"axis": dim, "start": start, "stop": stop, "step": step})


def _part(c: Context, x: Value, axis: int, start: int, size: int) -> Value:
    """`size` elements of a dimension from `start` on, which may count from its end."""
    shape, example = list(x.shape), list(x.example)
    shape[axis] = example[axis] = size
    stop = start + size if start >= 0 or start + size < 0 else TO_END
    attrs = {"axis": axis, "start": start, "stop": stop, "step": 1}
    return c.emit("slice", [x], dict(attrs), output=Value(tuple(shape), tuple(example)))


@lowers("select.int")
def select(c: Context, x: object, dim: int, index: int) -> Value:
    x = need_value(x)
    dim %= x.rank
    size = x.shape[dim]
    if index < 0 and isinstance(size, int):
        index += size
    return c.reshape(_part(c, x, dim, index, 1), c.shapes[0], c.examples[0])


@lowers("split.Tensor", "split_with_sizes.default", "chunk.default")
def split(c: Context, x: object, _: Any, dim: int = 0) -> list[Value]:
    x = need_value(x)
    dim %= x.rank
    parts = []
    start = 0
    for shape in c.shapes:
        size = shape[dim]
        if not isinstance(size, int):
            raise Unsupported("split of a dynamic dimension is not supported")
        parts.append(_part(c, x, dim, start, size))
        start += size
    return parts


@lowers("unbind.int")
def unbind(c: Context, x: object, dim: int = 0) -> list[Value]:
    x = need_value(x)
    dim %= x.rank
    rows = [_part(c, x, dim, i, 1) for i in range(len(c.shapes))]
    return [c.reshape(row, c.shapes[0], c.examples[0]) for row in rows]


@lowers("cat.default")
def cat(c: Context, tensors: Sequence[Any], dim: int = 0) -> Value:
    # A cache of keys starts as an empty tensor.
    parts = [x for x in tensors if not isinstance(x, Constant) or x.tensor.numel()]
    values = [c.constant(x) if isinstance(x, Constant) else need_value(x) for x in parts]
    if len(values) == 1:
        return values[0]
    return c.emit("concat", values, {"axis": dim % values[0].rank})


@lowers("stack.default")
def stack(c: Context, tensors: Sequence[Any], dim: int = 0) -> Value:
    dim %= len(c.shapes[0])

    def raised(x: Value) -> Value:
        shape, example = (*x.shape[:dim], 1, *x.shape[dim:]), (*x.example[:dim], 1, *x.example[dim:])
        return c.reshape(x, shape, example)

    return cat(c, [raised(c.constant(x) if isinstance(x, Constant) else need_value(x)) for x in tensors], dim)


@lowers("constant_pad_nd.default")
def pad(c: Context, x: object, pads: Sequence[int], value: float | None = 0.0) -> Value:
    x = need_value(x)
    if any(not isinstance(p, int) or p < 0 for p in pads):
        raise Unsupported("negative or computed padding is not supported; use a slice")
    if not any(pads):
        return x
    pairs = [0, 0] * (x.rank - len(pads) // 2)
    for after in range(len(pads) - 2, -1, -2):  # torch starts at the last dimension
        pairs += [pads[after], pads[after + 1]]
    return c.emit("pad", [x], {"value": float(value or 0), "pads": pairs})


@lowers("pad.default")
def pad_mode(
    c: Context, x: object, pads: Sequence[int], mode: str = "constant", value: float | None = None
) -> Value:
    if mode == "constant":
        return pad(c, x, pads, value)
    y = need_value(x)
    if any(not isinstance(p, int) or p < 0 for p in pads):
        raise Unsupported("negative or computed padding is not supported; use a slice")
    for i in range(0, len(pads), 2):  # torch starts at the last dimension
        axis = y.rank - 1 - i // 2
        before, after = pads[i], pads[i + 1]
        if mode == "circular":
            parts = [_part(c, y, axis, -before, before)] * (before > 0) + [y]
            parts += [_part(c, y, axis, 0, after)] * (after > 0)
        else:
            # Lines, counted from either end.
            first = [0] * before if mode == "replicate" else list(range(before, 0, -1))
            last = [-1] * after if mode == "replicate" else [-2 - n for n in range(after)]
            lines = {n: _part(c, y, axis, n, 1) for n in dict.fromkeys(first + last)}
            parts = [*(lines[n] for n in first), y, *(lines[n] for n in last)]
        if len(parts) > 1:
            shape, example = list(y.shape), list(y.example)
            example[axis] += before + after
            shape[axis] = c.shapes[0][axis]
            y = c.emit("concat", parts, {"axis": axis}, output=Value(tuple(shape), tuple(example)))
    return y
