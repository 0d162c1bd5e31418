"""Weights of one or two bits in panels of 32 rows: [groups][ceil(M/groups/32)][ceil(K/8)][32] bytes of the
signs of 8 columns; of ternary ones [...][ceil(K/8)][2][32], which are +1, then which are -1."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from converters.encodings.stream import Encoded, Stream
from converters.graph import Weight

PANEL_ROWS = 32


def _panels(mask: npt.NDArray[np.bool_], groups: int) -> npt.NDArray[np.uint8]:
    """bool [M, K] as u8 [groups, panels, ceil(K/8), 32]."""
    rows, _ = mask.shape
    packed = np.packbits(mask, axis=1, bitorder="little")
    per_group = rows // groups
    panels = -(-per_group // PANEL_ROWS)
    padded = np.zeros((groups, panels * PANEL_ROWS, packed.shape[1]), np.uint8)
    padded[:, :per_group] = packed.reshape(groups, per_group, -1)
    return padded.reshape(groups, panels, PANEL_ROWS, -1).transpose(0, 1, 3, 2)


def encode(weight: Weight) -> Encoded:
    """Encodes the signs of [M, K]: of role "bits" +1 and -1, of role "ternary" 0 as well."""
    ternary = weight.role == "ternary"
    stored = _panels(weight.matrix > 0, weight.groups)
    if ternary:
        stored = np.stack([stored, _panels(weight.matrix < 0, weight.groups)], 3)
    data = np.ascontiguousarray(stored).tobytes()
    bits = 2 if ternary else 1
    return Encoded(
        structure="panels",
        values="ternary" if ternary else "bits",
        rows=weight.matrix.shape[0],
        cols=weight.matrix.shape[1],
        groups=weight.groups,
        panel_rows=PANEL_ROWS,
        entries=8 * len(data) // bits,
        parameters=weight.parameters or weight.matrix.size,
        streams=(Stream("VALUES", data, bits, symbols=8 * len(data) // bits),),
    )
