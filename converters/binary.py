"""Finds what can be computed on bits: signs of activations, and layers between them whose weights are +-a in
every row (docs/format.md, section 5).

A `sign` value has a twin of bits. A product of a twin is a sum of whole numbers: where only signs of it are
read, batch norm and sign become one whole threshold per row, and its result is bits again; else it becomes
float, with scale, bias and residual. Whatever else reads a sign gets it in float.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from converters.graph import NONE, RELU, Attr, Graph, Matrix, Op, Value, Weight
from converters.twins import TwinPass

ADD, MUL = 0, 2
MAX_COLUMNS = 32736
NEVER = 2**15 - 1  # above every sum
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Twin:
    """A value of bits that stands for `high` where they are set and `low` elsewhere."""

    bits: Value
    high: float
    low: float

    @property
    def factor(self) -> int:
        """What +1 and -1 are multiplied by to give the value; 0 if that is not +1 or -1."""
        return {(1.0, -1.0): 1, (-1.0, 1.0): -1}.get((self.high, self.low), 0)


def rows_of_one_size(matrix: Matrix) -> Floats | None:
    """a [M] where every row of [M, K] holds +a and -a only, a > 0; None elsewhere."""
    sizes = np.abs(matrix)
    first = sizes[:, :1]
    if not (first > 0).all() or not (sizes == first).all() or not np.isfinite(first).all():
        return None
    return first[:, 0].astype(np.float64)


def to_bits(graph: Graph) -> None:
    """Replaces all `sign` ops of a fused graph."""
    if any(op.kind == "sign" for op in graph.ops):
        _signs_before_pools(graph)
        _Pass(graph).run()


def _signs_before_pools(graph: Graph) -> None:
    """The sign of a maximum is the maximum of the signs; then the pool is one of bits. Nets train better with
    the pool first: there its gradient goes to the largest number, else to the first of several ones.
    """
    readers, producers = graph.consumers(), graph.producers()
    for i, sign in enumerate(graph.ops):
        pool = producers.get(sign.inputs[0]) if sign.kind == "sign" else None
        if pool is None or pool.kind != "pool2d" or pool.attrs["mode"] != 0 or pool.act != NONE:
            continue
        if len(readers[pool.output]) > 1 or pool.output in graph.outputs:
            continue
        if float(sign.attrs["high"]) < float(sign.attrs["low"]):  # type: ignore[arg-type]
            continue
        signs = Value(pool.inputs[0].shape, pool.inputs[0].example)
        graph.ops[graph.ops.index(pool)] = replace(sign, inputs=pool.inputs, output=signs)
        graph.ops[i] = replace(pool, inputs=[signs], output=sign.output)


class _Pass(TwinPass[Twin]):
    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.producers = graph.producers()

    def rules(self) -> dict[str, Callable[[Op], bool]]:
        return {
            "sign": self._sign,
            "scalar": self._scalar,
            "pool2d": self._moved,
            "reshape": self._moved,
            "pad": self._pad,
            "conv2d": self._product,
            "linear": self._product,
        }

    def need_float(self, value: Value) -> None:
        if value in self.made:
            return
        producer = self.producers[value]
        if producer.kind == "pad":  # of a twin, for a convolution that then could not use it
            self.need_float(producer.inputs[0])
            self.ops.append(producer)
            self.made.add(value)
            return
        twin = self.twins[value]
        scale, middle = (twin.high - twin.low) / 2, (twin.high + twin.low) / 2
        at = value if (scale, middle) == (1, 0) else Value(value.shape, value.example)
        self.ops.append(Op("signs", [twin.bits], at, name=producer.name, source=producer.source))
        for fn, number, more in ((MUL, scale, middle != 0), (ADD, middle, False)):
            if at is value or (fn == ADD and number == 0):
                break
            after = Value(value.shape, value.example) if more else value
            attrs: dict[str, Attr] = {"fn": fn, "reversed": 0, "s": number}
            self.ops.append(Op("scalar", [at], after, attrs, name=producer.name, source=producer.source))
            at = after
        self.made.add(value)

    def _only_reader(self, value: Value) -> Op | None:
        readers = self.readers.get(value, [])
        return readers[0] if len(readers) == 1 and value not in self.graph.outputs else None

    # --- ops; each says whether it took the op ---

    def _sign(self, op: Op) -> bool:
        if op.output in self.twins:
            return True
        value, thresholds = op.inputs[0], op.weights
        shift = self.producers.get(value)
        if shift is not None and shift.kind == "affine" and self._is_shift(shift) and not thresholds:
            # x + b >= 0 is x >= -b, whatever the rounding.
            value = shift.inputs[0]
            thresholds = [Weight(shift.weights[1].name, -shift.weights[1].matrix, "vector")]
        self.need_float(value)
        bits = Value(op.output.shape, op.output.example, bits=True)
        self.ops.append(
            Op(
                "binarize",
                [value],
                bits,
                weights=thresholds,
                layout=op.layout,
                name=op.name,
                source=op.source,
            )
        )
        self._twin(op, bits)
        return True

    def _is_shift(self, op: Op) -> bool:
        return (
            op.act == NONE and bool((op.weights[0].matrix == 1).all()) and len(self.readers[op.output]) == 1
        )

    def _twin(self, sign: Op, bits: Value) -> None:
        self.twins[sign.output] = Twin(bits, float(sign.attrs["high"]), float(sign.attrs["low"]))  # type: ignore[arg-type]

    def _scalar(self, op: Op) -> bool:
        """Arithmetic on the two numbers a sign chooses from."""
        twin = self.twins.get(op.inputs[0])
        if twin is None or op.act != NONE or op.attrs["fn"] == 4:
            return False
        s = float(op.attrs["s"])  # type: ignore[arg-type]
        fn = [np.add, np.subtract, np.multiply, np.divide][int(op.attrs["fn"])]  # type: ignore[arg-type]
        ends = (np.float32(twin.high), np.float32(twin.low))
        high, low = (fn(np.float32(s), v) if op.attrs["reversed"] else fn(v, np.float32(s)) for v in ends)
        self.twins[op.output] = Twin(twin.bits, float(high), float(low))
        return True

    def _moved(self, op: Op) -> bool:
        twin = self.twins.get(op.inputs[0])
        if twin is None or (op.kind == "pool2d" and (op.attrs["mode"] != 0 or twin.high < twin.low)):
            return False
        bits = Value(op.output.shape, op.output.example, bits=True)
        self.ops.append(
            Op(op.kind, [twin.bits], bits, op.attrs, layout=op.layout, name=op.name, source=op.source)
        )
        self.twins[op.output] = Twin(bits, twin.high, twin.low)
        return True

    def _pad(self, op: Op) -> bool:
        """Left to the convolutions that read it, if there are no others."""
        twin, readers = self.twins.get(op.inputs[0]), self.readers.get(op.output, [])
        return (
            twin is not None
            and op.output not in self.graph.outputs
            and all(
                r.kind == "conv2d" and r.inputs[0] is op.output and self._padding(r) is not None
                for r in readers
            )
        )

    def _padding(self, op: Op) -> tuple[Value, dict[str, Attr]] | None:
        """Of a convolution: the sign it reads, and its attributes with the padding before it taken in."""
        attrs: dict[str, Attr] = {**op.attrs, "pad_value": 0}
        names = ("pad_top", "pad_bottom", "pad_left", "pad_right")
        value = op.inputs[0]
        pad = self.producers.get(value)
        if pad is not None and pad.kind == "pad":
            pads = pad.attrs["pads"]
            assert isinstance(pads, list)
            if pad.attrs["value"] not in (1, -1) or any(pads[:4]) or any(op.attrs[n] for n in names):
                return None
            attrs |= dict(zip(names, pads[4:], strict=True)) | {"pad_value": int(pad.attrs["value"])}
            value = pad.inputs[0]
        twin = self.twins.get(value)
        if twin is None or twin.factor == 0:
            return None
        attrs["pad_value"] = int(attrs["pad_value"]) * twin.factor  # type: ignore[arg-type]
        return value, attrs

    def _product(self, op: Op) -> bool:
        weight = op.weights[0]
        sizes = rows_of_one_size(weight.matrix) if weight.role == "matrix" else None
        found = self._padding(op) if op.kind == "conv2d" else (op.inputs[0], {})
        if sizes is None or found is None:
            return False
        source, attrs = found
        twin = self.twins.get(source)
        rows, cols = weight.matrix.shape
        taps = int(op.attrs.get("kh", 1)) * int(op.attrs.get("kw", 1))  # type: ignore[arg-type]
        channels = cols // taps
        padded = -(-channels // 32) * 32 * taps
        if twin is None or twin.factor == 0 or padded > MAX_COLUMNS or (weight.groups > 1 and channels % 32):
            return False
        vectors = [w.matrix.astype(np.float64).reshape(rows) for w in op.weights[1:]]
        bias = vectors[0] if vectors else np.zeros(rows)
        scale = sizes * twin.factor * (vectors[1] if len(vectors) > 1 else 1.0)
        product = _Product(op, weight, twin.bits, taps, attrs)
        sink = self._sink(op)
        if sink is not None and not (weight.groups > 1 and rows // weight.groups % 32):
            threshold = sink[0].weights[0].matrix if sink[0].weights else np.zeros((1, 1))
            at_least = _whole_thresholds(op, scale, bias, threshold.astype(np.float64).ravel())
            bits = Value(op.output.shape, op.output.example, bits=True)
            self.ops.append(product.to_bits(bits, np.where(scale < 0, -1, 1), at_least))
            for sign in sink:
                self._twin(sign, bits)
            return True
        low, act, output, inputs = -np.inf, op.act, op.output, op.inputs[1:]
        following = self._only_reader(output)
        relu_first = op.act == RELU and not inputs and not bias.any() and (scale > 0).all()
        if (
            relu_first
            and following is not None
            and following.kind == "affine"
            and following.layout == op.layout
        ):
            # Batch norm behind a relu: the relu is one of whole numbers.
            norm = [w.matrix.astype(np.float64).ravel() for w in following.weights]
            low, scale, bias, act = 0.0, scale * norm[0], norm[1], following.act
            output = self._take(following)
            following = self._only_reader(output)
        if act == NONE and not inputs and following is not None and self._adds(following, output):
            inputs = [v for v in following.inputs if v is not output]
            act = following.act
            output = self._take(following)
        for value in inputs:
            self.need_float(value)
        self.ops.append(product.to_float(inputs, output, scale, bias, low, act))
        self.made.add(output)
        return True

    def _take(self, op: Op) -> Value:
        self.done.add(op)
        return op.output

    def _adds(self, op: Op, value: Value) -> bool:
        """Whether it adds a value of the same shape that is there already."""
        if op.kind != "binary" or op.attrs["fn"] != ADD or op.inputs[0] is op.inputs[1]:
            return False
        (other,) = (v for v in op.inputs if v is not value)
        return other.shape == value.shape and (other in self.made or other in self.twins)

    def _sink(self, op: Op) -> list[Op] | None:
        """The signs that are all that is read of a product, and of which there is but one."""
        readers = self.readers.get(op.output, [])
        if not readers or op.output in self.graph.outputs or len(op.inputs) > 1:
            return None
        if op.act.name not in ("none", "clamp") or any(r.kind != "sign" for r in readers):
            return None
        if any(r.layout != op.layout for r in readers):
            return None
        first = readers[0].weights[0].matrix if readers[0].weights else None
        for other in readers[1:]:
            matrix = other.weights[0].matrix if other.weights else None
            same = (first is None) == (matrix is None) and (first is None or np.array_equal(first, matrix))  # type: ignore[arg-type]
            if not same:
                return None
        return readers


def _whole_thresholds(op: Op, scale: Floats, bias: Floats, threshold: Floats) -> npt.NDArray[np.int16]:
    """For each row the least whole S' with act(|scale|*S' + bias) >= threshold."""
    threshold = np.broadcast_to(threshold, scale.shape)
    size = np.abs(scale)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        guess = np.nan_to_num(
            np.ceil((threshold - bias) / size), nan=0.0, posinf=MAX_COLUMNS, neginf=-MAX_COLUMNS
        )
    least = np.clip(guess, -MAX_COLUMNS - 1, MAX_COLUMNS + 1)
    for step in (1, 0, -1):  # where the quotient was rounded across a whole number
        candidate = np.clip(guess + step, -MAX_COLUMNS - 1, MAX_COLUMNS + 1)
        least = np.where(size * candidate + bias >= threshold, candidate, least)
    always, never = bias >= threshold, bias < threshold
    if op.act.name == "clamp":
        low, high = np.float64(op.act.p0), np.float64(op.act.p1)
        least = np.where(low >= threshold, -NEVER, np.where(high < threshold, NEVER, least))
        always, never = always | (low >= threshold), never | (high < threshold)
    least = np.where((size == 0) & always, -NEVER, np.where((size == 0) & never, NEVER, least))
    return least.astype(np.int16)


class _Product:
    """The bits of a layer's weights, and the op with them."""

    def __init__(self, op: Op, weight: Weight, bits: Value, taps: int, attrs: dict[str, Attr]) -> None:
        self.op, self.weight, self.bits, self.taps, self.attrs = op, weight, bits, taps, attrs
        self.signs = np.where(weight.matrix > 0, 1, -1).astype(np.int8)

    def _weight(self, signs: npt.NDArray[np.int8]) -> Weight:
        rows, cols = signs.shape
        channels = cols // self.taps
        wide = -(-channels // 32)
        padded = np.full((rows, 32 * wide, self.taps), -1, np.int8)
        padded[:, :channels] = signs.reshape(rows, channels, self.taps)
        moved = padded.reshape(rows, wide, 32, self.taps).transpose(0, 1, 3, 2).reshape(rows, -1)
        w = self.weight
        return Weight(w.name, np.ascontiguousarray(moved), "bits", w.groups, w.columns, parameters=signs.size)

    def _op(self, inputs: list[Value], output: Value, weights: list[Weight], low: float) -> Op:
        op = self.op
        kind = "bconv2d" if op.kind == "conv2d" else "blinear"
        attrs: dict[str, Attr] = {**self.attrs, "low": low}
        return Op(kind, inputs, output, attrs, weights, layout=op.layout, name=op.name, source=op.source)

    def to_bits(self, output: Value, flips: npt.NDArray[np.int64], at_least: npt.NDArray[np.int16]) -> Op:
        # Where the scale is negative, the row is: then the bit is set from some sum on.
        weight = self._weight((self.signs * flips[:, None]).astype(np.int8))
        name = f"{self.op.name}.threshold"
        return self._op([self.bits], output, [weight, Weight(name, at_least[:, None], "i16 vector")], -np.inf)

    def to_float(
        self, residual: list[Value], output: Value, scale: Floats, bias: Floats, low: float, act: object
    ) -> Op:
        vectors = [
            Weight(f"{self.op.name}.scale", scale[:, None], "vector"),
            Weight(f"{self.op.name}.bias", bias[:, None], "vector"),
        ]
        op = self._op([self.bits, *residual], output, [self._weight(self.signs), *vectors], low)
        op.act = act  # type: ignore[assignment]
        return op
