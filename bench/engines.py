"""The engines that compare.py times, each as a callable per copy of the model.

Copies have their own weights in memory, so that calling one after the other reads weights that the caches no
longer hold, as in a net.
"""

from __future__ import annotations

import copy
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import nn

import converters
import pyruntime

Array = npt.NDArray[np.float32]
Run = Callable[[Array], Array]
ENGINES = ("torch", "onnxruntime", "pyruntime")


def torch_runs(module: nn.Module, copies: int) -> list[Run]:
    """Eager torch; its threads are those of `torch.set_num_threads`."""

    def run(own: nn.Module) -> Run:
        def call(x: Array) -> Array:
            with torch.inference_mode():
                return own(torch.from_numpy(x)).numpy()

        return call

    return [run(copy.deepcopy(module)) for _ in range(copies)]


def export_onnx(module: nn.Module, x: Array, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.from_numpy(x),), str(path), dynamo=False)
    return path


def onnxruntime_runs(path: Path, copies: int, threads: int) -> list[Run]:
    """All graph optimizations on; weights are packed when the session is made."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3

    def run() -> Run:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda x: session.run(None, {name: x})[0]

    return [run() for _ in range(copies)]


def convert(module: nn.Module, x: Array, path: Path) -> Path:
    converters.convert(
        module, torch.from_numpy(x), path, dynamic_batch=False, prefer="speed", progress=False, verify=False
    )
    return path


def pyruntime_models(path: Path, copies: int, threads: int) -> list[pyruntime.Model]:
    """Copies of the file, for two mappings of one file are one piece of memory."""
    paths = [path, *(path.with_suffix(f".{i}.pyrt") for i in range(1, copies))]
    for other in paths[1:]:
        if not other.exists():
            shutil.copyfile(path, other)
    return [pyruntime.load(p, threads) for p in paths]
