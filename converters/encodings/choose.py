"""Finds what structure a weight matrix has and picks its exact encoding, by bytes, by time, or by both."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from typing import Literal, cast

import numpy as np

from converters.encodings import codebook, csr, integers, panels, rows
from converters.encodings.stream import Encoded, Values
from converters.graph import Matrix, Weight

Prefer = Literal["size", "speed", "auto"]

INTEGER_ROLES = ("s8 matrix", "s8 depthwise", "i32 vector")
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


def scaling_spoils(matrix: Matrix) -> bool:
    """Whether multiplying the rows of f32 [M, K] would cost a compact encoding.

    So it is where the non-zeros share so few values that a book and indices are worth having, or are all f16.
    """
    book = codebook.distinct(matrix)
    if book is None:
        return codebook.fits_f16(matrix)
    nnz = np.count_nonzero(matrix)
    packed = 4 * book.size + nnz * codebook.index_bits(book.size) / 8
    return bool(packed < 0.75 * 4 * nnz)


def choose(weight: Weight, prefer: Prefer) -> Choice:
    """Encodes `weight` in the best of all ways that suit it.

    size: fewest bytes. speed: least time by converters/costs.json. auto: fewest bytes among those that take
    at most 1.25 times the least time and no more than the dense f32 layout.
    """
    if weight.role in INTEGER_ROLES:
        nonzero = int(np.count_nonzero(weight.matrix))
        return Choice(integers.encode(weight), nonzero, None, 0.0, "computed on as integers")
    matrix = np.asarray(weight.matrix, np.float32)
    nnz = int(np.count_nonzero(matrix))
    if weight.role in ("vector", "constant"):
        encoded = rows.encode(matrix, 1, "f32")
        return Choice(encoded, nnz, None, 0.0, "vectors are stored as they are")
    book = codebook.distinct(matrix)
    ways = _ways(weight, matrix, book)
    dense = ways[0]
    times = [estimate_ns(way.kind, way.entries, weight.columns) for way in ways]
    if prefer == "size":
        after = [*(way.kind for way in ways[1:]), ""]  # a way is followed by its Huffman-coded form
        tried = [
            way for way, next_kind in zip(ways, after, strict=True) if next_kind != way.kind + "+huffman"
        ]
        why = "fewest bytes"
    elif prefer == "speed":
        tried = [ways[int(np.argmin(times))]]
        why = "least time"
    else:
        limit = min(times[0], SLACK * min(times))
        tried = [way for way, time in zip(ways, times, strict=True) if time <= limit]
        why = f"fewest bytes within {SLACK:g}x of the least time"
    encoded = min((way.encode() for way in tried), key=lambda e: e.bytes)
    time_ns = estimate_ns(encoded.kind, encoded.entries, weight.columns)
    size, slower = encoded.bytes / (4 * dense.entries), time_ns / times[0]
    why = f"{why}: {size:.1%} of the bytes, {slower:.2f}x the time of plain f32"
    if len(ways) == 1:
        why = f"{1 - nnz / matrix.size:.1%} zeros, over 256 distinct values: nothing to exploit"
    return Choice(encoded, nnz, None if book is None else book.size, time_ns, why)


@dataclass(frozen=True)
class _Way:
    """An encoding that is not made yet; it may turn out without Huffman, where that gains little."""

    kind: str
    entries: int
    encode: Callable[[], Encoded]


def _ways(weight: Weight, matrix: Matrix, book: Matrix | None) -> list[_Way]:
    """All ways to encode a matrix, the dense f32 one first."""
    groups = weight.groups
    kinds: list[Values] = ["f32", "f16"] if codebook.fits_f16(matrix) else ["f32"]
    if weight.role == "depthwise":
        ways = [_Way(f"rows+{v}", matrix.size, partial(rows.encode, matrix, groups, v)) for v in kinds]
        if book is not None:
            ways.append(_Way("rows+codebook", matrix.size, partial(rows.encode, matrix, groups, "codebook")))
    else:
        entries = panels.entries(matrix, groups)
        ways = [_Way(f"panels+{v}", entries, partial(panels.encode, matrix, groups, v, False)) for v in kinds]
        if book is not None:
            packed = partial(panels.encode, matrix, groups, "codebook")
            ways.append(_Way("panels+codebook", entries, partial(packed, False)))
            ways.append(_Way("panels+codebook+huffman", entries, partial(packed, True)))
    if np.count_nonzero(matrix) > (1 - MIN_ZEROS) * ways[0].entries:
        return ways
    for delta_bits in (8, 16):
        found = csr.collect(matrix, delta_bits)
        nnz = found.values.size
        few = book is not None and codebook.distinct(found.values) is not None
        for values in (*kinds, *(["codebook"] if few else [])):
            encode = partial(csr.encode, matrix, groups, found, cast(Values, values))
            ways.append(_Way(f"csr+{values}", nnz, partial(encode, False)))
            if values == "codebook" or delta_bits == 8:
                ways.append(_Way(f"csr+{values}+huffman", nnz, partial(encode, True)))
        if found.fillers == 0:
            break  # wider deltas would only cost bytes
    return ways


@cache
def costs() -> dict[str, dict[str, float]]:
    """The cost table: per encoding `layer_ns`, `entry_ns`, `column_ns`."""
    table = json.loads(resources.files("converters").joinpath("costs.json").read_text())
    result: dict[str, dict[str, float]] = table["encodings"]
    return result


def estimate_ns(kind: str, entries: int, columns: int) -> float:
    """Time of the layer on one thread: layer_ns + entries * (entry_ns + (columns - 1) * column_ns)."""
    cost = costs()[kind]
    return cost["layer_ns"] + entries * (cost["entry_ns"] + (columns - 1) * cost["column_ns"])
