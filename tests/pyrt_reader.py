"""An independent reader of docs/format.md in plain numpy, and an interpreter of its ops: the tests' oracle.

Shares no code with converters/ or csrc/. `read(path)` checks every rule of the page and raises FormatError;
`File.dense(i)` decodes a tensor; `run(file, inputs)` executes the graph with torch.nn.functional.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyrt_bits
import pyrt_integers
import torch
from torch.nn import functional as F

SECTION_NAMES = ["STRINGS", "SYMBOLS", "VALUES", "WORDS", "OPS", "TENSORS", "STREAMS"]
ENTRY_BYTES = [1, 16, 16, 4, 32, 48, 32]
ROWS, PANELS, CSR, BCSR, BCSR8, BCSR16, PAIRS = range(1, 8)
BLOCK_ROWS = {BCSR: 4, BCSR8: 8, BCSR16: 16}
F32, CODEBOOK, F16, S8, I32, S4, BITS, Q8, Q4, PRODUCT, BINARY, TERNARY, I16, S8BOOK = range(1, 15)
VALUES, BOOK, INDEX, ROW_TABLE, COLS, SCALES, ORDER, PLACES = range(1, 9)
RAW, HUFFMAN = 0, 1
# op -> (name, inputs (least, most), tensors (least, most), fixed attribute words)
OP_TABLE = {
    1: ("linear", (1, 2), (1, 3), 3),
    2: ("conv2d", (1, 2), (1, 3), 13),
    3: ("unary", (1, 1), (0, 0), 3),
    4: ("binary", (2, 2), (0, 0), 4),
    5: ("scalar", (1, 1), (0, 0), 6),
    6: ("affine", (1, 1), (2, 2), 3),
    7: ("pool2d", (1, 1), (0, 0), 12),
    8: ("adaptive_pool2d", (1, 1), (0, 0), 3),
    9: ("concat", (1, 255), (0, 0), 1),
    10: ("slice", (1, 1), (0, 0), 4),
    11: ("reshape", (1, 1), (0, 0), None),
    12: ("permute", (1, 1), (0, 0), None),
    13: ("reduce", (1, 1), (0, 0), None),
    14: ("pad", (1, 1), (0, 0), None),
    15: ("softmax", (1, 1), (0, 0), 2),
    16: ("interpolate", (1, 1), (0, 0), 6),
    17: ("constant", (0, 0), (1, 1), None),
    18: ("quantize", (1, 1), (0, 0), 2),
    19: ("dequantize", (1, 1), (0, 0), 0),
    20: ("qlinear", (1, 2), (4, 4), 3),
    21: ("qconv2d", (1, 2), (4, 4), 13),
    22: ("qadd", (2, 2), (0, 0), 4),
    23: ("qmean", (1, 1), (0, 0), 3),
    24: ("qtable", (1, 1), (0, 0), 64),
    25: ("qlinear_dynamic", (1, 1), (4, 4), 3),
    26: ("embedding", (1, 1), (1, 2), 0),
    27: ("binarize", (1, 1), (0, 1), 0),
    28: ("signs", (1, 1), (0, 0), 0),
    29: ("blinear", (1, 2), (2, 3), 4),
    30: ("bconv2d", (1, 2), (2, 3), 15),
    31: ("recurrent", (1, 3), (1, 2), 3),
    32: ("norm", (1, 1), (2, 2), 2),
    33: ("attention", (3, 4), (0, 0), 5),
    34: ("product", (2, 2), (0, 0), 0),
    35: ("where", (3, 3), (0, 0), 0),
    36: ("range", (1, 1), (0, 0), 3),
    37: ("cumsum", (1, 1), (0, 0), 1),
}


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


def read(path: str | Path) -> File:
    return parse(Path(path).read_bytes())


def parse(data: bytes) -> File:
    check(len(data) >= 64, "header", "truncated")
    magic, major, minor, table_crc, size, count = struct.unpack_from("<8sHHIQI", data)
    check(magic == b"\x89PYRT\r\n\x1a", "header", "magic")
    check(zlib.crc32(data[:60]) == struct.unpack_from("<I", data, 60)[0], "header", "CRC")
    check(major == 1 and minor <= 2, "header", "version")
    check(size == len(data), "header", "file size")
    check(not any(data[28:60]), "header", "reserved")
    check(count == 7 and len(data) >= 64 + 32 * count, "header", "section count")
    check(zlib.crc32(data[64 : 64 + 32 * count]) == table_crc, "section table", "CRC")
    end = 64 + 32 * count
    sections = []
    for i, name in enumerate(SECTION_NAMES):
        kind, crc, offset, length, entries, zero = struct.unpack_from("<IIQQII", data, 64 + 32 * i)
        check(kind == i + 1 and zero == 0, name, "kind, order and reserved")
        end = _place(data, end, offset, length, name)
        check(length == entries * ENTRY_BYTES[i], name, "size is count x entry size")
        section = data[offset : offset + length]
        check(zlib.crc32(section) == crc, name, "CRC")
        sections.append(section)
    strings, symbols, values, words, ops, tensors, streams = sections
    words_array = np.frombuffer(words, "<u4")
    text = _strings(strings)
    file = File(_symbols(symbols, text), [], [], [])
    file.values = _values(values, text, words_array, len(file.symbols))
    all_streams = _streams(data, end, streams)
    file.tensors = _tensors(tensors, text, all_streams)
    file.ops = _ops(ops, text, words_array, file)
    for tensor in file.tensors:
        tensor.dense = _decode(tensor)
    return file


def _place(data: bytes, end: int, offset: int, size: int, where: str) -> int:
    check(offset == -(-end // 64) * 64, where, "offset is the next multiple of 64")
    check(offset + size <= len(data), where, "inside the file")
    check(not any(data[end:offset]), where, "zero padding before")
    return offset + size


def _strings(data: bytes) -> Callable[[int], str]:
    check(data[:1] == b"\0" and data[-1:] == b"\0", "STRINGS", "starts with the empty string, ends with NUL")
    starts = {0} | {i + 1 for i, byte in enumerate(data[:-1]) if byte == 0}

    def text(offset: int) -> str:
        check(offset in starts, "STRINGS", "a string field points to a string's start")
        found = data[offset : data.index(b"\0", offset)]
        check(len(found) <= 255, "STRINGS", "at most 255 bytes")
        return found.decode()

    return text


def _symbols(data: bytes, text: Callable[[int], str]) -> list[tuple[str, int, int]]:
    found = []
    for name, low, high, zero in struct.iter_unpack("<4I", data):
        check(zero == 0 and 1 <= low <= high < 2**31, "SYMBOLS", "1 <= min <= max")
        found.append((text(name), low, high))
    return found


def _values(data: bytes, text: Callable[[int], str], words: np.ndarray, symbols: int) -> list[Value]:
    found = []
    for name, dtype, rank, axis, role, dims, quant in struct.iter_unpack("<IBBbBII", data):
        check(1 <= dtype <= 5 and rank <= 6 and -1 <= axis < rank and role <= 2, "VALUES", "fields")
        scale, zero_point = 0.0, 0
        if dtype == 2:
            check(role == 0 and axis >= 0 and quant + 2 <= words.size, "VALUES", "u8 values are internal")
            scale, zero_point = float(words[quant : quant + 1].view("<f4")[0]), int(words[quant + 1])
            check(2.0**-100 <= scale <= 2.0**100 and zero_point <= 255, "VALUES", "scale and zero point")
        else:
            check(quant == 0, "VALUES", "only u8 has a quantization")
            check(dtype not in (3, 4) or role == 1, "VALUES", "integers are inputs")
            check(dtype != 5 or (role == 0 and axis >= 0), "VALUES", "values of bits are internal")
        sizes: list[int] = []
        if role == 1:
            check(dims + rank <= words.size, "VALUES", "dims inside WORDS")
            sizes = words[dims : dims + rank].view(np.int32).tolist()
            check(all(d >= 1 or (d < 0 and -1 - d < symbols) for d in sizes), "VALUES", "dims")
            check(all(v.role == 1 for v in found), "VALUES", "inputs come first")
        else:
            check(dims == 0, "VALUES", "dims of inputs only")
        found.append(Value(text(name), rank, axis, role, sizes, dtype == 2, dtype == 5, scale, zero_point))
    return found


def _streams(data: bytes, end: int, table: bytes) -> list[Stream]:
    found = []
    for i, fields in enumerate(struct.iter_unpack("<QQI4B2I", table)):
        offset, size, crc, kind, coding, bits, zero, count, zero2 = fields
        where = f"stream {i}"
        end = _place(data, end, offset, size, where)
        check(zlib.crc32(data[offset : offset + size]) == crc, where, "CRC")
        check(1 <= kind <= 8 and coding <= 1 and zero == 0 and zero2 == 0, where, "fields")
        found.append(Stream(kind, coding, bits, count, np.frombuffer(data, np.uint8, size, offset)))
    check(end == len(data), "file", "ends with the last stream")
    return found


def _tensors(table: bytes, text: Callable[[int], str], streams: list[Stream]) -> list[Tensor]:
    found = []
    next_stream = 0
    for fields in struct.iter_unpack("<IHHIIIIIIQQ", table):
        name, structure, values, rows, cols, groups, panel_rows, first, count, entries, parameters = fields
        where = f"tensor {text(name)}"
        check(1 <= structure <= 7 and 1 <= values <= 14, where, "structure and values")
        check(1 <= rows < 2**31 and 1 <= cols < 2**31 and groups >= 1 and rows % groups == 0, where, "shape")
        check(first == next_stream and first + count <= len(streams), where, "streams follow each other")
        next_stream += count
        sparse = structure == CSR or structure in BLOCK_ROWS
        kinds = [ROW_TABLE, COLS] if sparse else [PLACES] if structure == PAIRS else []
        if structure in BLOCK_ROWS and count and streams[first].kind == ORDER:
            kinds.insert(0, ORDER)
        kinds += [SCALES] if values in (Q8, Q4, BINARY, TERNARY) else []
        kinds += [BOOK, INDEX] if values in (CODEBOOK, PRODUCT, S8BOOK) else [VALUES]
        mine = streams[first : first + count]
        check([s.kind for s in mine] == kinds, where, "stream order")
        stored = rows * cols
        if values == S8:
            check(structure in (ROWS, PANELS, CSR), where, "s8: rows, panels, csr")
            stored = -(-rows // 4) * 4 * -(-cols // 4) * 4
        if values == PRODUCT:
            check(structure in (ROWS, PANELS) and entries > 0, where, "product: rows and panels")
            height = rows if structure == ROWS else groups * -(-rows // groups // 16) * 16
            size = height * cols // entries
            check(2 <= size <= 64 and cols % size == 0, where, "product: weights of a codeword")
            cols_of_entries, stored = cols // size, rows * cols // size
        check(values != S8BOOK or structure in (PANELS, CSR), where, "s8book: panels, csr")
        if values in (S8, S8BOOK) and structure != ROWS:
            check(cols % 4 == 0, where, "s8: fours of columns")
            check(panel_rows == 16, where, "s8: panels of 16 rows")
        check(values != S4 or (structure == PANELS and cols % 4 == 0), where, "s4: panels, fours of columns")
        check(values not in (I32, I16) or structure == ROWS, where, "i32 and i16: rows only")
        coded = any(s.coding == HUFFMAN for s in mine)
        in_chunks = (
            structure == ROWS and values in (CODEBOOK, PRODUCT) and coded and groups == 1 and panel_rows > 0
        )
        check(structure != ROWS or (panel_rows == 0 and not coded) or in_chunks, where, "rows: chunks")
        check(structure != ROWS or entries == stored, where, "rows: entries")
        check(values not in (Q8, Q4, BINARY, TERNARY) or structure == PANELS, where, "few bits: panels")
        if values == BITS:
            check(structure == PANELS and panel_rows == 32, where, "bits: panels of 32 rows")
            panels = groups * -(-rows // groups // 32)
            check(entries == panels * 32 * -(-cols // 8) * 8, where, "bits: entries")
        elif structure == PANELS:
            check(panel_rows == 16, where, "panels have 16 rows")
            whole = {S4: 8, Q4: 8, Q8: 4, BINARY: 32, TERNARY: 32}.get(values, 1)
            stored = cols_of_entries if values == PRODUCT else -(-cols // whole) * whole
            check(entries == groups * -(-rows // groups // 16) * 16 * stored, where, "panels: entries")
        check(not sparse or panel_rows >= 1, where, "csr: rows per panel")
        if structure in BLOCK_ROWS:
            whole = not any(n % BLOCK_ROWS[structure] for n in (rows // groups, panel_rows, entries))
            check(whole, where, "bcsr: rows and entries come in blocks")
        if structure == PAIRS:
            check(panel_rows == 16 and cols % 4 == 0, where, "2:4: panels of 16 rows, columns in fours")
            check(entries == groups * -(-rows // groups // 16) * 16 * cols // 2, where, "2:4: entries")
        by_kind = {s.kind: s for s in mine}
        found.append(
            Tensor(
                text(name), structure, values, rows, cols, groups, panel_rows, entries, parameters, by_kind
            )
        )
    check(next_stream == len(streams), "STREAMS", "every stream belongs to a tensor")
    return found


def _ops(table: bytes, text: Callable[[int], str], words: np.ndarray, file: File) -> list[Op]:
    produced = set(file.inputs)
    found = []
    for fields in struct.iter_unpack("<HBBHHIIIIII", table):
        kind, inputs, outputs, tensors, zero, name, source, operands, attrs, attr_count, zero2 = fields
        where = f"op {text(name)}"
        check(kind in OP_TABLE and outputs == 1 and zero == 0 and zero2 == 0, where, "kind and fields")
        label, n_in, n_tensors, n_attrs = OP_TABLE[kind]
        check(
            n_in[0] <= inputs <= n_in[1] and n_tensors[0] <= tensors <= n_tensors[1], where, "operand counts"
        )
        check(n_attrs is None or attr_count == n_attrs, where, "attribute count")
        total = inputs + 1 + tensors
        check(operands + total <= words.size and attrs + attr_count <= words.size, where, "inside WORDS")
        numbers = words[operands : operands + total].tolist()
        ins, out, weights = numbers[:inputs], numbers[inputs], numbers[inputs + 1 :]
        check(all(v in produced for v in ins), where, "inputs are produced before")
        check(out < len(file.values) and out not in produced, where, "output is produced once")
        check(all(t < len(file.tensors) for t in weights), where, "tensor numbers")
        produced.add(out)
        op = Op(label, text(name), text(source), ins, out, weights, words[attrs : attrs + attr_count])
        _check_layout(op, file.values)
        found.append(op)
    check(produced == set(range(len(file.values))), "VALUES", "every value is produced")
    return found


def _check_layout(op: Op, values: list[Value]) -> None:
    if op.kind in ("reshape", "permute", "constant", "where", "range"):
        return
    where = f"op {op.name} ({op.kind})"
    if op.kind == "embedding":
        rank = values[op.inputs[0]].rank
        check(
            (values[op.output].rank, values[op.output].channel_axis) == (rank + 1, rank),
            where,
            "channels last",
        )
        return
    inputs = {"attention": op.inputs[:3], "product": op.inputs[1:]}.get(op.kind, op.inputs)
    axes = {values[v].channel_axis for v in inputs}
    check(len(axes) == 1, where, "inputs have one channel axis")
    axis, out = values[inputs[0]].channel_axis, values[op.output]
    if op.kind == "product":
        check(axis == out.rank - 2, where, "channel axis is the last but one")
    if op.kind == "attention":
        check((axis, out.rank) == (2, 3), where, "rank 3, channel axis 2")
    if op.kind == "reduce" and not op.i(1):
        dropped = op.ints(2)
        check(dropped == sorted(set(dropped)), where, "axes rise")
        axis = -1 if axis in dropped else axis - sum(d < axis for d in dropped)
    check(out.channel_axis == axis, where, "output keeps the channel axis")
    if op.kind in ("linear", "qlinear", "qlinear_dynamic", "blinear"):
        check(axis == out.rank - 1, where, "channel axis is the last")
    if op.kind in ("conv2d", "bconv2d", "pool2d", "adaptive_pool2d", "interpolate"):
        check(axis == 1 and out.rank == 4, where, "rank 4, channel axis 1")


# --- streams to dense ---


def _decode(t: Tensor) -> np.ndarray:
    where = f"tensor {t.name}"
    starts = rows_of = None
    if t.values == PRODUCT:
        return _decode_codewords(t, where)
    if t.structure in BLOCK_ROWS:
        return _decode_blocks(t, where)
    if t.structure == PAIRS:
        return _decode_pairs(t, where)
    if t.structure == CSR:
        starts, rows_of = _row_table(t, where)
        chunks = np.diff(starts).tolist()
        cols = _columns(t, chunks, rows_of, where)
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
        return pyrt_bits.decode(stream.data, t.rows, t.cols, t.groups)
    if t.values in (BINARY, TERNARY):
        return _planes(t, where)
    if t.values in (I32, I16, S4) or (t.values == S8 and t.structure != CSR):
        return _integers(t, where)
    if t.values in (Q8, Q4):
        return _scaled(t, where)
    entries = _entry_values(t, chunks, where)
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
    starts, blocks_of = _row_table(narrow, where)
    chunks = np.diff(starts)
    cols = _columns(narrow, chunks.tolist(), blocks_of, where)
    values = _entry_values(t, (block * chunks).tolist(), where).reshape(-1, block)
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
    values = _entry_values(t, [], where).reshape(places.shape)
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


def _row_table(t: Tensor, where: str) -> tuple[np.ndarray, np.ndarray]:
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


def _columns(t: Tensor, chunks: list[int], row_nnz: np.ndarray, where: str) -> np.ndarray:
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


def _entry_values(t: Tensor, chunks: list[int], where: str) -> np.ndarray:
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
    return book.data.view(dtype)[_numbers(t, chunks, where)]


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
    numbers = _numbers(t, chunks, where)
    if t.structure == PANELS:
        panels = numbers.reshape(t.groups, -1, cols, 16).transpose(0, 1, 3, 2)
        numbers = panels.reshape(t.groups, -1, cols)[:, : t.rows // t.groups]
    return codewords.reshape(-1, size)[numbers.reshape(t.rows, cols)].reshape(t.rows, t.cols)


def _numbers(t: Tensor, chunks: Sequence[int], where: str) -> np.ndarray:
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


# --- the interpreter ---


def run(
    file: File, inputs: np.ndarray | Sequence[np.ndarray], dtype: torch.dtype = torch.float32
) -> dict[str, np.ndarray]:
    """The outputs by name, computed with torch in `dtype`, on integers as docs/format.md says to the bit."""
    arrays = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
    env: dict[int, torch.Tensor] = {}
    symbols: dict[int, int] = {}
    for number, array in zip(file.inputs, arrays, strict=True):
        value = file.values[number]
        check(array.ndim == value.rank, value.name, "rank")
        for size, expected in zip(array.shape, value.dims, strict=True):
            if expected < 0:
                _, low, high = file.symbols[-1 - expected]
                check(
                    symbols.setdefault(-1 - expected, size) == size and low <= size <= high,
                    value.name,
                    "size",
                )
            else:
                check(size == expected, value.name, "size")
        env[number] = torch.from_numpy(np.ascontiguousarray(array)).to(dtype)
    for op in file.ops:
        values = [file.values[v] for v in op.inputs]
        if file.values[op.output].bits or any(v.bits for v in values):
            tensors = [file.tensors[t] for t in op.tensors]
            axis = file.values[op.output].channel_axis
            result = pyrt_bits.run(
                op, [env[v].numpy() for v in op.inputs], tensors, file.values[op.output].bits, axis
            )
            y = torch.from_numpy(np.ascontiguousarray(result))
            env[op.output] = (
                y
                if y.dtype == torch.int8
                else _activate(op, 1, y).to(dtype)
                if op.kind != "signs"
                else y.to(dtype)
            )
            continue
        if file.values[op.output].u8 or any(v.u8 for v in values):
            arrays = [env[v].numpy() for v in op.inputs]
            tensors = [file.tensors[t] for t in op.tensors]
            result = pyrt_integers.run(op, arrays, tensors, values, file.values[op.output])
            y = torch.from_numpy(np.ascontiguousarray(result))
            env[op.output] = y if y.dtype == torch.uint8 else y.to(dtype)
            continue
        if op.kind == "qlinear_dynamic":
            tensors = [file.tensors[t] for t in op.tensors]
            sums = pyrt_integers.dynamic(env[op.inputs[0]].numpy(), tensors)
            env[op.output] = _activate(op, 0, torch.from_numpy(sums).to(dtype))
            continue
        weights = [torch.from_numpy(np.array(file.dense(t))).to(dtype) for t in op.tensors]
        y = _run_op(op, [env[v] for v in op.inputs], weights, file)
        check(y.dim() == file.values[op.output].rank, op.name, "rank of the output")
        env[op.output] = y
    return {file.values[v].name: env[v].numpy() for v in file.outputs}


def _activate(op: Op, at: int, y: torch.Tensor) -> torch.Tensor:
    code, p0, p1 = op.i(at), op.f(at + 1), op.f(at + 2)
    functions: list[Callable[[torch.Tensor], torch.Tensor]] = [
        lambda y: y,
        lambda y: y.clamp(p0, p1),
        lambda y: torch.where(y >= 0, y, p0 * y),
        torch.sigmoid,
        torch.tanh,
        lambda y: y * torch.sigmoid(y),
        lambda y: y * (y + 3).clamp(0, 6) / 6,
        lambda y: (y + 3).clamp(0, 6) / 6,
        lambda y: y * (1 + torch.erf(y / 2**0.5)) / 2,
        lambda y: F.gelu(y, approximate="tanh"),
        lambda y: torch.where(y > 0, y, p0 * torch.expm1(y)),
        torch.exp,
        torch.sqrt,
        torch.abs,
        lambda y: F.softplus(y, p0, p1),
        lambda y: y * torch.tanh(F.softplus(y)),
    ]
    return functions[code](y)


def _recurrent(op: Op, x: list[torch.Tensor], w: list[torch.Tensor]) -> torch.Tensor:
    """Torch's formulas of LSTMCell and GRUCell, one step after the other."""
    cell, reverse, both = op.ints()
    steps = x[0].flip(0) if reverse else x[0]
    zeros = steps.new_zeros(steps.shape[1], w[0].shape[1])
    h, c = ([s[0] for s in x[1:]] + [zeros, zeros][len(x) - 1 :])[:2]
    states = []
    for gates in steps:
        own = h @ w[0].T + (w[1].flatten() if len(w) > 1 else 0)
        if cell == 0:
            i, f, g, o = (gates + own).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        else:
            (r, u), n = (gates + own).chunk(3, 1)[:2], gates.chunk(3, 1)[2]
            h = u.sigmoid() * h + (1 - u.sigmoid()) * (n + r.sigmoid() * own.chunk(3, 1)[2]).tanh()
        states.append(torch.cat([h, c], 1) if both else h)
    y = torch.stack(states)
    return y.flip(0) if reverse else y


