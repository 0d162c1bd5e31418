"""Measures what each encoding costs on this machine: the table by which `convert` chooses.

Every encoding runs layers of each window with each number of columns, on one thread, with as many channels as
such layers have in nets: few on large planes, many on small ones. Two densities tell the cost of an entry
from that of the input (`converters.encodings.costs`).
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from tqdm import tqdm

import pyruntime
from converters import capture, format, pipeline
from converters.compress import GroupGrid, quantize
from converters.encodings import bcsr, costs
from converters.encodings.choose import Choice, choose, choose_kind
from converters.encodings.costs import is_expanded, is_integer
from converters.encodings.stream import Encoded
from converters.graph import Graph, Weight, Window

# zeros and number of distinct values of a weight that an encoding is made for
WEIGHTS = {
    "panels+f32": (0.0, 0),
    "panels+f16": (0.0, 0),
    "panels+codebook": (0.0, 16),
    "panels+codebook+huffman": (0.0, 16),
    "panels+q8": (0.0, 0),
    "panels+q4": (0.0, 0),
    "panels+binary": (0.0, 0),
    "panels+ternary": (0.0, 0),
    "panels+product": (0.0, 0),
    "panels+product+huffman": (0.0, 0),
    "csr+f32": (0.9, 0),
    "csr+f32+huffman": (0.9, 0),
    "csr+f16": (0.9, 0),
    "csr+f16+huffman": (0.9, 0),
    "csr+codebook": (0.9, 16),
    "csr+codebook+huffman": (0.9, 16),
    **{
        f"{structure}+{values}": (0.9, 16 if "codebook" in values else 0)
        for structure in bcsr.STRUCTURES.values()
        for values in ("f32", "f32+huffman", "f16", "f16+huffman", "codebook", "codebook+huffman")
    },
    "2:4+f32": (0.5, 0),
    "2:4+f16": (0.5, 0),
    "2:4+codebook": (0.5, 16),
    "rows+f32": (0.0, 0),
    "rows+f16": (0.0, 0),
    "rows+codebook": (0.0, 16),
    "panels+s8": (0.0, 0),
    "panels+s4": (0.0, 0),
    "rows+s8": (0.0, 0),
    "panels+s8book": (0.0, 15),
    "panels+s8book+huffman": (0.0, 15),
    "csr+s8": (0.9, 0),
    "csr+s8+huffman": (0.9, 0),
    "csr+s8book": (0.9, 15),
    "csr+s8book+huffman": (0.9, 15),
}
# channels, in and out, of the layers measured, for each of costs.COLUMNS
CHANNELS = {
    "1x1": (512, 512, 512, 1024, 256, 128, 64, 32),
    "depthwise": (512, 512, 512, 512, 256, 128, 64, 32),
    "3x3": (128, 128, 128, 256, 256, 128, 64, 64),
    "other": (128, 128, 128, 256, 256, 128, 64, 16),
}
DENSER = 0.6  # zeros of the second layer, for weights that may have 90 %
RUNS, SECONDS = 5, 0.015  # at least, of each layer
MEMORY = 2048, 6  # channels of a dense layer of one column, and how many of them no cache holds


def tune(progress: bool = True) -> Path:
    """Measures all encodings and writes the table of this processor. Returns its path."""
    path = costs.own_table()
    path.parent.mkdir(parents=True, exist_ok=True)
    text = table(progress)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)
    costs.costs.cache_clear()
    return path


def table(progress: bool = True) -> str:
    """The JSON text of a cost table, measured now."""
    windows: tuple[Window, ...] = get_args(Window)
    work = [
        (window, kind)
        for window in windows
        for kind in WEIGHTS
        if window == "1x1" or not kind.startswith(("rows", "2:4"))
    ]
    found: dict[str, dict[str, Any]] = {window: {} for window in windows}
    with tempfile.TemporaryDirectory() as folder:
        layers = {window: _layers(window, Path(folder)) for window in CHANNELS}
        for window, kind in (bar := tqdm(work, unit="encoding", disable=None if progress else True)):
            bar.set_postfix_str(kind)
            found[window][kind] = measure(kind, layers["depthwise" if kind.startswith("rows") else window])
    about = {
        "about": costs.__doc__.splitlines() if costs.__doc__ else [],
        "cpu": f"{costs.processor()}, {_isa()}, one thread",
        "columns": costs.COLUMNS,
        "byte_ns": round(_byte_ns(), 4),
    }
    text = json.dumps(about | found, indent=2) + "\n"
    return re.sub(r"\[[-+.\de,\s]+\]", lambda numbers: " ".join(numbers[0].split()), text)


def measure(kind: str, layers: list[_Layer]) -> dict[str, Any]:
    """The costs of an encoding, ns, for each number of columns."""
    zeros, _ = WEIGHTS[kind]
    entry_ns, input_ns, entry_bytes = [], [], 0.0
    for layer in layers:
        times, dense_ns = [], 0.0
        if is_expanded(kind):
            layer.write("panels+s8", 0)
            with pyruntime.load(layer.path, threads=1) as model:
                dense_ns = _best_ns(model, layer.x)
        for share in sorted({min(zeros, DENSER), zeros}):
            encoded = layer.write(kind, share)
            with pyruntime.load(layer.path, threads=1) as model:
                times.append((max(_best_ns(model, layer.x) - dense_ns, 0.0), encoded.stored))
            entry_bytes = encoded.bytes / encoded.stored
        entry = sum(ns / entries for ns, entries in times) / len(times)
        rows = 0.0
        if len(times) > 1 and not is_expanded(kind):
            (more_ns, more), (less_ns, less) = times
            slope = (more_ns - less_ns) / (more - less)
            rest = (less_ns - slope * less) / encoded.cols
            if slope > 0 and rest > 0:
                entry, rows = slope, rest
        entry_ns.append(float(f"{entry:.4g}"))
        input_ns.append(float(f"{rows:.4g}"))
    return {"entry_ns": entry_ns, "input_ns": input_ns, "entry_bytes": round(entry_bytes, 3)}


class _Rounded(nn.Module):
    """Rounds the output of a layer, as the next layer would have it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fake_quantize_per_tensor_affine(x, 0.05, 128, 0, 255)


