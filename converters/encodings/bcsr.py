"""structure `bcsr`: CSR of blocks of four consecutive rows that share their columns, four values an entry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from converters.encodings import codebook, csr
from converters.encodings.stream import Encoded, Values
from converters.graph import Matrix

ROWS = 4


@dataclass(frozen=True)
class Blocks:
    """The entries of a matrix: `pattern` has the columns of the blocks, values f32 [entries, 4] weights."""

    pattern: csr.Entries
    values: Matrix


def fits(matrix: Matrix, groups: int) -> bool:
    """Whether the rows of every group of [M, K] come in fours."""
    return len(matrix) // groups % ROWS == 0


def collect(matrix: Matrix, delta_bits: int) -> Blocks:
    """The blocks of f32 [M, K] with a non-zero in them, and fillers of zeros where deltas cannot reach."""
    blocks = matrix.reshape(-1, ROWS, matrix.shape[1])
    used: npt.NDArray[np.bool_] = np.any(blocks != 0, axis=1)
    pattern = csr.collect(np.asarray(used, np.float32), delta_bits)
    values = np.zeros((pattern.values.size, ROWS), np.float32)
    rows, cols = np.nonzero(used)
    values[pattern.values != 0] = codebook.bits_of(blocks[rows, :, cols]).view(np.float32)
    return Blocks(pattern, values)


def encode(matrix: Matrix, groups: int, blocks: Blocks, values: Values, use_huffman: bool) -> Encoded:
    """Encodes f32 [M, K] from its `collect`ed blocks. Huffman takes 8-bit deltas only."""
    pattern = blocks.pattern
    panel = csr.rows_per_panel(pattern.row_nnz, groups, ROWS)
    starts = csr.panel_starts(pattern.row_nnz, groups, panel)
    streams = csr.encode_streams(pattern, blocks.values.ravel(), starts, ROWS, values, use_huffman)
    return Encoded(
        structure="bcsr",
        values=values,
        rows=matrix.shape[0],
        cols=matrix.shape[1],
        groups=groups,
        panel_rows=panel * ROWS,
        entries=blocks.values.size,
        parameters=matrix.size,
        streams=streams,
    )
