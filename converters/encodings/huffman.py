"""coding `huffman`: one canonical length-limited code per stream, chunks of four bit strings.

Code lengths by the package-merge algorithm (Larmore & Hirschberg 1990); bits laid out as in deflate
(RFC 1951): LSB first, a code starting with its most significant bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from converters.encodings.stream import Stream

MAX_LENGTH = 11  # the format allows 12, which saves next to nothing and costs decoders a look-up of five
MAX_CHUNK = 65536
STRINGS = 4
READ_SLACK = 8
MIN_GAIN = 0.03  # below this the code only costs time

Symbols = npt.NDArray[np.uint8]


def code_lengths(histogram: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Optimal code lengths, at most MAX_LENGTH bits, of symbol counts [A], 2 <= A <= 256; 0 if unused.

    The code is complete: where only one symbol occurs, another gets the second 1-bit code.
    """
    counts = histogram.astype(np.int64)
    lengths = np.zeros(counts.size, np.uint8)
    used = np.flatnonzero(counts)
    if used.size < 2:
        only = int(used[0]) if used.size else 0
        lengths[[only, 1 if only == 0 else 0]] = 1
        return lengths
    leaves = sorted((int(counts[s]), (int(s),)) for s in used)
    merged: list[tuple[int, tuple[int, ...]]] = []
    for _ in range(MAX_LENGTH):
        level = sorted(leaves + merged)
        merged = [(a[0] + b[0], a[1] + b[1]) for a, b in zip(level[::2], level[1::2], strict=False)]
    for _, members in merged[: used.size - 1]:
        np.add.at(lengths, list(members), 1)
    return lengths


def canonical_codes(lengths: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]:
    """The code of each symbol, bit-reversed so that it is written from its least significant bit up."""
    codes = np.zeros(lengths.size, np.uint16)
    code = 0
    previous = 0
    for symbol in sorted(np.flatnonzero(lengths).tolist(), key=lambda s: (lengths[s], s)):
        length = int(lengths[symbol])
        code <<= length - previous
        previous = length
        codes[symbol] = int(format(code, f"0{length}b")[::-1], 2)
        code += 1
    return codes


def encode(symbols: Symbols, chunk_bounds: Sequence[int]) -> tuple[bytes, int]:
    """The bytes of the coded stream and its alphabet size (2..256)."""
    alphabet = max(2, int(symbols.max(initial=0)) + 1)
    lengths = code_lengths(np.bincount(symbols, minlength=alphabet))
    codes = canonical_codes(lengths)
    nibbles = np.append(lengths, np.zeros(alphabet % 2, np.uint8)).reshape(-1, 2)
    head = (nibbles[:, 0] | nibbles[:, 1] << 4).tobytes()
    head += bytes(-len(head) % 4)
    chunks = [_chunk(symbols[start:end], lengths, codes) for start, end in pairwise(chunk_bounds)]
    offsets = np.cumsum([0] + [len(chunk) for chunk in chunks]).astype("<u4").tobytes()
    return b"".join([head, offsets, *chunks, bytes(READ_SLACK)]), alphabet


def _chunk(symbols: Symbols, lengths: npt.NDArray[np.uint8], codes: npt.NDArray[np.uint16]) -> bytes:
    if symbols.size == 0:
        return b""
    quarter = -(-symbols.size // STRINGS)
    strings = [_bits(symbols[j * quarter : (j + 1) * quarter], lengths, codes) for j in range(STRINGS)]
    sizes = np.array([len(s) for s in strings[:-1]], "<u2").tobytes()
    return sizes + b"".join(strings)


def _bits(symbols: Symbols, lengths: npt.NDArray[np.uint8], codes: npt.NDArray[np.uint16]) -> bytes:
    """One bit string: every code spread into its bits, then all bits packed."""
    length = lengths[symbols].astype(np.int64)
    end = np.cumsum(length)
    position = np.arange(int(length.sum())) - np.repeat(end - length, length)
    bits = np.repeat(codes[symbols], length) >> position & 1
    return np.packbits(bits.astype(np.uint8), bitorder="little").tobytes()


def coded_if_smaller(raw: Stream, symbols: Symbols, chunk_bounds: Sequence[int]) -> Stream:
    """The coded form of `raw` if it saves at least 3 % and its chunks are small enough, else `raw`."""
    if symbols.size == 0 or max(np.diff(chunk_bounds)) > MAX_CHUNK:
        return raw
    data, alphabet = encode(symbols, chunk_bounds)
    if len(data) > (1 - MIN_GAIN) * len(raw.data):
        return raw
    return Stream(raw.kind, data, raw.bits, "huffman", alphabet, symbols.size, raw.entropy)
