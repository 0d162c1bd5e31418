"""Measures what each encoding costs on this machine: the table by which `convert` chooses.

Every encoding runs linear layers and 3x3 convolutions of several sizes with few and many columns, on one
thread; the three costs of `converters.encodings.costs` are fitted to the best of many runs.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from tqdm import tqdm

import pyruntime
from converters import capture, format, pipeline
from converters.compress import GroupGrid
from converters.encodings import bcsr, costs
from converters.encodings.choose import Choice, choose, choose_kind
from converters.graph import Weight

# zeros and number of distinct values of a weight that an encoding is made for
WEIGHTS = {
    "panels+f32": (0.0, 0),
    "panels+f16": (0.0, 0),
    "panels+codebook": (0.0, 16),
    "panels+codebook+huffman": (0.0, 16),
    "panels+q8": (0.0, 0),
    "panels+q4": (0.0, 0),
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
}
LINEAR = ((64, 128), (256, 512), (1024, 1024))  # M, K: in L1, in L2, beyond
COLUMNS = (1, 64, 256)
CHANNELS = (32, 64, 128)  # of a convolution, in and out
SIZES = (7, 28)  # of its image
RUNS = 60


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
    work = [("one_tap", kind) for kind in WEIGHTS]
    work += [("many_taps", kind) for kind in WEIGHTS if not kind.startswith(("rows", "2:4"))]
    found: dict[str, dict[str, dict[str, float]]] = {"one_tap": {}, "many_taps": {}}
    for part, kind in (bar := tqdm(work, unit="encoding", disable=None if progress else True)):
        bar.set_postfix_str(kind)
        found[part][kind] = measure(kind, part == "many_taps")
    about = {
        "about": costs.__doc__.splitlines() if costs.__doc__ else [],
        "cpu": f"{costs.processor()}, {_isa()}, one thread",
    }
    return json.dumps(about | found, indent=2) + "\n"


def measure(kind: str, taps: bool) -> dict[str, float]:
    """The three costs of an encoding, ns."""
    system, times = [], []
    for layer, shapes in _layers(kind, taps):
        for shape in shapes:
            x = torch.randn(shape)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "layer.pyrt"
                entries = write_as(layer, x, kind, path)
                with pyruntime.load(path, threads=1) as model:
                    times.append(_best_ns(model, x.numpy()))
            columns = shape[0] if len(shape) == 2 else shape[2] * shape[3]
            system.append((1.0, entries, entries * (columns - 1)))
    # Relative errors are what matters: every equation is divided by its time.
    relative = np.array(system) / np.array(times)[:, None]
    layer_ns, entry_ns, column_ns = np.linalg.lstsq(relative, np.ones(len(times)), rcond=None)[0]
    return {
        "layer_ns": round(max(float(layer_ns), 0.0)),
        "entry_ns": round(max(float(entry_ns), 0.0), 4),
        "column_ns": round(max(float(column_ns), 0.0), 5),
    }


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
    graph = pipeline.lower_fused(program)
    _, tensors = pipeline.encode(graph, choice, progress=False)
    format.write(graph, tensors, path)
    if entries == 0:
        raise ValueError(f"no weight of this module can be {kind}")
    return entries


def _layers(kind: str, taps: bool) -> list[tuple[nn.Module, list[tuple[int, ...]]]]:
    """Layers whose weights suit the encoding, and the shapes of their inputs."""
    torch.manual_seed(0)
    if kind.startswith("rows"):
        made: list[tuple[nn.Module, list[tuple[int, ...]]]] = [
            (nn.Conv2d(m, m, 3, padding=1, groups=m, bias=False), [(1, m, 1, 1), (1, m, 8, 8)])
            for m, _ in LINEAR
        ]
    elif taps:
        made = [
            (nn.Conv2d(c, c, 3, padding=1, bias=False), [(1, c, size, size) for size in SIZES])
            for c in CHANNELS
        ]
    else:
        made = [(nn.Linear(k, m, bias=False), [(n, k) for n in COLUMNS]) for m, k in LINEAR]
    zeros, values = WEIGHTS[kind]
    for layer, _ in made:
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        with torch.no_grad():
            if values:
                index = (torch.rand(weight.shape) ** 2 * values).long()
                weight.copy_(torch.linspace(-1, 1, values)[index.clamp(max=values - 1)] + 1e-3)
            if "product" in kind:
                # Three of four blocks are one codeword, so that Huffman coding has something to gain.
                index = (torch.randint(1024, (weight.numel() // 8,)) - 768).clamp(min=0)
                weight.copy_(torch.randn(256, 8)[index].view_as(weight))
            if "f16" in kind:
                weight.copy_(weight.half())
            if kind in ("panels+q8", "panels+q4"):
                weight.copy_(GroupGrid(weight, 8 if kind == "panels+q8" else 4, 64)(weight))
            block = next((rows for rows, name in bcsr.STRUCTURES.items() if kind.startswith(name)), 1)
            dropped = torch.rand(len(weight) // block, *weight.shape[1:]).repeat_interleave(block, 0) < zeros
            if kind.startswith("2:4"):
                dropped = torch.rand(*weight.shape[:-1], weight.shape[-1] // 4, 4).argsort(-1).flatten(-2) < 2
            weight[dropped] = 0
    return made


def _best_ns(model: pyruntime.Model, x: npt.NDArray[np.float32]) -> float:
    """Best time of the layer itself over many runs, ns."""
    return min(sum(op.ms for op in model.profile(x).layers if op.encoding) * 1e6 for _ in range(RUNS))


def _isa() -> str:
    return os.environ.get("PYRUNTIME_ISA") or pyruntime._core.available_isas()[-1]
