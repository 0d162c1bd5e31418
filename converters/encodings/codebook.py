"""values `codebook` and `s8book`: a BOOK of up to 256 f32 or s8 and one INDEX per entry, in 1 to 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.encodings import huffman
from converters.encodings.stream import Stream, Values, entropy
from converters.graph import Matrix

Numbers = npt.NDArray[Any]  # f32 or s8

MAX_ENTRIES = 256
READ_SLACK = 8  # zero bytes after packed indices, so that any entry can be read by one 64-bit load


def distinct(values: Numbers, limit: int = MAX_ENTRIES) -> Numbers | None:
    """The distinct f32 or s8 values, rising, told apart bit by bit (-0.0 is 0.0); None if more than `limit`.

    A weight of -0.0 can only change the sign of a zero result, so it is stored as 0.0.
    """
    flat = values.ravel()
    # Most matrices without a codebook are told from their first values; sorting all of a large one is slow.
    if np.unique(flat[: 4 * limit]).size > limit:
        return None
    found = np.unique(bits_of(flat))
    if found.size > limit:
        return None
    return found[np.argsort(found.view(flat.dtype))].view(flat.dtype)  # np.sort would change NaNs


def bits_of(values: Numbers) -> npt.NDArray[Any]:
    """The bit patterns of f32 values, -0.0 as 0.0, or of s8 ones."""
    if values.dtype == np.int8:
        return np.ascontiguousarray(values).view(np.uint8)
    bits = np.ascontiguousarray(values).view(np.uint32)
    return np.where(bits == 0x80000000, np.uint32(0), bits)


def plain(entries: Numbers, values: Values) -> tuple[Stream, ...]:
    """The VALUES stream of values `f32`, `f16` or `s8`."""
    stored = entries.astype({"f32": "<f4", "f16": "<f2", "s8": "<i1"}[values])
    return (Stream("VALUES", stored.tobytes(), bits=8 * stored.itemsize, symbols=entries.size),)


def fits_f16(values: Matrix) -> bool:
    """Whether every f32 value is an f16 value."""
    with np.errstate(over="ignore"):
        return bool(np.array_equal(values.astype(np.float16).astype(np.float32), values))


def index_bits(count: int) -> int:
    """Bits of an index into a book of `count` entries, at least 1."""
    return max(1, (count - 1).bit_length())


def encode(
    entries: Numbers,
    used: npt.NDArray[np.bool_] | None = None,
    chunk_bounds: Sequence[int] | None = None,
) -> tuple[Stream, ...]:
    """BOOK and INDEX streams of f32 or s8 entries [n] with at most 256 distinct values.

    used: bool [n], False for padding, which gets index 0. chunk_bounds: where the Huffman chunks of the
    indices start and the last ends; None stores them packed. Huffman is also left out where it gains little.
    """
    real = entries if used is None else entries[used]
    book = distinct(real)
    if book is None:
        raise ValueError("more than 256 distinct values do not fit a codebook")
    if book.size == 0:
        book = np.zeros(1, entries.dtype)
    by_bits = np.argsort(bits_of(book), kind="stable")
    index = by_bits[np.searchsorted(bits_of(book)[by_bits], bits_of(entries)) % book.size].astype(np.uint8)
    if used is not None:
        index[~used] = 0
    histogram = np.bincount(index, minlength=book.size)
    bits = index_bits(book.size)
    stream = Stream("INDEX", pack(index, bits), bits, symbols=index.size, entropy=entropy(histogram))
    if chunk_bounds is not None:
        stream = huffman.coded_if_smaller(stream, index, chunk_bounds)
    stored = book.astype("<f4" if book.dtype == np.float32 else "<i1")
    return Stream("BOOK", stored.tobytes(), bits=8 * stored.itemsize, count=book.size), stream


def pack(index: npt.NDArray[np.uint8], bits: int) -> bytes:
    """Indices [n] packed LSB first, entry i in bits i*b .. i*b+b-1, and the 8 zero bytes."""
    planes = np.unpackbits(index[:, None], axis=1, count=bits, bitorder="little")
    return np.packbits(planes.ravel(), bitorder="little").tobytes() + bytes(READ_SLACK)