def _graph(module: nn.Module, x: torch.Tensor) -> Graph:
    program, _ = capture.export(module.eval(), x, dynamic_batch=False, dynamic_shapes=None)
    return pipeline.lower_fused(capture.functional(program))


class _Layer:
    """A layer, written again and again with other weights; of floats, and between values rounded to u8."""

    def __init__(self, module: nn.Module, x: torch.Tensor, path: Path) -> None:
        self.floats = _graph(module, x)
        rounded = quantize(nn.Sequential(module), [x], progress=False)
        self.integers = _graph(nn.Sequential(rounded, _Rounded()), x)
        self.x: npt.NDArray[np.float32] = x.numpy()
        self.path = path

    def write(self, kind: str, zeros: float) -> Encoded:
        """Writes the layer with weights made for the encoding `kind`."""
        graph = self.integers if is_integer(kind) else self.floats
        layer = next(op for op in graph.ops if op.weights)
        layer.weights[0].matrix = _weights(layer.weights[0].matrix.shape, kind, zeros)
        tensors: dict[Weight, Encoded] = {}
        for weight in layer.weights:
            choice = choose_kind(weight, kind) or choose(weight, "speed")
            tensors[weight] = choice.encoded
        format.write(graph, tensors, self.path)
        return tensors[layer.weights[0]]


