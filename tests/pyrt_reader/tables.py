"""From bytes to the tables of a file: header, sections, and the rules of every field."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pyrt_reader.model import (
    BINARY,
    BITS,
    BLOCK_ROWS,
    BOOK,
    CODEBOOK,
    COLS,
    CSR,
    HUFFMAN,
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
    ROW_TABLE,
    ROWS,
    S4,
    S8,
    S8BOOK,
    SCALES,
    TERNARY,
    VALUES,
    File,
    Op,
    Stream,
    Tensor,
    Value,
    check,
)
from pyrt_reader.weights import decode

SECTION_NAMES = ["STRINGS", "SYMBOLS", "VALUES", "WORDS", "OPS", "TENSORS", "STREAMS"]
ENTRY_BYTES = [1, 16, 16, 4, 32, 48, 32]
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
        tensor.dense = decode(tensor)
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
