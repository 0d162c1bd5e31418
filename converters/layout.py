"""Gives every value its channel axis, and ops the layout they need.

Activations lie in memory as [channels][columns]. Some ops demand a channel axis (linear the last, conv
axis 1), reshape, permute and constants can produce any, and the others keep that of their inputs.
"""

from __future__ import annotations

from converters.graph import Graph, Op, Value

FREE = ("reshape", "permute", "constant", "range", "where")
# Inputs whose layout does not matter, by number: they are few numbers, read by their strides.
ANY_LAYOUT = {"embedding": (0,), "attention": (3,), "product": (0,), "range": (0,), "where": (0, 1, 2)}


def assign(graph: Graph) -> None:
    """Sets `channel_axis` of all values; adds an identity `reshape` where an input must be laid out anew."""
    readers = graph.consumers()
    for value in graph.inputs:
        value.channel_axis = _wanted(value, readers)
    relaid: dict[tuple[Value, int], Value] = {}
    ops: list[Op] = []
    for op in graph.ops:
        if op.kind in FREE:
            op.output.channel_axis = _wanted(op.output, readers)
        else:
            axis = op.layout if op.layout is not None else _followed(op)
            for i, value in enumerate(op.inputs):
                if value.channel_axis == axis or i in ANY_LAYOUT.get(op.kind, ()):
                    continue
                if (value, axis) not in relaid:
                    copy = relaid[value, axis] = Value(
                        value.shape, value.example, channel_axis=axis, quant=value.quant, bits=value.bits
                    )
                    codes = [-2 - k for k in range(value.rank)]
                    ops.append(Op("reshape", [value], copy, {"dims": codes}, name=op.name, source=op.source))
                op.inputs[i] = relaid[value, axis]
            op.output.channel_axis = _reduced_axis(op, axis) if op.kind == "reduce" else axis
        ops.append(op)
    graph.ops = ops


def _followed(op: Op) -> int:
    """The axis of the first input of the output's shape: a small operand is cheaper to lay out anew."""
    leading = next((v for v in op.inputs if v.shape == op.output.shape), op.inputs[0])
    assert leading.channel_axis is not None
    return leading.channel_axis


def _reduced_axis(op: Op, axis: int) -> int:
    """Where the channel axis is after axes were dropped; -1 if it was among them."""
    axes = op.attrs["axes"]
    assert isinstance(axes, list)
    if op.attrs["keepdim"]:
        return axis
    return -1 if axis in axes else axis - sum(dropped < axis for dropped in axes)


def _wanted(value: Value, readers: dict[Value, list[Op]]) -> int:
    """The axis that the readers of a value demand, the usual one of its rank if they do not."""
    pending, seen = [value], {value}
    while pending:
        current = pending.pop(0)
        for op in readers.get(current, []):
            if any(op.inputs[i] is current for i in ANY_LAYOUT.get(op.kind, ()) if i < len(op.inputs)):
                continue
            if op.layout is not None and op.inputs[0].rank == value.rank:
                return op.layout
            if op.kind in FREE or op.kind == "reduce":
                continue
            for other in op.inputs:
                if other.channel_axis is not None and other.rank == value.rank and other is not value:
                    return other.channel_axis
            if op.output not in seen:
                seen.add(op.output)
                pending.append(op.output)
    return {0: -1, 1: 0, 2: 1, 3: 2}.get(value.rank, 1)
