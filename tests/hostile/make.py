"""Makes the hostile files of this folder: `python tests/hostile/make.py`.

Every file breaks one rule of docs/format.md, with valid CRCs unless the CRC is the point. CASES has, by name,
the bytes and a pattern that the error must match; the folder holds the COMMITTED of them.
"""

import copy
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parent)]

from pyrt_edit import NO_ACT, SECTIONS, Entry, Pyrt, huffman, one_op, seal, section, words_of  # noqa: E402

CASES: dict[str, tuple[bytes, str]] = {}
RELU = (1, 0.0, float("inf"))
CONV = (3, 3, 1, 1, 1, 1, 1, 1, 1, 1)  # kh, kw, strides, pads, dilations
IMAGE = (1, 2, 6, 6)


def case(name: str, data: bytes, pattern: str) -> None:
    assert name not in CASES
    re.compile(pattern)
    CASES[name] = data, pattern


def sparse() -> Pyrt:
    """x [batch, 9] -> linear `fc` [6, 9], csr8+codebook+huffman in panels of two rows -> y [batch, 6]."""
    file = Pyrt()
    file.symbols = [Entry(name=file.string("batch"), min=2, max=8, reserved=0)]
    x, y = file.add_value("x", 2, 1, 1, [-1, 9]), file.add_value("y", 2, 1, 2)
    counts = bytes([2, 0, 3, 1, 1, 2])
    cols = huffman([2, 2, 2, 0, 3, 3], [[0, 4], [1, 1, 2, 5], [0, 2, 2]])
    index = huffman([1, 2, 2], [[0, 1], [2, 0, 0, 0], [1, 1, 2]])
    rows = struct.pack("<4I", 0, 2, 6, 9) + counts
    book = struct.pack("<3f", -1, 0.5, 2)
    streams = ("ROWS", rows, 8), ("COLS", cols, 8), ("BOOK", book, 32), ("INDEX", index, 2)
    w = file.add_tensor("fc.weight", 6, 9, *streams, panel_rows=2)
    file.tensors[w].entries = 9
    for kind, count in (("COLS", 6), ("INDEX", 3)):
        stream = file.stream("fc.weight", kind)
        stream.coding, stream.count = 1, count
    file.add_op("linear", "fc", [x], y, [w], RELU)
    return file


def dense() -> Pyrt:
    """x [2, 5] -> linear `fc` [3, 5], panels+codebook (3-bit indices of 6 values) -> y [2, 3]."""
    file = Pyrt()
    x, y = file.add_value("x", 2, 1, 1, [2, 5]), file.add_value("y", 2, 1, 2)
    book = struct.pack("<6f", *range(6))
    index = bytes([0b10_001_000, 0b0_100_011_0, 0b101_000_10]) * 10 + bytes(8)
    w = file.add_tensor("fc.weight", 3, 5, ("BOOK", book, 32), ("INDEX", index, 3), panel_rows=16)
    file.add_op("linear", "fc", [x], y, [w], RELU)
    return file


def product() -> Pyrt:
    """x [1, 8] -> linear `fc` [3, 8], panels of 3-bit indices of five s8 codewords of four -> y [1, 3]."""
    file = Pyrt()
    x, y = file.add_value("x", 2, 1, 1, [1, 8]), file.add_value("y", 2, 1, 2)
    book = struct.pack("<f20b", 0.5, *range(-10, 10))
    index = bytes([0b10_001_000, 0b0_100_011_0, 0b100_000_10]) * 4 + bytes(8)
    w = file.add_tensor("fc.weight", 3, 8, ("BOOK", book, 8), ("INDEX", index, 3), panel_rows=16)
    file.tensors[w].values, file.tensors[w].entries = 10, 32
    file.stream("fc.weight", "BOOK").count = 5
    file.add_op("linear", "fc", [x], y, [w], RELU)
    return file


def raw_csr() -> Pyrt:
    """x [1, 600] -> linear `fc` [3, 600], csr16+f32 -> y [1, 3]."""
    file = Pyrt()
    x, y = file.add_value("x", 2, 1, 1, [1, 600]), file.add_value("y", 2, 1, 2)
    rows = struct.pack("<3I3H", 0, 3, 4, 2, 1, 1)
    cols = struct.pack("<4H", 5, 300, 599, 0)
    streams = ("ROWS", rows, 16), ("COLS", cols, 16), ("VALUES", struct.pack("<4f", 1, 2, 3, 4), 32)
    w = file.add_tensor("fc.weight", 3, 600, *streams, panel_rows=2)
    file.tensors[w].entries = 4
    file.add_op("linear", "fc", [x], y, [w], NO_ACT)
    return file


def blocks() -> Pyrt:
    """x [1, 9] -> linear `fc` [12, 9], bcsr8+codebook+huffman in panels of eight rows -> y [1, 12]."""
    file = Pyrt()
    x, y = file.add_value("x", 2, 1, 1, [1, 9]), file.add_value("y", 2, 1, 2)
    cols = huffman([2, 2, 2, 0, 3, 3], [[0, 4, 1], [1, 2]])
    index = huffman([1, 2, 2], [[0, 1, 0, 0, 2, 0, 0, 0, 1, 1, 2, 0], [0, 0, 1, 2, 0, 1, 0, 2]])
    rows = struct.pack("<3I", 0, 3, 5) + bytes([2, 1, 2])
    book = struct.pack("<3f", -1, 0.5, 2)
    streams = ("ROWS", rows, 8), ("COLS", cols, 8), ("BOOK", book, 32), ("INDEX", index, 2)
    w = file.add_tensor("fc.weight", 12, 9, *streams, panel_rows=8)
    file.tensors[w].structure, file.tensors[w].entries = 4, 20
    for kind, count in (("COLS", 6), ("INDEX", 3)):
        stream = file.stream("fc.weight", kind)
        stream.coding, stream.count = 1, count
    file.add_op("linear", "fc", [x], y, [w], RELU)
    return file


def pairs() -> Pyrt:
    """x [1, 8] -> linear `fc` [2, 8], 2:4+f32 -> y [1, 2]."""
    file = Pyrt()
    x, y = file.add_value("x", 2, 1, 1, [1, 8]), file.add_value("y", 2, 1, 2)
    places = struct.pack("<4I", 0, 0x5555555D, 1, 0xAAAAAAAE)
    streams = ("PLACES", places, 2), ("VALUES", struct.pack("<64f", *range(64)), 32)
    w = file.add_tensor("fc.weight", 2, 8, *streams, panel_rows=16)
    file.tensors[w].structure, file.tensors[w].entries = 7, 64
    file.add_op("linear", "fc", [x], y, [w], NO_ACT)
    return file


def ordered() -> Pyrt:
    """x [1, 4] -> linear `fc` [8, 4], b8csr8+f32 with its rows in another order -> y [1, 8]."""
    file = Pyrt()
    x, y = file.add_value("x", 2, 1, 1, [1, 4]), file.add_value("y", 2, 1, 2)
    order = struct.pack("<8I", 7, 6, 5, 4, 0, 1, 2, 3)
    rows, cols = struct.pack("<2I", 0, 2) + bytes([2]), bytes([0, 1])
    values = struct.pack("<16f", *range(16))
    streams = ("ORDER", order, 32), ("ROWS", rows, 8), ("COLS", cols, 8), ("VALUES", values, 32)
    w = file.add_tensor("fc.weight", 8, 4, *streams, panel_rows=8)
    file.tensors[w].structure, file.tensors[w].entries = 5, 16
    file.add_op("linear", "fc", [x], y, [w], NO_ACT)
    return file


# Layout.


def raw(name: str, pattern: str, at: int, form: str, *values: int, base: Callable[[], Pyrt] = dense) -> None:
    """A case that overwrites bytes of a good file and makes the CRCs right."""
    data = bytearray(base().build())
    struct.pack_into("<" + form, data, at, *values)
    case(name, seal(data), pattern)


