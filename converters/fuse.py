"""Fuses ops into their producers: padding, batch norm, residual add, activation; removes what is dead.

Each pass is a function on the graph. An op is absorbed by a producer whose value nothing else reads.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from converters.attention import attention
from converters.encodings import choose
from converters.graph import NONE, Attr, Graph, Op, Weight

WEIGHTED = ("linear", "conv2d")
WITH_ACTIVATION = ("linear", "conv2d", "unary", "binary", "scalar", "affine")
ADD = 0


def fuse(graph: Graph) -> None:
    """Runs all passes in order."""
    attention(graph)
    _remove_dead(graph)
    _absorb(graph, _affine_into_producer)
    _absorb(graph, _residual_into_producer)
    _absorb(graph, _activation_into_producer)
    _padding_into_conv(graph)
    _remove_zero_bias(graph)


def _absorb(graph: Graph, into: Callable[[Graph, Op, Op], bool]) -> None:
    """Offers each op to the producers of its inputs; `into` changes the producer and says whether it took it.

    The merged op stands where the absorbed one stood, so that all it reads is there.
    """
    readers, producers = graph.consumers(), graph.producers()
    for op in list(graph.ops):
        for value in op.inputs:
            producer = producers.get(value)
            if producer is None or len(readers[value]) != 1 or value in graph.outputs:
                continue
            if into(graph, producer, op):
                graph.ops.remove(producer)
                graph.ops[graph.ops.index(op)] = producer
                producer.output = op.output
                producers[op.output] = producer
                for other in producer.inputs:
                    if op in readers[other]:
                        readers[other][readers[other].index(op)] = producer
                break


def _affine_into_producer(graph: Graph, producer: Op, op: Op) -> bool:
    """Batch norm into the weights, or into the batch norm before it."""
    if op.kind != "affine" or producer.act != NONE or producer.layout != op.layout:
        return False
    scale, shift = op.weights[0].matrix.astype(np.float64), op.weights[1].matrix.astype(np.float64)
    if producer.kind == "affine":
        first_scale, first_shift = (w.matrix.astype(np.float64) for w in producer.weights)
        producer.weights = [
            Weight(op.weights[0].name, first_scale * scale, "vector"),
            Weight(op.weights[1].name, first_shift * scale + shift, "vector"),
        ]
        return True
    if producer.kind not in WEIGHTED or len(producer.inputs) > 1:
        return False
    weight, scales = producer.weights[0], producer.weights[2:]
    if not np.array_equal(scale, np.ones_like(scale)):
        users = sum(weight in other.weights for other in graph.ops)
        if (
            users > 1
            or weight.grid is not None
            or choose.scaling_spoils(weight.matrix.astype(np.float32), scale)
        ):
            # Scaled rows would not share their values any more: the scale is applied to the sums.
            rows = producer.weights[2].matrix * scale if len(producer.weights) > 2 else scale
            scales = [Weight(op.weights[0].name, rows, "vector")]
        else:
            weight.matrix = weight.matrix * scale
    bias = producer.weights[1].matrix if len(producer.weights) > 1 else 0.0
    name = producer.weights[1].name if len(producer.weights) > 1 else f"{producer.name}.bias"
    producer.weights = [weight, Weight(name, bias * scale + shift, "vector"), *scales]
    return True


def _residual_into_producer(graph: Graph, producer: Op, op: Op) -> bool:
    if op.kind != "binary" or op.attrs["fn"] != ADD or op.inputs[0] is op.inputs[1]:
        return False
    if producer.kind not in WEIGHTED or len(producer.inputs) > 1 or producer.act != NONE:
        return False
    if any(other.kind == "round_tokens" and other.output in producer.inputs for other in graph.ops):
        return False  # integers.py makes a layer of it that takes no residual
    other = op.inputs[1] if op.inputs[0] is producer.output else op.inputs[0]
    if other.shape != producer.output.shape:
        return False
    producer.inputs.append(other)
    producer.act = op.act
    return True


def _activation_into_producer(graph: Graph, producer: Op, op: Op) -> bool:
    if op.kind != "unary" or producer.kind not in WITH_ACTIVATION or producer.act != NONE:
        return False
    producer.act = op.act
    return True


def _padding_into_conv(graph: Graph) -> None:
    """Zeros put around the plane before a conv are its padding; other readers of the padded value keep it."""
    producers = graph.producers()
    for op in graph.ops:
        pad = producers.get(op.inputs[0]) if op.kind == "conv2d" else None
        if pad is None or pad.kind != "pad" or pad.attrs["value"] != 0 or pad.inputs[0].rank != 4:
            continue
        pads = pad.attrs["pads"]
        assert isinstance(pads, list)
        if any(pads[:4]):
            continue
        extra: dict[str, Attr] = dict(
            zip(("pad_top", "pad_bottom", "pad_left", "pad_right"), pads[4:], strict=True)
        )
        for name, size in extra.items():
            op.attrs[name] += size  # type: ignore[operator]
        op.inputs[0] = pad.inputs[0]
    _remove_dead(graph)


def _remove_zero_bias(graph: Graph) -> None:
    for op in graph.ops:
        if op.kind in WEIGHTED and len(op.weights) == 2 and not op.weights[1].matrix.any():
            op.weights.pop()


def _remove_dead(graph: Graph) -> None:
    """Drops ops whose output nothing reads."""
    needed = set(graph.outputs)
    kept = []
    for op in reversed(graph.ops):
        if op.output in needed:
            kept.append(op)
            needed.update(op.inputs)
    graph.ops = kept[::-1]
