"""structure `csr`: the non-zeros row by row, column deltas of 8 or 16 bits, in panels of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.encodings import codebook, huffman
from converters.encodings.codebook import Numbers
from converters.encodings.panels import PANEL_ROWS
from converters.encodings.stream import Encoded, Stream, Values, entropy

# About what decodes into an L1-sized tile (one byte of delta and one of index per entry).
PANEL_ENTRIES = 4096


@dataclass(frozen=True)
class Entries:
    """The entries of a matrix in file order, with the fillers that bridge long gaps.

    values f32 or s8 [nnz], deltas u8 or u16 [nnz], row_nnz [M]; fillers counts the added zeros.
    """

    values: Numbers
    deltas: npt.NDArray[np.unsignedinteger[Any]]
    row_nnz: npt.NDArray[np.int64]
    fillers: int


def collect(matrix: Numbers, delta_bits: int) -> Entries:
    """The CSR entries of f32 or s8 [M, K] with deltas of `delta_bits` (8 or 16)."""
    reach = 1 << delta_bits
    rows, cols = np.nonzero(matrix)
    first_of_row = np.diff(rows, prepend=-1) != 0
    previous = np.where(first_of_row, -1, np.roll(cols, 1))
    gap = cols - previous - 1
    fillers, delta = np.divmod(gap, reach)
    entries = fillers + 1
    last = np.cumsum(entries) - 1  # where each non-zero goes, after its fillers
    total = int(entries.sum())
    values = np.zeros(total, matrix.dtype)
    values[last] = matrix[rows, cols]
    deltas = np.full(total, reach - 1, f"u{delta_bits // 8}")
    deltas[last] = delta
    row_nnz = np.bincount(rows, weights=entries, minlength=matrix.shape[0]).astype(np.int64)
    return Entries(values, deltas, row_nnz, int(fillers.sum()))


def rows_per_panel(row_nnz: npt.NDArray[np.int64], groups: int, block: int = 1) -> int:
    """Rows so that a panel has about PANEL_ENTRIES values and never more than a Huffman chunk may have.

    block: values of an entry.
    """
    per_group = row_nnz.size // groups
    wanted = PANEL_ENTRIES // block * row_nnz.size // max(1, int(row_nnz.sum()))
    rows = int(np.clip(wanted, 1, per_group))
    if 8 < rows < per_group:
        rows -= rows % 8
    while rows > 1 and int(np.diff(panel_starts(row_nnz, groups, rows)).max()) * block > huffman.MAX_CHUNK:
        rows = -(-rows // 2)
    return rows


def panel_starts(row_nnz: npt.NDArray[np.int64], groups: int, panel_rows: int) -> npt.NDArray[np.int64]:
    """The entry number at which each panel starts, and nnz last."""
    per_group = row_nnz.size // groups
    sums = np.add.reduceat(row_nnz.reshape(groups, per_group), np.arange(0, per_group, panel_rows), axis=1)
    return np.concatenate([[0], np.cumsum(sums.ravel())])


def encode(matrix: Numbers, groups: int, entries: Entries, values: Values, use_huffman: bool) -> Encoded:
    """Encodes f32 or s8 [M, K] from its `collect`ed entries. Huffman takes 8-bit deltas only."""
    # Those of integers are expanded to dense panels, one by one.
    panel_rows = PANEL_ROWS if matrix.dtype == np.int8 else rows_per_panel(entries.row_nnz, groups)
    starts = panel_starts(entries.row_nnz, groups, panel_rows)
    streams = encode_streams(entries, entries.values, starts, 1, values, use_huffman)
    return Encoded(
        structure="csr",
        values=values,
        rows=matrix.shape[0],
        cols=matrix.shape[1],
        groups=groups,
        panel_rows=panel_rows,
        entries=entries.values.size,
        parameters=matrix.size,
        streams=streams,
    )


def encode_streams(
    entries: Entries,
    stored: Numbers,
    starts: npt.NDArray[np.int64],
    block: int,
    values: Values,
    use_huffman: bool,
) -> tuple[Stream, ...]:
    """ROWS, COLS and the streams of values, of which `stored` has `block` for each entry, in file order."""
    cols = _cols(entries)
    if use_huffman and entries.deltas.dtype == np.uint8:
        deltas = entries.deltas.astype(np.uint8, copy=False)
        cols = huffman.coded_if_smaller(cols, deltas, starts.tolist())
    if values in ("codebook", "s8book"):
        bounds = (starts * block).tolist()
        streams = codebook.encode(stored, chunk_bounds=bounds if use_huffman else None)
    else:
        streams = codebook.plain(stored, values)
    return (_rows(entries.row_nnz, starts), cols, *streams)


def _rows(row_nnz: npt.NDArray[np.int64], starts: npt.NDArray[np.int64]) -> Stream:
    most = int(row_nnz.max(initial=0))
    bits = 8 if most < 1 << 8 else 16 if most < 1 << 16 else 32
    data = starts.astype("<u4").tobytes() + row_nnz.astype(f"<u{bits // 8}").tobytes()
    return Stream("ROWS", data, bits, symbols=row_nnz.size)


def _cols(entries: Entries) -> Stream:
    deltas = entries.deltas
    histogram = np.bincount(deltas, minlength=1)
    data = deltas.astype(deltas.dtype.newbyteorder("<"), copy=False).tobytes()
    return Stream("COLS", data, 8 * deltas.itemsize, symbols=deltas.size, entropy=entropy(histogram))
