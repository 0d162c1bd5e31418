"""values `product`: a BOOK of up to 256 codewords of d weights and one INDEX per d neighbours of a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from converters.encodings import codebook, huffman, panels, rows
from converters.encodings.stream import Encoded, Stream, entropy
from converters.graph import Matrix

MAX_CODEWORDS = 256
MAX_SIZE = 64  # of a codeword
LARGEST = 127  # of an s8 codeword
WORTH = 0.5  # of the bytes of f32, at most
SAMPLE = 1024  # codewords that tell most matrices without a product codebook


@dataclass(frozen=True)
class Product:
    """A matrix as codewords: f32 [count, d], and u8 [M, K / d] indices."""

    codewords: Matrix
    index: npt.NDArray[np.uint8]

    @property
    def bits(self) -> float:
        """Of an index, per weight."""
        size: int = self.codewords.shape[1]
        return codebook.index_bits(len(self.codewords)) / size


def find(matrix: Matrix) -> Product | None:
    """The product codebook of f32 [M, K] that takes the fewest bytes, for any d from 2 to 64 that divides K;
    None if there is none worth it. Codewords are told apart bit by bit (-0.0 counts as 0.0)."""
    height, cols = matrix.shape
    bits = codebook.bits_of(matrix)
    best: Product | None = None
    least = WORTH * 4 * matrix.size
    for size in (d for d in range(min(MAX_SIZE, cols), 1, -1) if cols % d == 0):
        if height * cols // size < 2:
            continue
        blocks = bits.reshape(-1, size)
        if len(np.unique(blocks[:SAMPLE], axis=0)) > MAX_CODEWORDS:
            continue
        index = _number(blocks)
        if index is None:
            continue
        first = np.unique(index, return_index=True)[1]
        bytes_ = index.size * codebook.index_bits(len(first)) / 8 + 4 * size * len(first)
        if bytes_ < least:
            least = bytes_
            found = np.ascontiguousarray(blocks[first]).view(np.float32)
            best = Product(found, index.reshape(height, cols // size).astype(np.uint8))
    # Pairs of a few numbers are a product codebook as well, but no smaller than the numbers alone.
    if best is not None and (numbers := len(np.unique(best.codewords))) <= MAX_CODEWORDS:
        return best if best.bits < codebook.index_bits(numbers) else None
    return best


def _number(blocks: npt.NDArray[np.uint32]) -> npt.NDArray[np.intp] | None:
    """Numbers the distinct rows of u32 [n, d] by their hashes; None if over 256, or two have one hash."""
    odd = np.random.default_rng(0).integers(0, 2**63, blocks.shape[1], np.uint64) * 2 + 1
    mixed = np.zeros(len(blocks), np.uint64)
    for column, factor in zip(blocks.T, odd, strict=True):
        mixed = (mixed ^ column) * factor
        mixed ^= mixed >> np.uint64(29)
    distinct, first, index = np.unique(mixed, return_index=True, return_inverse=True)
    if len(distinct) > MAX_CODEWORDS or not np.array_equal(blocks[first][index], blocks):
        return None
    return index


def encode(
    matrix: Matrix, groups: int, product: Product, structure: Literal["rows", "panels"], use_huffman: bool
) -> Encoded:
    """Encodes f32 [M, K] by its codewords."""
    index = product.index
    size = product.codewords.shape[1]
    panel_rows = panels.PANEL_ROWS
    if structure == "panels":
        index = panels.arrange(index, groups)
        bounds = panels.chunk_bounds(index.shape[0], index.shape[1], panels.CHUNK_COLUMNS // size)
    else:
        panel_rows = max(1, rows.CHUNK // index.shape[1])
        bounds = [*range(0, index.size, panel_rows * index.shape[1]), index.size]
    flat = index.ravel()
    bits = codebook.index_bits(len(product.codewords))
    histogram = np.bincount(product.index.ravel(), minlength=len(product.codewords))
    stream = Stream("INDEX", codebook.pack(flat, bits), bits, symbols=flat.size, entropy=entropy(histogram))
    if use_huffman:
        stream = huffman.coded_if_smaller(stream, flat, bounds)
    return Encoded(
        structure=structure,
        values="product",
        rows=matrix.shape[0],
        cols=matrix.shape[1],
        groups=groups,
        panel_rows=panel_rows if structure == "panels" or stream.coding == "huffman" else 0,
        entries=flat.size,
        parameters=matrix.size,
        streams=(_book(product.codewords), stream),
        codeword=size,
    )


def _book(codewords: Matrix) -> Stream:
    """Codewords in s8 on one grid if they lie on it exactly, in f16 if they fit, else in f32."""
    scale = _grid(codewords)
    if scale is not None:
        steps = np.rint(codewords / scale).astype(np.int8)
        data = np.float32(scale).tobytes() + steps.tobytes()
        return Stream("BOOK", data, bits=8, count=len(codewords))
    bits = 16 if codebook.fits_f16(codewords) else 32
    return Stream("BOOK", codewords.astype(f"<f{bits // 8}").tobytes(), bits=bits, count=len(codewords))


def _grid(codewords: Matrix) -> np.float32 | None:
    """The scale s of f32 for which all values are f32(q) * s, q in -127..127, or None.

    The largest value is q * s, rounded, for one of 127 q: s is its quotient or a neighbour of that.
    """
    peak = np.abs(codewords).max()
    if not 2.0**-90 < peak < 2.0**90:
        return None
    for q in range(LARGEST, 0, -1):
        near = np.float32(peak / np.float32(q))
        for scale in (near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(np.inf))):
            steps = np.rint(codewords / scale)
            if np.array_equal(steps * scale, codewords):
                return np.float32(scale)
    return None
