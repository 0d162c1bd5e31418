"""Fake quantization, and quantize-dequantize pairs: of activations to `fake_quant` ops, of weights to grids.

`fake_quant` exists between capture and `integers.py` only, which turns it into integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from converters.graph import Grid, Quant, Value
from converters.lowering.registry import (
    Constant,
    Context,
    PerToken,
    Quantized,
    Unsupported,
    folds,
    lowers,
    need_value,
    uniform,
)

DECOMPOSED = "quantized_decomposed."


def _quant(scale: Any, zero: Any, low: int, high: int) -> Quant:
    """The u8 form of a grid of at most 256 steps: q - low, so that signed ones become unsigned."""
    numbers = [x.tensor if isinstance(x, Constant) else x for x in (scale, zero)]
    if any(isinstance(x, torch.Tensor) and x.numel() != 1 for x in numbers):
        raise Unsupported(
            "activations are quantized with one scale for the whole tensor; weights may have one per row"
        )
    if any(isinstance(x, Value) for x in numbers):
        raise Unsupported("a scale computed from the input is not supported; calibrate it")
    step, point = np.float32(float(numbers[0])), int(numbers[1])
    if high - low > 255 or not low <= point <= high:
        raise Unsupported(
            f"a range of {low} to {high} with zero point {point} is not one of 8 bits with an exact 0"
        )
    return Quant(float(step), point - low, 0, high - low)


@lowers("fake_quantize_per_tensor_affine.default", "fake_quantize_per_tensor_affine.tensor_qparams")
def fake_quantize(c: Context, x: object, scale: Any, zero: Any, low: int, high: int) -> Value:
    return c.emit("fake_quant", [need_value(x)], quant=_quant(scale, zero, low, high))


# What the fake quantization of torch.ao's prepare_qat is exported as.
OBSERVED = "_fused_moving_avg_obs_fq_helper_functional.default"


@lowers(OBSERVED)
def observed(
    c: Context,
    x: object,
    observes: Any,
    rounds: Any,
    low_seen: Any,
    high_seen: Any,
    scale: Any,
    zero: Any,
    momentum: float,
    low: int,
    high: int,
    *_: Any,
) -> tuple[Value, None, Any, Any, Any, Any]:
    if uniform(observes) != 0:
        raise Unsupported(
            "its scale still follows the data; module.apply(torch.ao.quantization.disable_observer)"
        )
    y = need_value(x) if uniform(rounds) == 0 else fake_quantize(c, x, scale, zero, low, high)
    return y, None, low_seen, high_seen, scale, zero


@folds(OBSERVED)
def fold_observed(result: list[Constant], x: Any, observes: Any, rounds: Any, *rest: Any) -> list[Constant]:
    value, _, _, _, scale, zero = result
    if uniform(rounds) != 0:
        axis, per_row = rest[7:9]
        value = _on_grid(value, scale, zero, axis if per_row else None)
    return [value, *result[1:]]


@lowers(DECOMPOSED + "quantize_per_tensor.default", DECOMPOSED + "quantize_per_tensor.tensor")
def quantize(
    c: Context, x: object, scale: Any, zero: Any, low: int, high: int, dtype: torch.dtype
) -> Quantized:
    return Quantized(need_value(x), _quant(scale, zero, low, high))


@lowers(DECOMPOSED + "dequantize_per_tensor.default", DECOMPOSED + "dequantize_per_tensor.tensor")
def dequantize(c: Context, x: object, *_: Any, **__: Any) -> Value:
    if not isinstance(x, Quantized):
        raise Unsupported("only what a quantize_per_tensor of the same model made can be dequantized")
    return c.emit("fake_quant", [x.value], quant=x.quant)


@lowers(DECOMPOSED + "choose_qparams_per_token.default")
def choose_per_token(c: Context, x: object, dtype: torch.dtype) -> tuple[PerToken, PerToken]:
    if dtype != torch.int8:
        raise Unsupported("tokens are rounded to int8")
    return PerToken(need_value(x)), PerToken(need_value(x))


@lowers(DECOMPOSED + "quantize_per_token.default")
def quantize_per_token(
    c: Context, x: object, scales: object, zeros: object, low: int, high: int, dtype: torch.dtype
) -> PerToken:
    x = need_value(x)
    if scales != PerToken(x) or zeros != PerToken(x) or (low, high) not in ((-127, 127), (-128, 127)):
        raise Unsupported(
            "tokens are rounded by scales that choose_qparams_per_token finds for the same value"
        )
    return PerToken(x)


@lowers(DECOMPOSED + "dequantize_per_token.default")
def dequantize_per_token(c: Context, x: object, *_: Any) -> Value:
    if not isinstance(x, PerToken):
        raise Unsupported("only what a quantize_per_token of the same model made can be dequantized")
    return c.emit("round_tokens", [x.value])


def _on_grid(result: Constant, scale: Any, zero: Any, axis: int | None) -> Constant:
    """A fake-quantized weight with its grid, if that is symmetric, per row or for all, and fits s8."""
    steps, points = (x.tensor if isinstance(x, Constant) else torch.as_tensor(x) for x in (scale, zero))
    if result.tensor.dim() < 2 or axis not in (None, 0) or points.any():
        return result
    rows = result.tensor.shape[0]
    per_row = steps.double().reshape(-1, 1).expand(rows, 1)
    integers = torch.round(result.tensor.double().reshape(rows, -1) / per_row)
    if integers.min() < -128 or integers.max() > 127:
        return result
    grid = Grid(integers.to(torch.int8).numpy(), per_row.numpy().copy())
    return Constant(result.tensor, result.name, grid)


@folds("fake_quantize_per_channel_affine.default")
def fold_per_channel(result: Constant, x: Any, scale: Any, zero: Any, axis: int, *_: Any) -> Constant:
    return _on_grid(result, scale, zero, axis)


@folds("fake_quantize_per_tensor_affine.default", "fake_quantize_per_tensor_affine.tensor_qparams")
def fold_per_tensor(result: Constant, x: Any, scale: Any, zero: Any, *_: Any) -> Constant:
    return _on_grid(result, scale, zero, None)


@folds(DECOMPOSED + "dequantize_per_channel.default")
def fold_dequantize_channels(result: Constant, x: Any, scale: Any, zero: Any, axis: int, *_: Any) -> Constant:
    return _on_grid(result, scale, zero, axis)


@folds(DECOMPOSED + "dequantize_per_tensor.default", DECOMPOSED + "dequantize_per_tensor.tensor")
def fold_dequantize(result: Constant, x: Any, scale: Any, zero: Any, *_: Any) -> Constant:
    return _on_grid(result, scale, zero, None)
