"""torch.export with a dynamic batch, and the few things read off the exported program."""

from __future__ import annotations

import inspect
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch.export import Dim as ExportDim
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from converters.errors import ConvertError
from converters.graph import Dim, Symbol

MAX_BATCH = 65535
MAX_SIZE = 2**31 - 1

Inputs = torch.Tensor | Sequence[torch.Tensor] | Mapping[str, torch.Tensor]


def export(
    module: torch.nn.Module, example_inputs: Inputs, dynamic_batch: bool, dynamic_shapes: Any
) -> tuple[ExportedProgram, list[str]]:
    """Exports `module` in eval mode; returns the program and warnings. The module is left as it was.

    dynamic_shapes: as torch.export takes it; overrules dynamic_batch, which makes dimension 0 of every input
    dynamic, and dimension 1 of integer inputs of rank 2, for they are sequences. A size of 1 is exported as 2
    copies, for torch.export takes it for a constant.
    Raises ConvertError if torch.export cannot trace the module.
    """
    args, kwargs = _arguments(module, example_inputs)
    with _eval_mode(module), torch.no_grad():
        if dynamic_shapes is not None:
            if _batch_is_dynamic(dynamic_shapes):
                args, kwargs = pytree.tree_map(_at_least_two, (args, kwargs))
            return _export(module, args, kwargs, dynamic_shapes), []
        if not dynamic_batch:
            return _export(module, args, kwargs, None), []
        two_args, two_kwargs = pytree.tree_map(_at_least_two, (args, kwargs))
        batches = {x.shape[0] for x in pytree.tree_leaves((two_args, two_kwargs)) if x.dim()}
        # First one batch for all inputs, as most models have it, then one for each.
        one = [ExportDim("batch", min=1, max=MAX_BATCH)] if len(batches) == 1 else []
        for batch in [*one, ExportDim.AUTO(min=1, max=MAX_BATCH)]:
            shapes = _batch_dims(module, args, kwargs, batch)
            try:
                program = _export(module, two_args, two_kwargs, shapes)
                fakes = _fake_inputs(program)
                if all(not fake.dim() or isinstance(dim(fake.shape[0]), str) for fake in fakes):
                    sequences = all(_is_sequence(fake) for fake in fakes)
                    fixed = [fake for fake in fakes if sequences and not isinstance(dim(fake.shape[1]), str)]
                    note = "the length of the inputs is fixed: the module's own code fixes it"
                    return program, [note] if fixed else []
                reason = "the module's own code fixes it"
            except ConvertError as error:
                reason = str(error).strip().splitlines()[0]
        note = f"the batch is fixed to that of the example inputs: {reason}"
        return _export(module, args, kwargs, None), [note]


def _fake_inputs(program: ExportedProgram) -> list[torch.Tensor]:
    names = program.graph_signature.user_inputs
    found = [
        node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in names
    ]
    return [fake for fake in found if isinstance(fake, torch.Tensor)]


def _export(module: torch.nn.Module, args: Any, kwargs: Any, shapes: Any) -> ExportedProgram:
    quiet = _errors_only("torch.fx.experimental.symbolic_shapes")
    with warnings.catch_warnings(), quiet, _shapes_of_fake_quantize(), _shapes_of_recurrent_layers():
        warnings.simplefilter("ignore")
        try:
            return torch.export.export(module, args, kwargs, dynamic_shapes=shapes)
        except Exception as error:
            raise ConvertError(f"torch.export cannot trace the module: {error}") from error


def functional(program: ExportedProgram) -> ExportedProgram:
    """The program without in-place ops and views of parameters, its layers still whole ops."""
    with warnings.catch_warnings(), _shapes_of_fake_quantize(), _shapes_of_recurrent_layers():
        warnings.simplefilter("ignore")
        result: ExportedProgram = program.run_decompositions({})
    return result


