"""structure `rows`: row-major [M][K]; vectors, depthwise filters and constants."""

from __future__ import annotations

from converters.encodings import codebook
from converters.encodings.stream import Encoded
from converters.graph import Matrix


def encode(matrix: Matrix, groups: int, use_codebook: bool) -> Encoded:
    """Encodes f32 [M, K] row by row."""
    entries = matrix.ravel()
    streams = codebook.encode(entries) if use_codebook else codebook.plain(entries)
    return Encoded(
        structure="rows",
        values="codebook" if use_codebook else "f32",
        rows=matrix.shape[0],
        cols=matrix.shape[1],
        groups=groups,
        panel_rows=0,
        entries=matrix.size,
        parameters=matrix.size,
        streams=streams,
    )
