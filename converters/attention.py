"""Finds attention in what exporters make of it, and brings the heads into the channels.

In torch a head is a dimension of its own, for which queries, keys and values are permuted, and the result
back. Here a head is a range of channels: the op `attention` takes and gives [batch, length, heads x size],
and the permutes are gone.
"""

from __future__ import annotations

from converters.graph import NONE, Activation, Dim, Graph, Op, Value, reshape_codes

ADD, MUL, DIV = 0, 2, 3


def attention(graph: Graph) -> None:
    """softmax(Q K^T s + mask) V and `heads` become `attention`; permutes that undo each other vanish."""
    _recognize(graph)
    ops: list[Op] = []
    for op in graph.ops:
        ops += _in_channels(op) if op.kind == "heads" else [op]
    graph.ops = ops
    _cancel(graph)
    _gelu_tanh(graph)


class _Finder:
    """Producers of values that nothing else reads."""

    def __init__(self, graph: Graph) -> None:
        self.producers, self.readers, self.outputs = graph.producers(), graph.consumers(), graph.outputs

    def by(self, value: Value, kind: str, fn: int | None = None) -> Op | None:
        op = self.producers.get(value)
        single = len(self.readers.get(value, ())) == 1 and value not in self.outputs
        if op is None or op.kind != kind or not single or (fn is not None and op.attrs["fn"] != fn):
            return None
        return op if kind == "unary" or op.act == NONE else None


def _recognize(graph: Graph) -> None:
    find = _Finder(graph)
    for last in list(graph.ops):
        if last.kind != "product" or last.inputs[0].rank not in (3, 4):
            continue
        softmax = find.by(last.inputs[0], "softmax")
        if softmax is None or softmax.attrs["axis"] != last.output.rank - 1 or softmax.attrs["log"]:
            continue
        scores, mask, scale = softmax.inputs[0], None, 1.0
        added = find.by(scores, "binary", ADD)
        if added is not None:
            sides = [v for v in added.inputs if find.by(v, "product") or find.by(v, "scalar")]
            if len(sides) != 1 or added.output.shape != sides[0].shape:
                continue
            scores, mask = sides[0], next(v for v in added.inputs if v is not sides[0])
        scaled = find.by(scores, "scalar")
        if scaled is not None:
            if scaled.attrs["fn"] not in (MUL, DIV) or scaled.attrs["reversed"]:
                continue
            number = scaled.attrs["s"]
            assert isinstance(number, float)
            scores, scale = scaled.inputs[0], number if scaled.attrs["fn"] == MUL else 1 / number
        first = find.by(scores, "product")
        if first is None:
            continue
        q, turned, v = first.inputs[0], first.inputs[1], last.inputs[1]
        axes = [*range(q.rank - 2), q.rank - 1, q.rank - 2]
        if q.shape[0] != v.shape[0] or q.shape[0] != turned.shape[0]:
            continue
        k = Value(tuple(turned.shape[a] for a in axes), tuple(turned.example[a] for a in axes))
        permute = Op("permute", [turned], k, {"axes": axes}, name=last.name, source=last.source)
        inputs, before = [q, k, v], [permute]
        if mask is not None and mask.rank == 3:
            (b, t, s), (eb, et, es) = mask.shape, mask.example
            wide = Value((b, 1, t, s), (eb, 1, et, es))
            codes = reshape_codes(mask.shape, wide.shape)
            assert codes is not None
            before.append(
                Op("reshape", [mask], wide, {"dims": list(codes)}, name=last.name, source=last.source)
            )
            mask = wide
        if mask is not None:
            inputs.append(mask)
        attrs = {"scale": scale, "causal": 0, "boolean": 0}
        whole = Op("heads", inputs, last.output, dict(attrs), name=last.name, source=last.source)
        at = graph.ops.index(last)
        graph.ops[at : at + 1] = [*before, whole]
        dead = {id(op) for op in (first, scaled, added, softmax) if op is not None}
        graph.ops = [op for op in graph.ops if id(op) not in dead]