def _arguments(module: torch.nn.Module, example: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example, torch.Tensor):
        args: tuple[Any, ...] = (example,)
        kwargs: dict[str, Any] = {}
    elif isinstance(example, Mapping):
        order = list(inspect.signature(module.forward).parameters)
        names = sorted(example, key=lambda name: order.index(name) if name in order else len(order))
        args, kwargs = (), {name: example[name] for name in names}
    else:
        args, kwargs = tuple(example), {}
    for tensor in (*args, *kwargs.values()):
        if not isinstance(tensor, torch.Tensor):
            raise ConvertError(f"example_inputs must be tensors, found {type(tensor).__name__}")
    return args, kwargs


def _is_sequence(tensor: torch.Tensor) -> bool:
    return tensor.dim() == 2 and not tensor.is_floating_point()


def _at_least_two(tensor: torch.Tensor) -> torch.Tensor:
    for axis in range(2 if _is_sequence(tensor) else min(tensor.dim(), 1)):
        if tensor.shape[axis] == 1:
            tensor = torch.cat([tensor, tensor], axis)
    return tensor


def _batch_dims(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], batch: Any) -> Any:
    def spec(tensor: torch.Tensor) -> Any:
        if _is_sequence(tensor):
            return {0: batch, 1: ExportDim.AUTO(min=1, max=MAX_BATCH)}
        return {0: batch} if tensor.dim() else None

    try:
        named = inspect.signature(module.forward).bind(*args, **kwargs).arguments
    except TypeError as error:
        raise ConvertError(f"example_inputs do not fit the module's forward: {error}") from None
    return pytree.tree_map(spec, dict(named))


def _batch_is_dynamic(shapes: Any) -> bool:
    specs = shapes.values() if isinstance(shapes, Mapping) else shapes
    return any(
        spec is not None
        and (spec.get(0) if isinstance(spec, Mapping) else spec[0]) not in (None, ExportDim.STATIC)
        for spec in specs
        if spec
    )


@contextmanager
def _errors_only(name: str) -> Iterator[None]:
    """Keeps a logger from printing hundreds of lines about a size that torch.export cannot simplify."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


FAKE_QUANTIZE = (
    "fake_quantize_per_tensor_affine_cachemask",
    "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams",
    "fake_quantize_per_channel_affine_cachemask",
)


@contextmanager
def _shapes_of_fake_quantize() -> Iterator[None]:
    """Tells torch.export the shapes of fake quantization, without which it cannot keep a batch dynamic."""

    def like(x: torch.Tensor, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.empty_like(x), torch.empty_like(x, dtype=torch.bool)

    with torch.library._scoped_library("aten", "IMPL", "Meta") as library:
        for name in FAKE_QUANTIZE:
            if not torch._C._dispatch_has_kernel_for_dispatch_key(f"aten::{name}", "Meta"):
                library.impl(name, like)
        yield


@contextmanager
def _shapes_of_recurrent_layers() -> Iterator[None]:
    """Tells torch.export the shapes of LSTM and GRU, which it would unroll over the example's steps."""

    def lstm(x: torch.Tensor, states: Any, *rest: Any) -> tuple[torch.Tensor, ...]:
        return sequence(x, states[0], rest), *(torch.empty_like(s) for s in states)

    def gru(x: torch.Tensor, state: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, ...]:
        return sequence(x, state, rest), torch.empty_like(state)

    def sequence(x: torch.Tensor, state: torch.Tensor, rest: tuple[Any, ...]) -> torch.Tensor:
        directions = 2 if rest[5] else 1
        return x.new_empty((*x.shape[:2], directions * state.shape[2]))

    rules = {torch.ops.aten.lstm.input: lstm, torch.ops.aten.gru.input: gru}
    table = torch._decomp.decomposition_table
    kept = {op: (dict(op.py_kernels), table[op]) for op in rules}
    for op, rule in rules.items():
        op.py_kernels.update(dict.fromkeys(op.py_kernels, rule))
        op._dispatch_cache.clear()
        table[op] = rule
    try:
        yield
    finally:
        for op, (kernels, decomposition) in kept.items():
            op.py_kernels.update(kernels)
            op._dispatch_cache.clear()
            table[op] = decomposition


