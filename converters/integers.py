"""Finds what can be computed on integers: fake-quantized activations become u8 values, and ops between them
integer ops, whose arithmetic is section 4 of docs/format.md.

A value `fake_quant` made has a twin in u8. An op whose inputs have twins and whose result goes into one
`fake_quant` only is computed on the twins; whatever else reads the value gets it dequantized. So an op that
has no integer form costs two conversions and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F

from converters.errors import ConvertError
from converters.graph import NONE, RELU, Activation, Attr, Graph, Op, Quant, Role, Value, Weight
from converters.twins import TwinPass

MAX_SUM = 2**31 - 1  # of an int32; a layer that might exceed it stays in float
MAX_MULTIPLIER, MIN_MULTIPLIER = 2.0**80, 2.0**-80
ADD = 0
MIDDLE = 128  # the zero point of rounded tokens


def to_integers(graph: Graph) -> None:
    """Replaces all `fake_quant` and `round_tokens` ops of a fused graph.

    Raises ConvertError for tokens that are rounded in front of anything but a linear layer on a grid.
    """
    _dynamic(graph)
    _clip(graph)
    if any(op.quant for op in graph.ops):
        _Pass(graph).run()


def _clip(graph: Graph) -> None:
    """A relu that alone reads a fake-quantized value is a lower limit of its grid."""
    makers, readers = graph.producers(), graph.consumers()
    for op in list(graph.ops):
        source = makers.get(op.inputs[0]) if op.kind == "unary" and op.act == RELU else None
        if source is None or source.quant is None or source.output in graph.outputs:
            continue
        if readers[source.output] != [op]:
            continue
        source.quant = replace(source.quant, low=max(source.quant.low, source.quant.zero))
        source.output = op.output
        graph.ops.remove(op)


def _dynamic(graph: Graph) -> None:
    """Linear layers on tokens that are rounded as they come, each with its own scale."""
    rounded = {op.output: op for op in graph.ops if op.kind == "round_tokens"}
    problems = []
    for op in graph.ops:
        if not any(value in rounded for value in op.inputs):
            continue
        if op.kind != "linear" or op.weights[0].grid is None or len(op.inputs) > 1:
            problems.append(f"  {op.name}: {op.kind} of tokens rounded to int8")
            continue
        product = _Product(op, Quant(1.0, MIDDLE), 1.0)
        if not product.fits():
            problems.append(f"  {op.name}: its sums do not fit 32 bits")
        op.kind, op.inputs, op.weights = (
            "qlinear_dynamic",
            list(rounded[op.inputs[0]].inputs),
            product.weights(op, 1),
        )
    if problems:
        raise ConvertError(
            "rounding per token is supported in front of linear layers with weights on a grid per row:\n"
            + "\n".join(problems)
        )
    graph.drop_unread()


class _Pass(TwinPass[Value]):
    def rules(self) -> dict[str, Callable[[Op], bool]]:
        return {
            "fake_quant": self._fake_quant,
            "conv2d": self._product,
            "linear": self._product,
            "binary": self._add,
            "reduce": self._mean,
            "adaptive_pool2d": self._mean,
            "pool2d": self._moved,
            "slice": self._moved,
            "reshape": self._moved,
            "pad": self._moved,
            "concat": self._concat,
            "unary": self._table,
        }

    # --- values ---

    def need_float(self, value: Value) -> None:
        if value not in self.made:
            self.ops.append(Op("dequantize", [self.twins[value]], value, name=value.name or "dequantize"))
            self.made.add(value)

    def _sink(self, value: Value) -> tuple[Quant, list[Value]] | None:
        """The quantization that all readers of a value apply, and what they make."""
        readers = self.readers.get(value, [])
        quants = {op.quant for op in readers}
        if value in self.graph.outputs or len(quants) != 1 or None in quants:
            return None
        (quant,) = quants
        assert quant is not None
        return quant, [op.output for op in readers]

    def _emit(
        self, op: Op, kind: str, inputs: list[Value], quant: Quant, attrs: dict[str, Attr], likes: list[Value]
    ) -> Value:
        """An op with u8 output, the twin of all `likes`."""
        output = Value(likes[0].shape, likes[0].example, quant=quant)
        layout = op.layout
        self.ops.append(Op(kind, inputs, output, attrs, layout=layout, name=op.name, source=op.source))
        self.twins.update(dict.fromkeys(likes, output))
        return output

    # --- ops; each says whether it took the op ---

    def _fake_quant(self, op: Op) -> bool:
        assert op.quant is not None
        if op.output in self.twins:
            return True
        twin = self.twins.get(op.inputs[0])
        if twin is None:
            limits: dict[str, Attr] = {"low": op.quant.low, "high": op.quant.high}
            self._emit(op, "quantize", [op.inputs[0]], op.quant, limits, [op.output])
        elif twin.quant == op.quant:
            self.twins[op.output] = twin
        else:
            self._lookup(op, twin, op.quant, NONE, [op.output])
        return True

    def _product(self, op: Op) -> bool:
        weight, x = op.weights[0], self.twins.get(op.inputs[0])
        if x is None or weight.grid is None:
            return False
        depthwise = weight.role == "depthwise"
        rows, channels = weight.grid.integers.shape[0], op.inputs[0].shape[op.layout or 1]
        per_group = rows // weight.groups
        if depthwise and per_group != 1:
            return False
        if not depthwise and weight.groups > 1 and (per_group % 4 or int(channels) // weight.groups % 4):
            return False
        sink = self._sink(op.output)
        if sink and op.act.name not in ("none", "clamp"):
            return False
        residual = [self.twins.get(v) for v in op.inputs[1:]]
        if (sink is None and (residual or depthwise)) or None in residual:
            return False
        assert x.quant is not None
        product = _Product(op, x.quant, sink[0].scale if sink else 1.0)
        if not product.fits():
            self.graph.warnings.append(f"{op.name}: its sums do not fit 32 bits, it is computed in float")
            return False
        taps = int(op.attrs.get("kh", 1)) * int(op.attrs.get("kw", 1))  # type: ignore[arg-type]
        low, high = _limits(op.act, sink[0]) if sink else (0, 255)
        attrs = op.attrs | {"residual_scale": 0.0, "low": low, "high": high}
        inputs = [x]
        if residual and sink:
            (other,) = residual
            assert other is not None and other.quant is not None
            inputs.append(other)
            attrs["residual_scale"] = _f32(other.quant.scale / sink[0].scale)
        kind = "q" + op.kind
        if sink:
            self._emit(op, kind, inputs, sink[0], attrs, sink[1])
        else:
            y = op.output if op.act == NONE else Value(op.output.shape, op.output.example)
            self.ops.append(Op(kind, inputs, y, attrs, layout=op.layout, name=op.name, source=op.source))
            self.made.add(op.output)
        self.ops[-1].weights = product.weights(op, taps)
        if sink is None and op.act != NONE:  # a float result is activated in float
            self.ops.append(Op("unary", [y], op.output, act=op.act, name=f"{op.name}.act", source=op.source))
        return True

    def _add(self, op: Op) -> bool:
        a, b = (self.twins.get(v) for v in op.inputs)
        sink = self._sink(op.output)
        if op.attrs["fn"] != ADD or a is None or b is None or sink is None or a.shape != b.shape:
            return False
        if op.act.name not in ("none", "clamp"):
            return False
        assert a.quant is not None and b.quant is not None
        low, high = _limits(op.act, sink[0])
        attrs: dict[str, Attr] = {
            "a_scale": _f32(a.quant.scale / sink[0].scale),
            "b_scale": _f32(b.quant.scale / sink[0].scale),
            "low": low,
            "high": high,
        }
        self._emit(op, "qadd", [a, b], sink[0], attrs, sink[1])
        return True

    def _mean(self, op: Op) -> bool:
        x, sink = self.twins.get(op.inputs[0]), self._sink(op.output)
        if x is None or sink is None or len(x.shape) != 4:
            return False
        if op.kind == "reduce":
            if op.attrs["fn"] != 0 or op.attrs["axes"] != [2, 3]:
                return False
        elif (op.attrs["mode"], op.attrs["oh"], op.attrs["ow"]) != (1, 1, 1):
            return False
        assert x.quant is not None
        quant, made = sink
        attrs: dict[str, Attr] = {
            "scale": _f32(x.quant.scale / quant.scale),
            "low": quant.low,
            "high": quant.high,
        }
        mean = Value((*x.shape[:2], 1, 1), (*x.example[:2], 1, 1), quant=quant)
        self.ops.append(Op("qmean", [x], mean, attrs, layout=1, name=op.name, source=op.source))
        self.twins.update(dict.fromkeys(made, mean))
        if op.output.rank == 2:
            codes: dict[str, Attr] = {"dims": [-2, -3]}
            self._emit(op, "reshape", [mean], quant, codes, made)
        return True

    def _moved(self, op: Op) -> bool:
        """Ops that only choose among values, to which the quantization does not matter."""
        x = self.twins.get(op.inputs[0])
        if x is None or (op.kind == "pool2d" and op.attrs["mode"] != 0):
            return False
        if op.kind == "pad" and op.attrs["value"] != 0:
            return False
        assert x.quant is not None
        self._emit(op, op.kind, [x], x.quant, op.attrs, [op.output])
        return True

    def _concat(self, op: Op) -> bool:
        parts = [self.twins.get(v) for v in op.inputs]
        quants = {part.quant for part in parts if part is not None}
        if None in parts:
            return False
        if len(quants) == 1:
            (quant,) = quants
            assert quant is not None
            self._emit(op, "concat", [p for p in parts if p], quant, op.attrs, [op.output])
            return True
        sink = self._sink(op.output)
        if sink is None:
            return False
        inputs = [self._lookup(op, p, sink[0], NONE, [Value(p.shape, p.example)]) for p in parts if p]
        self._emit(op, "concat", inputs, sink[0], op.attrs, sink[1])
        return True

    def _table(self, op: Op) -> bool:
        x, sink = self.twins.get(op.inputs[0]), self._sink(op.output)
        if x is None or sink is None or op.act.name not in FUNCTIONS:
            return False
        self._lookup(op, x, sink[0], op.act, sink[1])
        return True

    def _lookup(self, op: Op, x: Value, quant: Quant, act: Activation, likes: list[Value]) -> Value:
        if x.quant == quant and act == NONE:
            self.twins.update(dict.fromkeys(likes, x))
            return x
        assert x.quant is not None
        table = _table_of(x.quant, quant, act)
        words = np.frombuffer(table.tobytes(), "<i4").tolist()
        return self._emit(op, "qtable", [x], quant, {"table": words}, likes)


class _Product:
    """The numbers of a layer: s8 weights, i32 shift, f32 multiplier and bias."""

    def __init__(self, op: Op, x: Quant, step: float) -> None:
        grid = op.weights[0].grid
        assert grid is not None
        rows = len(grid.integers)
        vectors = [w.matrix.astype(np.float64).reshape(rows) for w in op.weights[1:]]
        scale = vectors[1] if len(vectors) > 1 else np.ones(rows)
        self.integers = grid.integers
        self.shift = -x.zero * grid.integers.sum(1, dtype=np.int64)
        self.multiplier = _in_range(x.scale * grid.scale.reshape(rows) * scale / step)
        self.bias = _in_range((vectors[0] if vectors else np.zeros(rows)) / step)

    def fits(self) -> bool:
        """Whether no sum needs more than 32 bits."""
        reach = np.abs(self.shift) + 255 * np.abs(self.integers.astype(np.int64)).sum(1)
        return bool((reach <= MAX_SUM).all())

    def weights(self, op: Op, taps: int) -> list[Weight]:
        first, size = op.weights[0], self.integers.size
        role: Role = "s8 depthwise" if first.role == "depthwise" else "s8 matrix"
        matrix = self.integers if role == "s8 depthwise" else _in_fours(self.integers, taps)
        bias = op.weights[1].name if len(op.weights) > 1 else f"{op.name}.bias"
        return [
            Weight(first.name, matrix, role, first.groups, first.columns, first.window, parameters=size),
            Weight(f"{op.name}.shift", self.shift.astype(np.int32)[:, None], "i32 vector"),
            Weight(f"{op.name}.multiplier", self.multiplier[:, None], "vector"),
            Weight(bias, self.bias[:, None], "vector"),
        ]


def _in_fours(integers: np.ndarray, taps: int) -> np.ndarray:
    """s8 [M, C*taps] with columns (c, tap) as [M, ceil(C/4)*taps*4] with columns (c/4, tap, c%4)."""
    rows, cols = integers.shape
    channels = cols // taps
    fours = -(-channels // 4)
    padded = np.zeros((rows, 4 * fours, taps), np.int8)
    padded[:, :channels] = integers.reshape(rows, channels, taps)
    moved = padded.reshape(rows, fours, 4, taps).transpose(0, 1, 3, 2)
    return np.ascontiguousarray(moved).reshape(rows, -1)


def _in_range(x: np.ndarray) -> np.ndarray:
    """As f32, what is below the least multiplier as 0."""
    clipped = np.clip(x, -MAX_MULTIPLIER, MAX_MULTIPLIER)
    kept: np.ndarray = np.where(np.abs(clipped) < MIN_MULTIPLIER, 0.0, clipped)
    return kept.astype(np.float32)


def _f32(x: float) -> float:
    return float(np.float32(min(max(x, MIN_MULTIPLIER), MAX_MULTIPLIER)))


def _limits(act: Activation, quant: Quant) -> tuple[int, int]:
    """The range of u8 that a clamp leaves."""
    if act.name != "clamp":
        return quant.low, quant.high
    bounds = [np.rint(np.float64(p) / quant.scale) + quant.zero for p in (act.p0, act.p1)]
    low, high = (int(np.clip(b, quant.low, quant.high)) for b in bounds)
    return low, high


FUNCTIONS: dict[str, Callable[[torch.Tensor, Activation], torch.Tensor]] = {
    "none": lambda x, _: x,
    "clamp": lambda x, a: x.clamp(a.p0, a.p1),
    "leaky_relu": lambda x, a: F.leaky_relu(x, a.p0),
    "sigmoid": lambda x, _: torch.sigmoid(x),
    "tanh": lambda x, _: torch.tanh(x),
    "silu": lambda x, _: F.silu(x),
    "hardswish": lambda x, _: F.hardswish(x),
    "hardsigmoid": lambda x, _: F.hardsigmoid(x),
    "gelu": lambda x, _: F.gelu(x),
    "gelu_tanh": lambda x, _: F.gelu(x, approximate="tanh"),
    "elu": lambda x, a: F.elu(x, a.p0),
    "abs": lambda x, _: x.abs(),
    "mish": lambda x, _: F.mish(x),
}


def _table_of(source: Quant, target: Quant, act: Activation) -> np.ndarray:
    """u8 [256]: what `target` makes of act of each value of `source`."""
    q = torch.arange(256, dtype=torch.float32)
    y = FUNCTIONS[act.name]((q - source.zero) * source.scale, act).numpy()
    inverse = np.float32(1) / np.float32(target.scale)
    table: np.ndarray = np.clip(np.rint(y * inverse) + target.zero, target.low, target.high)
    return table.astype(np.uint8)
