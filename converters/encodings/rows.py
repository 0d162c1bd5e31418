"""structure `rows`: row-major [M][K]; vectors, depthwise filters and constants."""

from __future__ import annotations

from converters.encodings import codebook
from converters.encodings.stream import Encoded, Values
from converters.graph import Matrix


def encode(matrix: Matrix, groups: int, values: Values) -> Encoded:
    """Encodes f32 [M, K] row by row."""
    entries = matrix.ravel()
    streams = codebook.encode(entries) if values == "codebook" else codebook.plain(entries, values)
    return Encoded(
        structure="rows",
        values=values,
        rows=matrix.shape[0],
        cols=matrix.shape[1],
        groups=groups,
        panel_rows=0,
        entries=matrix.size,
        parameters=matrix.size,
        streams=streams,
    )
