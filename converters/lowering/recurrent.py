"""LSTM and GRU layers: `linear` (the input's share of the gates, all steps at once) and `recurrent`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from converters.graph import Attr, Dim, Value
from converters.lowering.registry import (
    Constant,
    Context,
    Expanded,
    Unsupported,
    lowers,
    need_constant,
    need_value,
    uniform,
)
from converters.lowering.shapes import TO_END, permute_value

LSTM, GRU = 0, 1
GATES = {LSTM: 4, GRU: 3}


@lowers("lstm.input")
def lstm(c: Context, x: object, states: Sequence[object], *arguments: Any) -> tuple[Value, Value, Value]:
    output, (hidden, cell) = _layers(c, LSTM, x, states, *arguments)
    return output, hidden, cell


@lowers("gru.input")
def gru(c: Context, x: object, state: object, *arguments: Any) -> tuple[Value, Value]:
    output, (hidden,) = _layers(c, GRU, x, [state], *arguments)
    return output, hidden


@lowers("lstm.data", "gru.data")
def packed(c: Context, *_: Any) -> None:
    raise Unsupported(
        "packed sequences are not supported; give the layer a padded batch, or sequences one by one"
    )


@lowers("rnn_tanh.input", "rnn_relu.input")
def plain(c: Context, *_: Any) -> None:
    raise Unsupported("of the recurrent layers nn.LSTM and nn.GRU are supported")


def _layers(
    c: Context,
    cell: int,
    x: object,
    states: Sequence[object],
    parameters: Sequence[object],
    has_biases: bool,
    layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Value, list[Value]]:
    """The output, and the final states [layers * directions, batch, hidden]: h, and c of an LSTM."""
    x = need_value(x)
    if x.rank != 3:
        raise Unsupported("a recurrent layer needs a batch dimension here")
    directions = 2 if bidirectional else 1
    each = len(parameters) // (layers * directions)
    if each != (4 if has_biases else 2):
        raise Unsupported("an LSTM with proj_size is not supported; use a Linear layer after it")
    final_cells = cell == LSTM and 2 in c.used
    final: list[list[Value]] = [[], []]
    y = permute_value(c, x, [1, 0, 2]) if batch_first else x
    chunks = [parameters[i : i + each] for i in range(0, len(parameters), each)]
    for layer in range(layers):
        outputs: list[Value] = []
        for direction in range(directions):
            number = layer * directions + direction
            initial = _initial(c, states, number)
            end = f"l{layer}{'_reverse' if direction else ''}"
            sequence = _cell(c, cell, y, chunks[number], end, direction, initial, final_cells)
            hidden = need_constant(chunks[number][1], "the weight").tensor.shape[1]
            # The state after the last step: the first of the sequence where it ran backwards.
            last = _slice(c, sequence, 0, 0, 1, 1) if direction else _slice(c, sequence, 0, -1, TO_END, 1)
            final[0].append(_slice(c, last, 2, 0, hidden, hidden))
            if final_cells:
                final[1].append(_slice(c, last, 2, hidden, 2 * hidden, hidden))
            outputs.append(_slice(c, sequence, 2, 0, hidden, hidden))
        y = _concat(c, outputs, 2)
    kinds = final[: 2 if cell == LSTM else 1]
    merged = [_concat(c, values, 0) if values else y for values in kinds]
    return (permute_value(c, y, [1, 0, 2]) if batch_first else y), merged


def _cell(
    c: Context,
    cell: int,
    x: Value,
    parameters: Sequence[object],
    end: str,
    reverse: int,
    initial: list[Value],
    states: bool,
) -> Value:
    """h of each step [steps, batch, hidden], of a layer in one direction; with `states` c behind it.

    end: of the names of its parameters.
    """
    w_ih, w_hh, *biases = (need_constant(p, "a weight") for p in parameters)
    rows, hidden = w_hh.tensor.shape
    input_bias, own_bias = biases if biases else (None, None)
    if input_bias is not None and own_bias is not None and cell == LSTM:
        # Both are only ever added up; of a GRU the second is multiplied by the reset gate first.
        input_bias = Constant(input_bias.tensor.double() + own_bias.tensor.double(), input_bias.name)
        own_bias = None
    steps, batch = x.example[0], max(x.example[1] // c.batch, 1)
    weights = [c.weight(w_ih, f"weight_ih_{end}", "matrix", w_ih.array, columns=steps * batch)]
    if input_bias is not None:
        weights.append(c.vector(input_bias, f"bias_ih_{end}"))
    gates = _like(x, rows)
    c.emit("linear", [x], weights=weights, layout=2, output=gates)
    weights = [c.weight(w_hh, f"weight_hh_{end}", "matrix", w_hh.array)]
    if own_bias is not None:
        weights.append(c.vector(own_bias, f"bias_hh_{end}"))
    attrs: dict[str, Attr] = {"cell": cell, "reverse": reverse, "states": int(states)}
    output = _like(x, hidden * (2 if states else 1))
    return c.emit("recurrent", [gates, *initial], attrs, weights, layout=2, output=output)


def _initial(c: Context, states: Sequence[object], number: int) -> list[Value]:
    """The initial states of a layer and direction, [1, batch, hidden]; none if they are zero."""
    if all(uniform(s) == 0 for s in states):
        return []
    states = [c.materialize(s) if isinstance(s, Expanded) else s for s in states]
    return [
        c.constant(Constant(s.tensor[number : number + 1], s.name))
        if isinstance(s, Constant)
        else _slice(c, need_value(s, "the initial state"), 0, number, number + 1, 1)
        for s in states
    ]


def _like(x: Value, channels: int) -> Value:
    return Value((*x.shape[:2], channels), (*x.example[:2], channels))


def _slice(c: Context, x: Value, axis: int, start: int, stop: int, size: int) -> Value:
    if x.shape[axis] == size:
        return x
    shape: list[Dim] = list(x.shape)
    example = list(x.example)
    shape[axis] = example[axis] = size
    attrs: dict[str, Attr] = {"axis": axis, "start": start, "stop": stop, "step": 1}
    return c.emit("slice", [x], attrs, output=Value(tuple(shape), tuple(example)))


def _concat(c: Context, values: list[Value], axis: int) -> Value:
    if len(values) == 1:
        return values[0]
    shape: list[Dim] = list(values[0].shape)
    example = list(values[0].example)
    shape[axis] = example[axis] = sum(v.example[axis] for v in values)
    return c.emit("concat", values, {"axis": axis}, output=Value(tuple(shape), tuple(example)))
