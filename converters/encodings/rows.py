"""structure `rows`: row-major [M][K]; vectors, depthwise filters, constants and embedding tables."""

from __future__ import annotations

from dataclasses import replace

from converters.encodings import codebook
from converters.encodings.stream import Encoded, Values
from converters.graph import Matrix

CHUNK = 2048  # symbols of a Huffman chunk, about: what is decoded to read one row of a table


def encode_coded(matrix: Matrix) -> Encoded:
    """Encodes the rows of f32 [M, K] by Huffman-coded codebook indices, in chunks of a few rows; by plain
    ones where that gains little.
    """
    cols = matrix.shape[1]
    per_chunk = max(1, CHUNK // cols)
    bounds = [*range(0, matrix.size, per_chunk * cols), matrix.size]
    streams = codebook.encode(matrix.ravel(), chunk_bounds=bounds)
    coded = streams[-1].coding == "huffman"
    return replace(encode(matrix, 1, "codebook"), streams=streams, panel_rows=per_chunk if coded else 0)


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
