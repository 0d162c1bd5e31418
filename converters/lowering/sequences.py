"""What transformers are made of: norms, attention, products of activations, masks and positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from converters.graph import Activation, Attr, Dim, Value, Weight
from converters.lowering import signs
from converters.lowering.elementwise import ADD, DIV, MUL, SUB, binary, scalar, scaled, unary
from converters.lowering.layers import affine, batch_norm, linear
from converters.lowering.pooling import MEAN, SUM
from converters.lowering.registry import (
    Compared,
    Constant,
    Context,
    Expanded,
    Range,
    Unsupported,
    lowers,
    need_constant,
    need_value,
    uniform,
)

EQ, NE, LT, LE, GT, GE = range(5, 11)
COMPARISONS = {"eq": EQ, "ne": NE, "lt": LT, "le": LE, "gt": GT, "ge": GE}


# Norms.


def _norm(c: Context, x: Value, shape: Sequence[int], weight: Any, bias: Any, eps: float, rms: bool) -> Value:
    if any(not isinstance(size, int) for size in shape):
        raise Unsupported("a norm over a dynamic dimension is not supported")
    size = int(np.prod(shape))
    flat = c.reshape(x, (*x.shape[: x.rank - len(shape)], size), (*x.example[: x.rank - len(shape)], size))
    gain = torch.ones(size) if weight is None else need_constant(weight, "the weight")
    shift = torch.zeros(size) if bias is None else need_constant(bias, "the bias")
    vectors = [
        c.vector(v if isinstance(v, Constant) else Constant(v), part)
        for v, part in ((gain, "weight"), (shift, "bias"))
    ]
    attrs = {"rms": int(rms), "eps": float(eps)}
    output = Value(flat.shape, flat.example)
    y = c.emit("norm", [flat], dict(attrs), vectors, layout=flat.rank - 1, output=output)
    return c.reshape(y, x.shape, x.example)


@lowers("layer_norm.default", "native_layer_norm.default")
def layer_norm(
    c: Context,
    x: object,
    shape: Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    *_: Any,
) -> Any:
    y = _norm(c, need_value(x), shape, weight, bias, eps, rms=False)
    return y if len(c.shapes) == 1 else (y, None, None)


@lowers("rms_norm.default")
def rms_norm(
    c: Context, x: object, shape: Sequence[int], weight: Any = None, eps: float | None = None
) -> Value:
    return _norm(
        c,
        need_value(x),
        shape,
        weight,
        None,
        torch.finfo(torch.float32).eps if eps is None else eps,
        rms=True,
    )


@lowers("group_norm.default")
def group_norm(
    c: Context, x: object, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Value:
    """By a mean of each channel, then of the channels of a group: a group is not one vector of channels."""
    x = need_value(x)
    rank, channels = x.rank, x.example[1]
    if rank > 4:
        raise Unsupported("a group norm of volumes is not supported")
    middle = (1,) * (4 - rank)
    plane = c.reshape(x, (*x.shape[:2], *middle, *x.shape[2:]), (*x.example[:2], *middle, *x.example[2:]))
    batch, example = plane.shape[0], plane.example[0]

    def like(v: Value) -> Value:
        return Value(v.shape, v.example)

    def mean(v: Value, axes: list[int], shape: tuple[Dim, ...], sizes: tuple[int, ...]) -> Value:
        attrs: dict[str, Attr] = {"fn": MEAN, "keepdim": 1, "axes": axes}
        return c.emit("reduce", [v], attrs, output=Value(shape, sizes))

    def of_groups(v: Value) -> Value:
        """The mean of each group, once for each of its channels: [N, C, 1, 1]."""
        one = (channels, 1, 1)
        v = mean(v, [2, 3], (batch, *one), (example, *one))
        if groups != channels:
            grouped = groups, channels // groups
            v = c.reshape(v, (batch, *grouped), (example, *grouped))
            v = mean(v, [2], (batch, groups, 1), (example, groups, 1))
            v = c.reshape(c.materialize(Expanded(v, (batch, *grouped))), (batch, *one), (example, *one))
        return v

    centred = c.emit("binary", [plane, of_groups(plane)], {"fn": SUB}, output=like(plane))
    variance = of_groups(c.emit("binary", [centred, centred], {"fn": MUL}, output=like(plane)))
    attrs: dict[str, Attr] = {"fn": ADD, "reversed": 0, "s": float(eps)}
    variance = c.emit("scalar", [variance], attrs, output=like(variance))
    deviation = c.emit("unary", [variance], act=Activation("sqrt"), output=like(variance))
    y = c.emit("binary", [centred, deviation], {"fn": DIV}, output=like(plane))
    y = c.reshape(y, x.shape, x.example)
    if weight is not None or bias is not None:
        ones = torch.ones(channels)
        scale = ones if weight is None else need_constant(weight, "the weight").tensor
        shift = torch.zeros_like(ones) if bias is None else need_constant(bias, "the bias").tensor
        y = affine(c, y, scale, shift, 1)
    return y


@lowers("instance_norm.default")
def instance_norm(
    c: Context,
    x: object,
    weight: Any,
    bias: Any,
    mean: Any,
    var: Any,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    *_: Any,
) -> Value:
    if use_input_stats:
        return group_norm(c, x, need_value(x).example[1], weight, bias, eps)
    return batch_norm(c, x, weight, bias, mean, var, momentum, eps)[0]


@lowers("linalg_vector_norm.default", "norm.ScalarOpt_dim")
def vector_norm(
    c: Context, x: object, order: float | None = 2, dims: Any = None, keepdim: bool = False, *_: Any
) -> Value:
    x = need_value(x)
    if order not in (2, None) or dims is None:
        raise Unsupported("of the norms the one of order 2 along given dimensions is supported")
    axes = sorted(d % x.rank for d in (dims if isinstance(dims, (list, tuple)) else [dims]))
    squares = c.emit("binary", [x, x], {"fn": MUL}, output=Value(x.shape, x.example))
    attrs: dict[str, Attr] = {"fn": SUM, "keepdim": int(keepdim), "axes": axes}
    sums = c.emit("reduce", [squares], attrs)
    return unary(c, sums, "sqrt")


# Products and attention.


@lowers("matmul.default", "mm.default", "bmm.default")
def matmul(c: Context, a: object, b: object) -> Value:
    if isinstance(a, Value) and isinstance(b, Constant) and b.tensor.dim() == 2:
        return linear(c, a, Constant(b.tensor.t(), b.name))
    left, right = (c.constant(x) if isinstance(x, Constant) else need_value(x) for x in (a, b))
    if left.rank < 2 or right.rank < 2:
        raise Unsupported("products with a vector are supported as nn.Linear only; unsqueeze it to a matrix")
    rank = max(left.rank, right.rank)
    return c.emit("product", [c.with_rank(left, rank), c.with_rank(right, rank)], layout=rank - 2)


@lowers("baddbmm.default")
def baddbmm(c: Context, x: object, a: object, b: object, beta: float = 1, alpha: float = 1) -> Value:
    y = scaled(c, matmul(c, a, b), alpha)
    return y if beta == 0 else need_value(binary(c, ADD, scaled(c, x, beta), y))


@lowers("einsum.default")
def einsum(c: Context, equation: str, operands: Sequence[Any], *_: Any) -> Value:
    """Two operands whose letters are batch (in both and in the result), summed, or free."""
    terms, _arrow, result = equation.replace(" ", "").partition("->")
    letters = terms.split(",")
    if (
        len(letters) != 2
        or "." in equation
        or any(len(set(word)) != len(word) for word in (*letters, result))
    ):
        raise Unsupported("einsum is supported for two operands, without repeated letters and ellipsis")
    values = [c.constant(x) if isinstance(x, Constant) else need_value(x) for x in operands]
    size: dict[str, Dim] = {}
    for text, v in zip(letters, values, strict=True):
        size |= zip(text, v.shape, strict=True)
    example: dict[str, int] = {}
    for text, v in zip(letters, values, strict=True):
        example |= zip(text, v.example, strict=True)
    batch = [s for s in result if s in letters[0] and s in letters[1]]
    summed = [s for s in letters[0] if s in letters[1] and s not in result]
    free = [[s for s in text if s not in batch and s not in summed] for text in letters]
    if (
        any(s not in result for group in free for s in group)
        or len(summed) != 1
        or any(len(f) != 1 for f in free)
    ):
        raise Unsupported(
            "einsum is supported where each operand has one letter of its own and one is summed"
        )

    def laid_out(value: Value, text: str, order: list[str]) -> Value:
        axes = [text.index(s) for s in order]
        if axes == sorted(axes):
            return value
        shape, sizes = tuple(size[s] for s in order), tuple(example[s] for s in order)
        return c.emit("permute", [value], {"axes": list(axes)}, output=Value(shape, sizes))

    left = laid_out(values[0], letters[0], batch + free[0] + summed)
    right = laid_out(values[1], letters[1], batch + summed + free[1])
    order = batch + free[0] + free[1]
    output = Value(tuple(size[s] for s in order), tuple(example[s] for s in order))
    y = c.emit("product", [left, right], layout=len(order) - 2, output=output)
    return laid_out(y, "".join(order), list(result))


@lowers("scaled_dot_product_attention.default")
def attention(
    c: Context,
    q: object,
    k: object,
    v: object,
    mask: Any = None,
    dropout: float = 0.0,
    causal: bool = False,
    scale: float | None = None,
    gqa: bool = False,
) -> Value:
    q, k, v = need_value(q, "the query"), need_value(k, "the key"), need_value(v, "the value")
    if dropout:
        raise Unsupported("attention with dropout; export the module in eval mode")
    if not 3 <= q.rank <= 4 or k.rank != q.rank or v.rank != q.rank:
        raise Unsupported("attention is supported for [batch, heads, length, size] and [batch, length, size]")
    inputs = [q, k, v]
    if mask is not None:
        mask = mask.value if isinstance(mask, Expanded) else mask
        mask = c.constant(mask) if isinstance(mask, Constant) else need_value(mask, "the mask")
        if mask.rank == 3 and q.rank == 3:
            mask = c.reshape(
                mask, (mask.shape[0], 1, *mask.shape[1:]), (mask.example[0], 1, *mask.example[1:])
            )
        inputs.append(c.with_rank(mask, 4))
    boolean = mask is not None and c.dtypes[3] == torch.bool
    depth = q.example[-1]
    attrs = {"scale": depth**-0.5 if scale is None else scale, "causal": int(causal), "boolean": int(boolean)}
    # In the form torch has it; fuse.py brings the heads into the channels.
    return c.emit("heads", inputs, dict(attrs))


# Masks: 1 and 0 in f32.


def _comparison(name: str, fn: int) -> Any:
    def handler(c: Context, a: Any, b: Any) -> Any:
        floating = c.dtypes[0] is not None and c.dtypes[0].is_floating_point
        if (
            name in signs.COMPARISONS
            and floating
            and isinstance(a, Value)
            and isinstance(b, (int, float, Constant))
        ):
            return signs.compare(c, name, a, b)
        if isinstance(a, Range):
            if isinstance(b, (int, float)) and fn in (GE, GT) and a.start >= b + (fn == GT) and a.step >= 0:
                return Expanded(Constant(torch.tensor(1.0)), c.shapes[0])
            a = c.materialize(a)
        if isinstance(b, Range):
            b = c.materialize(b)
        return binary(c, fn, a, b)

    return handler


for _name, _fn in COMPARISONS.items():
    lowers(f"{_name}.Scalar", f"{_name}.Tensor")(_comparison(_name, _fn))


def _expanded(c: Context, x: Any) -> Any:
    """x in the shape of the result."""
    inner = x.value if isinstance(x, Expanded) else x
    if isinstance(inner, Value) and inner.shape == c.shapes[0]:
        return inner
    if isinstance(inner, Value) and inner.rank < len(c.shapes[0]):
        inner = c.with_rank(inner, len(c.shapes[0]))
    return Expanded(inner, c.shapes[0])


@lowers("__and__.Tensor", "logical_and.default", "bitwise_and.Tensor")
def both(c: Context, a: Any, b: Any) -> Any:
    for x, other in ((a, b), (b, a)):
        if uniform(x) == 1:
            return _expanded(c, other)
    return binary(c, MUL, a, b)


@lowers("__or__.Tensor", "logical_or.default", "bitwise_or.Tensor")
def either(c: Context, a: Any, b: Any) -> Any:
    return unary(c, binary(c, ADD, a, b), "clamp", 0, 1)


@lowers("logical_not.default", "bitwise_not.default")
def negation(c: Context, x: object) -> Value:
    if c.dtypes[0] != torch.bool:
        raise Unsupported("of integers the bitwise not is not supported")
    return scalar(c, SUB, need_value(x), 1, reverse=True)


@lowers("where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar")
def where(c: Context, condition: Any, a: Any, b: Any) -> Any:
    if isinstance(condition, Compared):
        high, low = signs.number_of(a), signs.number_of(b)
        if high is not None and low is not None:
            return signs.choose(c, condition, high, low)
        condition = signs.choose(c, condition, 1.0, 0.0)
    operands = []
    for x in (condition, a, b):
        x = x.value if isinstance(x, Expanded) else x
        x = Constant(torch.tensor(float(x))) if isinstance(x, (int, float)) else x
        operands.append(c.constant(x) if isinstance(x, Constant) else need_value(x))
    rank = len(c.shapes[0])
    operands = [c.with_rank(x, rank) for x in operands]
    shape: list[Dim] = [next((x.shape[d] for x in operands if x.shape[d] != 1), 1) for d in range(rank)]
    example = [max(x.example[d] for x in operands) for d in range(rank)]
    return _expanded(c, c.emit("where", operands, output=Value(tuple(shape), tuple(example))))


@lowers("masked_fill.Scalar", "masked_fill.Tensor")
def masked_fill(c: Context, x: Any, mask: Any, value: Any) -> Any:
    return where(c, mask, value, x)


# Positions.


@lowers("arange.default", "arange.start", "arange.start_step")
def arange(c: Context, *arguments: Any) -> Range:
    numbers = [x for x in arguments if isinstance(x, (int, str)) and not isinstance(x, bool)]
    start = numbers[0] if len(numbers) > 1 else 0
    step = numbers[2] if len(numbers) > 2 else 1
    size = c.shapes[0][0]
    if not isinstance(start, int) or not isinstance(step, int) or not isinstance(size, str):
        raise Unsupported("arange is supported from a fixed start to a size of an input")
    return Range(size, c.examples[0][0], start, step, (size,))


@lowers(
    "new_ones.default", "new_zeros.default", "new_full.default", "ones_like.default", "zeros_like.default"
)
def filled_like(c: Context, x: Any, *arguments: Any) -> Expanded:
    name = c.op.split(".")[0]
    number = arguments[1] if name == "new_full" else float("ones" in name)
    return Expanded(Constant(torch.tensor(float(number))), c.shapes[0])


@lowers("full.default", "ones.default", "zeros.default")
def filled(c: Context, size: Any, *arguments: Any) -> Expanded:
    number = arguments[0] if c.op.startswith("full") else float(c.op.startswith("ones"))
    return Expanded(Constant(torch.tensor(float(number))), c.shapes[0])


@lowers("cumsum.default")
def cumsum(c: Context, x: object, dim: int, *_: Any) -> Value:
    x = need_value(x)
    return c.emit("cumsum", [x], {"axis": dim % x.rank})


@lowers("index.Tensor")
def index(c: Context, x: Any, indices: Sequence[Any]) -> Any:
    if isinstance(x, Value):
        whole = all(
            isinstance(r, Range) and (r.size, r.start, r.step) == (x.shape[d], 0, 1)
            for d, r in enumerate(indices)
        )
        places = [len(c.shapes[0]) - len(r.shape) + r.axis for r in indices if isinstance(r, Range)]
        if whole and len(indices) == x.rank and places == sorted(set(places)):
            return c.reshape(x, c.shapes[0], c.examples[0])  # every element, in order
    if isinstance(x, Constant) and x.tensor.is_floating_point() and len(indices) == 1:
        rows = x.tensor.reshape(len(x.tensor), -1)
        return c.reshape(lookup(c, replace(x, tensor=rows), indices[0]), c.shapes[0], c.examples[0])
    raise Unsupported("indexing by computed numbers is supported for rows of a constant table only")


@lowers("index_select.default")
def index_select(c: Context, x: Any, dim: int, numbers: Any) -> Any:
    if dim != 0:
        raise Unsupported("index_select is supported for the rows of a constant table")
    return index(c, x, [numbers])


@lowers("gather.default")
def gather(c: Context, x: Any, *_: Any) -> Any:
    number = uniform(x)
    if number is None:
        raise Unsupported("gather is supported of a tensor that is one number throughout; use an embedding")
    return Expanded(Constant(torch.tensor(number)), c.shapes[0])


def lookup(c: Context, table: Constant, ids: Any) -> Any:
    """Rows of a table by numbers: those of a range or a value, or one for all."""
    if isinstance(ids, Range):
        ids = c.materialize(ids)
    if isinstance(ids, Expanded) and isinstance(ids.value, Value):
        inner = lookup(c, table, ids.value)
        return Expanded(inner, c.shapes[0])
    number = uniform(ids)
    if number is not None:
        return Expanded(Constant(table.tensor[int(number)]), c.shapes[0])
    ids = need_value(ids, "the index")
    if table.grid is not None and not c.few_values(table):
        integers, scale = (
            table.grid.integers,
            Constant(torch.from_numpy(table.grid.scale), f"{table.name}.scale"),
        )
        weights: list[Weight] = [
            c.weight(table, "weight", "s8 table", integers),
            c.vector(scale, "scale"),
        ]
    else:
        weights = [c.weight(table, "weight", "embedding", table.array)]
    shape, example = (*ids.shape, table.tensor.shape[1]), (*ids.example, table.tensor.shape[1])
    return c.emit("embedding", [ids], weights=weights, layout=ids.rank, output=Value(shape, example))


@lowers("embedding.default")
def embedding(c: Context, weight: object, ids: Any, *_: Any) -> Any:
    return lookup(c, need_constant(weight, "the table"), ids)


def constant_part(c: Context, x: Constant, dim: int, start: int, step: int) -> Any:
    """The start of a constant up to a size of an input."""
    number = uniform(x)
    if number is not None:
        return Expanded(Constant(torch.tensor(number)), c.shapes[0])
    size, example = c.shapes[0][dim], c.examples[0][dim]
    others = x.tensor.numel() // x.tensor.shape[dim]
    numbers = x.tensor.flatten()
    counts = (
        others == 1
        and not x.tensor.is_floating_point()
        and bool((numbers.diff() == numbers[1] - numbers[0]).all())
    )
    if counts and isinstance(size, str):
        by = int(numbers[1] - numbers[0])
        return Range(size, example, int(numbers[start]), by * step, c.shapes[0])
    if any(n != 1 for n in x.tensor.shape[:dim]) or start or step != 1 or not isinstance(size, str):
        raise Unsupported("of a constant, rows from the first on are supported up to a size of an input")
    table = x.tensor.reshape(x.tensor.shape[dim], -1).float()
    rows = lookup(c, Constant(table, x.name), Range(size, example, 0, 1, (size,)))
    return c.reshape(rows, c.shapes[0], c.examples[0])
