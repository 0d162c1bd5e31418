"""What an encoder produces: streams of bytes and the tensor that owns them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

# Each in the order of its codes in the file, which start at 1, of codings at 0.
StreamKind = Literal["VALUES", "BOOK", "INDEX", "ROWS", "COLS", "SCALES", "ORDER", "PLACES"]
Structure = Literal["rows", "panels", "csr", "bcsr", "b8csr", "b16csr", "2:4"]
Coding = Literal["raw", "huffman"]
Values = Literal[
    "f32",
    "codebook",
    "f16",
    "s8",
    "i32",
    "s4",
    "bits",
    "q8",
    "q4",
    "product",
    "binary",
    "ternary",
    "i16",
    "s8book",
]


@dataclass(frozen=True)
class Stream:
    """One stream of a tensor. `bits` and `count` as in the STREAMS table; `symbols` and `entropy` (bits per
    symbol) are for the report."""

    kind: StreamKind
    data: bytes
    bits: int
    coding: Coding = "raw"
    count: int = 0
    symbols: int = 0
    entropy: float = 0.0


@dataclass(frozen=True, eq=False)
class Encoded:
    """One row of the TENSORS table with its streams."""

    structure: Structure
    values: Values
    rows: int
    cols: int
    groups: int
    panel_rows: int
    entries: int
    parameters: int
    streams: tuple[Stream, ...]
    codeword: int = 1  # weights that an entry stands for; more than one in a product codebook

    @property
    def stored(self) -> int:
        """Weights that are stored, padding included: what the cost table counts."""
        return self.entries * self.codeword

    @property
    def bytes(self) -> int:
        """Payload bytes, without tables and alignment."""
        return sum(len(stream.data) for stream in self.streams)

    @property
    def kind(self) -> str:
        """The key of the cost table: `csr+codebook+huffman`."""
        coded = any(stream.coding == "huffman" for stream in self.streams)
        return f"{self.structure}+{self.values}" + ("+huffman" if coded else "")

    @property
    def encoding(self) -> str:
        """Its name, as the runtime has it: `dense+f32`, `csr8+codebook5+huffman`, `rows+f32`.

        The numbers are bits of a column delta and of an index, or weights of a codeword; g64: every 64
        columns share a scale; huffman: at least one stream is coded.
        """
        bits = {stream.kind: str(stream.bits) for stream in self.streams}
        names = {"panels": "dense", "rows": "rows", "2:4": "2:4"}
        structure = names.get(self.structure) or self.structure + bits["COLS"]
        values = self.values + bits.get("INDEX", "")
        shared = next((stream.count for stream in self.streams if stream.kind == "SCALES"), 0)
        if 0 < shared < self.cols:
            values += f"g{shared}"
        if self.values == "product":
            values = f"pq{self.codeword}"
        coded = any(stream.coding == "huffman" for stream in self.streams)
        return f"{structure}+{values}" + ("+huffman" if coded else "")


def entropy(histogram: npt.NDArray[np.int64]) -> float:
    """Shannon entropy of a histogram in bits per symbol; 0 for an empty one."""
    total = int(histogram.sum())
    if total == 0:
        return 0.0
    p = histogram[histogram > 0] / total
    return float((p * np.log2(1 / p)).sum())
