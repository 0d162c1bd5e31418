"""What a file holds, and the codes of docs/format.md."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROWS, PANELS, CSR, BCSR, BCSR8, BCSR16, PAIRS = range(1, 8)
BLOCK_ROWS = {BCSR: 4, BCSR8: 8, BCSR16: 16}
F32, CODEBOOK, F16, S8, I32, S4, BITS, Q8, Q4, PRODUCT, BINARY, TERNARY, I16, S8BOOK = range(1, 15)
VALUES, BOOK, INDEX, ROW_TABLE, COLS, SCALES, ORDER, PLACES = range(1, 9)
RAW, HUFFMAN = 0, 1


class FormatError(Exception):
    pass


def check(condition: object, where: str, rule: str) -> None:
    if not condition:
        raise FormatError(f"{where}: {rule}")


@dataclass
class Value:
    name: str
    rank: int
    channel_axis: int
    role: int
    dims: list[int]
    u8: bool = False
    bits: bool = False
    scale: float = 0.0
    zero: int = 0


@dataclass
class Op:
    kind: str
    name: str
    source: str
    inputs: list[int]
    output: int
    tensors: list[int]
    attrs: np.ndarray  # u32 words

    def i(self, k: int) -> int:
        return int(self.attrs[k : k + 1].view(np.int32)[0])

    def f(self, k: int) -> float:
        return float(self.attrs[k : k + 1].view(np.float32)[0])

    def ints(self, start: int = 0) -> list[int]:
        return self.attrs[start:].view(np.int32).tolist()


@dataclass
class Stream:
    kind: int
    coding: int
    bits: int
    count: int
    data: np.ndarray  # u8


@dataclass
class Tensor:
    name: str
    structure: int
    values: int
    rows: int
    cols: int
    groups: int
    panel_rows: int
    entries: int
    parameters: int
    streams: dict[int, Stream]
    dense: np.ndarray | None = None


@dataclass
class File:
    symbols: list[tuple[str, int, int]]
    values: list[Value]
    ops: list[Op]
    tensors: list[Tensor]

    @property
    def inputs(self) -> list[int]:
        return [i for i, v in enumerate(self.values) if v.role == 1]

    @property
    def outputs(self) -> list[int]:
        return [i for i, v in enumerate(self.values) if v.role == 2]

    def dense(self, index: int) -> np.ndarray:
        """The tensor as f32 [M, K]."""
        dense = self.tensors[index].dense
        assert dense is not None
        return dense

    def tensor(self, name: str) -> np.ndarray:
        return self.dense([t.name for t in self.tensors].index(name))