def layout() -> None:
    good = dense().build()
    table = {name: section(good, name) for name in SECTIONS}
    offset = {name: struct.unpack_from("<Q", good, at + 8)[0] for name, at in table.items()}
    streams = offset["STREAMS"]
    first = struct.unpack_from("<Q", good, streams)[0]
    case("empty", b"", "header: .* at least 64 bytes.* has 0")
    case("header_only", good[:64], "header: declares .*truncated")
    case("half", good[: len(good) // 2], "header: declares .*truncated")
    case("tail_added", seal(good + bytes(64)), "header: declares")
    raw("wrong_magic", "header: not a .pyrt file", 0, "B", 0x88)
    raw("major_2", r"header: format version 2\.2.*update", 8, "H", 2)
    raw("minor_3", r"header: format version 1\.3.*update", 10, "H", 3)
    raw("header_reserved", "header: reserved bytes are not zero", 40, "B", 1)
    raw("eight_sections", "header: 8 sections, expected 7", 24, "I", 8)
    raw("sections_swapped", "section SYMBOLS: missing or out of order", table["SYMBOLS"], "I", 3)
    raw("section_unknown", "section STREAMS: missing or out of order", table["STREAMS"], "I", 8)
    raw("section_reserved", "section WORDS: reserved bytes", table["WORDS"] + 28, "I", 1)
    raw("section_overlap", "section WORDS: does not start", table["WORDS"] + 8, "Q", offset["WORDS"] - 64)
    raw("section_hole", "section OPS: does not start", table["OPS"] + 8, "Q", offset["OPS"] + 64)
    raw("section_unaligned", "section OPS: does not start", table["OPS"] + 8, "Q", offset["OPS"] + 1)
    raw("section_offset_wraps", "section OPS: does not start", table["OPS"] + 8, "Q", 2**64 - 64)
    raw(
        "section_padding", "section SYMBOLS: the padding before it is not zero", offset["SYMBOLS"] - 1, "B", 7
    )
    raw(
        "section_past_end",
        "section STREAMS: reaches past the end",
        table["STREAMS"] + 16,
        "QI",
        32 * 2**20,
        2**20,
    )
    raw("section_size_wraps", "section WORDS: reaches past the end", table["WORDS"] + 16, "Q", 2**64 - 64)
    raw(
        "section_count_huge",
        "section OPS: 32 bytes do not hold 4294967295",
        table["OPS"] + 24,
        "I",
        2**32 - 1,
    )
    raw("section_count_zero", "section TENSORS: 48 bytes do not hold 0", table["TENSORS"] + 24, "I", 0)
    raw("stream_overlap", "section STREAMS: entry 1: does not start", streams + 32, "Q", first)
    raw("stream_hole", "section STREAMS: entry 1: does not start", streams + 32, "Q", first + 128)
    raw("stream_offset_wraps", "section STREAMS: entry 0: does not start", streams, "Q", 2**64 - 64)
    raw("stream_size_wraps", "section STREAMS: entry 0: reaches past the end", streams + 8, "Q", 2**64 - 1)
    raw("stream_reserved", "section STREAMS: entry 0: reserved", streams + 28, "I", 1)
    raw("stream_padding", "section STREAMS: entry 1: the padding before it", first + 40, "B", 1)
    file = dense()
    damaged = bytearray(file.build())
    damaged[file.streams[1].offset] ^= 1
    case("stream_crc", bytes(damaged), r"STREAMS: entry 1 \(tensor fc.weight\): CRC mismatch")
    file.streams.append(Entry(**{**vars(file.streams[1]), "data": bytearray(8)}))
    case("stream_of_no_tensor", file.build(), "section STREAMS: a stream belongs to no tensor")
    file = dense()
    file.tensors[0].first_stream = 1
    case("stream_of_another", file.build(), r"TENSORS: entry 0 \(fc.weight\): its streams do not follow")
    longer = bytearray(good + b"\1")
    struct.pack_into("<Q", longer, 16, len(longer))
    case("bytes_after_the_last", seal(longer), "1 bytes after its last stream")


# Tables.


def edited(name: str, pattern: str, edit: Callable[[Pyrt], object], base: Callable[[], Pyrt] = dense) -> None:
    file = base()
    edit(file)
    case(name, file.build(), pattern)


def put(table: str, row: int, **fields: int) -> Callable[[Pyrt], None]:
    """Sets fields of a row of a table."""
    return lambda file: getattr(file, table)[row].__dict__.update(fields)


def word(value: int, row: str = "ops", field: str = "operands", plus: int = 0) -> Callable[[Pyrt], None]:
    """Sets the word that the first row of a table points at."""
    return lambda file: file.words.__setitem__(getattr(getattr(file, row)[0], field) + plus, value)


def tables() -> None:
    edited("strings_no_nul", "STRINGS: must start .* end with a NUL", lambda f: f.strings.extend(b"abc"))
    edited("strings_no_empty", "STRINGS: must start", lambda f: f.strings.__setitem__(0, 65))
    edited("string_too_long", "STRINGS: a string longer than 255", lambda f: f.string("a" * 256))
    edited("string_not_utf8", "STRINGS: not UTF-8", lambda f: f.strings.extend(b"\xed\xa0\x80\0"))
    edited("string_control", "STRINGS: a control character", lambda f: f.strings.extend(b"\x1b[2J\0"))
    edited("string_inside", "VALUES: entry 0: does not point at a string", put("values", 0, name=4))
    edited("string_past_end", "OPS: entry 0: does not point at a string", put("ops", 0, source=2**32 - 1))
    edited("symbol_range", "SYMBOLS: entry 0: needs 1 <= min <= max", put("symbols", 0, min=9), sparse)
    edited("symbol_zero", "SYMBOLS: entry 0: needs 1 <= min <= max", put("symbols", 0, min=0), sparse)
    edited("value_dtype", "VALUES: entry 1: unknown dtype 9", put("values", 1, dtype=9))
    edited("value_i64_output", "VALUES: entry 1: only graph inputs are i32 or i64", put("values", 1, dtype=4))
    edited("value_i64_quant", "VALUES: entry 0: only a u8 value", put("values", 0, dtype=4, quant=1))
    edited("value_rank_7", "VALUES: entry 0: rank over 6", put("values", 0, rank=7))
    edited("value_axis", "VALUES: entry 0: channel axis out of range", put("values", 0, channel_axis=2))
    edited("value_role", "VALUES: entry 1: unknown role", put("values", 1, role=3))
    edited(
        "value_dims_past_words",
        "VALUES: entry 0: reaches past section WORDS",
        put("values", 0, dims=2**32 - 1),
    )
    edited("value_dim_zero", "VALUES: entry 0: dimension 0 is neither", word(0, "values", "dims"))
    edited(
        "value_dim_symbol",
        "VALUES: entry 0: dimension 0 is neither",
        word(2**32 - 2, "values", "dims"),
        sparse,
    )
    edited("value_internal_dims", "VALUES: entry 1: only graph inputs", put("values", 1, dims=1))
    edited("value_never_produced", "VALUES: entry 2 is never produced", lambda f: f.add_value("z", 2, 1))
    edited(
        "input_after_others",
        "VALUES: entry 2: graph inputs must come first",
        lambda f: f.add_value("z", 0, -1, 1),
    )
    edited("no_output", "VALUES: needs a graph input and a graph output", put("values", 1, role=0))
    edited("no_input", "VALUES: needs a graph input", lambda f: (f.values.pop(0), f.ops.clear()))
    edited("op_unknown", "unknown op code 99", put("ops", 0, kind=99))
    edited("op_reserved", r"OPS: entry 0 \(fc\): reserved", put("ops", 0, reserved1=1))
    edited("op_reads_unmade", r"OPS: entry 0 \(fc\): reads a value not yet produced", word(1))
    edited("op_reads_unknown", r"OPS: entry 0 \(fc\): reads a value not yet", word(2**32 - 1))
    edited(
        "op_writes_twice", r"OPS: entry 1 \(fc\): produces a value twice", lambda f: f.ops.append(f.ops[0])
    )
    edited("op_writes_input", r"OPS: entry 0 \(fc\): produces a value twice", word(0, plus=1))
    edited("op_unknown_tensor", r"OPS: entry 0 \(fc\): unknown tensor", word(1, plus=2))
    edited(
        "op_operands_past_words",
        r"OPS: entry 0 \(fc\): reaches past section WORDS",
        put("ops", 0, inputs=255),
    )
    edited(
        "op_attrs_past_words",
        r"OPS: entry 0 \(fc\): reaches past section WORDS",
        put("ops", 0, attr_count=2**32 - 1),
    )
    edited("op_two_outputs", "linear fc: must have one output", lambda f: two_outputs(f))


def two_outputs(file: Pyrt) -> None:
    z = file.add_value("z", 2, 1)
    file.ops.clear()
    file.add_op("linear", "fc", [0], [1, z], [0], RELU)


# Tensors.


def in_stream(kind: str, at: int, form: str, *values: float) -> Callable[[Pyrt], None]:
    return lambda file: struct.pack_into("<" + form, file.stream("fc.weight", kind).data, at, *values)


def replace(which: str, data: bytes, **fields: int) -> Callable[[Pyrt], None]:
    def edit(file: Pyrt) -> None:
        stream = file.stream("fc.weight", which)
        stream.data = bytearray(data)
        stream.__dict__.update(fields)

    return edit


def stream(which: str, **fields: int) -> Callable[[Pyrt], None]:
    return lambda file: file.stream("fc.weight", which).__dict__.update(fields)


def tensors() -> None:
    where = r"TENSORS: entry 0 \(fc.weight\): "
    edited("structure_9", where + "unknown structure 9", put("tensors", 0, structure=9))
    edited("values_15", where + "unknown values code 15", put("tensors", 0, values=15))
    edited("f32_called_f16", where + "VALUES: wrong size", put("tensors", 0, values=3), raw_csr)
    edited("rows_zero", where + "empty or too large", put("tensors", 0, rows=0))
    edited("cols_zero", where + "empty or too large", put("tensors", 0, cols=0))
    edited("rows_2_31", where + "empty or too large", put("tensors", 0, rows=2**31))
    edited("groups_zero", where + "groups must divide rows", put("tensors", 0, groups=0))
    edited("groups_do_not_divide", where + "groups must divide rows", put("tensors", 0, groups=2))
    edited("panel_rows_8", where + "wrong panel_rows 8", put("tensors", 0, panel_rows=8))
    edited("panel_rows_zero", where + "wrong panel_rows 0", put("tensors", 0, panel_rows=0), sparse)
    big = {"rows": 2**31 - 1, "cols": 2**31 - 1, "groups": 1}
    edited("rows_x_cols", where + "rows x cols is too large", put("tensors", 0, **big))
    edited("entries_wrong", where + "entries do not agree", put("tensors", 0, entries=81))
    edited("entries_huge", where + "entries do not agree", put("tensors", 0, entries=2**64 - 1), sparse)
    edited("parameters_huge", where + "parameter count", put("tensors", 0, parameters=2**63))
    edited(
        "stream_missing",
        where + "wrong number of streams",
        lambda f: (f.streams.pop(), put("tensors", 0, stream_count=1)(f)),
    )
    edited("stream_order", where + "streams missing or out of order", stream("BOOK", kind=1))
    edited("coding_unknown", where + "coding not allowed", stream("INDEX", coding=2))
    edited("coding_of_book", where + "coding not allowed", stream("BOOK", coding=1))

    stands = where + "an entry of a product codebook stands for 2 to 64 columns"
    for name, entries in (("none", 0), ("of_one", 128), ("of_three", 43), ("of_five", 25), ("huge", 2**63)):
        edited("product_entries_" + name, stands, put("tensors", 0, entries=entries), product)
    edited(
        "product_csr",
        where + "wrong panel_rows|a product codebook is for",
        put("tensors", 0, structure=3),
        product,
    )
    edited("product_f32_book", where + "BOOK: needs 1 to 256 codewords", stream("BOOK", bits=32), product)
    edited("product_book_bits", where + "BOOK: bits must be 8, 16 or 32", stream("BOOK", bits=4), product)
    edited("product_book_count", where + "BOOK: needs 1 to 256 codewords", stream("BOOK", count=4), product)
    edited(
        "product_book_257", where + "BOOK: needs 1 to 256", replace("BOOK", bytes(1032), count=257), product
    )
    edited("product_scale_nan", where + "BOOK: the scale", in_stream("BOOK", 0, "f", float("nan")), product)
    edited("product_scale_zero", where + "BOOK: the scale", in_stream("BOOK", 0, "f", 0.0), product)
    edited(
        "product_index_outside",
        where + "INDEX: an index outside the book",
        in_stream("INDEX", 0, "B", 5),
        product,
    )
    edited("product_index_size", where + "INDEX: wrong size", replace("INDEX", bytes(21)), product)

    edited("rows_bits", where + "ROWS: bits must be 8, 16 or 32", stream("ROWS", bits=24), sparse)
    edited("rows_size", where + "ROWS: wrong size", replace("ROWS", bytes(21)), sparse)
    edited(
        "rows_too_many",
        where + "ROWS: row 2 has more entries than columns",
        in_stream("ROWS", 18, "B", 10),
        sparse,
    )
    edited("rows_do_not_sum", where + "ROWS: the counts do not add up", in_stream("ROWS", 21, "B", 3), sparse)
    edited(
        "rows_last_start", where + "ROWS: the counts do not add up", in_stream("ROWS", 12, "I", 10), sparse
    )
    edited(
        "rows_start_falls", where + "ROWS: panel_start does not agree", in_stream("ROWS", 8, "I", 1), sparse
    )
    edited(
        "rows_start_huge",
        where + "ROWS: panel_start does not agree",
        in_stream("ROWS", 4, "I", 2**32 - 1),
        sparse,
    )
    edited(
        "rows_start_first", where + "ROWS: panel_start does not agree", in_stream("ROWS", 0, "I", 1), sparse
    )

    edited("cols_bits", where + "COLS: bits must be 8 or 16", stream("COLS", bits=32), raw_csr)
    edited("cols_size", where + "COLS: wrong size", replace("COLS", bytes(9)), raw_csr)
    edited(
        "cols_past_end",
        where + "COLS: row 1 reaches past the last column",
        in_stream("COLS", 4, "H", 600),
        raw_csr,
    )
    edited("cols_wrap", where + "COLS: row 0 reaches past", in_stream("COLS", 0, "2H", 65535, 65535), raw_csr)
    coded = huffman([2, 2, 2, 0, 3, 3], [[0, 4], [5, 1, 2, 5], [0, 2, 2]])
    edited(
        "coded_cols_past_end",
        where + "COLS: row 2 reaches past the last column",
        replace("COLS", coded),
        sparse,
    )
    edited("coded_cols_16", where + "COLS: only 8-bit deltas", stream("COLS", coding=1), raw_csr)
    edited("values_size", where + "VALUES: wrong size", replace("VALUES", bytes(12)), raw_csr)

    fours = where + "the rows of a bcsr group and panel, and its entries, come in blocks"
    edited("blocks_rows", fours, put("tensors", 0, rows=10), blocks)
    edited("blocks_groups", fours, put("tensors", 0, groups=2), blocks)
    edited("blocks_panel_rows", fours, put("tensors", 0, panel_rows=6), blocks)
    edited("blocks_entries", fours, put("tensors", 0, entries=18), blocks)
    edited("blocks_fewer", where + "ROWS: the counts do not add", put("tensors", 0, entries=16), blocks)
    edited("blocks_size", where + "ROWS: wrong size", replace("ROWS", bytes(24)), blocks)
    edited("blocks_cols", where + "COLS: row 0 reaches past", put("tensors", 0, cols=5), blocks)
    short = huffman([1, 2, 2], [[0, 1, 0], [0, 0]])
    edited("blocks_index", where + "INDEX: Huffman chunk 0 does not decode", replace("INDEX", short), blocks)
    edited("blocks_of_8", fours, put("tensors", 0, structure=5), blocks)
    once = where + "ORDER: not every row of a group once"
    edited("order_twice", once, in_stream("ORDER", 4, "I", 7), ordered)
    edited("order_past_end", once, in_stream("ORDER", 4, "I", 8), ordered)
    edited("order_size", where + "ORDER: wrong size", replace("ORDER", bytes(28)), ordered)
    rising = where + "PLACES: the two places of a row do not rise"
    edited("places_equal", rising, in_stream("PLACES", 4, "I", 0x5555555C), pairs)
    edited("places_fall", rising, in_stream("PLACES", 8, "I", 3), pairs)
    edited("places_size", where + "PLACES: wrong size", replace("PLACES", bytes(12)), pairs)
    edited("places_cols", where + "the columns of 2:4 come in fours", put("tensors", 0, cols=10), pairs)
    edited("places_entries", where + "entries do not agree", put("tensors", 0, entries=32), pairs)
    edited("places_values", where + "VALUES: wrong size", replace("VALUES", bytes(128)), pairs)

    edited("book_empty", where + "BOOK: needs 1 to 256", replace("BOOK", b"", count=0))
    edited("book_257", where + "BOOK: needs 1 to 256", replace("BOOK", bytes(4 * 257), count=257))
    edited("book_size", where + "BOOK: needs 1 to 256", stream("BOOK", count=5))
    edited("index_bits_zero", where + "INDEX: bits must be 1 to 8", stream("INDEX", bits=0))
    edited("index_bits_9", where + "INDEX: bits must be 1 to 8", stream("INDEX", bits=9))
    edited("index_bits_few", where + "INDEX: bits must .* cover the book", stream("INDEX", bits=2))
    edited("index_size", where + "INDEX: wrong size", replace("INDEX", bytes(30)))
    edited("index_guard", where + "INDEX: the bits after the last entry", in_stream("INDEX", 37, "B", 1))
    edited(
        "index_outside", where + "INDEX: an index outside the book", in_stream("INDEX", 29, "B", 0b110_000_00)
    )
    book = struct.pack("<2f", 1, 2)
    edited(
        "coded_index_outside",
        where + "INDEX: the Huffman code has a symbol outside",
        replace("BOOK", book, count=2),
        sparse,
    )

    code = r"COLS: the Huffman code is not complete"
    edited("code_incomplete", where + code, in_stream("COLS", 0, "B", 0x23), sparse)
    edited("code_overfull", where + code, in_stream("COLS", 0, "B", 0x11), sparse)
    edited("code_length_13", where + code, in_stream("COLS", 2, "B", 0x3D), sparse)
    edited("code_empty", where + code, in_stream("COLS", 0, "3B", 0, 0, 0), sparse)
    edited("code_padding", where + "COLS: padding is not zero", in_stream("COLS", 3, "B", 1), sparse)
    edited("code_high_nibble", where + "INDEX: padding is not zero", in_stream("INDEX", 1, "B", 0x12), sparse)
    edited("alphabet_one", where + "COLS: Huffman stream too short", stream("COLS", count=1), sparse)
    edited("alphabet_huge", where + "COLS: Huffman stream too short", stream("COLS", count=2**32 - 1), sparse)
    edited("coded_too_short", where + "INDEX: Huffman stream too short", replace("INDEX", bytes(12)), sparse)
    fill = "COLS: the Huffman chunks do not fill"
    edited("chunks_end_early", where + fill, in_stream("COLS", 16, "I", 1), sparse)
    edited("chunks_start_late", where + fill, in_stream("COLS", 4, "I", 1), sparse)
    edited(
        "chunks_guard", where + fill, lambda f: f.stream("fc.weight", "COLS").data.__setitem__(-1, 1), sparse
    )
    edited("chunks_fall", where + r"COLS: Huffman chunk \d .*", in_stream("COLS", 8, "2I", 16, 8), sparse)
    edited(
        "chunks_huge",
        where + "COLS: Huffman chunk 0 out of bounds",
        in_stream("COLS", 8, "I", 2**32 - 1),
        sparse,
    )
    short = huffman([2, 2, 2, 0, 3, 3], [[0, 4], [1, 1, 2], [0, 2, 2]])
    edited("chunk_short", where + "COLS: Huffman chunk 1 does not decode", replace("COLS", short), sparse)
    long = huffman([2, 2, 2, 0, 3, 3], [[0, 4], [1, 1, 2, 5, 1], [0, 2, 2]])
    edited("chunk_long", where + "COLS: Huffman chunk 1 does not decode", replace("COLS", long), sparse)
    swapped = huffman([2, 2, 2, 0, 3, 3], [[], [0, 4, 1, 1, 2, 5], [0, 2, 2]])
    edited("chunk_empty", where + "COLS: Huffman chunk 0 does not decode", replace("COLS", swapped), sparse)
    edited(
        "chunk_string_size",
        where + "COLS: Huffman chunk 0 does not decode",
        in_stream("COLS", 20, "H", 65535),
        sparse,
    )


# Ops.


def op(
    name: str, pattern: str, kind: str, dims: tuple[int, ...], *attrs: int | float, **more: object
) -> None:
    case(name, one_op(kind, dims, attrs, **more).build(), pattern)  # type: ignore[arg-type]


def with_csr(rows: int, cols: int, groups: int = 1) -> dict[str, object]:
    file = Pyrt()
    return {"file": file, "tensors": [file.add_csr("w", rows, cols, groups=groups)]}


def two_csr() -> dict[str, object]:
    file = Pyrt()
    return {"file": file, "tensors": [file.add_csr("w0", 4, 1), file.add_csr("w1", 4, 1)]}


def with_vectors(*lengths: int) -> dict[str, object]:
    file = Pyrt()
    return {"file": file, "tensors": [file.add_vector(f"w{i}", n) for i, n in enumerate(lengths)]}


def ops() -> None:
    layer = "OPS: {} the_op: "
    lin, conv, pool = layer.format("linear"), layer.format("conv2d"), layer.format("pool2d")
    op("linear_activation", lin + "unknown activation", "linear", (1, 4), 16, 0.0, 0.0, **with_csr(2, 4))
    op("linear_attrs", lin + "wrong number of attributes", "linear", (1, 4), 0, **with_csr(2, 4))
    op("linear_inputs", lin + "wrong number of inputs", "linear", (1, 4), *NO_ACT, inputs=3, **with_csr(2, 4))
    op("linear_no_weight", lin + "wrong number of tensors", "linear", (1, 4), *NO_ACT)
    op("linear_axis", lin + "wrong rank or channel axis", "linear", (4, 1), *NO_ACT, axis=0, **with_csr(2, 4))
    op("linear_groups", lin + "needs an ungrouped", "linear", (1, 8), *NO_ACT, **with_csr(2, 4, 2))
    op(
        "linear_rows_weight",
        lin + "needs an ungrouped panels or csr",
        "linear",
        (1, 1),
        *NO_ACT,
        **with_vectors(2),
    )
    op("linear_rank", lin + "changes the rank", "linear", (1, 4), *NO_ACT, out=(3, 2), **with_csr(2, 4))
    file = with_csr(2, 4)
    file["tensors"] += [file["file"].add_vector("b", 3)]  # type: ignore[operator, attr-defined]
    op("linear_bias", lin + "bias .*must be .*f32 vector", "linear", (1, 4), *NO_ACT, **file)
    op(
        "linear_features",
        "layer the_op: expects 4 features, its input has 5",
        "linear",
        (1, 5),
        *NO_ACT,
        **with_csr(2, 4),
    )

    range_error = "attribute out of range"
    for i, name in ((0, "kernel"), (2, "stride"), (8, "dilation")):
        size = [*CONV]
        size[i] = 0
        op(f"conv_{name}_zero", conv + range_error, "conv2d", IMAGE, *NO_ACT, *size, **with_csr(4, 18))
    size = (3, 3, 1, 1, -1, 1, 1, 1, 1, 1)
    op("conv_pad_negative", conv + range_error, "conv2d", IMAGE, *NO_ACT, *size, **with_csr(4, 18))
    size = (3, 3, 1, 1, 2**31 - 1, 1, 1, 1, 1, 1)
    op("conv_pad_huge", conv + range_error, "conv2d", IMAGE, *NO_ACT, *size, **with_csr(4, 18))
    size = (2**20, 2**20, 1, 1, 1, 1, 1, 1, 1, 1)
    op(
        "conv_kernel_huge",
        conv + "a kernel of more than 65536 taps",
        "conv2d",
        IMAGE,
        *NO_ACT,
        *size,
        **with_csr(4, 18),
    )
    op("conv_columns", conv + ".*not channels x kernel", "conv2d", IMAGE, *NO_ACT, *CONV, **with_csr(4, 17))
    op(
        "conv_rank",
        conv + "wrong rank or channel axis",
        "conv2d",
        (1, 2, 6),
        *NO_ACT,
        *CONV,
        **with_csr(4, 18),
    )
    op(
        "conv_axis",
        conv + "wrong rank or channel axis",
        "conv2d",
        IMAGE,
        *NO_ACT,
        *CONV,
        axis=3,
        **with_csr(4, 18),
    )
    op(
        "conv_channels",
        "layer the_op: expects 3 channels",
        "conv2d",
        IMAGE,
        *NO_ACT,
        *CONV,
        **with_csr(4, 27),
    )
    size = (3, 3, 1, 1, 0, 0, 0, 0, 9, 9)
    op(
        "conv_too_small",
        "layer the_op: .* smaller than the kernel",
        "conv2d",
        IMAGE,
        *NO_ACT,
        *size,
        **with_csr(4, 18),
    )
    file = Pyrt()
    weight = {"file": file, "tensors": [file.add_vector("w", 2, 18, groups=2)]}
    op(
        "conv_depthwise_columns",
        conv + "a rows weight is for one channel",
        "conv2d",
        IMAGE,
        *NO_ACT,
        *CONV,
        **weight,
    )
    size = (2, 2, 2**20, 2**20, 2, 2, 2, 2, 1, 1)
    wide = with_csr(1, 2**24)
    op("conv_stride_overflow", conv + "channels x stride", "conv2d", (1, 2**22, 1, 1), *NO_ACT, *size, **wide)
    size = (1, 1, 1, 1, 0, 0, 2**20, 2**20, 1, 1)
    op(
        "conv_output_huge",
        "layer the_op: its output is too large",
        "conv2d",
        IMAGE,
        *NO_ACT,
        *size,
        **with_csr(4, 2),
    )

    op("unary_activation", layer.format("unary") + "unknown activation", "unary", (1, 4), 99, 0.0, 0.0)
    op(
        "unary_axis",
        layer.format("unary") + "changes the rank or the channel axis",
        "unary",
        (2, 4),
        *NO_ACT,
        out=(2, 0),
    )
    op("binary_function", layer.format("binary") + "unknown function", "binary", (1, 4), 4, *NO_ACT, inputs=2)
    file = Pyrt()
    a, b = file.add_value("a", 2, 1, 1, [1, 4]), file.add_value("b", 1, 0, 1, [4])
    file.add_op("binary", "the_op", [a, b], file.add_value("y", 2, 1, 2), (), (0, *NO_ACT))
    case("binary_ranks", file.build(), layer.format("binary") + "inputs of different rank")
    file = Pyrt()
    a, b = file.add_value("a", 2, 1, 1, [1, 4]), file.add_value("b", 2, 1, 1, [1, 3])
    file.add_op("binary", "the_op", [a, b], file.add_value("y", 2, 1, 2), (), (0, *NO_ACT))
    case("binary_broadcast", file.build(), "layer the_op: cannot broadcast 4 and 3 in dimension 1")
    op("scalar_function", layer.format("scalar") + "unknown function", "scalar", (1, 4), 11, 0, 1.0, *NO_ACT)
    op(
        "affine_lengths",
        layer.format("affine") + ".*one length",
        "affine",
        (1, 4),
        *NO_ACT,
        **with_vectors(4, 5),
    )
    op(
        "affine_channels",
        "layer the_op: has 5 channels, its input 4",
        "affine",
        (1, 4),
        *NO_ACT,
        **with_vectors(5, 5),
    )
    op("affine_csr", layer.format("affine") + ".*must be f32 vectors", "affine", (1, 4), *NO_ACT, **two_csr())
    op(
        "affine_axis",
        layer.format("affine") + "needs a channel axis",
        "affine",
        (1, 4),
        *NO_ACT,
        axis=-1,
        **with_vectors(4, 4),
    )

    op("pool_stride_zero", pool + range_error, "pool2d", IMAGE, 0, 2, 2, 0, 1, 0, 0, 1, 1, 0, 1, 0)
    op("pool_mode", pool + range_error, "pool2d", IMAGE, 2, 2, 2, 1, 1, 0, 0, 1, 1, 0, 1, 0)
    op("pool_pad", pool + "padding is more than half", "pool2d", IMAGE, 0, 2, 2, 1, 1, 2, 0, 1, 1, 0, 1, 0)
    big = 2**20
    op(
        "pool_pad_overflow",
        pool + "padding is more than half",
        "pool2d",
        IMAGE,
        0,
        4,
        4,
        1,
        1,
        big,
        0,
        2**18,
        1,
        0,
        1,
        0,
    )
    op(
        "pool_span_overflow",
        "the_op: .* smaller than the window",
        "pool2d",
        IMAGE,
        0,
        big,
        big,
        1,
        1,
        0,
        0,
        big,
        big,
        0,
        1,
        0,
    )
    op("adaptive_negative", layer.format("adaptive_pool2d") + range_error, "adaptive_pool2d", IMAGE, 1, -1, 1)
    op("adaptive_rank", layer.format("adaptive_pool2d") + range_error, "adaptive_pool2d", (1, 2, 6), 1, 1, 1)

    op("concat_axis", layer.format("concat") + "axis out of range", "concat", (1, 4), 2, inputs=2)
    op("concat_axis_negative", layer.format("concat") + "axis out of range", "concat", (1, 4), -1, inputs=2)
    file = Pyrt()
    a, b = file.add_value("a", 2, 1, 1, [1, 4]), file.add_value("b", 2, 1, 1, [2, 4])
    file.add_op("concat", "the_op", [a, b], file.add_value("y", 2, 1, 2), (), (1,))
    case("concat_differ", file.build(), "layer the_op: inputs differ in dimension 0")
    op("slice_axis", layer.format("slice") + range_error, "slice", (1, 4), 2, 0, 1, 1)
    op("slice_step_zero", layer.format("slice") + range_error, "slice", (1, 4), 1, 0, 2, 0)
    op("slice_to_its_start", layer.format("slice") + range_error, "slice", (1, 4), 1, -2, -2, 1)
    op("slice_stop_before_start", layer.format("slice") + range_error, "slice", (1, 4), 1, 2, 2, 1)
    op("slice_from_the_end", "layer the_op: an empty slice of dimension 1", "slice", (1, 4), 1, -1, 2, 1)
    op("slice_past_end", "layer the_op: an empty slice of dimension 1", "slice", (1, 4), 1, 4, 2**31 - 1, 1)

    reshape = layer.format("reshape")
    op("reshape_dim_past_rank", reshape + "a dimension is out of range", "reshape", (1, 4), -4, 4)
    op("reshape_dim_zero", reshape + "a dimension is out of range", "reshape", (1, 4), 0, 4)
    op("reshape_two_open", reshape + "more than one dimension", "reshape", (1, 4), -1, -1)
    op("reshape_rank", reshape + "wrong number of dimensions", "reshape", (1, 4), 1, 2, 2)
    op("reshape_does_not_fit", "layer the_op: cannot reshape 4 elements", "reshape", (1, 4), -1, 3)
    op("reshape_overflow", "layer the_op: reshape overflows", "reshape", (1, 4), *[2**31 - 1] * 3, out=(3, 1))
    op("permute_repeats", layer.format("permute") + "not a permutation", "permute", (1, 4), 0, 0)
    op("permute_axis", layer.format("permute") + "a dimension is out of range", "permute", (1, 4), 0, 2)
    op("permute_rank", layer.format("permute") + "wrong number of dimensions", "permute", (1, 4), 0, 1, 2)
    op("reduce_order", layer.format("reduce") + "axes must rise", "reduce", (1, 4), 0, 1, 1, 0)
    op("reduce_axis", layer.format("reduce") + "axes must rise", "reduce", (1, 4), 0, 1, 2)
    op("reduce_function", layer.format("reduce") + range_error, "reduce", (1, 4), 3, 1, 1)
    op("reduce_few_attrs", layer.format("reduce") + range_error, "reduce", (1, 4), 0)
    op(
        "reduce_out_axis",
        layer.format("reduce") + "wrong output rank or channel axis",
        "reduce",
        (1, 4),
        0,
        0,
        1,
        out=(1, 0),
    )
    op("pad_negative", layer.format("pad") + range_error, "pad", (1, 4), 0.0, 0, 0, -1, 0)
    op("pad_huge", layer.format("pad") + range_error, "pad", (1, 4), 0.0, 0, 0, 2**31 - 1, 0)
    op("pad_attrs", layer.format("pad") + range_error, "pad", (1, 4), 0.0, 0, 0)
    op("pad_output_huge", "layer the_op: its output is too large", "pad", (1, 4), 0.0, *[2**20] * 4)
    op("softmax_axis", layer.format("softmax") + range_error, "softmax", (1, 4), 2, 0)
    resize = layer.format("interpolate")
    op("interpolate_scale_nan", resize + range_error, "interpolate", IMAGE, 0, 0, 0, 0, float("nan"), 1.0)
    op("interpolate_scale_inf", resize + range_error, "interpolate", IMAGE, 0, 0, 0, 0, float("inf"), 1.0)
    op("interpolate_scale_negative", resize + range_error, "interpolate", IMAGE, 0, 0, 0, 0, -1.0, 1.0)
    op("interpolate_size", resize + range_error, "interpolate", IMAGE, 0, 0, -1, 4, 0.0, 0.0)
    op(
        "interpolate_to_nothing",
        "layer the_op: the scale leaves no pixel",
        "interpolate",
        IMAGE,
        0,
        0,
        0,
        0,
        0.1,
        0.1,
    )
    file = Pyrt()
    file.add_value("x", 1, 0, 1, [1])
    w = file.add_vector("w", 4)
    file.add_op("constant", "the_op", [], file.add_value("y", 2, -1, 2), [w], (2, 3))
    case("constant_size", file.build(), layer.format("constant") + "the tensor does not have its size")
    file.words[file.ops[0].attrs] = 2**32 - 1
    case("constant_negative", file.build(), layer.format("constant") + "a dimension is out of range")
    file = Pyrt()
    file.add_value("x", 6, 1, 1, [2**31 - 1] * 6)
    file.add_op("unary", "the_op", [0], file.add_value("y", 6, 1, 2), (), NO_ACT)
    case("input_huge", file.build(), "input 'x'.* too large|too large .*x")


# What lies in this folder: one file of each kind of attack.
COMMITTED = [
    "header_only",
    "half",
    "wrong_magic",
    "major_2",
    "blocks_entries",
    "blocks_index",
    "minor_3",
    "ternary_both",
    "coded_rows_longer",
    "embedding_csr",
    "value_i64_output",
    "section_overlap",
    "section_hole",
    "section_offset_wraps",
    "section_padding",
    "section_past_end",
    "section_count_huge",
    "stream_overlap",
    "stream_offset_wraps",
    "stream_crc",
    "stream_of_no_tensor",
    "string_not_utf8",
    "string_inside",
    "value_dim_symbol",
    "value_never_produced",
    "op_unknown",
    "op_writes_twice",
    "op_operands_past_words",
    "groups_do_not_divide",
    "rows_x_cols",
    "rows_start_falls",
    "cols_past_end",
    "coded_cols_past_end",
    "index_outside",
    "product_index_outside",
    "product_scale_nan",
    "code_incomplete",
    "code_overfull",
    "chunks_fall",
    "chunk_short",
    "chunk_long",
    "linear_bias",
    "conv_stride_zero",
    "conv_stride_overflow",
    "conv_columns",
    "pool_span_overflow",
    "concat_axis",
    "slice_step_zero",
    "reshape_dim_past_rank",
    "reshape_does_not_fit",
    "permute_repeats",
    "pad_huge",
    "pad_output_huge",
    "interpolate_scale_nan",
    "integer_scale_zero",
    "integer_f32_residual",
    "integer_concat_of_two_scales",
    "integer_row_multiplier",
    "integer_low_over_high",
    "integer_s8_columns",
    "integer_csr_past_end",
    "integer_book_index",
    "scaled_nan",
    "linear_of_s8",
]


def recurrent() -> None:
    def bad(name: str, pattern: str, *attrs: int, size: tuple[int, int] = (12, 3), **more: object) -> None:
        weight = with_csr(*size)
        op(
            f"recurrent_{name}",
            "OPS: recurrent the_op: " + pattern,
            "recurrent",
            (5, 1, 12),
            *attrs,
            **weight,
            **more,
        )

    bad("reverse", "attribute out of range", 0, 2, 0, axis=2)
    bad("axis", "wrong rank or channel axis", 0, 0, 0, axis=1)
    bad("gates", "its weight does not have a row per gate", 1, 0, 0, axis=2)
    bad("cell_of_gru", "a gru has no cell state", 1, 0, 1, axis=2, size=(12, 4))
    bad("state_of_gru", "a gru has no cell state", 1, 0, 0, axis=2, size=(12, 4), inputs=3)
    op(
        "recurrent_initial",
        r"layer the_op: an initial state must be \[1, 1, 3\]",
        "recurrent",
        (5, 1, 12),
        *(0, 0, 0),
        axis=2,
        inputs=2,
        out=(3, 2),
        **with_csr(12, 3),
    )


def lookups() -> None:
    name, out = "OPS: embedding the_op: ", (3, 2)
    op(
        "embedding_attrs",
        name + "wrong number of attributes",
        "embedding",
        (1, 4),
        0,
        out=out,
        **with_vectors(5),
    )
    op("embedding_rank", name + "its output has one more", "embedding", (1, 4), **with_vectors(5))
    op("embedding_csr", name + "needs a table", "embedding", (1, 4), out=out, **with_csr(5, 4))
    op(
        "embedding_scale",
        name + "an s8 table, and no other",
        "embedding",
        (1, 4),
        out=out,
        **with_vectors(5, 5),
    )
    norm, attention = "OPS: norm the_op: ", "OPS: attention the_op: "
    op("norm_vectors", norm + "gain and shift must be", "norm", (1, 4), 0, 1e-5, **with_vectors(4, 3))
    op("norm_eps", norm + "attribute out of range", "norm", (1, 4), 0, -1.0, **with_vectors(4, 4))
    op("norm_channels", "layer the_op: has 5 channels", "norm", (1, 4), 0, 1e-5, **with_vectors(5, 5))
    words = (1.0, 2, 2, 0, 0)
    op("attention_rank", attention + "queries, keys and values have", "attention", (1, 4), *words, inputs=3)
    for i, bad in enumerate((float("inf"), 0, 0, 2, 2)):
        wrong = [*words[:i], bad, *words[i + 1 :]]
        op(
            f"attention_attr_{i}",
            attention + "attribute out",
            "attention",
            (1, 3, 4),
            *wrong,
            inputs=3,
            axis=2,
        )
    op("attention_kv", attention + "attribute out", "attention", (1, 3, 6), 1.0, 2, 3, 0, 0, inputs=3, axis=2)
    op(
        "attention_heads",
        "layer the_op: the channels are not heads",
        "attention",
        (1, 3, 5),
        *words,
        inputs=3,
        axis=2,
    )
    op("attention_mask", attention + "the mask has rank 4", "attention", (1, 3, 4), *words, inputs=4, axis=2)
    op("product_axis", "OPS: product the_op: wrong channel axis", "product", (3, 4), inputs=2)
    op(
        "product_fit",
        "layer the_op: cannot multiply 4 columns by 3 rows",
        "product",
        (3, 4),
        inputs=2,
        axis=0,
    )
    op("where_rank", "OPS: where the_op: inputs of different rank", "where", (3, 4), inputs=3, out=(3, 2))
    op("range_axis", "OPS: range the_op: attribute out", "range", (3, 4), 2, 0, 1, out=(1, 0))
    op("range_rank", "OPS: range the_op: attribute out", "range", (3, 4), 1, 0, 1)
    op("range_start", "OPS: range the_op: attribute out", "range", (3, 4), 1, 2**31 - 1, 1, out=(1, 0))
    op("cumsum_axis", "OPS: cumsum the_op: axis out", "cumsum", (3, 4), 2)
    op("compare_11", "OPS: binary the_op: unknown function", "binary", (3, 4), 11, *NO_ACT, inputs=2)
    file = Pyrt()
    table = file.add_tensor(
        "w", 6, 8, ("BOOK", bytes(8), 32), ("INDEX", huffman([1, 1], [[0, 1] * 16, [1] * 16]), 1)
    )
    file.tensors[table].__dict__.update(structure=1, panel_rows=4, entries=48)
    file.stream("w", "BOOK").count = 2
    file.stream("w", "INDEX").__dict__.update(coding=1, count=2)

    def rows(name: str, pattern: str, edit: Callable[[Pyrt], None]) -> None:
        edited(
            "coded_rows_" + name, r"TENSORS: entry 0 \(w\): " + pattern, edit, lambda: copy.deepcopy(lookup)
        )

    lookup = one_op("embedding", (1, 4), out=out, file=file, tensors=[table])
    rows("raw", "coding not allowed", lambda f: f.stream("w", "INDEX").__dict__.update(coding=0))
    rows("unsaid", "coding not allowed", put("tensors", 0, panel_rows=0))
    rows("grouped", "only ungrouped rows", put("tensors", 0, groups=2))
    rows("longer", "INDEX: Huffman chunk 0 does not decode", put("tensors", 0, panel_rows=5))
    rows("huge", "wrong panel_rows", put("tensors", 0, panel_rows=2**31))


def integer() -> Pyrt:
    """x [1, 6, 5, 5] -> quantize -> qconv2d `the_op` [8, 6x3x3], s8 panels -> qadd -> dequantize -> y."""
    file = Pyrt()
    x = file.add_value("x", 4, 1, 1, [1, 6, 5, 5])
    y = file.add_value("y", 4, 1, 2)
    q, p, s = (file.add_u8(name, 4, 1, 0.5, zero) for name, zero in (("q", 128), ("p", 0), ("s", 255)))
    w = file.add_integers("w", 8, 72, bytes([3, 253] * (16 * 36)), panel_rows=16)
    shift = file.add_integers("shift", 8, 1, bytes(32), bits=32)
    multiplier = file.add_tensor("multiplier", 8, 1, ("VALUES", struct.pack("<8f", *[0.01] * 8), 32))
    bias = file.add_vector("bias", 8)
    file.add_op("quantize", "in", [x], q, (), (0, 255))
    file.add_op("qconv2d", "the_op", [q], p, [w, shift, multiplier, bias], (0.0, 0, 255, *CONV))
    file.add_op("qadd", "add", [p, p], s, (), (0.5, -0.5, 3, 200))
    file.add_op("dequantize", "out", [s], y)
    return file


def of(operation: str, at: int, value: float | int) -> Callable[[Pyrt], None]:
    """Sets attribute `at` of an op."""
    return lambda f: f.words.__setitem__(f.op(operation).attrs + at, words_of([value])[0])


def quant(value: int, plus: int = 0) -> Callable[[Pyrt], None]:
    """Sets the scale or zero point of value 2."""
    return lambda f: f.words.__setitem__(f.values[2].quant + plus, value)


def floats(name: str) -> Callable[[Pyrt], None]:
    """Says that a tensor's values are f32."""
    return lambda f: f.tensor(name).__dict__.update(values=1)


def sparse_integer() -> Pyrt:
    """x [1, 8] -> quantize -> qlinear `fc` [18, 8], csr of s8, an entry a row -> y [1, 18]."""
    return sparse_qlinear(("VALUES", bytes(range(18)), 8))


def booked_integer() -> Pyrt:
    """The same with 2-bit indices into a book of three."""
    index = bytes([0b10_01_00_10] * 4 + [0b0010]) + bytes(8)
    return sparse_qlinear(("BOOK", bytes([128, 0, 127]), 8), ("INDEX", index, 2))


def sparse_qlinear(*values: tuple[str, bytes, int]) -> Pyrt:
    file = Pyrt()
    x, y = file.add_value("x", 2, 1, 1, [1, 8]), file.add_value("y", 2, 1, 2)
    q = file.add_u8("q", 2, 1, 0.5, 128)
    rows = struct.pack("<3I", 0, 16, 18) + bytes([1] * 18)
    streams = ("ROWS", rows, 8), ("COLS", bytes(i % 8 for i in range(18)), 8), *values
    w = file.add_tensor("w", 18, 8, *streams, panel_rows=16)
    file.tensors[w].values = 4 if len(values) == 1 else 14
    if len(values) > 1:
        file.stream("w", "BOOK").count = 3
    shift = file.add_integers("shift", 18, 1, bytes(72), bits=32)
    others = [file.add_vector(name, 18) for name in ("multiplier", "bias")]
    file.add_op("quantize", "in", [x], q, (), (0, 255))
    file.add_op("qlinear", "fc", [q], y, [w, shift, *others], (0.0, 0, 255))
    return file


def sparse_integers() -> None:
    w = r"TENSORS: entry 0 \(w\): "
    for name, base in (("csr", sparse_integer), ("book", booked_integer)):
        base().build()

        def case_of(what: str, pattern: str, edit: Callable[[Pyrt], object]) -> None:
            edited(f"integer_{name}_{what}", pattern, edit, base)  # noqa: B023

        case_of("rows_of_panel", w + "panels of s8 csr have 16 rows", put("tensors", 0, panel_rows=8))
        case_of("columns", w + "the columns of s8 come in fours", put("tensors", 0, cols=10))
        case_of("past_end", w + "COLS: row 4 reaches past", put("tensors", 0, cols=4))
        float_values = put("tensors", 0, values=1 if name == "csr" else 2)
        case_of(
            "floats",
            w + ("VALUES: wrong size" if name == "csr" else "BOOK: needs 1 to 256 f32"),
            float_values,
        )
    csr, book = sparse_integer, booked_integer

    def blocks(f: Pyrt) -> None:
        f.tensors[0].__dict__.update(structure=4, rows=16, entries=16)

    edited("integer_csr_blocks", w + "s8 values are for rows, panels and csr", blocks, csr)
    edited("integer_book_blocks", w + "s8book values are for panels and csr", blocks, book)
    short = put("streams", 2, data=bytearray(17))
    edited("integer_csr_values", w + "VALUES: wrong size", short, csr)
    wide = put("streams", 2, bits=32)
    edited("integer_book_bits", w + "BOOK: needs 1 to 256 s8", wide, book)
    edited("integer_book_count", w + "BOOK: needs 1 to 256 s8", put("streams", 2, count=2), book)
    outside = put("streams", 3, data=bytearray([0b11] + [0] * 12))
    edited("integer_book_index", w + "INDEX: an index outside the book", outside, book)


def integers() -> None:
    value = r"VALUES: entry 2: "
    scale = value + "needs a scale of"
    conv, add = "OPS: qconv2d the_op: ", "OPS: qadd add: "

    def case_of(name: str, pattern: str, edit: Callable[[Pyrt], object]) -> None:
        edited("integer_" + name, pattern, edit, integer)

    case_of("dtype", value + "unknown dtype 9", put("values", 2, dtype=9))
    case_of("scale_zero", scale, quant(0))
    case_of("scale_nan", scale, quant(0x7FC00000))
    case_of("scale_negative", scale, quant(0xBF000000))
    case_of("scale_tiny", scale, quant(1))
    case_of("zero_point", scale + ".* zero point of 0 to 255", quant(256, 1))
    case_of("quant_past_words", value + "reaches past section WORDS", put("values", 2, quant=2**32 - 1))
    case_of("f32_with_quant", "VALUES: entry 1: only a u8 value has a quant", put("values", 1, quant=1))
    case_of(
        "without_channels",
        value + "a value of u8 or bits must be internal",
        put("values", 2, channel_axis=-1),
    )
    case_of("u8_input", "VALUES: entry 0: a value of u8 or bits must be internal", put("values", 0, dtype=2))
    case_of("u8_output", "VALUES: entry 1: a value of u8 or bits must be internal", put("values", 1, dtype=2))
    case_of("f32_residual", "inputs of different types do not mix", lambda f: f.give("add", 1, 0))
    case_of(
        "quantize_u8",
        "OPS: quantize out: takes f32 and gives u8",
        lambda f: f.become("out", "quantize", (0, 255)),
    )
    case_of("dequantize_f32", "OPS: dequantize out: takes u8", lambda f: f.give("out", 0, 0))
    case_of("relu_of_u8", "OPS: unary out: does not take u8", lambda f: f.become("out", "unary", NO_ACT))
    case_of(
        "concat_of_two_scales",
        "OPS: concat add: its values must have one type and quantization",
        lambda f: f.become("add", "concat", (1,)),
    )
    mean_pool = (1, 2, 2, 1, 1, 0, 0, 1, 1, 0, 0, 0)

    def pooled(f: Pyrt, *attrs: int) -> None:
        f.become("add", "pool2d", attrs)
        f.op("add").inputs = 1
        f.op("add").operands = f.add_words([3, 4])
        f.values[4].quant = f.values[3].quant

    case_of(
        "mean_pool", "OPS: pool2d add: of u8 and bits there is the maximum", lambda f: pooled(f, *mean_pool)
    )
    case_of("low_over_high", add + "needs 0 <= low <= high", of("add", 2, 201))
    case_of("low_negative", add + "needs 0 <= low <= high", of("add", 2, -1))
    case_of("high", add + "needs 0 <= low <= high", of("add", 3, 256))
    case_of("multiplier_nan", add + "a multiplier is out of range", of("add", 0, float("nan")))
    case_of("multiplier_huge", add + "a multiplier is out of range", of("add", 1, 3e38))
    case_of("multiplier_tiny", add + "a multiplier is out of range", of("add", 1, 1e-30))
    case_of("residual_multiplier", conv + "the residual's multiplier", of("the_op", 0, float("inf")))
    case_of("conv_stride", conv + "attribute out of range", of("the_op", 5, 0))
    case_of("conv_taps", conv + "the weight's columns are not fours", of("the_op", 3, 5))
    case_of(
        "row_multiplier",
        conv + "a multiplier is out of range",
        lambda f: f.stream("multiplier", "VALUES").data.__setitem__(slice(28, 32), struct.pack("<f", 1e30)),
    )
    case_of(
        "shift_f32",
        conv + "shift must be an i32 vector",
        floats("shift"),
    )
    case_of(
        "weights_f32",
        r"TENSORS: entry 0 \(w\): VALUES: wrong size",
        floats("w"),
    )
    case_of(
        "bias_nan",
        conv + "a bias is out of range",
        lambda f: f.stream("bias", "VALUES").data.__setitem__(slice(0, 4), struct.pack("<f", float("nan"))),
    )
    case_of("s8_columns", r"TENSORS: entry 0 \(w\): the columns of s8 come", put("tensors", 0, cols=71))
    case_of("s8_entries", r"TENSORS: entry 0 \(w\): entries do not agree", put("tensors", 0, entries=8 * 72))
    sparse_integers()
    case_of("i32_panels", r"TENSORS: entry 0 \(w\): i32 values are for rows", put("tensors", 0, values=5))
    case_of("tensor_values", r"TENSORS: entry 0 \(w\): unknown values code 15", put("tensors", 0, values=15))

    case_of("s4_rows", r"TENSORS: entry 1 \(shift\): s4 values are for panels", put("tensors", 1, values=6))
    case_of("s4_entries", r"TENSORS: entry 0 \(w\): VALUES: wrong size", put("tensors", 0, values=6))

    dynamic = r"OPS: qlinear_dynamic the_op: "

    def tokens(f: Pyrt, attrs: tuple[int | float, ...], axis: int) -> None:
        """x [4, 72] -> qlinear_dynamic -> y, with the tensors of the base."""
        f.values = f.values[:2]
        f.values[0].__dict__.update(rank=2, channel_axis=axis, dims=f.add_words([4, 72]))
        f.values[1].__dict__.update(rank=2, channel_axis=axis)
        f.ops.clear()
        f.add_op("qlinear_dynamic", "the_op", [0], 1, [0, 1, 2, 3], attrs)

    case_of("dynamic_act", dynamic + "unknown activation", lambda f: tokens(f, (16, 0.0, 0.0), 1))
    case_of("dynamic_axis", dynamic + "needs an ungrouped panels", lambda f: tokens(f, NO_ACT, 0))
    case_of("dynamic_attrs", dynamic + "wrong number of attributes", lambda f: tokens(f, (0,), 1))

    def in_groups(f: Pyrt) -> None:
        f.tensors[0].__dict__.update(groups=4, entries=4 * 16 * 72)
        f.stream("w", "VALUES").data[:] = bytes(4 * 16 * 72)

    case_of("groups", conv + "a group's rows come in fours", in_groups)


def bits() -> Pyrt:
    """x [1, 40, 5, 5] -> binarize -> bconv2d `the_op` [64, 64x3x3] -> pool2d -> bconv2d `last` -> y."""
    file = Pyrt()
    x = file.add_value("x", 4, 1, 1, [1, 40, 5, 5])
    y = file.add_value("y", 4, 1, 2)
    values = [file.add_value(name, 4, 1) for name in ("a", "b", "c")]
    for number in values:
        file.values[number].dtype = 5
    a, b, c = values
    at_least = file.add_vector("at_least", 40)
    w = file.add_bits("w", 64, 576, bytes(range(256)) * 18)
    thresholds = file.add_integers("thresholds", 64, 1, bytes(128), bits=16)
    last = file.add_bits("last_w", 8, 64, bytes(256))
    scale, bias = file.add_vector("scale", 8), file.add_vector("bias", 8)
    file.add_op("binarize", "in", [x], a, [at_least])
    low = float("-inf")
    file.add_op("bconv2d", "the_op", [a], b, [w, thresholds], (low, *NO_ACT, 0, *CONV))
    file.add_op("pool2d", "pool", [b], c, (), (0, 2, 2, 1, 1, 0, 0, 1, 1, 0, 0, 0))
    one = (1, 1, 1, 1, 0, 0, 0, 0, 1, 1)
    file.add_op("bconv2d", "last", [c], y, [last, scale, bias], (low, *NO_ACT, 0, *one))
    return file


def binary() -> None:
    conv, last = "OPS: bconv2d the_op: ", "OPS: bconv2d last: "

    def case_of(name: str, pattern: str, edit: Callable[[Pyrt], object]) -> None:
        edited("binary_" + name, pattern, edit, bits)

    case_of("quant", "VALUES: entry 2: only a u8 value has a quant", put("values", 2, quant=1))
    case_of("output", "VALUES: entry 1: a value of u8 or bits must", put("values", 1, dtype=5))
    case_of("columns", conv + "needs a weight of bits whose columns come in 32s", put("tensors", 1, cols=570))
    case_of("taps", conv + "the weight's columns are not 32s of channels", of("the_op", 5, 5))
    case_of("padding", conv + "the padding is -1, 0 or 1", of("the_op", 4, 2))
    case_of("stride", conv + "attribute out of range", of("the_op", 7, 0))
    case_of("low", last + "the lower bound is not a number", of("last", 0, float("nan")))
    case_of("act", last + "unknown activation", of("last", 1, 16))
    case_of("act_of_bits", conv + "unknown activation, or one of bits", of("the_op", 1, 1))
    case_of(
        "thresholds",
        conv + "needs i16 thresholds",
        lambda f: f.give("the_op", 3, f.add_vector("other", 64)),
    )
    case_of("f32_input", conv + "takes bits", lambda f: f.give("the_op", 0, 0))
    case_of(
        "thresholds_i32",
        conv + "needs i16 thresholds",
        lambda f: f.give("the_op", 3, f.add_integers("wide", 64, 1, bytes(256), bits=32)),
    )
    case_of(
        "thresholds_size",
        r"TENSORS: entry 2 \(thresholds\): VALUES: wrong size",
        lambda f: f.stream("thresholds", "VALUES").data.extend(bytes(2)),
    )
    case_of(
        "i16_panels",
        r"TENSORS: entry 1 \(w\): i16 values are for rows",
        lambda f: f.tensor("w").__dict__.update(values=13, panel_rows=16),
    )
    case_of("scale", last + "needs i16 thresholds to give bits, f32", lambda f: f.give("last", 3, 2))
    case_of("binarize_bits", "OPS: binarize pool: takes f32", lambda f: f.become("pool", "binarize", ()))
    case_of(
        "signs_to_bits", "OPS: signs pool: takes bits and gives f32", lambda f: f.become("pool", "signs", ())
    )
    case_of("relu", "OPS: unary pool: does not take bits", lambda f: f.become("pool", "unary", NO_ACT))
    case_of("mean_pool", "OPS: pool2d pool: of u8 and bits there is the maximum", of("pool", 0, 1))
    case_of("panel_rows", r"TENSORS: entry 1 \(w\): wrong panel_rows", put("tensors", 1, panel_rows=16))
    case_of(
        "rows",
        r"TENSORS: entry 1 \(w\): bits are for panels",
        put("tensors", 1, structure=1, panel_rows=0),
    )
    case_of("size", r"TENSORS: entry 1 \(w\): entries do not agree", put("tensors", 1, entries=64))

    def in_groups(f: Pyrt) -> None:
        f.tensor("w").__dict__.update(groups=4, entries=4 * 32 * 576)
        f.stream("w", "VALUES").data[:] = bytes(4 * 32 * 72)

    case_of("groups", conv + "a group's rows come in 32s", in_groups)


def scaled() -> Pyrt:
    """x [2, 40] -> linear `fc` [3, 40], panels+q4, two f16 scales a row -> y [2, 3]."""
    file = Pyrt()
    x, y = file.add_value("x", 2, 1, 1, [2, 40]), file.add_value("y", 2, 1, 2)
    scales, values = struct.pack("<32e", *[0.5] * 32), bytes(range(64)) * 5
    w = file.add_tensor("w", 3, 40, ("SCALES", scales, 16), ("VALUES", values, 4), panel_rows=16)
    file.tensors[w].values = 9
    file.add_op("linear", "fc", [x], y, [w], RELU)
    return file


def ternary() -> Pyrt:
    """x [2, 40] -> linear `fc` [3, 40], panels+ternary -> y [2, 3]."""
    file = Pyrt()
    x, y = file.add_value("x", 2, 1, 1, [2, 40]), file.add_value("y", 2, 1, 2)
    scales = struct.pack("<32f", *[0.5] * 16, *[-0.25] * 16)
    values = (bytes(range(64)) + bytes(64)) * 2
    w = file.add_tensor("w", 3, 40, ("SCALES", scales, 32), ("VALUES", values, 2), panel_rows=16)
    file.tensors[w].values, file.tensors[w].entries = 12, 16 * 64
    file.stream("w", "SCALES").count = 0
    file.add_op("linear", "fc", [x], y, [w], RELU)
    return file


def planes() -> None:
    where = r"TENSORS: entry 0 \(w\): "

    def case_of(name: str, pattern: str, edit: Callable[[Pyrt], object]) -> None:
        edited(f"ternary_{name}", where + pattern, edit, ternary)

    def scale(value: float) -> Callable[[Pyrt], None]:
        return lambda f: f.stream("w", "SCALES").data.__setitem__(slice(4, 8), struct.pack("<f", value))

    case_of("nan", "SCALES: a scale is not finite", scale(float("nan")))
    case_of("infinite", "SCALES: a scale is not finite", scale(float("inf")))
    case_of("count", "SCALES: wrong size", lambda f: setattr(f.stream("w", "SCALES"), "count", 64))
    case_of("halves", "SCALES: wrong size", lambda f: setattr(f.stream("w", "SCALES"), "bits", 16))
    case_of(
        "one_scale", "SCALES: wrong size", lambda f: f.stream("w", "SCALES").data.__delitem__(slice(64, 128))
    )
    case_of("both", "VALUES: a weight has both", lambda f: f.stream("w", "VALUES").data.__setitem__(70, 2))
    case_of("values", "VALUES: wrong size", lambda f: f.stream("w", "VALUES").data.__delitem__(0))
    case_of("bits", "VALUES: wrong size", lambda f: setattr(f.stream("w", "VALUES"), "bits", 1))
    case_of("values_count", "VALUES: wrong size", lambda f: setattr(f.stream("w", "VALUES"), "count", 2))
    case_of("binary", "SCALES: wrong size", put("tensors", 0, values=11))
    case_of("rows", "binary and ternary values are for panels", put("tensors", 0, structure=1, panel_rows=0))
    case_of("entries", "entries do not agree", put("tensors", 0, entries=16 * 48))
    case_of("bit_panels", "wrong panel_rows", put("tensors", 0, panel_rows=32))
    case_of(
        "no_scales", "wrong number of streams", put("tensors", 0, values=7, panel_rows=32, entries=32 * 40)
    )


def scales() -> None:
    where = r"TENSORS: entry 0 \(w\): "

    def case_of(name: str, pattern: str, edit: Callable[[Pyrt], object]) -> None:
        edited(f"scaled_{name}", where + pattern, edit, scaled)

    def scale(half: int) -> Callable[[Pyrt], None]:
        return lambda f: f.stream("w", "SCALES").data.__setitem__(slice(6, 8), struct.pack("<H", half))

    case_of("nan", "SCALES: a scale is out of range", scale(0x7E00))
    case_of("negative", "SCALES: a scale is out of range", scale(0xB800))
    case_of("infinite", "SCALES: a scale is out of range", scale(0x7C00))
    case_of("columns", "SCALES: columns that share", lambda f: setattr(f.stream("w", "SCALES"), "count", 40))
    case_of(
        "no_columns", "SCALES: columns that share", lambda f: setattr(f.stream("w", "SCALES"), "count", 0)
    )
    case_of("too_few", "SCALES: wrong size", lambda f: f.stream("w", "SCALES").data.__delitem__(slice(0, 2)))
    case_of("bits", "SCALES: bits must be", lambda f: setattr(f.stream("w", "SCALES"), "bits", 8))
    case_of("values", "VALUES: wrong size", lambda f: f.stream("w", "VALUES").data.__delitem__(0))
    case_of("q8", "VALUES: wrong size", put("tensors", 0, values=8))
    case_of("rows", "q8 and q4 values are for panels", put("tensors", 0, structure=1, panel_rows=0))
    case_of("entries", "entries do not agree", put("tensors", 0, entries=16 * 48))
    case_of("s4", "wrong number of streams", put("tensors", 0, values=6))

    def f32_scales(value: float) -> Callable[[Pyrt], None]:
        def edit(f: Pyrt) -> None:
            stream = f.stream("w", "SCALES")
            stream.bits, stream.data = 32, bytearray(struct.pack("<32f", *[1.0] * 31, value))

        return edit

    case_of("tiny", "SCALES: a scale is out of range", f32_scales(1e-38))
    case_of("huge", "SCALES: a scale is out of range", f32_scales(1e38))

    def integers_in_float(f: Pyrt) -> None:
        del f.streams[0]
        f.tensors[0].__dict__.update(values=4, stream_count=1)
        f.stream("w", "VALUES").__dict__.update(bits=8, data=bytearray(640))

    edited("linear_of_s8", "linear fc: needs weights of f32", integers_in_float, scaled)


layout()
tables()
scales()
planes()
tensors()
ops()
recurrent()
lookups()
integers()
binary()


def main() -> None:
    for old in FOLDER.glob("*.pyrt"):
        old.unlink()
    for name in COMMITTED:
        (FOLDER / f"{name}.pyrt").write_bytes(CASES[name][0])
    print(f"{len(COMMITTED)} files, {sum(len(CASES[name][0]) for name in COMMITTED):,} bytes")


if __name__ == "__main__":
    main()
