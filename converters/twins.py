"""The frame of integers.py and binary.py: values have twins of another type, and ops computed on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from converters.graph import Graph, Op, Value

Twin = TypeVar("Twin")


class TwinPass(Generic[Twin]):
    """Goes through the ops of a graph in order and offers each to the rule of its kind.

    A rule says whether it took the op, for which it has then put others into `ops`. What no rule takes stays
    as it is, and gets its inputs in float.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.readers = graph.consumers()
        self.twins: dict[Value, Twin] = {}
        self.made = set(graph.inputs)  # what exists in f32
        self.done: set[Op] = set()  # taken along with an op before them
        self.ops: list[Op] = []

    def rules(self) -> dict[str, Callable[[Op], bool]]:
        """The rule of each kind of op."""
        raise NotImplementedError

    def need_float(self, value: Value) -> None:
        """Makes the f32 value of a twin, unless it exists."""
        raise NotImplementedError

    def run(self) -> None:
        """Applies the rules; the graph then has the new ops, and none that nobody reads."""
        rules = self.rules()
        for op in self.graph.ops:
            if op in self.done or (op.kind in rules and rules[op.kind](op)):
                continue
            for value in op.inputs:
                self.need_float(value)
            self.ops.append(op)
            self.made.add(op.output)
        for value in self.graph.outputs:
            self.need_float(value)
        self.graph.ops = self.ops
        self.graph.drop_unread()
