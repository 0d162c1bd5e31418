"""The graph between capture and file: a list of ops over values, with the weights they use.

It has the ops of docs/format.md section 3 and torch's logical shapes; physical layouts come last (layout.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

# A size: a number, or the text of the symbolic expression torch.export uses for it ("s0", "s0//2 + 1").
Dim = int | str
Attr = int | float | list[int]
Role = Literal[
    "matrix",
    "depthwise",
    "vector",
    "constant",
    "embedding",
    "s8 matrix",
    "s8 depthwise",
    "s8 table",
    "i32 vector",
    "i16 vector",
    "bits",
]
Window = Literal["1x1", "3x3", "other"]
Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Quant:
    """What a u8 value stands for: scale * (q - zero), scale an f32 number; q lies in low..high."""

    scale: float
    zero: int
    low: int = 0
    high: int = 255


@dataclass(eq=False)
class Grid:
    """The integers behind a weight: row r of the matrix is integers[r] * scale[r], s8 [M, K] and f64 [M,
    1].
    """

    integers: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float64]


@dataclass(eq=False)
class Value:
    """An activation. `example` is its shape for the example inputs; f32, u8 where it has a `quant`, or bits.

    Integers and booleans are computed on as f32; only a graph input says what it is, in `dtype`.
    """

    shape: tuple[Dim, ...]
    example: tuple[int, ...]
    name: str = ""
    channel_axis: int | None = None  # assigned by layout.py
    quant: Quant | None = None
    dtype: Literal["f32", "i32", "i64"] = "f32"
    bits: bool = False

    @property
    def rank(self) -> int:
        return len(self.shape)


@dataclass(eq=False)
class Weight:
    """A constant operand, f32 or f64 [M, K] (f64 until written, so that folding rounds once).

    role: "matrix" is multiplied (linear, conv), "depthwise" is one filter per channel, "vector" is a bias
    or a scale of shape [M, 1], "embedding" is a table that rows are read from, "constant" is anything else,
    flattened to [numel, 1]. The integer roles hold int8 or int32 in the column order of the file
    (integers.py); "bits" holds +1 and -1.
    grid: where the weight lies on an integer grid. parameters: of the torch tensor, if not all of `matrix`.
    columns: for how many columns of activations it is used at batch 1; tells GEMV from GEMM.
    tied: rows are also read from it, as from an embedding table.
    window: of a convolution, "3x3" if of stride 1 and undilated; "1x1" for linear layers.
    cold: its net has more weights than caches hold from one inference to the next.
    """

    name: str
    matrix: npt.NDArray[Any]
    role: Role
    groups: int = 1
    columns: int = 1
    window: Window = "1x1"
    cold: bool = False
    grid: Grid | None = None
    parameters: int | None = None
    tied: bool = False


@dataclass(frozen=True)
class Activation:
    """The `act` words of the format: a name and up to two parameters."""

    name: str = "none"
    p0: float = 0.0
    p1: float = 0.0


NONE = Activation()
RELU = Activation("clamp", 0.0, float("inf"))


@dataclass(eq=False)
class Op:
    """One op. `kind` and the keys of `attrs` are those of docs/format.md.

    layout: the channel axis its inputs and output must have, None if it follows its inputs.
    quant: of a `fake_quant`, which integers.py replaces.
    """

    kind: str
    inputs: list[Value]
    output: Value
    attrs: dict[str, Attr] = field(default_factory=dict)
    weights: list[Weight] = field(default_factory=list)
    act: Activation = NONE
    layout: int | None = None
    name: str = ""
    source: str = ""
    quant: Quant | None = None


@dataclass(frozen=True)
class Symbol:
    """A dimension known only at run time."""

    name: str
    expression: str
    min: int
    max: int


@dataclass(eq=False)
class Graph:
    """A net between capture and file: its ops in the order of execution, and the sizes chosen at run time."""

    symbols: list[Symbol]
    inputs: list[Value]
    outputs: list[Value] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def consumers(self) -> dict[Value, list[Op]]:
        """The ops that read each value, in order; an op that reads a value twice is listed twice."""
        readers: dict[Value, list[Op]] = {}
        for op in self.ops:
            for value in op.inputs:
                readers.setdefault(value, []).append(op)
        return readers

    def producers(self) -> dict[Value, Op]:
        """The op that computes each value; inputs of the graph have none."""
        return {op.output: op for op in self.ops}

    def drop_unread(self) -> None:
        """Drops the ops whose results nobody reads."""
        needed, kept = set(self.outputs), []
        for op in reversed(self.ops):
            if op.output in needed:
                kept.append(op)
                needed.update(op.inputs)
        self.ops = kept[::-1]


def reshape_codes(source: Sequence[Dim], target: Sequence[Dim]) -> list[int] | None:
    """The attributes of a `reshape` from shape `source` to `target`, None if they cannot be expressed.

    A fixed size is itself, a size of the input is -2-k, and one other may be left to compute (-1).
    """
    codes: list[int] = []
    for i, size in enumerate(target):
        if isinstance(size, int):
            codes.append(size)
        elif i < len(source) and source[i] == size:
            codes.append(-2 - i)
        elif size in source:
            codes.append(-2 - list(source).index(size))
        else:
            codes.append(-1)
    return codes if codes.count(-1) <= 1 else None
