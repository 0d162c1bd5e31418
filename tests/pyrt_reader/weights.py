"""From the streams of a tensor to a dense matrix."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pyrt_reader import bits
from pyrt_reader.model import (
    BINARY,
    BITS,
    BLOCK_ROWS,
    BOOK,
    CODEBOOK,
    CSR,
    I16,
    I32,
    INDEX,
    ORDER,
    PAIRS,
    PANELS,
    PLACES,
    PRODUCT,
    Q4,
    Q8,
    RAW,
    ROWS,
    S4,
    S8,
    S8BOOK,
    SCALES,
    TERNARY,
    VALUES,
    Tensor,
    check,
)
from pyrt_reader.streams import columns, entry_values, numbers, row_table


def decode(t: Tensor) -> np.ndarray:
    where = f"tensor {t.name}"
    starts = rows_of = None
    if t.values == PRODUCT:
        return _decode_codewords(t, where)
    if t.structure in BLOCK_ROWS:
        return _decode_blocks(t, where)
    if t.structure == PAIRS:
        return _decode_pairs(t, where)
    if t.structure == CSR:
        starts, rows_of = row_table(t, where)
        chunks = np.diff(starts).tolist()
        cols = columns(t, chunks, rows_of, where)
    else:
        panels = t.groups * -(-t.rows // t.groups // 16)
        per_panel = [16 * min(256, t.cols - k) for k in range(0, t.cols, 256)]
        chunks = per_panel * panels
    if t.structure == ROWS and t.panel_rows:
        chunks = [t.cols * min(t.panel_rows, t.rows - r) for r in range(0, t.rows, t.panel_rows)]
    if t.values == BITS:
        stream = t.streams[VALUES]
        check(stream.coding == RAW and stream.bits == 1 and stream.count == 0, where, "VALUES fields")
        check(8 * stream.data.size == t.entries, where, "VALUES size")
        return bits.decode(stream.data, t.rows, t.cols, t.groups)
    if t.values in (BINARY, TERNARY):
        return _planes(t, where)
    if t.values in (I32, I16, S4) or (t.values == S8 and t.structure != CSR):
        return _integers(t, where)
    if t.values in (Q8, Q4):
        return _scaled(t, where)
    entries = entry_values(t, chunks, where)
    if t.structure == ROWS:
        return entries.reshape(t.rows, t.cols)
    if t.values == S8BOOK and t.structure == PANELS:
        return _s8_panels(t, entries)
    if t.structure == PANELS:
        per_group = t.rows // t.groups
        panels = entries.reshape(t.groups, -1, t.cols, 16).transpose(0, 1, 3, 2)
        return panels.reshape(t.groups, -1, t.cols)[:, :per_group].reshape(t.rows, t.cols)
    dense = np.zeros((t.rows, t.cols), entries.dtype)
    row = np.repeat(np.arange(t.rows), rows_of)
    check(np.unique(row * t.cols + cols).size == cols.size, where, "one entry per place")
    dense[row, cols] = entries
    return dense


def _decode_blocks(t: Tensor, where: str) -> np.ndarray:
    """A block of rows is read as one row whose entries have four values."""
    block = BLOCK_ROWS[t.structure]
    narrow = replace(t, rows=t.rows // block, panel_rows=t.panel_rows // block, entries=t.entries // block)
    starts, blocks_of = row_table(narrow, where)
    chunks = np.diff(starts)
    cols = columns(narrow, chunks.tolist(), blocks_of, where)
    values = entry_values(t, (block * chunks).tolist(), where).reshape(-1, block)
    dense = np.zeros((t.rows // block, block, t.cols), np.float32)
    row = np.repeat(np.arange(t.rows // block), blocks_of)
    check(np.unique(row * t.cols + cols).size == cols.size, where, "one entry per place")
    dense[row, :, cols] = values
    dense = dense.reshape(t.rows, t.cols)
    order = t.streams.get(ORDER)
    if order is None:
        return dense
    check((order.coding, order.bits, order.count) == (RAW, 32, 0), where, "ORDER fields")
    check(order.data.size == 4 * t.rows, where, "ORDER size")
    rows_of_group = order.data.view("<u4").reshape(t.groups, -1).astype(np.int64)
    each_once = np.arange(t.rows // t.groups)
    check((np.sort(rows_of_group, 1) == each_once).all(), where, "ORDER has every row of a group once")
    found = np.empty_like(dense)
    found[(rows_of_group + each_once.size * np.arange(t.groups)[:, None]).ravel()] = dense
    return found


def _decode_pairs(t: Tensor, where: str) -> np.ndarray:
    stream = t.streams[PLACES]
    check((stream.coding, stream.bits, stream.count) == (RAW, 2, 0), where, "PLACES fields")
    check(4 * stream.data.size == t.entries, where, "PLACES size")
    words = stream.data.view("<u4").astype(np.int64).reshape(-1, t.cols // 4, 2, 1)
    places = words >> 2 * np.arange(16) & 3
    check((places[:, :, 0] < places[:, :, 1]).all(), where, "the places of a row rise")
    check(t.values != CODEBOOK or t.streams[INDEX].coding == RAW, where, "2:4 is not coded")
    values = entry_values(t, [], where).reshape(places.shape)
    fours = np.zeros((len(places), t.cols // 4, 4, 16), np.float32)
    np.put_along_axis(fours, places, values, 2)
    panels = fours.reshape(t.groups, -1, t.cols, 16).transpose(0, 1, 3, 2).reshape(t.groups, -1, t.cols)
    return panels[:, : t.rows // t.groups].reshape(t.rows, t.cols)


def _integers(t: Tensor, where: str) -> np.ndarray:
    """s8 [M, K] or i32 or i16 [M, 1], columns in the file's order."""
    stream, bits = t.streams[VALUES], {S8: 8, I32: 32, I16: 16, S4: 4}[t.values]
    check(stream.coding == RAW and stream.bits == bits and stream.count == 0, where, "VALUES fields")
    check(8 * stream.data.size == bits * t.entries, where, "VALUES size")
    if t.values == I32:
        return stream.data.view("<i4").reshape(t.rows, t.cols)
    if t.values == I16:
        return stream.data.view("<i2").reshape(t.rows, t.cols)
    if t.values == S4:
        both = stream.data.reshape(-1, 64)
        nibbles = np.stack([both & 15, both >> 4], 1).astype(np.int8) - 8
        groups = nibbles.reshape(t.groups, -1, -(-t.cols // 8) * 2, 16, 4)[:, :, : t.cols // 4]
        panels = groups.transpose(0, 1, 3, 2, 4).reshape(t.groups, -1, t.cols)
        return panels[:, : t.rows // t.groups].reshape(t.rows, t.cols)
    entries = stream.data.view(np.int8)
    if t.structure == ROWS:
        quads = entries.reshape(-(-t.rows // 4), -1, 4, 4).transpose(0, 2, 1, 3)
        return quads.reshape(-(-t.rows // 4) * 4, -1)[: t.rows, : t.cols]
    return _s8_panels(t, entries)


def _s8_panels(t: Tensor, entries: np.ndarray) -> np.ndarray:
    panels = entries.reshape(t.groups, -1, t.cols // 4, 16, 4).transpose(0, 1, 3, 2, 4)
    return panels.reshape(t.groups, -1, t.cols)[:, : t.rows // t.groups].reshape(t.rows, t.cols)


def _scaled(t: Tensor, where: str) -> np.ndarray:
    """Integers times scales, each product rounded to f32."""
    bits = 8 if t.values == Q8 else 4
    stream, scales = t.streams[VALUES], t.streams[SCALES]
    check(stream.coding == RAW and stream.bits == bits and stream.count == 0, where, "VALUES fields")
    check(8 * stream.data.size == bits * t.entries, where, "VALUES size")
    check(scales.coding == RAW and scales.bits in (16, 32), where, "SCALES fields")
    check(scales.count >= 32 and scales.count % 32 == 0, where, "SCALES count")
    groups, panels = -(-t.cols // scales.count), t.groups * -(-t.rows // t.groups // 16)
    check(8 * scales.data.size == scales.bits * panels * groups * 16, where, "SCALES size")
    step = scales.data.view(f"<f{scales.bits // 8}").astype(np.float32)
    check(((step == 0) | ((step >= 2.0**-100) & (step <= 2.0**100))).all(), where, "scales in range")
    if t.values == Q8:
        integers = stream.data.view(np.int8).reshape(panels, -1, 16).transpose(0, 2, 1)[..., : t.cols]
    else:
        words = stream.data.view("<u4").reshape(panels, -1, 16)
        nibbles = (words[..., None] >> np.arange(0, 32, 4, dtype=np.uint32) & 15).astype(np.int64) - 8
        integers = nibbles.transpose(0, 2, 1, 3).reshape(panels, 16, -1)[..., : t.cols]
    per_column = np.repeat(step.reshape(panels, groups, 16), scales.count, 1)[:, : t.cols].transpose(0, 2, 1)
    dense = integers.astype(np.float32) * per_column
    return dense.reshape(t.groups, -1, t.cols)[:, : t.rows // t.groups].reshape(t.rows, t.cols)


def _planes(t: Tensor, where: str) -> np.ndarray:
    """Bits of one or two planes, each a value of its row."""
    planes = 1 if t.values == BINARY else 2
    stream, scales = t.streams[VALUES], t.streams[SCALES]
    check(stream.coding == RAW and stream.bits == planes and stream.count == 0, where, "VALUES fields")
    check(8 * stream.data.size == planes * t.entries, where, "VALUES size")
    check(scales.coding == RAW and scales.bits == 32 and scales.count == 0, where, "SCALES fields")
    panels = t.groups * -(-t.rows // t.groups // 16)
    check(scales.data.size == panels * planes * 16 * 4, where, "SCALES size")
    value = scales.data.view("<f4").reshape(panels, planes, 16, 1)
    check(np.isfinite(value).all(), where, "scales are finite")
    words = stream.data.view("<u4").reshape(panels, -1, planes, 16)
    bits = (words[..., None] >> np.arange(32, dtype=np.uint32) & 1).transpose(0, 2, 3, 1, 4)
    bits = bits.reshape(panels, planes, 16, -1)[..., : t.cols].astype(bool)
    check(planes == 1 or not bits.all(1).any(), where, "one value a weight")
    other = -value if planes == 1 else np.float32(0)
    dense = np.where(bits, value, other).sum(1, dtype=np.float32)
    return dense.reshape(t.groups, -1, t.cols)[:, : t.rows // t.groups].reshape(t.rows, t.cols)


def _decode_codewords(t: Tensor, where: str) -> np.ndarray:
    """A weight whose entries are codewords of d weights."""
    book = t.streams[BOOK]
    height = t.rows if t.structure == ROWS else t.groups * -(-t.rows // t.groups // 16) * 16
    size = height * t.cols // t.entries
    head = 4 if book.bits == 8 else 0
    check(book.coding == RAW and book.bits in (8, 16, 32) and 1 <= book.count <= 256, where, "BOOK fields")
    check(book.data.size == head + book.bits // 8 * size * book.count, where, "BOOK size")
    codewords = book.data[head:].view({8: "i1", 16: "<f2", 32: "<f4"}[book.bits]).astype(np.float32)
    if head:
        scale = book.data[:4].view("<f4")[0]
        check(2.0**-100 <= scale <= 2.0**100, where, "BOOK scale")
        codewords *= scale
    cols = t.cols // size
    if t.structure == ROWS:
        chunks = [cols * min(t.panel_rows, t.rows - r) for r in range(0, t.rows, t.panel_rows or t.rows)]
    else:
        step = 256 // size
        chunks = [16 * min(step, cols - k) for k in range(0, cols, step)] * (height // 16)
    indices = numbers(t, chunks, where)
    if t.structure == PANELS:
        panels = indices.reshape(t.groups, -1, cols, 16).transpose(0, 1, 3, 2)
        indices = panels.reshape(t.groups, -1, cols)[:, : t.rows // t.groups]
    return codewords.reshape(-1, size)[indices.reshape(t.rows, cols)].reshape(t.rows, t.cols)
