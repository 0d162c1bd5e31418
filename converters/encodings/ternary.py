"""values `binary` and `ternary`: weights of one or two bits, whose values are those of their row.

BWN has +-a in a row, TWN -a, 0 and a, TTQ -b, 0 and a. They are found by what they are, whatever made them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from converters.encodings.panels import PANEL_ROWS
from converters.encodings.stream import Encoded, Stream, Values
from converters.graph import Matrix

WORD = 32  # columns that share a word
MIN_COLUMNS = 8  # rows with fewer weights have hardly fewer scales
SAMPLE = 4  # rows that tell a matrix of other values at once


@dataclass(frozen=True)
class Planes:
    """bits [planes, M, K]; scales f32 [planes, M].

    Of one plane a weight is its row's scale, or minus that where the bit is clear; of two it is the scale of
    the plane that has its bit, and 0 where none has.
    """

    bits: npt.NDArray[np.bool_]
    scales: Matrix

    @property
    def values(self) -> Values:
        return "binary" if len(self.bits) == 1 else "ternary"


def find(matrix: Matrix) -> Planes | None:
    """The planes of f32 [M, K], as few as can be; None if a row has more values than that."""
    if matrix.shape[1] < MIN_COLUMNS or not np.isfinite(matrix).all():
        return None
    return _find(matrix) if _find(matrix[:SAMPLE]) is not None else None


def _find(matrix: Matrix) -> Planes | None:
    most = np.abs(matrix).max(1)
    if (np.abs(matrix) == most[:, None]).all():
        return Planes((matrix >= 0)[None], most[None])
    nonzero = matrix != 0
    high = np.where(nonzero, matrix, -np.inf).max(1)
    low = np.where(nonzero, matrix, np.inf).min(1)
    first = matrix == high[:, None]
    second = (matrix == low[:, None]) & ~first
    if not (first | second | ~nonzero).all():
        return None
    scales = np.stack([np.where(first.any(1), high, 0), np.where(second.any(1), low, 0)])
    return Planes(np.stack([first, second]), scales.astype(np.float32))


def entries(matrix: Matrix, groups: int) -> int:
    """Stored entries of an [M, K] matrix, padding included."""
    panels = groups * -(-len(matrix) // groups // PANEL_ROWS)
    return int(panels * PANEL_ROWS * -(-matrix.shape[1] // WORD) * WORD)


def encode(matrix: Matrix, groups: int, found: Planes) -> Encoded:
    """Encodes f32 [M, K] from the planes that `find` found."""
    rows, cols = matrix.shape
    planes, per_group = len(found.bits), rows // groups
    panels, words = -(-per_group // PANEL_ROWS), -(-cols // WORD)

    def in_panels(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """[planes, M, n] as [groups * panels, n, planes, 16]."""
        padded = np.zeros((planes, groups, panels * PANEL_ROWS, values.shape[2]), values.dtype)
        padded[:, :, :per_group] = values.reshape(planes, groups, per_group, -1)
        split = padded.reshape(planes, groups * panels, PANEL_ROWS, -1)
        return np.ascontiguousarray(split.transpose(1, 3, 0, 2))

    bits = np.zeros((planes, rows, words * WORD), bool)
    bits[:, :, :cols] = found.bits
    packed = np.packbits(bits, axis=2, bitorder="little").view("<u4")
    count = entries(matrix, groups)
    return Encoded(
        structure="panels",
        values=found.values,
        rows=rows,
        cols=cols,
        groups=groups,
        panel_rows=PANEL_ROWS,
        entries=count,
        parameters=matrix.size,
        streams=(
            Stream("SCALES", in_panels(found.scales[..., None]).astype("<f4").tobytes(), 32),
            Stream("VALUES", in_panels(packed).tobytes(), planes, symbols=count),
        ),
    )