def _layers(window: str, folder: Path) -> list[_Layer]:
    """A layer for each of costs.COLUMNS; window: a key of CHANNELS."""
    torch.manual_seed(0)
    layers = []
    for c, columns in zip(CHANNELS[window], costs.COLUMNS, strict=True):
        size, kernel, stride = math.isqrt(columns), 1 if window == "1x1" else 3, 2 if window == "other" else 1
        groups = c if window == "depthwise" else 1
        conv = nn.Conv2d(c, c, kernel, stride, kernel // 2, groups=groups, bias=False)
        x = torch.randn(1, c, stride * size, stride * size)
        layers.append(_Layer(conv, x, folder / f"{window}-{columns}.pyrt"))
    return layers


def _byte_ns() -> float:
    """Nanoseconds for each byte of weights that come from memory."""
    channels, copies = MEMORY
    with tempfile.TemporaryDirectory() as folder:
        layer = _Layer(
            nn.Linear(channels, channels, bias=False), torch.randn(1, channels), Path(folder) / "0"
        )
        layer.write("panels+f32", 0)
        paths = [shutil.copyfile(layer.path, Path(folder) / str(i)) for i in range(1, copies)]
        models = [pyruntime.load(path, threads=1) for path in (layer.path, *paths)]
        best = min(_layer_ns(model, layer.x) for _ in range(RUNS) for model in models)
        for model in models:
            model.close()
    return best / (4 * channels**2)


def write_as(module: nn.Module, x: torch.Tensor, kind: str, path: Path, dynamic_batch: bool = False) -> int:
    """Writes a module with every weight that can be in encoding `kind`; returns their entries.

    Raises ValueError if there is none.
    """
    entries = 0

    def choice(weight: Weight) -> Choice:
        nonlocal entries
        found = choose_kind(weight, kind)
        if found is None:
            return choose(weight, "speed")
        entries += found.encoded.stored
        return found

    program, _ = capture.export(module.eval(), x, dynamic_batch=dynamic_batch, dynamic_shapes=None)
    graph = pipeline.lower_fused(capture.functional(program))
    _, tensors = pipeline.encode(graph, choice, progress=False)
    format.write(graph, tensors, path)
    if entries == 0:
        raise ValueError(f"no weight of this module can be {kind}")
    return entries


def _weights(shape: tuple[int, ...], kind: str, zeros: float) -> npt.NDArray[Any]:
    """Weights [M, K] that suit the encoding."""
    if is_integer(kind):
        integers = torch.randint(-64, 65, shape, dtype=torch.int8)
        if kind == "panels+s4" or WEIGHTS[kind][1]:
            integers = torch.randn(shape).mul(1.5).round().clamp(-7, 7).to(torch.int8)
        if kind != "panels+s4":
            integers[0, :2] = torch.tensor([-64, 64])  # four bits do not do
        integers[torch.rand(shape) < zeros] = 0
        return integers.numpy()
    weight = torch.randn(shape)
    values = WEIGHTS[kind][1]
    if values:
        index = (torch.rand(shape) ** 2 * values).long()
        weight.copy_(torch.linspace(-1, 1, values)[index.clamp(max=values - 1)] + 1e-3)
    if "product" in kind:
        # Three of four blocks are one codeword, so that Huffman coding has something to gain.
        index = (torch.randint(1024, (weight.numel() // 8,)) - 768).clamp(min=0)
        weight.copy_(torch.randn(256, 8)[index].view_as(weight))
    if "f16" in kind:
        weight.copy_(weight.half())
    if kind in ("panels+q8", "panels+q4"):
        weight.copy_(GroupGrid(weight, 8 if kind == "panels+q8" else 4, 64)(weight))
    if kind in ("panels+binary", "panels+ternary"):
        width = 0.0 if kind == "panels+binary" else 0.5 * weight.abs().max().item()
        weight.copy_(torch.where(weight.abs() >= width, weight.sign(), 0.0))
    block = next((rows for rows, name in bcsr.STRUCTURES.items() if kind.startswith(name)), 1)
    dropped = torch.rand(shape[0] // block, shape[1]).repeat_interleave(block, 0) < zeros
    if kind.startswith("2:4"):
        dropped = torch.rand(shape[0], shape[1] // 4, 4).argsort(-1).flatten(-2) < 2
    weight[dropped] = 0
    return weight.numpy()


def _layer_ns(model: pyruntime.Model, x: npt.NDArray[np.float32]) -> float:
    """Time of the layer itself, ns."""
    return sum(op.ms for op in model.profile(x).layers if op.encoding) * 1e6


def _best_ns(model: pyruntime.Model, x: npt.NDArray[np.float32]) -> float:
    end = time.perf_counter() + SECONDS
    times: list[float] = []
    while len(times) < RUNS or time.perf_counter() < end:
        times.append(_layer_ns(model, x))
    return min(times)


def _isa() -> str:
    return os.environ.get("PYRUNTIME_ISA") or pyruntime._core.available_isas()[-1]
