"""capture -> lower -> fuse -> lay out -> encode -> write."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree
from tqdm import tqdm

from converters import binary, capture, format, fuse, integers, layout
from converters.encodings.choose import INTEGER_ROLES, Choice, Prefer, choose
from converters.encodings.costs import CACHED
from converters.encodings.stream import Encoded
from converters.errors import ConvertError
from converters.graph import Graph, Role, Weight
from converters.lowering.driver import lower
from converters.report import Report, layer_report

# Of integer nets, root mean squares relative to that of the output: single roundings go to the other side.
INTEGER_TOLERANCE = 0.1
CHAOS_LIMIT = 0.5  # a file that is off by more is wrong, however far roundings move torch's own answer
ROUNDING = 1e-6  # relative: sums in another order differ by as much
VERIFY_TOLERANCE = 1e-3  # of the largest value of an output: sums are rounded in another order
TIED: dict[object, Role] = {
    "embedding": "matrix",
    "s8 table": "s8 matrix",
}  # tables, and layers they may be tied to


def convert(
    module: torch.nn.Module,
    example_inputs: capture.Inputs,
    path: str | os.PathLike[str],
    dynamic_batch: bool = True,
    dynamic_shapes: Any = None,
    prefer: Prefer = "auto",
    progress: bool = True,
    verify: bool = True,
) -> Report:
    """Writes `module` as a `.pyrt` file that computes what it computes in eval mode.

    module: float32; it is not changed. example_inputs: a tensor, a tuple of tensors, or a dict by argument
    name; integers are int64, int32 or bool. dynamic_batch: dimension 0 of every input may be any size from 1
    to 65535 at run time, and dimension 1 of integer inputs of rank 2 (a length) any that the module takes.
    dynamic_shapes: which dimensions are dynamic, as torch.export.export takes it, instead of dynamic_batch.
    prefer: "size" takes the smallest exact encoding of each weight, "speed" the fastest by the cost table,
    "auto" weighs both. verify: run the file on the example inputs and compare with torch.

    Returns a Report. Raises ConvertError that lists every unsupported operation with its layer, source line
    and what to do, or if the file does not compute what torch computes.
    """
    if any(type(layer).__module__.startswith("torch.ao.nn.") for layer in module.modules()):
        from converters import eager  # what it imports is deprecated, and slow

        module = eager.traceable(module)
    program, warnings = capture.export(module, example_inputs, dynamic_batch, dynamic_shapes)
    return convert_exported(program, path, prefer, progress, verify, warnings)


def convert_exported(
    program: ExportedProgram,
    path: str | os.PathLike[str],
    prefer: Prefer = "auto",
    progress: bool = True,
    verify: bool = True,
    warnings: Sequence[str] = (),
) -> Report:
    """Like `convert`, from a torch.export program, whose own dynamic shapes stay as they are."""
    if prefer not in ("size", "speed", "auto"):
        raise ConvertError(f"prefer must be 'size', 'speed' or 'auto', not {prefer!r}")
    graph = lower_fused(capture.functional(program))
    report = write(graph, path, prefer, progress)
    report.warnings[:0] = warnings
    if verify and program.example_inputs is not None:
        integers = any(op.output.quant or op.output.bits or op.kind == "qlinear_dynamic" for op in graph.ops)
        _verify(program, path, integers)
    return report


def _verify(program: ExportedProgram, path: str | os.PathLike[str], integers: bool) -> None:
    """Runs the file and torch on the example inputs; a file that fails or disagrees is removed."""
    import pyruntime

    module = program.module()
    inputs, structure = pytree.tree_flatten(program.example_inputs)

    def run_torch(inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        args, kwargs = pytree.tree_unflatten(inputs, structure)
        with torch.no_grad():
            return pytree.tree_leaves(module(*args, **kwargs))

    arrays = [x.numpy(force=True).copy() for x in inputs]
    wanted = run_torch(inputs)
    try:
        with pyruntime.load(path) as model:
            result = model.infer(dict(zip((i.name for i in model.inputs), arrays, strict=True)))
        found = list(result.values()) if isinstance(result, dict) else [result]
        differences = [_relative_rms(torch.from_numpy(z), y) for y, z in zip(wanted, found, strict=True)]
        allowed = (
            _integer_tolerances(module, run_torch, inputs, wanted, differences)
            if integers
            else [0.0] * len(found)
        )
        names = capture.output_names(program)
        for name, y, z, off, limit in zip(names, wanted, found, differences, allowed, strict=True):
            scale = float(y.abs().nan_to_num(0, 0, 0).max())
            near = np.allclose(z, y, rtol=VERIFY_TOLERANCE, atol=VERIFY_TOLERANCE * scale, equal_nan=True)
            if not (near or off <= limit):
                error = float(np.nanmax(np.abs(z - y.numpy())))
                raise ConvertError(
                    f"output {name!r} differs from torch's by {error:.3g}, values reach {scale:.3g}"
                )
    except (ConvertError, pyruntime.Error) as problem:
        os.unlink(path)
        raise ConvertError(
            f"the converted file failed its check, please report this model: {problem}"
        ) from None


def _relative_rms(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Root mean square of the difference, relative to that of `wanted`."""
    return float((found - wanted).norm() / wanted.norm())


