"""The one table of ATen ops, and what a handler works with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch

from converters.encodings import codebook
from converters.graph import (
    NONE,
    Activation,
    Attr,
    Dim,
    Graph,
    Grid,
    Op,
    Quant,
    Role,
    Value,
    Weight,
    reshape_codes,
)

# A handler takes the arguments of the ATen schema in order: Value for what is computed, Constant for tensors
# that are not, sizes as Dim, the rest as it is. It returns what the op returns.
Handler = Callable[..., Any]
H = TypeVar("H", bound=Handler)
HANDLERS: dict[str, Handler] = {}
# Ops that are handled even where all their inputs are constant; the others are folded by torch.
CONSTANT_HANDLERS: dict[str, Handler] = {}


class Unsupported(Exception):
    """Raised by a handler; the message is the hint for the user."""


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that depends on parameters, buffers and literals only, and its name in the state dict."""

    tensor: torch.Tensor
    name: str = ""
    grid: Grid | None = None  # of a fake-quantized weight

    @property
    def array(self) -> np.ndarray[Any, Any]:
        """As numpy f32 (f64 stays f64)."""
        tensor = self.tensor.detach().cpu()
        return np.asarray(tensor.numpy() if tensor.dtype == torch.float64 else tensor.float().numpy())


@dataclass(frozen=True)
class Expanded:
    """A value or constant that torch.expand repeats; elementwise ops repeat it by themselves."""

    value: Value | Constant
    shape: tuple[Dim, ...]


@dataclass(frozen=True)
class Range:
    """start, start + step, ... along the one dimension of `shape` that is a dynamic size of an input."""

    size: str
    example: int
    start: int
    step: int
    shape: tuple[Dim, ...]

    @property
    def axis(self) -> int:
        return self.shape.index(self.size)

    @property
    def examples(self) -> tuple[int, ...]:
        return tuple(self.example if isinstance(d, str) else d for d in self.shape)


@dataclass(frozen=True)
class Quantized:
    """An integer tensor that torch.export computes: of use only to the dequantize that follows."""

    value: Value
    quant: Quant


@dataclass(frozen=True)
class PerToken:
    """A value rounded to s8 token by token, or the scales of that: of use to the dequantize that follows."""

    value: Value


@dataclass(frozen=True, eq=False)
class Compared:
    """Whether a value is >= a bound (`turned`: below it): for what chooses between two numbers by it."""

    value: Value
    bound: np.ndarray[Any, Any]
    turned: bool


def lowers(*names: str) -> Callable[[H], H]:
    """Registers a handler for ATen ops, `conv2d.default` and the like."""

    def register(handler: H) -> H:
        for name in names:
            assert name not in HANDLERS, f"{name} has two handlers"
            HANDLERS[name] = handler
        return handler

    return register


def folds(*names: str) -> Callable[[H], H]:
    """Registers a handler for ops on constants; it is given the result torch computes, then the arguments."""

    def register(handler: H) -> H:
        for name in names:
            CONSTANT_HANDLERS[name] = handler
        return handler

    return register


