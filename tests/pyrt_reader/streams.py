"""The contents of single streams: row tables, column deltas, values, indices, Huffman codes."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np

from pyrt_reader.model import (
    BOOK,
    CODEBOOK,
    COLS,
    F16,
    F32,
    HUFFMAN,
    INDEX,
    RAW,
    ROW_TABLE,
    S8,
    S8BOOK,
    VALUES,
    Stream,
    Tensor,
    check,
)


def row_table(t: Tensor, where: str) -> tuple[np.ndarray, np.ndarray]:
    stream = t.streams[ROW_TABLE]
    check(stream.coding == RAW and stream.bits in (8, 16, 32) and stream.count == 0, where, "ROWS fields")
    per_group = t.rows // t.groups
    panels_per_group = -(-per_group // t.panel_rows)
    panels = t.groups * panels_per_group
    check(stream.data.size == 4 * (panels + 1) + t.rows * stream.bits // 8, where, "ROWS size")
    starts = stream.data[: 4 * (panels + 1)].view("<u4").astype(np.int64)
    row_nnz = stream.data[4 * (panels + 1) :].view(f"<u{stream.bits // 8}").astype(np.int64)
    expected = [0]
    for g in range(t.groups):
        for p in range(panels_per_group):
            first = g * per_group + p * t.panel_rows
            last = min(first + t.panel_rows, (g + 1) * per_group)
            expected.append(expected[-1] + int(row_nnz[first:last].sum()))
    check(
        starts.tolist() == expected and expected[-1] == t.entries, where, "panel_start sums nnz_of_row to nnz"
    )
    return starts, row_nnz


def columns(t: Tensor, chunks: list[int], row_nnz: np.ndarray, where: str) -> np.ndarray:
    stream = t.streams[COLS]
    check(stream.bits in (8, 16), where, "COLS bits")
    if stream.coding == HUFFMAN:
        check(stream.bits == 8, where, "huffman deltas have 8 bits")
        deltas = _huffman(stream, chunks, where).astype(np.int64)
    else:
        check(stream.count == 0 and stream.data.size == t.entries * stream.bits // 8, where, "COLS size")
        deltas = stream.data.view(f"<u{stream.bits // 8}").astype(np.int64)
    total = np.cumsum(deltas + 1)
    before_row = np.concatenate([[0], total])[np.cumsum(row_nnz) - row_nnz]
    cols = total - np.repeat(before_row, row_nnz) - 1
    check(cols.size == 0 or int(cols.max()) < t.cols, where, "columns < K")
    return cols


def entry_values(t: Tensor, chunks: list[int], where: str) -> np.ndarray:
    if t.values not in (CODEBOOK, S8BOOK):
        stream, size = t.streams[VALUES], {F32: 4, F16: 2, S8: 1}[t.values]
        check(stream.coding == RAW and stream.bits == 8 * size and stream.count == 0, where, "VALUES fields")
        check(stream.data.size == size * t.entries, where, "VALUES size")
        return (
            stream.data.view(np.int8) if t.values == S8 else stream.data.view(f"<f{size}").astype(np.float32)
        )
    book, dtype = t.streams[BOOK], np.dtype("<f4" if t.values == CODEBOOK else "i1")
    check(book.coding == RAW and book.bits == 8 * dtype.itemsize, where, "BOOK fields")
    check(1 <= book.count <= 256 and book.data.size == dtype.itemsize * book.count, where, "BOOK size")
    return book.data.view(dtype)[numbers(t, chunks, where)]


def numbers(t: Tensor, chunks: Sequence[int], where: str) -> np.ndarray:
    """The indices of a BOOK's entries."""
    book, index = t.streams[BOOK], t.streams[INDEX]
    check(1 <= index.bits <= 8 and book.count <= 1 << index.bits, where, "INDEX bits")
    if index.coding == HUFFMAN:
        numbers = _huffman(index, chunks, where)
    else:
        bytes_used = -(-t.entries * index.bits // 8)
        check(index.count == 0 and index.data.size == bytes_used + 8, where, "INDEX size")
        bits = np.unpackbits(index.data, bitorder="little")
        check(not bits[t.entries * index.bits :].any(), where, "INDEX padding is zero")
        planes = bits[: t.entries * index.bits].reshape(t.entries, index.bits)
        numbers = (planes * (1 << np.arange(index.bits))).sum(1)
    check(
        numbers.size == t.entries and int(numbers.max(initial=0)) < book.count, where, "indices < book size"
    )
    return numbers


def _huffman(stream: Stream, chunks: Sequence[int], where: str) -> np.ndarray:
    alphabet, data = stream.count, stream.data.tobytes()
    check(2 <= alphabet <= 256, where, "alphabet")
    head = -(-alphabet // 2)
    check(len(data) >= head, where, "truncated lengths")
    nibbles = [x for byte in data[:head] for x in (byte & 15, byte >> 4)]
    lengths = nibbles[:alphabet]
    check(not any(nibbles[alphabet:]) and max(lengths) <= 12, where, "lengths of at most 12")
    check(sum(2.0**-x for x in lengths if x) == 1.0, where, "complete code")
    at = -(-head // 4) * 4
    check(not any(data[head:at]), where, "zero padding")
    check(len(data) >= at + 4 * (len(chunks) + 1) + 8, where, "truncated offsets")
    offsets = struct.unpack_from(f"<{len(chunks) + 1}I", data, at)
    base = at + 4 * (len(chunks) + 1)
    check(offsets[0] == 0 and base + offsets[-1] + 8 == len(data), where, "chunk offsets end the stream")
    check(not any(data[-8:]), where, "8 zero bytes")
    decoder, code = {}, 0
    for length in range(1, 13):
        code <<= 1
        for symbol in range(alphabet):
            if lengths[symbol] == length:
                decoder[length, code] = symbol
                code += 1
    found: list[int] = []
    for i, n in enumerate(chunks):
        check(n <= 65536, where, "chunk of at most 65536 symbols")
        found += _chunk(data[base + offsets[i] : base + offsets[i + 1]], n, decoder, where)
    return np.array(found, np.uint8)


def _chunk(data: bytes, n: int, decoder: Mapping[tuple[int, int], int], where: str) -> list[int]:
    if n == 0:
        check(not data, where, "empty chunk has no bytes")
        return []
    sizes = struct.unpack_from("<3H", data)
    quarter = -(-n // 4)
    found: list[int] = []
    at = 6
    for j in range(4):
        end = at + sizes[j] if j < 3 else len(data)
        check(at <= end <= len(data), where, "string sizes")
        bits = np.unpackbits(np.frombuffer(data[at:end], np.uint8), bitorder="little").tolist()
        position = 0
        for _ in range(min((j + 1) * quarter, n) - min(j * quarter, n)):
            code = length = 0
            while (length, code) not in decoder or length == 0:
                check(position < len(bits) and length < 12, where, "a string ends inside a code")
                code, length, position = code << 1 | bits[position], length + 1, position + 1
            found.append(decoder[length, code])
        check(
            len(bits) - position < 8 and not any(bits[position:]), where, "a string ends after its last code"
        )
        at = end
    return found
