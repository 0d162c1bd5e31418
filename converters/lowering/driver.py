"""Walks an exported program: folds constants, calls the handlers, reports all that is unsupported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import getitem
from typing import Any, Literal

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from converters import capture
from converters.errors import ConvertError
from converters.graph import Dim, Graph, Value
from converters.lowering import (  # noqa: F401  (they register handlers)
    elementwise,
    layers,
    pooling,
    quantization,
    recurrent,
    sequences,
    shapes,
    signs,
)
from converters.lowering.registry import (
    CONSTANT_HANDLERS,
    HANDLERS,
    Compared,
    Constant,
    Context,
    Expanded,
    PerToken,
    Quantized,
    Range,
    Unsupported,
)

HINTS = {
    "torchao": "of torchao only weights alone are recognised; use compress.quantize_dynamic",
    "conv3d": "of the convolutions conv1d and conv2d are supported",
    "conv_transpose3d": "of the convolutions conv1d and conv2d are supported",
}
INPUT_DTYPES: dict[torch.dtype, Literal["f32", "i32", "i64"]] = {
    torch.float32: "f32",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.bool: "i32",
}
# Ops that take what torch.expand repeats, and those that do the same to all elements of it.
TAKES_EXPANDED = {
    *(
        "add",
        "sub",
        "rsub",
        "mul",
        "div",
        "expand",
        "expand_as",
        "where",
        "masked_fill",
        "gather",
        "embedding",
    ),
    *(
        "__and__",
        "logical_and",
        "bitwise_and",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "scaled_dot_product_attention",
    ),
}
MAPS_EXPANDED = {
    *(
        "clone",
        "_to_copy",
        "to",
        "type_as",
        "contiguous",
        "clamp",
        "clamp_min",
        "neg",
        "reciprocal",
        "sqrt",
        "rsqrt",
    ),
    *("logical_not", "bitwise_not", "sum", "mean"),
}
TAKES_COMPARED = {"where", "_to_copy", "to"}
TAKES_RANGE = {
    *("unsqueeze", "view", "reshape", "slice", "clone", "_to_copy", "to", "type_as", "add", "sub", "expand"),
    *("embedding", "index", "new_ones", "new_zeros", "new_full", "eq", "ne", "lt", "le", "gt", "ge"),
}


@dataclass(frozen=True)
class Problem:
    layer: str
    source: str
    op: str
    hint: str

    def __str__(self) -> str:
        where = f" ({self.source})" if self.source else ""
        return f"  {self.layer}{where}: {self.op}: {self.hint}"


def lower(program: ExportedProgram) -> Graph:
    """The graph of an exported, functional program.

    Raises ConvertError that names every unsupported op with its layer, source line and a hint.
    """
    return _Lowering(program).run()


class _Lowering:
    def __init__(self, program: ExportedProgram) -> None:
        self.program = program
        self.results: dict[torch.fx.Node, Any] = {}
        self.problems: dict[Problem, None] = {}
        inputs = {node: self._input(node) for node in self._user_inputs()}
        self.results.update(inputs)
        symbols = capture.symbols(program, {v.name: v.shape for v in inputs.values()})
        batch = next((v.example[0] for v in inputs.values() if v.rank and isinstance(v.shape[0], str)), 1)
        self.context = Context(Graph(symbols, list(inputs.values())), batch)

    def run(self) -> Graph:
        self._load_constants()
        for node in self.program.graph.nodes:
            if node.op == "call_function":
                self._call(node)
        if self.problems:
            listed = "\n".join(str(problem) for problem in self.problems)
            raise ConvertError(f"{len(self.problems)} operation(s) of the model are not supported:\n{listed}")
        self._outputs()
        return self.context.graph

    def _user_inputs(self) -> list[torch.fx.Node]:
        names = set(self.program.graph_signature.user_inputs)
        return [n for n in self.program.graph.nodes if n.op == "placeholder" and n.name in names]

    def _input(self, node: torch.fx.Node) -> Value:
        fake = node.meta.get("val")
        if not isinstance(fake, torch.Tensor) or fake.dtype not in INPUT_DTYPES:
            kind = fake.dtype if isinstance(fake, torch.Tensor) else type(fake).__name__
            raise ConvertError(
                f"input {node.name!r} is {kind}; inputs must be float32, int64, int32 or bool tensors"
            )
        return Value(_shape(fake), _example(fake), name=node.name, dtype=INPUT_DTYPES[fake.dtype])

    def _load_constants(self) -> None:
        """Parameters, buffers and literals; two names for one storage are one constant."""
        tensors: dict[str, Any] = {**self.program.constants, **self.program.state_dict}
        known: dict[Any, Constant] = {}
        spec_of = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs}
        for node in self.program.graph.nodes:
            if node.op != "placeholder" or spec_of[node.name].kind == InputKind.USER_INPUT:
                continue
            name = spec_of[node.name].target
            tensor = tensors[name]
            if not isinstance(tensor, torch.Tensor):
                raise ConvertError(
                    f"{name!r} is a {type(tensor).__name__}; only tensors can be constants of a model"
                )
            key = (tensor.data_ptr() or node.name, tensor.shape, tensor.stride(), tensor.dtype)
            self.results[node] = known.setdefault(key, Constant(tensor, capture.plain_name(str(name))))

    def _call(self, node: torch.fx.Node) -> None:
        if node.target is getitem:
            self.results[node] = self.results[node.args[0]][node.args[1]]  # type: ignore[index]
            return
        fakes = node.meta.get("val")
        fakes = list(fakes) if isinstance(fakes, (list, tuple)) else [fakes]
        if not any(isinstance(fake, torch.Tensor) for fake in fakes):
            return  # arithmetic on sizes and assertions about them
        arguments = [self._resolve(a) for a in _all_arguments(node)]
        if self._is_constant(node, arguments):
            self.results[node] = self._fold(node)
            if _op_name(node) in CONSTANT_HANDLERS:
                self.results[node] = CONSTANT_HANDLERS[_op_name(node)](self.results[node], *arguments)
            return
        context = self.context
        context.name, context.source = capture.layer_name(node), capture.source_line(node)
        context.shapes = [_shape(f) for f in fakes if isinstance(f, torch.Tensor)]
        context.examples = [_example(f) for f in fakes if isinstance(f, torch.Tensor)]
        context.used = {n.args[1] for n in node.users if n.target is getitem and n.users}
        context.op, context.dtypes = _op_name(node), [_dtype(a) for a in _all_arguments(node)]
        context.result_dtype = next(f.dtype for f in fakes if isinstance(f, torch.Tensor))
        try:
            self._check(node, fakes[0])
            result = self._handle(arguments)
        except Unsupported as reason:
            problem = Problem(context.name, context.source, f"aten.{_op_name(node)}", str(reason))
            self.problems[problem] = None
            stand_ins = [Value(s, e) for s, e in zip(context.shapes, context.examples, strict=True)]
            result = stand_ins if isinstance(node.meta["val"], (list, tuple)) else stand_ins[0]
        self.results[node] = result

    def _handle(self, arguments: list[Any]) -> Any:
        context = self.context
        base = context.op.split(".")[0]
        first = arguments[0] if arguments else None
        taken: tuple[type, ...] = (Range,) if base in TAKES_RANGE else ()
        taken += (Expanded,) if base in TAKES_EXPANDED | MAPS_EXPANDED else ()
        arguments = [self._whole(a, taken) for a in arguments]
        if base not in TAKES_COMPARED:
            arguments = [
                signs.choose(context, a, 1.0, 0.0) if isinstance(a, Compared) else a for a in arguments
            ]
        if base not in MAPS_EXPANDED or not isinstance(first, Expanded):
            return HANDLERS[context.op](context, *arguments)
        # The op on what is repeated, then repeated itself.
        shape, example = context.shapes[0], context.examples[0]
        inner = first.value if isinstance(first.value, Value) else context.constant(first.value)
        if inner.rank != len(first.shape):
            inner = context.with_rank(inner, len(first.shape))
        if base in ("sum", "mean"):
            _not_repeated(first, inner, arguments[1])
        if len(shape) == inner.rank:
            context.shapes = [tuple(1 if s == 1 else d for s, d in zip(inner.shape, shape, strict=True))]
            context.examples = [tuple(1 if s == 1 else d for s, d in zip(inner.shape, example, strict=True))]
        else:
            kept = [d for d in range(inner.rank) if d not in [a % inner.rank for a in arguments[1]]]
            context.shapes, context.examples = (
                [tuple(inner.shape[d] for d in kept)],
                [tuple(inner.example[d] for d in kept)],
            )
        return Expanded(HANDLERS[context.op](context, inner, *arguments[1:]), shape)

    def _whole(self, argument: Any, taken: tuple[type, ...]) -> Any:
        if isinstance(argument, (list, tuple)):
            return [self._whole(a, taken) for a in argument]
        if isinstance(argument, (Range, Expanded)) and not isinstance(argument, taken):
            return self.context.materialize(argument)
        return argument

    def _check(self, node: torch.fx.Node, fake: Any) -> None:
        name = _op_name(node)
        base = name.split(".")[0]
        if name not in HANDLERS:
            raise Unsupported(
                HINTS.get(base, "no equivalent in the file format; rewrite it with supported ops")
            )
        if fake.dtype not in INPUT_DTYPES and not name.startswith("quantized_decomposed."):
            raise Unsupported(
                f"its result is {fake.dtype}; activations are float32 (call model.float()), "
                "integers int64 or int32"
            )
        if 0 in _example(fake):
            raise Unsupported("its result is empty; leave empty tensors out")

    def _resolve(self, argument: Any) -> Any:
        if isinstance(argument, torch.fx.Node):
            if argument in self.results:
                return self.results[argument]
            return capture.dim(argument.meta["val"])
        if isinstance(argument, (list, tuple)):
            return [self._resolve(a) for a in argument]
        return argument

    def _is_constant(self, node: torch.fx.Node, arguments: Sequence[Any]) -> bool:
        flat = [x for a in arguments for x in (a if isinstance(a, list) else [a])]
        if _op_name(node).split(".")[0] not in TAKES_EXPANDED | MAPS_EXPANDED:
            flat = [x for x in flat if not _is_fixed(x)]
        # A Dim that stayed symbolic is text; so is an option like "same", which then comes with a Value.
        symbolic = any(isinstance(x, str) for x in self._sizes(node))
        random = torch.Tag.nondeterministic_seeded in node.target.tags  # type: ignore[union-attr]
        return (
            not symbolic
            and not random
            and not any(isinstance(x, (Value, Expanded, Quantized, PerToken, Range, Compared)) for x in flat)
        )

    def _sizes(self, node: torch.fx.Node) -> list[Dim]:
        return [capture.dim(n.meta["val"]) for n in node.all_input_nodes if n not in self.results]

    def _fold(self, node: torch.fx.Node) -> Any:
        """The op computed now, on the real parameters."""

        def real(n: torch.fx.Node) -> Any:
            result = self.results.get(n)
            if isinstance(result, Expanded):
                return result.value.tensor.to(n.meta["val"].dtype).expand(result.shape)  # type: ignore[union-attr,arg-type]
            return result.tensor if isinstance(result, Constant) else capture.dim(n.meta["val"])

        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), real)
        with torch.no_grad():
            result = node.target(*args, **kwargs)  # type: ignore[operator]
        if isinstance(result, (list, tuple)):
            return [Constant(r) for r in result]
        return Constant(result)

    def _outputs(self) -> None:
        graph = self.context.graph
        names = capture.output_names(self.program)
        (results,) = next(n for n in self.program.graph.nodes if n.op == "output").args
        specs = self.program.graph_signature.output_specs  # in-place changes of inputs are listed as well
        returned = [n for s, n in zip(specs, results, strict=True) if s.kind == OutputKind.USER_OUTPUT]
        for name, node in zip(names, returned, strict=True):
            self.context.name, self.context.source = name, ""
            value = self.results[node]
            if isinstance(value, Constant):
                value = self.context.constant(value)
            if isinstance(value, (Range, Expanded)):
                value = self.context.materialize(value)
            if not isinstance(value, Value) or node.meta["val"].dtype != torch.float32:
                raise ConvertError(
                    f"output {name!r} is not a float32 tensor that the file format can compute"
                )
            if value in graph.inputs or value in graph.outputs:
                copy = Value(value.shape, value.example)
                codes = [-2 - i for i in range(value.rank)]
                value = self.context.emit("reshape", [value], {"dims": codes}, output=copy)
            value.name = name
            graph.outputs.append(value)


def _not_repeated(x: Expanded, inner: Value, axes: Any) -> None:
    if axes is None or any(inner.shape[a] != x.shape[a] for a in axes):
        raise Unsupported(
            "a sum over a dimension that torch.expand repeats is not supported; multiply instead"
        )


def _is_fixed(x: object) -> bool:
    """Whether x is a constant that is repeated to a fixed shape."""
    return (
        isinstance(x, Expanded) and isinstance(x.value, Constant) and all(isinstance(d, int) for d in x.shape)
    )


def _dtype(argument: Any) -> torch.dtype | None:
    fake = argument.meta.get("val") if isinstance(argument, torch.fx.Node) else None
    return fake.dtype if isinstance(fake, torch.Tensor) else None


def _all_arguments(node: torch.fx.Node) -> list[Any]:
    """The arguments in the order of the schema, without trailing ones that were not given."""
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    values = list(node.args)
    for argument in schema[len(values) :]:
        if argument.name in node.kwargs:
            values.append(node.kwargs[argument.name])
        elif argument.has_default_value():
            values.append(argument.default_value)
        else:
            break
    return values


def _op_name(node: torch.fx.Node) -> str:
    return str(node.target).removeprefix("aten.")


def _shape(fake: torch.Tensor) -> tuple[Dim, ...]:
    return tuple(capture.dim(size) for size in fake.shape)


def _example(fake: torch.Tensor) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else int(size.node.hint) for size in fake.shape)