@dataclass
class Context:
    """The graph being built and the ATen op being lowered.

    op: its name. shapes, examples: of its outputs, symbolic and for the example inputs. used: which of
    several outputs are read. dtypes: of its arguments, None for those that are no tensors.
    """

    graph: Graph
    batch: int  # batch size of the example, if dynamic
    name: str = ""
    source: str = ""
    shapes: list[tuple[Dim, ...]] = field(default_factory=list)
    examples: list[tuple[int, ...]] = field(default_factory=list)
    used: set[Any] = field(default_factory=set)
    op: str = ""
    dtypes: list[torch.dtype | None] = field(default_factory=list)
    result_dtype: torch.dtype = torch.float32
    weights: dict[tuple[Constant, Role], Weight] = field(default_factory=dict)
    ranges: dict[tuple[str, int, int], Value] = field(default_factory=dict)

    def emit(
        self,
        kind: str,
        inputs: Sequence[Value],
        attrs: dict[str, Attr] | None = None,
        weights: Sequence[Weight] = (),
        act: Activation = NONE,
        layout: int | None = None,
        output: Value | None = None,
        quant: Quant | None = None,
    ) -> Value:
        """Appends an op; its output is shaped like the ATen op's first one unless `output` is given."""
        if output is None:
            output = Value(self.shapes[0], self.examples[0])
        op = Op(
            kind, list(inputs), output, attrs or {}, list(weights), act, layout, self.name, self.source, quant
        )
        self.graph.ops.append(op)
        return output

    def weight(
        self,
        constant: Constant,
        part: str,
        role: Role,
        matrix: np.ndarray[Any, Any],
        groups: int = 1,
        columns: int = 1,
    ) -> Weight:
        """The weight for a constant, one for all its uses; named by layer and part if it has no name."""
        weight = self.weights.get((constant, role))
        if weight is None:
            name = constant.name or f"{self.name}.{part}"
            weight = Weight(name, np.ascontiguousarray(matrix), role, groups, grid=constant.grid)
            self.weights[constant, role] = weight
        weight.columns = max(weight.columns, columns)
        return weight

    def vector(self, constant: Constant, part: str) -> Weight:
        """A bias, scale or shift over channels."""
        return self.weight(constant, part, "vector", constant.array.reshape(-1, 1))

    def constant(self, constant: Constant) -> Value:
        """A constant that is not a weight of a layer, as a value."""
        shape = tuple(constant.tensor.shape)
        weight = self.weight(constant, "constant", "constant", constant.array.reshape(-1, 1))
        return self.emit("constant", [], {"dims": list(shape)}, [weight], output=Value(shape, shape))

    def materialize(self, x: Range | Expanded) -> Value:
        """A range as a value, one op for all equal ones; what is repeated in full."""
        if isinstance(x, Expanded):
            return self._repeated(x)
        key = x.size, x.start, x.step
        if key not in self.ranges:
            source = self._input_of(x.size)
            attrs: dict[str, Attr] = {"axis": source.shape.index(x.size), "start": x.start, "step": x.step}
            self.ranges[key] = self.emit("range", [source], attrs, output=Value((x.size,), (x.example,)))
        return self.reshape(self.ranges[key], x.shape, x.examples)

    def _repeated(self, x: Expanded) -> Value:
        """What is repeated plus zeros: along a size of the input those of a range in steps of 0."""
        rank = len(x.shape)
        if isinstance(x.value, Constant):
            tensor = x.value.tensor
            y = self.constant(
                Constant(tensor.reshape((1,) * (rank - tensor.dim()) + tensor.shape), x.value.name)
            )
        else:
            y = self.with_rank(x.value, rank)
        for axis, size in enumerate(x.shape):
            if size == y.shape[axis]:
                continue
            ones = (1,) * axis, (1,) * (rank - axis - 1)
            if isinstance(size, int):
                zeros = self.constant(Constant(torch.zeros(*ones[0], size, *ones[1])))
            else:
                source = self._input_of(size)
                number = source.example[source.shape.index(size)]
                zeros = self.materialize(Range(size, number, 0, 0, (*ones[0], size, *ones[1])))
            shape = (*y.shape[:axis], size, *y.shape[axis + 1 :])
            example = (*y.example[:axis], zeros.example[axis], *y.example[axis + 1 :])
            y = self.emit("binary", [y, zeros], {"fn": 0}, output=Value(shape, example))
        return y

    def _input_of(self, size: str) -> Value:
        """An input that has this size."""
        for v in self.graph.inputs:
            if size in v.shape:
                return v
        raise Unsupported(f"it depends on {size}, which is not a size of an input")

    def few_values(self, constant: Constant) -> bool:
        """Whether a codebook holds all values of a constant."""
        return codebook.distinct(constant.array) is not None

    def reshape(self, x: Value, shape: Sequence[Dim], example: Sequence[int]) -> Value:
        """x as `shape`; the same value if it has that shape already, or had it before it was reshaped."""
        if tuple(shape) == x.shape:
            return x
        before = self.reshaped_from(x)
        if before is not None and tuple(shape) == before.shape:
            return before
        codes = reshape_codes(x.shape, shape)
        if codes is None:
            raise Unsupported(
                f"reshape from {_show(x.shape)} to {_show(shape)} has more than one size that is not a size "
                "of the input; convert with fixed shapes (dynamic_batch=False)"
            )
        return self.emit("reshape", [x], {"dims": codes}, output=Value(tuple(shape), tuple(example)))

    def reshaped_from(self, x: Value) -> Value | None:
        """What x is another shape of, if a reshape made it."""
        op = next((op for op in reversed(self.graph.ops) if op.output is x), None)
        return op.inputs[0] if op is not None and op.kind == "reshape" else None

    def before_flattening(self, x: Value) -> Value | None:
        """For ops on the last dimension alone: what x was before its other dimensions were made one, if they
        were, as in [batch * length, features]; that could not be undone after the op.
        """
        before = self.reshaped_from(x) if x.rank == 2 else None
        return before if before is not None and before.shape[-1] == x.shape[-1] else None

    def with_rank(self, x: Value, rank: int) -> Value:
        """x with leading dimensions of 1, for numpy broadcasting."""
        ones = (1,) * (rank - x.rank)
        return self.reshape(x, ones + x.shape, ones + x.example)


def uniform(x: object) -> float | None:
    """The number that a constant consists of, repeated or not; None of anything else."""
    tensor = x.value.tensor if isinstance(x, Expanded) and isinstance(x.value, Constant) else None
    tensor = x.tensor if isinstance(x, Constant) else tensor
    if tensor is None or tensor.numel() == 0 or not bool((tensor == tensor.flatten()[0]).all()):
        return None
    return float(tensor.flatten()[0])


def need_value(x: object, what: str = "the input") -> Value:
    if not isinstance(x, Value):
        raise Unsupported(f"{what} of this op must depend on the model's input")
    return x


def need_constant(x: object, what: str) -> Constant:
    if not isinstance(x, Constant):
        raise Unsupported(f"{what} is computed from the model's input; only constant weights are supported")
    return x


def pair(x: Any) -> tuple[Any, Any]:
    """A 2-d size given as one number or two."""
    if isinstance(x, (list, tuple)):
        return (x[0], x[0]) if len(x) == 1 else (x[0], x[1])
    return x, x


def _show(shape: Sequence[Dim]) -> str:
    return "[" + ", ".join(str(d) for d in shape) + "]"
