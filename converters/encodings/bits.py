"""Weights of one bit in panels of 32 rows: [groups][ceil(M/groups/32)][ceil(K/8)][32] bytes of the signs of 8
columns."""

from __future__ import annotations

import numpy as np

from converters.encodings.stream import Encoded, Stream
from converters.graph import Weight

PANEL_ROWS = 32


def encode(weight: Weight) -> Encoded:
    """Encodes the signs of [M, K], +1 and -1."""
    rows, cols = weight.matrix.shape
    packed = np.packbits(weight.matrix > 0, axis=1, bitorder="little")
    per_group = rows // weight.groups
    panels = -(-per_group // PANEL_ROWS)
    padded = np.zeros((weight.groups, panels * PANEL_ROWS, packed.shape[1]), np.uint8)
    padded[:, :per_group] = packed.reshape(weight.groups, per_group, -1)
    data = padded.reshape(weight.groups, panels, PANEL_ROWS, -1).transpose(0, 1, 3, 2).tobytes()
    return Encoded(
        structure="panels",
        values="bits",
        rows=rows,
        cols=cols,
        groups=weight.groups,
        panel_rows=PANEL_ROWS,
        entries=8 * len(data),
        parameters=weight.parameters or weight.matrix.size,
        streams=(Stream("VALUES", data, 1, symbols=8 * len(data)),),
    )
