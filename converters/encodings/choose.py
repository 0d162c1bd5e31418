"""Finds what structure a weight matrix has and picks its exact encoding, by bytes, by time, or by both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

import numpy as np

from converters.encodings import codebook, csr, panels, rows
from converters.encodings.stream import Encoded
from converters.graph import Matrix, Weight

Prefer = Literal["size", "speed", "auto"]

MIN_ZEROS = 0.05  # with fewer zeros CSR is neither smaller nor faster
SLACK = 1.25  # how much slower than the fastest encoding `auto` may be for fewer bytes


@dataclass(frozen=True)
class Choice:
    """The encoding of one weight, and why. `time_ns` is the cost table's estimate at batch 1, one thread."""

    encoded: Encoded
    nnz: int
    distinct: int | None  # None: more than 256
    time_ns: float
    why: str


def has_codebook(matrix: Matrix) -> bool:
    """Whether the non-zeros of f32 [M, K] share so few values that a book and indices are worth having."""
    book = codebook.distinct(matrix)
    if book is None:
        return False
    nnz = np.count_nonzero(matrix)
    packed = 4 * book.size + nnz * codebook.index_bits(book.size) / 8
    return bool(packed < 0.75 * 4 * nnz)


def choose(weight: Weight, prefer: Prefer) -> Choice:
    """Encodes `weight` every way that suits it and keeps the best one.

    size: fewest bytes. speed: least time by converters/costs.json. auto: fewest bytes among those that take
    at most 1.25 times the least time and no more than the dense f32 layout.
    """
    matrix = weight.matrix.astype(np.float32)
    nnz = int(np.count_nonzero(matrix))
    if weight.role in ("vector", "constant"):
        return Choice(
            rows.encode(matrix, 1, use_codebook=False), nnz, None, 0.0, "vectors are stored as they are"
        )
    book = codebook.distinct(matrix)
    found = [(encoded, estimate_ns(encoded, weight.columns)) for encoded in _candidates(weight, matrix, book)]
    dense_ns = found[0][1]
    least_ns = min(time for _, time in found)
    if prefer == "size":
        best = min(found, key=lambda c: (c[0].bytes, c[1]))
        why = "fewest bytes"
    elif prefer == "speed":
        best = min(found, key=lambda c: (c[1], c[0].bytes))
        why = "least time"
    else:
        limit = min(dense_ns, SLACK * least_ns)
        best = min((c for c in found if c[1] <= limit), key=lambda c: (c[0].bytes, c[1]))
        why = f"fewest bytes within {SLACK:g}x of the least time"
    encoded, time_ns = best
    dense = found[0][0]
    size, slower = encoded.bytes / dense.bytes, time_ns / dense_ns
    why = f"{why} of {len(found)}: {size:.1%} of the bytes, {slower:.2f}x the time of {dense.encoding}"
    if len(found) == 1:
        why = f"{1 - nnz / matrix.size:.1%} zeros, over 256 distinct values: nothing to exploit"
    return Choice(encoded, nnz, None if book is None else book.size, time_ns, why)


def _candidates(weight: Weight, matrix: Matrix, book: Matrix | None) -> Iterator[Encoded]:
    """All encodings that fit, the dense f32 one first."""
    groups = weight.groups
    if weight.role == "depthwise":
        yield (dense := rows.encode(matrix, groups, use_codebook=False))
        if book is not None:
            yield rows.encode(matrix, groups, use_codebook=True)
    else:
        yield (dense := panels.encode(matrix, groups, use_codebook=False, use_huffman=False))
        if book is not None:
            yield (packed := panels.encode(matrix, groups, use_codebook=True, use_huffman=False))
            yield from _if_coded(panels.encode(matrix, groups, use_codebook=True, use_huffman=True), packed)
    if np.count_nonzero(matrix) > (1 - MIN_ZEROS) * dense.entries:
        return
    for delta_bits in (8, 16):
        entries = csr.collect(matrix, delta_bits)
        fits = book is not None and codebook.distinct(entries.values) is not None
        for use_codebook in (False, True) if fits else (False,):
            yield (packed := csr.encode(matrix, groups, entries, use_codebook, use_huffman=False))
            yield from _if_coded(csr.encode(matrix, groups, entries, use_codebook, use_huffman=True), packed)
        if entries.fillers == 0:
            return  # wider deltas would only cost bytes


def _if_coded(coded: Encoded, packed: Encoded) -> Iterator[Encoded]:
    if coded.encoding != packed.encoding:
        yield coded


@cache
def costs() -> dict[str, dict[str, float]]:
    """The cost table: per encoding `layer_ns`, `entry_ns`, `column_ns`."""
    table = json.loads(resources.files("converters").joinpath("costs.json").read_text())
    result: dict[str, dict[str, float]] = table["encodings"]
    return result


def estimate_ns(encoded: Encoded, columns: int) -> float:
    """Time of the layer on one thread: layer_ns + entries * (entry_ns + (columns - 1) * column_ns)."""
    kind = encoded.structure + "+" + encoded.values
    if any(stream.coding == "huffman" for stream in encoded.streams):
        kind += "+huffman"
    cost = costs()[kind]
    return cost["layer_ns"] + encoded.entries * (cost["entry_ns"] + (columns - 1) * cost["column_ns"])
