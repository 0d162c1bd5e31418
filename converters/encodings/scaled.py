"""values `q8` and `q4`: integers of 8 or 4 bits, and a scale for every row and group of columns.

Weight-only ("pseudo") quantization leaves weights on such grids: within a group every weight is a scale times
a small integer, rounded to f32. They are found by what they are, with exactly that arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from converters.encodings.panels import PANEL_ROWS
from converters.encodings.stream import Encoded, Stream
from converters.graph import Matrix

UNIT = 32  # columns that share a scale come in so many
SIZES = (256, 128, 64, 32)  # tried where a row has more than one scale
FIRST = 64  # columns of a group that most scales fail on
SAMPLE = 16  # groups that a matrix without a grid is told from
MIN_SCALE, MAX_SCALE = 2.0**-100, 2.0**100
# The integers that a group's largest weight may be; the second list is for what the first one leaves.
LARGEST = {
    4: ((7, 8, 6, 5, 4, 3, 2, 1), ()),
    8: ((127, 128, 64, 63, 32, 31, 16, 15), tuple(range(128, 0, -1))),
}


@dataclass(frozen=True)
class Scaled:
    """integers [M, K] of `bits` bits; scales f32 [M, ceil(K / columns)], one for so many of a row."""

    bits: int
    columns: int
    integers: npt.NDArray[np.int16]
    scales: Matrix

    @property
    def halves(self) -> bool:
        """Whether all scales are f16 numbers."""
        with np.errstate(over="ignore"):
            return bool(np.array_equal(self.scales.astype(np.float16).astype(np.float32), self.scales))


def find(matrix: Matrix) -> Scaled | None:
    """The grid that all of f32 [M, K] lies on, in as few bits and scales as can be; None if there is none."""
    for bits in (4, 8):
        if not _sample_fits(matrix, min(SIZES), bits):
            continue
        whole = -(-matrix.shape[1] // UNIT) * UNIT
        for columns in (whole, *(size for size in SIZES if size < whole)):
            if not _sample_fits(matrix, columns, bits):
                continue
            groups = _in_groups(matrix, columns)
            found = _grids(groups.reshape(-1, columns), bits)
            if found is not None:
                integers, scales = found
                rows, cols = matrix.shape
                return Scaled(
                    bits, columns, integers.reshape(rows, -1)[:, :cols].copy(), scales.reshape(rows, -1)
                )
    return None


def _sample_fits(matrix: Matrix, columns: int, bits: int) -> bool:
    rows = np.linspace(0, len(matrix) - 1, min(SAMPLE, len(matrix))).astype(int)
    groups = _in_groups(matrix[rows], columns).reshape(-1, columns)
    picked = np.linspace(0, len(groups) - 1, min(SAMPLE, len(groups))).astype(int)
    return _grids(groups[picked], bits) is not None


def _in_groups(matrix: Matrix, columns: int) -> Matrix:
    rows, cols = matrix.shape
    padded = np.zeros((rows, -(-cols // columns) * columns), np.float32)
    padded[:, :cols] = matrix
    return padded.reshape(rows, -1, columns)


def _grids(groups: Matrix, bits: int) -> tuple[npt.NDArray[np.int16], Matrix] | None:
    """Integers and scales of groups f32 [n, columns], if every one of them has some."""
    integers = np.zeros(groups.shape, np.int16)
    scales = np.zeros(len(groups), np.float32)
    if not np.isfinite(groups).all():
        return None
    peak = np.abs(groups).max(1, initial=0.0)
    open_ = np.flatnonzero(peak)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    first = np.ascontiguousarray(groups[:, :FIRST])
    for numbers in LARGEST[bits]:
        for largest in numbers:
            # Rounding the product back hides the last bit of the scale.
            for towards in (None, np.float32(0), np.float32(np.inf)):
                if open_.size == 0:
                    return integers, scales
                scale = peak[open_] / np.float32(largest)
                if towards is not None:
                    scale = np.nextafter(scale, towards)
                fits = (scale >= MIN_SCALE) & (scale <= MAX_SCALE)
                # Most candidates fail on the first columns already.
                fits[fits] = _on_grid(first[open_[fits]], scale[fits], low, high)[1]
                q, whole = _on_grid(groups[open_[fits]], scale[fits], low, high)
                fits[fits] = whole
                integers[open_[fits]] = q[whole]
                scales[open_[fits]] = scale[fits]
                open_ = open_[~fits]
    return (integers, scales) if open_.size == 0 else None


def _on_grid(groups: Matrix, scale: Matrix, low: int, high: int) -> tuple[Matrix, npt.NDArray[np.bool_]]:
    """The integers of groups f32 [n, columns] in steps of scale [n], and which groups they are equal to."""
    step = scale[:, None]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        q = np.rint(groups / step)
        fits = (q * step == groups).all(1) & (q >= low).all(1) & (q <= high).all(1)
    return q, fits


def entries(matrix: Matrix, groups: int, bits: int) -> int:
    """Stored entries of an [M, K] matrix, padding included."""
    fields = 32 // bits
    panels = groups * -(-len(matrix) // groups // PANEL_ROWS)
    return int(panels * PANEL_ROWS * -(-matrix.shape[1] // fields) * fields)


def encode(matrix: Matrix, groups: int, found: Scaled) -> Encoded:
    """Encodes f32 [M, K] from the grid that `find` found."""
    bits = found.bits
    fields = 32 // bits
    rows, cols = matrix.shape
    per_group = rows // groups
    panels = -(-per_group // PANEL_ROWS)

    def in_panels(values: npt.NDArray[np.generic], width: int) -> npt.NDArray[np.generic]:
        padded = np.zeros((groups, panels * PANEL_ROWS, width), values.dtype)
        padded[:, :per_group, : values.shape[1]] = values.reshape(groups, per_group, -1)
        return padded.reshape(groups * panels, PANEL_ROWS, width)

    padded = -(-cols // fields) * fields
    stored = in_panels(found.integers, padded)
    if bits == 4:
        nibbles = (stored + 8).astype(np.uint8)
        words = (nibbles[..., ::2] | np.left_shift(nibbles[..., 1::2], 4)).reshape(
            -1, PANEL_ROWS, padded // 8, 4
        )
        stored = words.transpose(0, 2, 1, 3)
    else:
        stored = stored.astype(np.int8).transpose(0, 2, 1)
    scales = in_panels(found.scales, found.scales.shape[1]).transpose(0, 2, 1)
    scale_type = "<f2" if found.halves else "<f4"
    count = groups * panels * PANEL_ROWS * padded
    return Encoded(
        structure="panels",
        values="q4" if bits == 4 else "q8",
        rows=rows,
        cols=cols,
        groups=groups,
        panel_rows=PANEL_ROWS,
        entries=count,
        parameters=matrix.size,
        streams=(
            Stream(
                "SCALES", scales.astype(scale_type).tobytes(), int(scale_type[-1]) * 8, count=found.columns
            ),
            Stream("VALUES", np.ascontiguousarray(stored).tobytes(), bits, symbols=count),
        ),
    )