def _finish_product(
    op: Op, y: torch.Tensor, x: list[torch.Tensor], w: list[torch.Tensor], per_row: tuple[int, ...]
) -> torch.Tensor:
    """act(scale * y + bias + residual); bias and scale have one element per row."""
    if len(w) > 2:
        y = y * w[2].reshape(per_row)
    if len(w) > 1:
        y = y + w[1].reshape(per_row)
    return _activate(op, 0, y + x[1] if len(x) > 1 else y)


FUNCTIONS = [
    *(torch.add, torch.sub, torch.mul, torch.div, torch.pow),
    *(torch.eq, torch.ne, torch.lt, torch.le, torch.gt, torch.ge),
]


def _attention(op: Op, x: list[torch.Tensor]) -> torch.Tensor:
    """Head by head: softmax(scale*q k^T + mask) v."""
    scale, (heads, kv_heads, causal, boolean) = op.f(0), op.ints(1)
    q, k, v = (
        t.unflatten(2, (n, -1)).transpose(1, 2) for t, n in zip(x, (heads, kv_heads, kv_heads), strict=False)
    )
    k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
    scores = scale * (q @ k.transpose(2, 3))
    if len(x) > 3:
        scores = torch.where(x[3] != 0, scores, -torch.inf) if boolean else scores + x[3]
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[2:]).triu(1).bool(), -torch.inf)
    weights = scores.softmax(-1).nan_to_num(0)  # where all keys are hidden
    return (weights @ v).transpose(1, 2).flatten(2)


