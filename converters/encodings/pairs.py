"""structure `2:4`: two values of every four consecutive columns, in panels of 16 rows, and their places."""

from __future__ import annotations

import numpy as np

from converters.encodings import codebook, panels
from converters.encodings.stream import Encoded, Stream, Values
from converters.graph import Matrix


def fits(matrix: Matrix) -> bool:
    """Whether no four consecutive columns of f32 [M, K] have more than two non-zeros in a row."""
    if matrix.shape[1] % 4:
        return False
    return bool(((matrix != 0).reshape(len(matrix), -1, 4).sum(2) <= 2).all())


def encode(matrix: Matrix, groups: int, values: Values) -> Encoded:
    """Encodes f32 [M, K] that `fits`. Where a row has fewer than two non-zeros, zeros fill up."""
    arranged = panels.arrange(matrix, groups)  # [panels, K, 16]
    fours = arranged.reshape(len(arranged), -1, 4, panels.PANEL_ROWS)
    # The two places of non-zeros first, in rising order; then those of zeros.
    places = np.sort(np.argsort(fours == 0, axis=2, kind="stable")[:, :, :2], axis=2)
    stored = codebook.bits_of(np.take_along_axis(fours, places, axis=2)).view(np.float32)
    words = (places.astype(np.uint32) << 2 * np.arange(panels.PANEL_ROWS, dtype=np.uint32)).sum(
        3, dtype=np.uint32
    )
    if values == "codebook":
        streams = codebook.encode(stored.ravel())
    else:
        streams = codebook.plain(stored.ravel(), values)
    return Encoded(
        structure="2:4",
        values=values,
        rows=matrix.shape[0],
        cols=matrix.shape[1],
        groups=groups,
        panel_rows=panels.PANEL_ROWS,
        entries=stored.size,
        parameters=matrix.size,
        streams=(Stream("PLACES", words.astype("<u4").tobytes(), 2, symbols=stored.size), *streams),
    )


def entries(matrix: Matrix, groups: int) -> int:
    """Stored entries of an [M, K] matrix, padding included."""
    return panels.entries(matrix, groups) // 2