@contextmanager
def _eval_mode(module: torch.nn.Module) -> Iterator[None]:
    training = {m: m.training for m in module.modules()}
    with suppress(NotImplementedError):  # an exported module has no modes: it is what it was exported as
        module.eval()
    try:
        yield
    finally:
        for m, mode in training.items():
            m.training = mode


def dim(size: Any) -> Dim:
    """A size of a fake tensor: a number, or the text of its expression."""
    if isinstance(size, int):
        return size
    expression = size.node.expr
    return int(expression) if expression.is_Integer else str(expression)


def symbols(program: ExportedProgram, shapes: Mapping[str, Sequence[Dim]]) -> list[Symbol]:
    """The dynamic dimensions of the inputs (name -> shape), with the ranges torch.export found.

    Named batch (dimension 0), length (1 of rank 2), height and width (2 and 3 of rank 4), else
    `input.dimension`.
    """
    ranges = {str(expression): bounds for expression, bounds in program.range_constraints.items()}
    found: dict[str, Symbol] = {}
    for name, shape in shapes.items():
        for axis, size in enumerate(shape):
            if isinstance(size, int) or size in found:
                continue
            if not re.fullmatch(r"\w+", size):
                raise ConvertError(
                    f"input {name!r}: dimension {axis} is {size}; dynamic dimensions must be independent, "
                    "make it fixed in dynamic_shapes"
                )
            usual = {2: {1: "length"}, 4: {2: "height", 3: "width"}}.get(len(shape), {})
            label = "batch" if axis == 0 else usual.get(axis)
            if label is None or any(label == s.name for s in found.values()):
                label = f"{name}.{axis}"
            low, high = 1, MAX_SIZE
            if size in ranges:
                # A lower bound of 2 is torch.export's own: it keeps 0 and 1 apart from symbolic sizes.
                low = 1 if ranges[size].lower <= 2 else int(ranges[size].lower)
                high = min(MAX_SIZE, int(ranges[size].upper)) if ranges[size].upper.is_Integer else MAX_SIZE
            found[size] = Symbol(label, size, low, high)
    return list(found.values())


def plain_name(name: str) -> str:
    """A state dict name without the inner names of torch.nn.utils.parametrize."""
    return re.sub(r"\.?parametrizations\.(\w+)\..*", lambda m: ("." if m.start() else "") + m[1], name)


def layer_name(node: torch.fx.Node) -> str:
    """The module that called the op, as `named_modules` gives it; the op's own name outside any submodule."""
    for path, _ in reversed((node.meta.get("nn_module_stack") or {}).values()):
        if path and not path.startswith("_empty"):
            return str(path)
    return node.name


def source_line(node: torch.fx.Node) -> str:
    """`file.py:123`, the innermost line of the model's own code, empty if unknown."""
    frames = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
    own = [(path.replace("\\", "/"), line) for path, line in frames]
    own = [(path, line) for path, line in own if "/torch/" not in path and not path.startswith("torch/")]
    return f"{own[-1][0].rpartition('/')[2]}:{own[-1][1]}" if own else ""


def output_names(program: ExportedProgram) -> list[str]:
    """Names of the outputs: the keys of a dict, else output or output_0, output_1, ..."""
    spec = program.call_spec.out_spec
    count = len(program.graph_signature.user_outputs)
    if spec is not None:
        paths, _ = pytree.tree_flatten_with_path(pytree.tree_unflatten([0] * count, spec))
        keys = [".".join(str(getattr(k, "key", getattr(k, "name", ""))) for k in path) for path, _ in paths]
        if len(set(keys)) == count and all(keys):
            return keys
    return ["output"] if count == 1 else [f"output_{i}" for i in range(count)]
