"""Activations and arithmetic."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from converters.graph import RELU, Activation, Attr, Dim, Value
from converters.lowering.layers import affine
from converters.lowering.registry import (
    Constant,
    Context,
    Expanded,
    Handler,
    Range,
    Unsupported,
    lowers,
    need_constant,
    need_value,
)

ADD, SUB, MUL, DIV, POW = range(5)
INF = math.inf


def unary(c: Context, x: object, name: str, p0: float = 0.0, p1: float = 0.0) -> Value:
    return c.emit("unary", [need_value(x)], act=Activation(name, float(p0), float(p1)))


def scalar(c: Context, fn: int, x: Value, s: float, reverse: bool = False) -> Value:
    return c.emit("scalar", [x], {"fn": fn, "reversed": int(reverse), "s": float(s)})


def _plain(name: str) -> Handler:
    return lambda c, x: unary(c, x, name)


for name in ("sigmoid", "tanh", "silu", "hardswish", "hardsigmoid", "exp", "sqrt", "abs", "mish"):
    lowers(f"{name}.default")(_plain(name))


@lowers("relu.default")
def relu(c: Context, x: object) -> Value:
    return unary(c, x, RELU.name, RELU.p0, RELU.p1)


@lowers("relu6.default")
def relu6(c: Context, x: object) -> Value:
    return unary(c, x, "clamp", 0, 6)


@lowers("hardtanh.default", "clamp.default")
def clamp(c: Context, x: object, low: float | None = None, high: float | None = None) -> Value:
    return unary(c, x, "clamp", -INF if low is None else low, INF if high is None else high)


@lowers("clamp_min.default")
def clamp_min(c: Context, x: object, low: float) -> Value:
    return unary(c, x, "clamp", low, INF)


@lowers("clamp_max.default")
def clamp_max(c: Context, x: object, high: float) -> Value:
    return unary(c, x, "clamp", -INF, high)


@lowers("leaky_relu.default")
def leaky_relu(c: Context, x: object, slope: float = 0.01) -> Value:
    return unary(c, x, "leaky_relu", slope)


@lowers("gelu.default")
def gelu(c: Context, x: object, approximate: str = "none") -> Value:
    return unary(c, x, "gelu_tanh" if approximate == "tanh" else "gelu")


@lowers("elu.default")
def elu(c: Context, x: object, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Value:
    if input_scale != 1:
        raise Unsupported("elu with an input scale (CELU with alpha other than 1) is not supported")
    y = unary(c, x, "elu", alpha)
    return y if scale == 1 else scalar(c, MUL, y, scale)


@lowers("selu.default")
def selu(c: Context, x: object) -> Value:
    return elu(c, x, 1.6732632423543772, 1.0507009873554805)


@lowers("softplus.default")
def softplus(c: Context, x: object, beta: float = 1, threshold: float = 20) -> Value:
    return unary(c, x, "softplus", beta, threshold)


@lowers("prelu.default", "_prelu_kernel.default")
def prelu(c: Context, x: object, slope: object) -> Value:
    x, slope = need_value(x), need_constant(slope, "the slope").tensor
    if slope.numel() == 1:
        return unary(c, x, "leaky_relu", slope.item())
    negative = affine(c, unary(c, x, "clamp", -INF, 0), slope.flatten(), torch.zeros(slope.numel()), 1)
    return c.emit("binary", [relu(c, x), negative], {"fn": ADD})


@lowers("neg.default")
def neg(c: Context, x: object) -> Value:
    return scalar(c, MUL, need_value(x), -1)


@lowers("reciprocal.default")
def reciprocal(c: Context, x: object) -> Value:
    return scalar(c, DIV, need_value(x), 1, reverse=True)


@lowers("rsqrt.default")
def rsqrt(c: Context, x: object) -> Value:
    return scalar(c, DIV, unary(c, x, "sqrt"), 1, reverse=True)


@lowers("square.default")
def square(c: Context, x: object) -> Value:
    return c.emit("binary", [need_value(x)] * 2, {"fn": MUL})


@lowers("pow.Tensor_Scalar")
def power(c: Context, x: object, exponent: float) -> Value:
    x = need_value(x)
    if exponent == 2:
        return square(c, x)
    if exponent == 3:
        return c.emit(
            "binary",
            [c.emit("binary", [x, x], {"fn": MUL}, output=Value(x.shape, x.example)), x],
            {"fn": MUL},
        )
    if exponent == 0.5:
        return unary(c, x, "sqrt")
    return scalar(c, POW, x, exponent)


@lowers("pow.Scalar")
def power_of(c: Context, base: float, x: object) -> Value:
    return scalar(c, POW, need_value(x), base, reverse=True)


@lowers("add.Tensor", "add.Scalar")
def add(c: Context, a: Any, b: Any, alpha: float = 1) -> Any:
    if isinstance(a, Range):
        if isinstance(b, int) and alpha == 1:
            return replace(a, start=a.start + b)
        a = c.materialize(a)
    b = c.materialize(b) if isinstance(b, Range) else b
    return binary(c, ADD, a, scaled(c, b, alpha))


@lowers("sub.Tensor", "sub.Scalar")
def sub(c: Context, a: Any, b: Any, alpha: float = 1) -> Any:
    if isinstance(a, Range):
        if isinstance(b, int) and alpha == 1:
            return replace(a, start=a.start - b)
        a = c.materialize(a)
    b = c.materialize(b) if isinstance(b, Range) else b
    return binary(c, SUB, a, scaled(c, b, alpha))


@lowers("rsub.Tensor", "rsub.Scalar")
def rsub(c: Context, a: Any, b: Any, alpha: float = 1) -> Any:
    return binary(c, SUB, b, scaled(c, a, alpha))


@lowers("mul.Tensor", "mul.Scalar")
def mul(c: Context, a: Any, b: Any) -> Any:
    return binary(c, MUL, a, b)


@lowers("div.Tensor", "div.Scalar")
def div(c: Context, a: Any, b: Any) -> Any:
    return binary(c, DIV, a, b)


def scaled(c: Context, x: Any, alpha: float) -> Any:
    """x * alpha, for the ops that have such a factor."""
    if alpha == 1:
        return x
    if isinstance(x, Value):
        output = Value(x.shape, x.example)
        return c.emit("scalar", [x], {"fn": MUL, "reversed": 0, "s": float(alpha)}, output=output)
    if isinstance(x, Expanded):
        return Expanded(scaled(c, x.value, alpha), x.shape)
    return Constant(x.tensor * alpha) if isinstance(x, Constant) else x * alpha


def binary(c: Context, fn: int, a: Any, b: Any) -> Any:
    """a fn b where either may be a value, a repeated value, a constant or a number."""
    a, b = (x.value if isinstance(x, Expanded) and isinstance(x.value, Constant) else x for x in (a, b))
    a, b = _number(a), _number(b)
    if isinstance(a, float) or isinstance(b, float):
        number, x = (a, b) if isinstance(a, float) else (b, a)
        attrs: dict[str, Attr] = {"fn": fn, "reversed": int(isinstance(a, float)), "s": number}
        if isinstance(x, Expanded) and isinstance(x.value, Value):
            small = Value(x.value.shape, x.value.example)
            return Expanded(c.emit("scalar", [x.value], attrs, output=small), c.shapes[0])
        return c.emit("scalar", [_full(c, x)], attrs)
    by_channel = _channel_affine(c, fn, a, b)
    if by_channel is not None:
        return by_channel
    rank = len(c.shapes[0])
    a, b = (c.with_rank(_operand(c, x), rank) for x in (a, b))
    attrs = {"fn": fn}
    shape = _broadcast(a.shape, b.shape)
    if shape == c.shapes[0]:
        return c.emit("binary", [a, b], attrs)
    example = tuple(max(sizes) for sizes in zip(a.example, b.example, strict=True))
    return Expanded(c.emit("binary", [a, b], attrs, output=Value(shape, example)), c.shapes[0])


def _number(x: Any) -> Any:
    """Numbers and one-element constants as float."""
    if isinstance(x, Constant) and x.tensor.dim() == 0:
        return float(x.tensor.item())
    return float(x) if isinstance(x, (int, float)) else x


def _full(c: Context, x: Value | Constant) -> Value:
    return x if isinstance(x, Value) else c.materialize(Expanded(x, c.shapes[0]))


def _operand(c: Context, x: object) -> Value:
    x = x.value if isinstance(x, Expanded) else x
    return c.constant(x) if isinstance(x, Constant) else need_value(x)


def _broadcast(a: tuple[Dim, ...], b: tuple[Dim, ...]) -> tuple[Dim, ...]:
    return tuple(y if x == 1 else x for x, y in zip(a, b, strict=True))


def _channel_affine(c: Context, fn: int, a: Any, b: Any) -> Value | None:
    """The affine op for a constant that varies along axis 1 or the last one only, None if it does not."""
    if isinstance(a, Constant):
        x, constant, constant_first = b, a, True
    else:
        x, constant, constant_first = a, b, False
    if fn > DIV or not isinstance(x, Value) or not isinstance(constant, Constant) or x.shape != c.shapes[0]:
        return None
    sizes = (1,) * (x.rank - constant.tensor.dim()) + tuple(constant.tensor.shape)
    varying = [axis for axis, size in enumerate(sizes) if size != 1]
    if len(varying) != 1 or varying[0] not in (1, x.rank - 1) or (fn == DIV and constant_first):
        return None
    vector = constant.tensor.double().flatten()
    one, zero = torch.ones_like(vector), torch.zeros_like(vector)
    if fn == ADD:
        scale, shift = one, vector
    elif fn == SUB:
        scale, shift = (-one, vector) if constant_first else (one, -vector)
    else:
        scale, shift = (vector if fn == MUL else 1 / vector), zero
    return affine(c, x, scale, shift, varying[0])
