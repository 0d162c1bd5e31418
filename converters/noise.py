"""How far a compressed file is from the float module, layer by layer."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import pyruntime
from converters.errors import ConvertError
from converters.pipeline import convert
from pyruntime.table import Table

WITH_WEIGHTS = {"linear", "conv2d", "qlinear", "qconv2d"}
Key = tuple[str, str, int]


@dataclass(frozen=True)
class LayerNoise:
    """A layer's signal-to-noise ratio in dB: the power of its float output over that of the difference."""

    name: str
    kind: str
    snr: float


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`: layers, worst first, and the outputs of the network. `print` shows a table."""

    layers: list[LayerNoise]
    outputs: dict[str, float]

    def below(self, snr: float) -> list[str]:
        """Names of the layers with a ratio under `snr` dB: candidates to `skip` or for more bits."""
        return list(dict.fromkeys(layer.name for layer in self.layers if layer.snr < snr))

    def __str__(self) -> str:
        rows = [(layer.name, layer.kind, f"{layer.snr:.1f}") for layer in self.layers]
        outputs = ", ".join(f"{name} {snr:.1f}" for name, snr in self.outputs.items())
        return str(Table(("layer", "op", "dB"), 2, rows, ("outputs", "", outputs)))


class _Power:
    """Sums of squares of a signal and of its error."""

    def __init__(self) -> None:
        self.signal = self.noise = 0.0

    def add(self, exact: np.ndarray, found: np.ndarray) -> None:
        self.signal += float(np.square(exact, dtype=np.float64).sum())
        self.noise += float(np.square(exact.astype(np.float64) - found).sum())

    @property
    def snr(self) -> float:
        return float(10 * np.log10(self.signal / self.noise)) if self.noise else float("inf")


def compare(
    module: torch.nn.Module,
    path: str | os.PathLike[str],
    data: Iterable[Tensor | Sequence[Tensor]],
    progress: bool = True,
) -> Comparison:
    """Runs the file at `path` and the float `module` it was made from on `data`, and compares their layers.

    data: batches of inputs, a tensor each or one tensor per argument. The noise of a layer includes what the
    layers before it added. Layers are matched by name: the module is converted as it is, so both have the
    same fusions. Raises ConvertError if the two have no layer in common.
    """
    batches = [(b,) if isinstance(b, Tensor) else tuple(b) for b in data]
    if not batches:
        raise ConvertError("data has no batch")
    layers: dict[Key, _Power] = {}
    kinds: dict[Key, str] = {}
    outputs: dict[str, _Power] = {}
    with tempfile.TemporaryDirectory() as folder:
        exact_path = Path(folder) / "float.pyrt"
        convert(module, batches[0], exact_path, progress=False, verify=False)
        with pyruntime.load(exact_path) as exact, pyruntime.load(path) as found:
            for batch in tqdm(batches, desc="compare", disable=None if progress else True):
                feed = {i.name: x.numpy(force=True) for i, x in zip(exact.inputs, batch, strict=True)}
                traced = _layers(exact.trace(feed))
                own = dict(zip((i.name for i in found.inputs), feed.values(), strict=True))
                for key, (kind, value) in _layers(found.trace(own)).items():
                    if key in traced and traced[key][1].shape == value.shape:
                        layers.setdefault(key, _Power()).add(traced[key][1], value)
                        kinds[key] = kind
                if not layers:
                    raise ConvertError(f"{path} has no layer in common with the module: was it made from it?")
                pairs = zip(_named(exact, feed).items(), _named(found, own).values(), strict=True)
                for (name, wanted), value in pairs:
                    outputs.setdefault(name, _Power()).add(wanted, value)
    rows = [LayerNoise(key[0], kinds[key], power.snr) for key, power in layers.items()]
    rows.sort(key=lambda row: row.snr)
    return Comparison(rows, {name: power.snr for name, power in outputs.items()})


def _layers(trace: list[pyruntime.LayerOutput]) -> dict[Key, tuple[str, np.ndarray]]:
    """Kind and output of the layers with weights, by name, kind without its `q`, and number among those."""
    seen: Counter[tuple[str, str]] = Counter()
    found = {}
    for name, kind, value in trace:
        if kind in WITH_WEIGHTS:
            base = name, kind.removeprefix("q")
            found[(*base, seen[base])] = kind, value
            seen[base] += 1
    return found


def _named(model: pyruntime.Model, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    y = model.infer(feed)
    return y if isinstance(y, dict) else {model.outputs[0].name: y}
