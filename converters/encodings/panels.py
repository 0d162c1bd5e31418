"""structure `panels`: [groups][ceil(M/groups/16)][K][16]; every kernel width reads it as it lies."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from converters.encodings import codebook
from converters.encodings.stream import Encoded, Values
from converters.graph import Matrix

T = TypeVar("T", bound=np.generic)

PANEL_ROWS = 16
CHUNK_COLUMNS = 256


def entries(matrix: Matrix, groups: int) -> int:
    """Stored entries of an [M, K] matrix, padding included."""
    panels = groups * -(-len(matrix) // groups // PANEL_ROWS)
    return int(panels * PANEL_ROWS * matrix.shape[1])


def arrange(matrix: npt.NDArray[T], groups: int) -> npt.NDArray[T]:
    """[M, K] as [groups * panels, K, 16], short panels filled up with zeros."""
    rows, cols = matrix.shape
    per_group = rows // groups
    panels = -(-per_group // PANEL_ROWS)
    padded = np.zeros((groups, panels * PANEL_ROWS, cols), matrix.dtype)
    padded[:, :per_group] = matrix.reshape(groups, per_group, cols)
    split = padded.reshape(groups * panels, PANEL_ROWS, cols)
    return np.ascontiguousarray(split.transpose(0, 2, 1))


def chunk_bounds(panels: int, cols: int, per_chunk: int = CHUNK_COLUMNS) -> list[int]:
    """Where the Huffman chunks of an INDEX stream start, in entries, and where the last one ends."""
    starts = [(p * cols + k) * PANEL_ROWS for p in range(panels) for k in range(0, cols, per_chunk)]
    return [*starts, panels * cols * PANEL_ROWS]


def encode(matrix: Matrix, groups: int, values: Values, use_huffman: bool) -> Encoded:
    """Encodes f32 [M, K] in panels of 16 rows.

    The padding of a short panel has index 0 whatever value that stands for: it is never used.
    """
    arranged = arrange(matrix, groups)
    panels, cols, _ = arranged.shape
    if values == "codebook":
        per_group = matrix.shape[0] // groups
        used = np.zeros((groups, panels // groups * PANEL_ROWS, cols), bool)
        used[:, :per_group] = True
        used = used.reshape(panels, PANEL_ROWS, cols).transpose(0, 2, 1)
        bounds = chunk_bounds(panels, cols) if use_huffman else None
        streams = codebook.encode(arranged.ravel(), used=used.ravel(), chunk_bounds=bounds)
    else:
        streams = codebook.plain(arranged.ravel(), values)
    return Encoded(
        structure="panels",
        values=values,
        rows=matrix.shape[0],
        cols=matrix.shape[1],
        groups=groups,
        panel_rows=PANEL_ROWS,
        entries=arranged.size,
        parameters=matrix.size,
        streams=streams,
    )
