"""Comparisons that choose between two numbers: the signs of binary networks, as `sign` ops.

`sign` exists between capture and `binary.py` only: high where x >= the threshold, low elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from converters.graph import Value, Weight
from converters.lowering.elementwise import ADD, MUL, scalar
from converters.lowering.registry import Compared, Constant, Context, Unsupported, lowers, need_value

# Of x >= t: x > t is x >= the next number after t; x < t and x <= t choose the other way round.
COMPARISONS = {"ge": (False, False), "gt": (True, False), "lt": (False, True), "le": (True, True)}


def _compare(strict: bool, turned: bool) -> Callable[[Context, object, Any], Compared]:
    def handler(c: Context, x: object, other: Any) -> Compared:
        x = need_value(x)
        if isinstance(other, Value):
            raise Unsupported("a comparison of two activations is not in the format; compare with a constant")
        bound = np.asarray(other.array if isinstance(other, Constant) else other, np.float32)
        if strict:
            bound = np.asarray(np.nextafter(bound, np.float32(np.inf)))
        return Compared(x, bound, turned)

    return handler


for name, how in COMPARISONS.items():
    lowers(f"{name}.Scalar", f"{name}.Tensor")(_compare(*how))


def _number(x: Any) -> float:
    if isinstance(x, Constant) and x.tensor.numel() == 1:
        return float(x.tensor.item())
    if not isinstance(x, (int, float)):
        raise Unsupported("where chooses between two numbers, as the sign of a binary network does")
    return float(x)


def _choose(c: Context, condition: Compared, if_true: float, if_false: float) -> Value:
    x, bound = condition.value, condition.bound
    high, low = (if_false, if_true) if condition.turned else (if_true, if_false)
    axis = x.rank - 1 if x.rank < 4 else 1
    weights: list[Weight] = []
    if bound.any():
        sizes = (1,) * (x.rank - bound.ndim) + bound.shape
        if any(size != 1 and d != axis for d, size in enumerate(sizes)):
            raise Unsupported("thresholds of a comparison are one number, or one for each channel")
        vector = np.broadcast_to(bound.reshape(-1), (int(x.shape[axis]),)).copy()
        weights = [c.vector(Constant(torch.from_numpy(vector)), "threshold")]
    return c.emit("sign", [x], {"high": high, "low": low}, weights, layout=axis)


@lowers("where.Scalar", "where.self", "where.ScalarSelf", "where.ScalarOther")
def where(c: Context, condition: object, if_true: Any, if_false: Any) -> Value:
    if not isinstance(condition, Compared):
        raise Unsupported("where needs a comparison of an activation with a constant")
    return _choose(c, condition, _number(if_true), _number(if_false))


@lowers("_to_copy.default", "to.dtype", "to.dtype_layout")
def to_float(c: Context, x: object, *_: Any) -> object:
    """A comparison as 1.0 and 0.0; of floats, which have one type, nothing."""
    return _choose(c, x, 1.0, 0.0) if isinstance(x, Compared) else x


@lowers("sign.default")
def sign(c: Context, x: object) -> Value:
    """The sign of 0 is 0: half the sum of two signs that disagree there."""
    x = need_value(x)
    up, down = (_choose(c, _compare(strict, False)(c, x, 0.0), 1.0, -1.0) for strict in (False, True))
    c.graph.warnings.append(
        f"{c.name}: torch.sign(0) is 0, which a bit cannot be, so what follows is computed in float; "
        "torch.where(x >= 0, 1.0, -1.0) can be computed on bits"
    )
    total = c.emit("binary", [up, down], {"fn": ADD})
    return scalar(c, MUL, total, 0.5)
