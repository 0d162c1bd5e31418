"""Comparisons that choose between two numbers: the signs of binary networks, as `sign` ops.

`sign` exists between capture and `binary.py` only: high where x >= the threshold, low elsewhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from converters.graph import Value, Weight
from converters.lowering.elementwise import ADD, MUL, scalar
from converters.lowering.registry import Compared, Constant, Context, Unsupported, lowers, need_value

# Of x >= t: x > t is x >= the next number after t; x < t and x <= t choose the other way round.
# Subnormals count as zero, so after zero comes the least normal number.
LEAST = np.finfo(np.float32).tiny
COMPARISONS = {"ge": (False, False), "gt": (True, False), "lt": (False, True), "le": (True, True)}


def compare(c: Context, name: str, x: Value, other: Any) -> Compared:
    """x `name` other, a number or a constant."""
    strict, turned = COMPARISONS[name]
    bound = np.asarray(other.array if isinstance(other, Constant) else other, np.float32)
    if strict:
        bound = np.asarray(np.nextafter(bound, np.float32(np.inf)))
        bound = np.where(np.abs(bound) < LEAST, np.where(bound > 0, LEAST, 0), bound).astype(np.float32)
    return Compared(x, bound, turned)


def number_of(x: Any) -> float | None:
    if isinstance(x, Constant) and x.tensor.numel() == 1:
        return float(x.tensor.item())
    return float(x) if isinstance(x, (int, float)) else None


def choose(c: Context, condition: Compared, if_true: float, if_false: float) -> Value:
    """Of two numbers, by a comparison."""
    x, bound = condition.value, condition.bound
    high, low = (if_false, if_true) if condition.turned else (if_true, if_false)
    axis = x.rank - 1 if x.rank < 4 else 1
    weights: list[Weight] = []
    if bound.any():
        sizes = (1,) * (x.rank - bound.ndim) + bound.shape
        if any(size != 1 and d != axis for d, size in enumerate(sizes)):
            raise Unsupported("thresholds of a comparison are one number, or one for each channel")
        channels = x.shape[axis]
        if not isinstance(channels, int):
            raise Unsupported(
                f"the channels that are compared are {channels} of an input; they must be fixed"
            )
        vector = np.broadcast_to(bound.reshape(-1), (channels,)).copy()
        weights = [c.vector(Constant(torch.from_numpy(vector)), "threshold")]
    return c.emit("sign", [x], {"high": high, "low": low}, weights, layout=axis)


@lowers("sign.default")
def sign(c: Context, x: object) -> Value:
    """The sign of 0 is 0: half the sum of two signs that disagree there."""
    x = need_value(x)
    up, down = (choose(c, compare(c, name, x, 0.0), 1.0, -1.0) for name in ("ge", "gt"))
    c.graph.warnings.append(
        f"{c.name}: torch.sign(0) is 0, which a bit cannot be, so what follows is computed in float; "
        "torch.where(x >= 0, 1.0, -1.0) can be computed on bits"
    )
    total = c.emit("binary", [up, down], {"fn": ADD})
    return scalar(c, MUL, total, 0.5)
