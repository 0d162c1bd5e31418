"""structures `bcsr`, `b8csr`, `b16csr`: CSR of blocks of 4, 8 or 16 rows that share their columns.

The rows of a block are neighbours, or an ORDER stream says which row each is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from converters.encodings import codebook, csr
from converters.encodings.stream import Encoded, Stream, Structure, Values
from converters.graph import Matrix

STRUCTURES: dict[int, Structure] = {4: "bcsr", 8: "b8csr", 16: "b16csr"}
Order = npt.NDArray[np.int64]

SAMPLE = 32  # rows that are looked at before all are compared
ALIKE = 0.7  # of a row's columns that its nearest row must share, for another order to be worth a thought
MOST_COMPARED = (
    1 << 32
)  # rows x rows x columns; beyond, only rows of the very same columns are brought together


@dataclass(frozen=True)
class Blocks:
    """The entries of a matrix: `pattern` has the columns of the blocks, values f32 [entries, rows] weights.

    order: [M], the row of its group that each stored row is; None: in order.
    """

    rows: int
    pattern: csr.Entries
    values: Matrix
    order: Order | None = None


def fits(matrix: Matrix, groups: int, rows: int = 4) -> bool:
    """Whether the rows of every group of [M, K] come in blocks of `rows`."""
    return len(matrix) // groups % rows == 0


def find_order(matrix: Matrix, groups: int, rows: int) -> Order | None:
    """An order of the rows of f32 [M, K] that brings rows with the same columns together.

    Greedy: a block is the first row that is left and those that share most columns with it. None if few
    rows have another like them.
    """
    used = (matrix != 0).reshape(groups, len(matrix) // groups, -1)
    orders = [_order_of_group(group, rows) for group in used]
    return None if any(order is None for order in orders) else np.concatenate(orders)  # type: ignore[arg-type]


def _order_of_group(used: npt.NDArray[np.bool_], rows: int) -> Order | None:
    count = used.sum(1)
    _, same, sizes = np.unique(np.packbits(used, axis=1), axis=0, return_inverse=True, return_counts=True)
    if bool(np.all(sizes % rows == 0)):
        return np.argsort(same.ravel(), kind="stable")
    sample = np.linspace(0, len(used) - 1, min(SAMPLE, len(used))).astype(int)
    shared = used[sample].astype(np.float32) @ used.T.astype(np.float32)
    shared[np.arange(sample.size), sample] = 0
    if np.median(shared.max(1) / np.maximum(count[sample], 1)) < ALIKE:
        return None
    if len(used) ** 2 * used.shape[1] > MOST_COMPARED:
        return np.argsort(same.ravel(), kind="stable")
    as_float = used.astype(np.float32)
    shared = as_float @ as_float.T
    # Columns that only one of two rows has would be stored as zeros.
    distance = count[:, None] + count[None, :] - 2 * shared
    left = np.ones(len(used), bool)
    order: list[int] = []
    for first in np.argsort(-count, kind="stable"):
        if not left[first]:
            continue
        near = np.where(left, distance[first], np.inf)
        near[first] = -1
        block = np.argpartition(near, rows - 1)[:rows] if rows < near.size else np.arange(rows)
        left[block] = False
        order += sorted(block.tolist())
    # Blocks stay where they were, as far as that goes: neighbours in Y are stored together.
    blocks = sorted(order[i : i + rows] for i in range(0, len(order), rows))
    return np.array(blocks, np.int64).ravel()


def collect(
    matrix: Matrix, delta_bits: int, rows: int = 4, order: Order | None = None, groups: int = 1
) -> Blocks:
    """The blocks of f32 [M, K] with a non-zero in them, and fillers of zeros where deltas cannot reach."""
    if order is not None:
        per_group = len(matrix) // groups
        matrix = matrix[order + np.arange(len(matrix)) // per_group * per_group]
    blocks = matrix.reshape(-1, rows, matrix.shape[1])
    used: npt.NDArray[np.bool_] = np.any(blocks != 0, axis=1)
    pattern = csr.collect(np.asarray(used, np.float32), delta_bits)
    values = np.zeros((pattern.values.size, rows), np.float32)
    at, cols = np.nonzero(used)
    values[pattern.values != 0] = codebook.bits_of(blocks[at, :, cols]).view(np.float32)
    return Blocks(rows, pattern, values, order)


def encode(matrix: Matrix, groups: int, blocks: Blocks, values: Values, use_huffman: bool) -> Encoded:
    """Encodes f32 [M, K] from its `collect`ed blocks. Huffman takes 8-bit deltas only."""
    pattern, rows = blocks.pattern, blocks.rows
    panel = csr.rows_per_panel(pattern.row_nnz, groups, rows)
    starts = csr.panel_starts(pattern.row_nnz, groups, panel)
    streams = csr.encode_streams(pattern, blocks.values.ravel(), starts, rows, values, use_huffman)
    if blocks.order is not None:
        data = blocks.order.astype("<u4").tobytes()
        streams = (Stream("ORDER", data, 32, symbols=blocks.order.size), *streams)
    return Encoded(
        structure=STRUCTURES[rows],
        values=values,
        rows=matrix.shape[0],
        cols=matrix.shape[1],
        groups=groups,
        panel_rows=panel * rows,
        entries=blocks.values.size,
        parameters=matrix.size,
        streams=streams,
    )
