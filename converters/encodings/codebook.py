"""values `codebook`: a BOOK of up to 256 f32 and one INDEX per entry, packed in 1 to 8 bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from converters.encodings import huffman
from converters.encodings.stream import Stream, Values, entropy
from converters.graph import Matrix

MAX_ENTRIES = 256
READ_SLACK = 8  # zero bytes after packed indices, so that any entry can be read by one 64-bit load


def distinct(values: Matrix, limit: int = MAX_ENTRIES) -> Matrix | None:
    """The distinct f32 values, rising, told apart bit by bit (-0.0 counts as 0.0); None if more than `limit`.

    A weight of -0.0 can only change the sign of a zero result, so it is stored as 0.0.
    """
    flat = values.ravel()
    # Most matrices without a codebook are told from their first values; sorting all of a large one is slow.
    if np.unique(flat[: 4 * limit]).size > limit:
        return None
    found = np.unique(bits_of(flat))
    if found.size > limit:
        return None
    return found[np.argsort(found.view(np.float32))].view(np.float32)  # np.sort would change NaNs


def bits_of(values: Matrix) -> npt.NDArray[np.uint32]:
    """The bit patterns of f32 values, -0.0 as 0.0."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return np.where(bits == 0x80000000, np.uint32(0), bits)


def plain(entries: Matrix, values: Values) -> tuple[Stream, ...]:
    """The VALUES stream of values `f32` or `f16`."""
    bits = {"f32": 32, "f16": 16}[values]
    return (Stream("VALUES", entries.astype(f"<f{bits // 8}").tobytes(), bits=bits, symbols=entries.size),)


def fits_f16(values: Matrix) -> bool:
    """Whether every f32 value is an f16 value."""
    with np.errstate(over="ignore"):
        return bool(np.array_equal(values.astype(np.float16).astype(np.float32), values))


def index_bits(count: int) -> int:
    """Bits of an index into a book of `count` entries, at least 1."""
    return max(1, (count - 1).bit_length())


def encode(
    entries: Matrix,
    used: npt.NDArray[np.bool_] | None = None,
    chunk_bounds: Sequence[int] | None = None,
) -> tuple[Stream, ...]:
    """BOOK and INDEX streams of f32 entries [n] with at most 256 distinct values.

    used: bool [n], False for padding, which gets index 0. chunk_bounds: where the Huffman chunks of the
    indices start and the last ends; None stores them packed. Huffman is also left out where it gains little.
    """
    real = entries if used is None else entries[used]
    book = distinct(real)
    if book is None:
        raise ValueError("more than 256 distinct values do not fit a codebook")
    if book.size == 0:
        book = np.zeros(1, np.float32)
    by_bits = np.argsort(bits_of(book), kind="stable")
    index = by_bits[np.searchsorted(bits_of(book)[by_bits], bits_of(entries)) % book.size].astype(np.uint8)
    if used is not None:
        index[~used] = 0
    histogram = np.bincount(index, minlength=book.size)
    bits = index_bits(book.size)
    stream = Stream("INDEX", pack(index, bits), bits, symbols=index.size, entropy=entropy(histogram))
    if chunk_bounds is not None:
        stream = huffman.coded_if_smaller(stream, index, chunk_bounds)
    return Stream("BOOK", book.astype("<f4").tobytes(), bits=32, count=book.size), stream


def pack(index: npt.NDArray[np.uint8], bits: int) -> bytes:
    """Indices [n] packed LSB first, entry i in bits i*b .. i*b+b-1, and the 8 zero bytes."""
    planes = np.unpackbits(index[:, None], axis=1, count=bits, bitorder="little")
    return np.packbits(planes.ravel(), bitorder="little").tobytes() + bytes(READ_SLACK)