def _in_channels(op: Op) -> list[Op]:
    """A `heads` op on [batch, heads, length, size] as an `attention` op between permutes."""
    ops: list[Op] = []

    def emit(
        kind: str, x: Value, numbers: list[int], shape: tuple[Dim, ...], example: tuple[int, ...]
    ) -> Value:
        y = Value(shape, example)
        key = "axes" if kind == "permute" else "dims"
        ops.append(Op(kind, [x], y, {key: list(numbers)}, name=op.name, source=op.source))
        return y

    heads = [1, 1]
    inputs = list(op.inputs)
    four = op.output.rank == 4
    if four:
        heads = [op.inputs[0].example[1], op.inputs[1].example[1]]
        for i, x in enumerate(op.inputs[:3]):
            (b, h, t, d), (eb, eh, et, ed) = x.shape, x.example
            moved = emit("permute", x, [0, 2, 1, 3], (b, t, h, d), (eb, et, eh, ed))
            inputs[i] = emit("reshape", moved, [-2, -3, eh * ed], (b, t, eh * ed), (eb, et, eh * ed))
    attrs = {**op.attrs, "heads": heads[0], "kv_heads": heads[1]}
    (b, t), (eb, et) = inputs[0].shape[:2], inputs[0].example[:2]
    width = op.output.example[-1] * heads[0]
    joined = Value((b, t, width), (eb, et, width)) if four else op.output
    ops.append(Op("attention", inputs, joined, attrs, layout=2, name=op.name, source=op.source))
    if four:
        h, d = heads[0], op.output.example[-1]
        parted = emit("reshape", joined, [-2, -3, h, d], (b, t, h, d), (eb, et, h, d))
        ops.append(Op("permute", [parted], op.output, {"axes": [0, 2, 1, 3]}, name=op.name, source=op.source))
    return ops


def _cancel(graph: Graph) -> None:
    """A permute of a permute is one, a reshape of a reshape too; those that change nothing are gone."""
    producers = graph.producers()
    same: dict[Value, Value] = {}
    kept: list[Op] = []
    for op in graph.ops:
        op.inputs = [same.get(v, v) for v in op.inputs]
        before = producers.get(op.inputs[0]) if op.kind in ("permute", "reshape") else None
        if op.kind == "permute":
            axes = op.attrs["axes"]
            assert isinstance(axes, list)
            if before is not None and before.kind == "permute":
                inner = before.attrs["axes"]
                assert isinstance(inner, list)
                axes = [inner[a] for a in axes]
                op.inputs, op.attrs = [before.inputs[0]], {"axes": axes}
            if axes == sorted(axes) and op.output not in graph.outputs:
                same[op.output] = op.inputs[0]
                continue
        elif op.kind == "reshape":
            if before is not None and before.kind == "reshape":
                codes = reshape_codes(before.inputs[0].shape, op.output.shape)
                if codes is not None:
                    op.inputs, op.attrs = [before.inputs[0]], {"dims": list(codes)}
            if op.inputs[0].shape == op.output.shape and op.output not in graph.outputs:
                same[op.output] = op.inputs[0]
                continue
        kept.append(op)
    graph.ops = kept


def _gelu_tanh(graph: Graph) -> None:
    """x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))), as transformers spells it, is one activation."""
    find = _Finder(graph)

    def scaled(value: Value, number: float, fn: int = MUL) -> Value | None:
        op = find.by(value, "scalar", fn)
        near = op is not None and abs(float(op.attrs["s"]) - number) < 1e-6  # type: ignore[arg-type]
        return op.inputs[0] if op is not None and near else None

    for op in graph.ops:
        if op.kind != "binary" or op.attrs["fn"] != MUL:
            continue
        for half, rest in (op.inputs, op.inputs[::-1]):
            x, curve = scaled(half, 0.5), scaled(rest, 1.0, ADD)
            tanh = find.by(curve, "unary") if curve is not None else None
            inner = (
                scaled(tanh.inputs[0], 0.7978845608) if tanh is not None and tanh.act.name == "tanh" else None
            )
            total = find.by(inner, "binary", ADD) if inner is not None else None
            cube = [scaled(v, 0.044715) for v in total.inputs] if total is not None else []
            if x is None or total is None or x not in total.inputs or not any(cube):
                continue
            third = find.by(next(v for v in cube if v is not None), "binary", MUL)
            square = find.by(third.inputs[0], "binary", MUL) if third is not None else None
            if third is None or square is None or third.inputs[1] is not x or set(square.inputs) != {x}:
                continue
            op.kind, op.inputs, op.attrs, op.act = "unary", [x], {}, Activation("gelu_tanh")
            break