def _integer_tolerances(
    module: torch.nn.Module,
    run_torch: Callable[[list[torch.Tensor]], list[torch.Tensor]],
    inputs: list[torch.Tensor],
    wanted: list[torch.Tensor],
    differences: list[float],
) -> list[float]:
    """How far each output of an integer net may be from torch's, relative rms.

    In a deep net one value rounded to the other neighbour changes sums that are rounded in turn. So if an
    output is far off, torch is run again, four times, on inputs that differ by no more than a rounding; where
    all of them are integers, with biases and norms that do. Where it does not agree with itself, the file may
    be off by twice as much.
    """
    if not any(difference > INTEGER_TOLERANCE for difference in differences):
        return [INTEGER_TOLERANCE] * len(wanted)
    generator = torch.Generator().manual_seed(0)

    def near(x: torch.Tensor) -> torch.Tensor:
        return x * (1 + ROUNDING * torch.randn(x.shape, generator=generator))

    ids = not any(x.is_floating_point() for x in inputs)
    vectors = [p.data for p in module.parameters() if ids and p.dim() == 1 and p.is_floating_point()]
    exact = [v.clone() for v in vectors]
    moved = [0.0] * len(wanted)
    try:
        for _ in range(4):
            for vector, kept in zip(vectors, exact, strict=True):
                vector.copy_(near(kept))
            found = run_torch([near(x) if x.is_floating_point() else x for x in inputs])
            moved = [max(m, _relative_rms(f, y)) for m, f, y in zip(moved, found, wanted, strict=True)]
    finally:
        for vector, kept in zip(vectors, exact, strict=True):
            vector.copy_(kept)
    return [max(INTEGER_TOLERANCE, min(2 * m, CHAOS_LIMIT)) for m in moved]


def lower_fused(program: ExportedProgram) -> Graph:
    """The graph of a functional program as it will be written, its weights not encoded yet."""
    graph = lower(program)
    fuse.fuse(graph)
    integers.to_integers(graph)
    binary.to_bits(graph)
    layout.assign(graph)
    return graph


def write(graph: Graph, path: str | os.PathLike[str], prefer: Prefer, progress: bool) -> Report:
    """Writes a graph, each of its weights in the encoding that `prefer` asks for; progress: show a bar."""
    chosen, tensors = encode(graph, lambda weight: choose(weight, prefer), progress)
    report = Report(str(path), [layer_report(w, c) for w, c in chosen.items()], list(graph.warnings))
    report.file_bytes = format.write(graph, tensors, path)
    return report


def encode(
    graph: Graph, choice: Callable[[Weight], Choice], progress: bool
) -> tuple[dict[Weight, Choice], dict[Weight, Encoded]]:
    """Encodes every weight, equal ones once: the choices in file order, and the encoding of each weight."""
    same: dict[tuple[object, ...], list[Weight]] = {}
    for weight in dict.fromkeys(w for op in graph.ops for w in op.weights):
        dtype = weight.matrix.dtype if weight.role in INTEGER_ROLES else np.float32
        weight.matrix = np.ascontiguousarray(weight.matrix, dtype)
        digest = hashlib.blake2b(weight.matrix.data).digest()
        same.setdefault((weight.role, weight.groups, weight.matrix.shape, digest), []).append(weight)
    for role, *form in list(same):
        # A table that a linear layer multiplies with as well is that layer's.
        layer = same.get((TIED[role], *form)) if role in TIED else None
        if layer is not None and layer[0].window == "1x1":
            layer[0].tied = True
            layer += same.pop((role, *form))
    cold = sum(first.matrix.nbytes for first, *_ in same.values() if first.role not in TIED) > CACHED
    chosen: dict[Weight, Choice] = {}
    tensors: dict[Weight, Encoded] = {}
    bar = tqdm(same.values(), desc="encode", unit="tensor", disable=None if progress else True)
    for first, *others in bar:
        first.columns = max(w.columns for w in (first, *others))
        first.cold = cold
        chosen[first] = choice(first)
        for weight in (first, *others):
            tensors[weight] = chosen[first].encoded
    return chosen, tensors
