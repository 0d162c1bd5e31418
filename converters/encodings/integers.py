"""Integer weights: s8 panels [groups][ceil(M/groups/16)][K/4][16][4], s4 ones that pack two of the groups of
four columns, panels of indices into a book of s8, s8 depthwise filters [ceil(M/4)][ceil(taps/4)][4][4], and
vectors of i32 and i16."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from converters.encodings import codebook
from converters.encodings.panels import PANEL_ROWS, chunk_bounds
from converters.encodings.stream import Encoded, Stream
from converters.graph import Weight

Integers = npt.NDArray[np.int8]


def encode(weight: Weight) -> Encoded:
    """Encodes s8 [M, K] (K in fours for panels), i32 or i16 [M, 1] by the weight's role; in 4 bits what
    fits them.
    """
    matrix, structure, values, bits = weight.matrix, "rows", "s8", 8
    stored: npt.NDArray[np.generic]
    rows, cols = matrix.shape
    if weight.role == "s8 matrix":
        stored, structure = _panels(matrix, weight.groups), "panels"
        if matrix.min() >= -8 and matrix.max() <= 7 and not weight.tied:  # no row is read from nibbles
            stored, values, bits = _nibbles(stored), "s4", 4
    elif weight.role in ("s8 depthwise", "s8 table"):
        stored = _quads(matrix)
    elif weight.role == "i16 vector":
        stored, values, bits = matrix.astype("<i2"), "i16", 16
    else:
        stored, values, bits = matrix.astype("<i4"), "i32", 32
    stream = Stream("VALUES", stored.tobytes(), bits, symbols=8 * stored.nbytes // bits)
    return Encoded(
        structure=structure,  # type: ignore[arg-type]
        values=values,  # type: ignore[arg-type]
        rows=rows,
        cols=cols,
        groups=weight.groups,
        panel_rows=PANEL_ROWS if structure == "panels" else 0,
        entries=8 * stored.nbytes // bits,
        parameters=weight.parameters or matrix.size,
        streams=(stream,),
    )


def encode_book(matrix: Integers, groups: int, use_huffman: bool) -> Encoded:
    """Encodes s8 [M, K], K in fours, as panels of indices into a book; rows past a group have index 0."""
    stored = _panels(matrix, groups)
    used = _panels(np.ones_like(matrix), groups).astype(bool)
    bounds = chunk_bounds(len(stored), matrix.shape[1]) if use_huffman else None
    return Encoded(
        structure="panels",
        values="s8book",
        rows=matrix.shape[0],
        cols=matrix.shape[1],
        groups=groups,
        panel_rows=PANEL_ROWS,
        entries=stored.size,
        parameters=matrix.size,
        streams=codebook.encode(stored.ravel(), used=used.ravel(), chunk_bounds=bounds),
    )


def _panels(matrix: Integers, groups: int) -> Integers:
    rows, cols = matrix.shape
    per_group = rows // groups
    panels = -(-per_group // PANEL_ROWS)
    padded = np.zeros((groups, panels * PANEL_ROWS, cols), np.int8)
    padded[:, :per_group] = matrix.reshape(groups, per_group, cols)
    split = padded.reshape(groups * panels, PANEL_ROWS, cols // 4, 4)
    return np.ascontiguousarray(split.transpose(0, 2, 1, 3))


def _nibbles(panels: Integers) -> npt.NDArray[np.uint8]:
    """[panels, K/4, 16, 4] as [panels, ceil(K/8), 16, 4]: an even group in the low nibbles, the odd one
    after it in the high ones, both + 8."""
    count, groups = panels.shape[:2]
    even = np.zeros((count, -(-groups // 2) * 2, 16, 4), np.int8)
    even[:, :groups] = panels
    unsigned = (even + 8).astype(np.uint8)
    packed = unsigned[:, ::2] | np.left_shift(unsigned[:, 1::2], 4)
    return np.ascontiguousarray(packed, np.uint8)


def _quads(matrix: Integers) -> Integers:
    rows, taps = matrix.shape
    padded = np.zeros((-(-rows // 4) * 4, -(-taps // 4) * 4), np.int8)
    padded[:rows, :taps] = matrix
    split = padded.reshape(-1, 4, padded.shape[1] // 4, 4)
    return np.ascontiguousarray(split.transpose(0, 2, 1, 3))