def _run_op(op: Op, x: list[torch.Tensor], w: list[torch.Tensor], file: File) -> torch.Tensor:
    if op.kind == "linear":
        return _finish_product(op, F.linear(x[0], w[0]), x, w, (-1,))
    if op.kind == "conv2d":
        kh, kw, sh, sw, top, left, bottom, right, dh, dw = op.ints(3)
        groups = file.tensors[op.tensors[0]].groups
        weight = w[0].reshape(len(w[0]), -1, kh, kw)
        padded = F.pad(x[0], (left, right, top, bottom))
        y = F.conv2d(padded, weight, None, (sh, sw), 0, (dh, dw), groups)
        return _finish_product(op, y, x, w, (-1, 1, 1))
    if op.kind == "unary":
        return _activate(op, 0, x[0])
    if op.kind == "binary":
        check(x[0].dim() == x[1].dim(), op.name, "same rank")
        return _activate(op, 1, FUNCTIONS[op.i(0)](x[0], x[1]).to(x[0].dtype))
    if op.kind == "scalar":
        a, b = x[0], torch.tensor(op.f(2), dtype=x[0].dtype)
        a, b = (b, a) if op.i(1) else (a, b)
        return _activate(op, 3, FUNCTIONS[op.i(0)](a, b).to(x[0].dtype))
    if op.kind == "affine":
        axis = file.values[op.inputs[0]].channel_axis
        shape = [-1 if i == axis else 1 for i in range(x[0].dim())]
        return _activate(op, 0, x[0] * w[0].reshape(shape) + w[1].reshape(shape))
    if op.kind == "pool2d":
        mode, kh, kw, sh, sw, ph, pw, dh, dw, ceil, include, divisor = op.ints()
        if mode == 0:
            return F.max_pool2d(x[0], (kh, kw), (sh, sw), (ph, pw), (dh, dw), bool(ceil))
        check(dh == dw == 1, op.name, "no dilated average")
        return F.avg_pool2d(x[0], (kh, kw), (sh, sw), (ph, pw), bool(ceil), bool(include), divisor or None)
    if op.kind == "adaptive_pool2d":
        size = [op.i(1 + i) or x[0].shape[2 + i] for i in range(2)]
        return (F.adaptive_avg_pool2d if op.i(0) else F.adaptive_max_pool2d)(x[0], size)
    if op.kind == "concat":
        return torch.cat(x, op.i(0))
    if op.kind == "slice":
        axis, start, stop, step = op.ints()
        return x[0][(slice(None),) * axis + (slice(start, stop, step),)]
    if op.kind == "reshape":
        return x[0].reshape([x[0].shape[-2 - d] if d <= -2 else d for d in op.ints()])
    if op.kind == "permute":
        return x[0].permute(op.ints())
    if op.kind == "reduce":
        axes, keepdim = op.ints(2), bool(op.i(1))
        if not axes:
            return x[0]
        return [torch.mean, torch.sum, torch.amax][op.i(0)](x[0], axes, keepdim)
    if op.kind == "pad":
        pads = op.ints(1)
        flat = [p for d in range(len(pads) - 2, -1, -2) for p in pads[d : d + 2]]
        return F.pad(x[0], flat, value=op.f(0))
    if op.kind == "softmax":
        return (torch.log_softmax if op.i(1) else torch.softmax)(x[0], op.i(0))
    if op.kind == "interpolate":
        mode = ["nearest", "bilinear"][op.i(0)]
        align = {"align_corners": bool(op.i(1))} if mode == "bilinear" else {}
        if op.i(2):
            return F.interpolate(x[0], size=(op.i(2), op.i(3)), mode=mode, **align)
        return F.interpolate(x[0], scale_factor=(op.f(4), op.f(5)), mode=mode, **align)
    if op.kind == "norm":
        d = x[0] if op.i(0) else x[0] - x[0].mean(-1, keepdim=True)
        return d / (d.square().mean(-1, keepdim=True) + op.f(1)).sqrt() * w[0].flatten() + w[1].flatten()
    if op.kind == "attention":
        return _attention(op, x)
    if op.kind == "product":
        return x[0] @ x[1]
    if op.kind == "where":
        return torch.where(x[0] != 0, x[1], x[2])
    if op.kind == "range":
        axis, start, step = op.ints()
        return start + step * torch.arange(x[0].shape[axis], dtype=x[0].dtype)
    if op.kind == "cumsum":
        return x[0].cumsum(op.i(0))
    if op.kind == "embedding":
        table = w[0] * w[1] if len(w) > 1 else w[0]
        check(bool(((x[0] >= 0) & (x[0] < len(table))).all()), op.name, "rows exist")
        return table[x[0].long()]
    if op.kind == "recurrent":
        return _recurrent(op, x, w)
    check(op.kind == "constant", op.name, "known op")
    return w[0].reshape(op.ints())
