"""capture -> lower -> fuse -> lay out -> encode -> write."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from tqdm import tqdm

from converters import capture, format, fuse, layout
from converters.encodings.choose import Choice, Prefer, choose
from converters.encodings.stream import Encoded
from converters.errors import ConvertError
from converters.graph import Graph, Weight
from converters.lowering.driver import lower
from converters.report import Report, layer_report


def convert(
    module: torch.nn.Module,
    example_inputs: capture.Inputs,
    path: str | os.PathLike[str],
    dynamic_batch: bool = True,
    dynamic_shapes: Any = None,
    prefer: Prefer = "auto",
    progress: bool = True,
) -> Report:
    """Writes `module` as a `.pyrt` file that computes what it computes in eval mode.

    module: float32; it is not changed. example_inputs: a tensor, a tuple of tensors, or a dict by argument
    name. dynamic_batch: dimension 0 of every input may be any size from 1 to 65535 at run time.
    dynamic_shapes: which dimensions are dynamic, as torch.export.export takes it, instead of dynamic_batch.
    prefer: "size" takes the smallest exact encoding of each weight, "speed" the fastest by the cost table,
    "auto" weighs both.

    Returns a Report. Raises ConvertError that lists every unsupported operation with its layer, source line
    and what to do.
    """
    program, warnings = capture.export(module, example_inputs, dynamic_batch, dynamic_shapes)
    return convert_exported(program, path, prefer, progress, warnings)


def convert_exported(
    program: ExportedProgram,
    path: str | os.PathLike[str],
    prefer: Prefer = "auto",
    progress: bool = True,
    warnings: list[str] | None = None,
) -> Report:
    """Like `convert`, from a torch.export program, whose own dynamic shapes stay as they are."""
    if prefer not in ("size", "speed", "auto"):
        raise ConvertError(f"prefer must be 'size', 'speed' or 'auto', not {prefer!r}")
    graph = lower(capture.functional(program))
    fuse.fuse(graph)
    layout.assign(graph)
    chosen, tensors = _encode(graph, prefer, progress)
    report = Report(
        str(path), [layer_report(w, c) for w, c in chosen.items()], [*(warnings or []), *graph.warnings]
    )
    report.file_bytes = format.write(graph, tensors, path)
    return report


def _encode(
    graph: Graph, prefer: Prefer, progress: bool
) -> tuple[dict[Weight, Choice], dict[Weight, Encoded]]:
    """Encodes every weight, equal ones once: the choices in file order, and the encoding of each weight."""
    same: dict[object, list[Weight]] = {}
    for weight in dict.fromkeys(w for op in graph.ops for w in op.weights):
        weight.matrix = np.ascontiguousarray(weight.matrix, np.float32)
        digest = hashlib.blake2b(weight.matrix.data).digest()
        same.setdefault((weight.role, weight.groups, weight.matrix.shape, digest), []).append(weight)
    chosen: dict[Weight, Choice] = {}
    tensors: dict[Weight, Encoded] = {}
    bar = tqdm(same.values(), desc="encode", unit="tensor", disable=None if progress else True)
    for first, *others in bar:
        first.columns = max(w.columns for w in (first, *others))
        chosen[first] = choose(first, prefer)
        for weight in (first, *others):
            tensors[weight] = chosen[first].encoded
    return chosen, tensors
