"""Tensors and their streams."""

import struct
from collections.abc import Callable

from hostile.bases import blocks, coded, ordered, pairs, product, raw_csr, scaled, sparse, ternary
from hostile.cases import edited, put
from pyrt_edit import Pyrt, huffman

WHERE = r"TENSORS: entry 0 \(fc.weight\): "


def add() -> None:
    fields()
    products()
    csr()
    blocks_and_pairs()
    codebooks()
    huffman_streams()
    scales()
    planes()


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


def fields() -> None:
    edited("structure_9", WHERE + "unknown structure 9", put("tensors", 0, structure=9))
    edited("values_15", WHERE + "unknown values code 15", put("tensors", 0, values=15))
    edited("f32_called_f16", WHERE + "VALUES: wrong size", put("tensors", 0, values=3), raw_csr)
    edited("rows_zero", WHERE + "empty or too large", put("tensors", 0, rows=0))
    edited("cols_zero", WHERE + "empty or too large", put("tensors", 0, cols=0))
    edited("rows_2_31", WHERE + "empty or too large", put("tensors", 0, rows=2**31))
    edited("groups_zero", WHERE + "groups must divide rows", put("tensors", 0, groups=0))
    edited("groups_do_not_divide", WHERE + "groups must divide rows", put("tensors", 0, groups=2))
    edited("panel_rows_8", WHERE + "wrong panel_rows 8", put("tensors", 0, panel_rows=8))
    edited("panel_rows_zero", WHERE + "wrong panel_rows 0", put("tensors", 0, panel_rows=0), sparse)
    big = {"rows": 2**31 - 1, "cols": 2**31 - 1, "groups": 1}
    edited("rows_x_cols", WHERE + "rows x cols is too large", put("tensors", 0, **big))
    edited("entries_wrong", WHERE + "entries do not agree", put("tensors", 0, entries=81))
    edited("entries_huge", WHERE + "entries do not agree", put("tensors", 0, entries=2**64 - 1), sparse)
    edited("parameters_huge", WHERE + "parameter count", put("tensors", 0, parameters=2**63))
    edited(
        "stream_missing",
        WHERE + "wrong number of streams",
        lambda f: (f.streams.pop(), put("tensors", 0, stream_count=1)(f)),
    )
    edited("stream_order", WHERE + "streams missing or out of order", stream("BOOK", kind=1))
    edited("coding_unknown", WHERE + "coding not allowed", stream("INDEX", coding=2))
    edited("coding_of_book", WHERE + "coding not allowed", stream("BOOK", coding=1))


def products() -> None:
    stands = WHERE + "an entry of a product codebook stands for 2 to 64 columns"
    for name, entries in (("none", 0), ("of_one", 128), ("of_three", 43), ("of_five", 25), ("huge", 2**63)):
        edited("product_entries_" + name, stands, put("tensors", 0, entries=entries), product)
    edited(
        "product_csr",
        WHERE + "wrong panel_rows|a product codebook is for",
        put("tensors", 0, structure=3),
        product,
    )
    edited("product_f32_book", WHERE + "BOOK: needs 1 to 256 codewords", stream("BOOK", bits=32), product)
    edited("product_book_bits", WHERE + "BOOK: bits must be 8, 16 or 32", stream("BOOK", bits=4), product)
    edited("product_book_count", WHERE + "BOOK: needs 1 to 256 codewords", stream("BOOK", count=4), product)
    edited(
        "product_book_257",
        WHERE + "BOOK: needs 1 to 256",
        replace("BOOK", bytes(1032), count=257),
        product,
    )
    edited("product_scale_nan", WHERE + "BOOK: the scale", in_stream("BOOK", 0, "f", float("nan")), product)
    edited("product_scale_zero", WHERE + "BOOK: the scale", in_stream("BOOK", 0, "f", 0.0), product)
    edited(
        "product_index_outside",
        WHERE + "INDEX: an index outside the book",
        in_stream("INDEX", 0, "B", 5),
        product,
    )
    edited("product_index_size", WHERE + "INDEX: wrong size", replace("INDEX", bytes(21)), product)


def csr() -> None:
    edited("rows_bits", WHERE + "ROWS: bits must be 8, 16 or 32", stream("ROWS", bits=24), sparse)
    edited("rows_size", WHERE + "ROWS: wrong size", replace("ROWS", bytes(21)), sparse)
    edited(
        "rows_too_many",
        WHERE + "ROWS: row 2 has more entries than columns",
        in_stream("ROWS", 18, "B", 10),
        sparse,
    )
    edited("rows_do_not_sum", WHERE + "ROWS: the counts do not add up", in_stream("ROWS", 21, "B", 3), sparse)
    edited(
        "rows_last_start",
        WHERE + "ROWS: the counts do not add up",
        in_stream("ROWS", 12, "I", 10),
        sparse,
    )
    edited(
        "rows_start_falls",
        WHERE + "ROWS: panel_start does not agree",
        in_stream("ROWS", 8, "I", 1),
        sparse,
    )
    edited(
        "rows_start_huge",
        WHERE + "ROWS: panel_start does not agree",
        in_stream("ROWS", 4, "I", 2**32 - 1),
        sparse,
    )
    edited(
        "rows_start_first",
        WHERE + "ROWS: panel_start does not agree",
        in_stream("ROWS", 0, "I", 1),
        sparse,
    )

    edited("cols_bits", WHERE + "COLS: bits must be 8 or 16", stream("COLS", bits=32), raw_csr)
    edited("cols_size", WHERE + "COLS: wrong size", replace("COLS", bytes(9)), raw_csr)
    edited(
        "cols_past_end",
        WHERE + "COLS: row 1 reaches past the last column",
        in_stream("COLS", 4, "H", 600),
        raw_csr,
    )
    edited("cols_wrap", WHERE + "COLS: row 0 reaches past", in_stream("COLS", 0, "2H", 65535, 65535), raw_csr)
    coded = huffman([2, 2, 2, 0, 3, 3], [[0, 4], [5, 1, 2, 5], [0, 2, 2]])
    edited(
        "coded_cols_past_end",
        WHERE + "COLS: row 2 reaches past the last column",
        replace("COLS", coded),
        sparse,
    )
    edited("coded_cols_16", WHERE + "COLS: only 8-bit deltas", stream("COLS", coding=1), raw_csr)
    edited("values_size", WHERE + "VALUES: wrong size", replace("VALUES", bytes(12)), raw_csr)


def blocks_and_pairs() -> None:
    fours = WHERE + "the rows of a bcsr group and panel, and its entries, come in blocks"
    edited("blocks_rows", fours, put("tensors", 0, rows=10), blocks)
    edited("blocks_groups", fours, put("tensors", 0, groups=2), blocks)
    edited("blocks_panel_rows", fours, put("tensors", 0, panel_rows=6), blocks)
    edited("blocks_entries", fours, put("tensors", 0, entries=18), blocks)
    edited("blocks_fewer", WHERE + "ROWS: the counts do not add", put("tensors", 0, entries=16), blocks)
    edited("blocks_size", WHERE + "ROWS: wrong size", replace("ROWS", bytes(24)), blocks)
    edited("blocks_cols", WHERE + "COLS: row 0 reaches past", put("tensors", 0, cols=5), blocks)
    short = huffman([1, 2, 2], [[0, 1, 0], [0, 0]])
    edited("blocks_index", WHERE + "INDEX: Huffman chunk 0 does not decode", replace("INDEX", short), blocks)
    edited("blocks_of_8", fours, put("tensors", 0, structure=5), blocks)
    once = WHERE + "ORDER: not every row of a group once"
    edited("order_twice", once, in_stream("ORDER", 4, "I", 7), ordered)
    edited("order_past_end", once, in_stream("ORDER", 4, "I", 8), ordered)
    edited("order_size", WHERE + "ORDER: wrong size", replace("ORDER", bytes(28)), ordered)
    rising = WHERE + "PLACES: the two places of a row do not rise"
    edited("places_equal", rising, in_stream("PLACES", 4, "I", 0x5555555C), pairs)
    edited("places_fall", rising, in_stream("PLACES", 8, "I", 3), pairs)
    edited("places_size", WHERE + "PLACES: wrong size", replace("PLACES", bytes(12)), pairs)
    edited("places_cols", WHERE + "the columns of 2:4 come in fours", put("tensors", 0, cols=10), pairs)
    edited("places_entries", WHERE + "entries do not agree", put("tensors", 0, entries=32), pairs)
    edited("places_values", WHERE + "VALUES: wrong size", replace("VALUES", bytes(128)), pairs)


def codebooks() -> None:
    edited("book_empty", WHERE + "BOOK: needs 1 to 256", replace("BOOK", b"", count=0))
    edited("book_257", WHERE + "BOOK: needs 1 to 256", replace("BOOK", bytes(4 * 257), count=257))
    edited("book_size", WHERE + "BOOK: needs 1 to 256", stream("BOOK", count=5))
    edited("index_bits_zero", WHERE + "INDEX: bits must be 1 to 8", stream("INDEX", bits=0))
    edited("index_bits_9", WHERE + "INDEX: bits must be 1 to 8", stream("INDEX", bits=9))
    edited("index_bits_few", WHERE + "INDEX: bits must .* cover the book", stream("INDEX", bits=2))
    edited("index_size", WHERE + "INDEX: wrong size", replace("INDEX", bytes(30)))
    edited("index_guard", WHERE + "INDEX: the bits after the last entry", in_stream("INDEX", 37, "B", 1))
    edited(
        "index_outside",
        WHERE + "INDEX: an index outside the book",
        in_stream("INDEX", 29, "B", 0b110_000_00),
    )
    book = struct.pack("<2f", 1, 2)
    edited(
        "coded_index_outside",
        WHERE + "INDEX: the Huffman code has a symbol outside",
        replace("BOOK", book, count=2),
        sparse,
    )


def huffman_streams() -> None:
    code = r"COLS: the Huffman code is not complete"
    edited("code_incomplete", WHERE + code, in_stream("COLS", 0, "B", 0x23), sparse)
    edited("code_overfull", WHERE + code, in_stream("COLS", 0, "B", 0x11), sparse)
    edited("code_length_13", WHERE + code, in_stream("COLS", 2, "B", 0x3D), sparse)
    edited("code_empty", WHERE + code, in_stream("COLS", 0, "3B", 0, 0, 0), sparse)
    edited("code_padding", WHERE + "COLS: padding is not zero", in_stream("COLS", 3, "B", 1), sparse)
    edited("code_high_nibble", WHERE + "INDEX: padding is not zero", in_stream("INDEX", 1, "B", 0x12), sparse)
    edited("alphabet_one", WHERE + "COLS: Huffman stream too short", stream("COLS", count=1), sparse)
    edited("alphabet_huge", WHERE + "COLS: Huffman stream too short", stream("COLS", count=2**32 - 1), sparse)
    edited("coded_too_short", WHERE + "INDEX: Huffman stream too short", replace("INDEX", bytes(12)), sparse)
    fill = "COLS: the Huffman chunks do not fill"
    edited("chunks_end_early", WHERE + fill, in_stream("COLS", 16, "I", 1), sparse)
    edited("chunks_start_late", WHERE + fill, in_stream("COLS", 4, "I", 1), sparse)
    edited(
        "chunks_guard",
        WHERE + fill,
        lambda f: f.stream("fc.weight", "COLS").data.__setitem__(-1, 1),
        sparse,
    )
    edited("chunks_fall", WHERE + r"COLS: Huffman chunk \d .*", in_stream("COLS", 8, "2I", 16, 8), sparse)
    edited(
        "chunks_huge",
        WHERE + "COLS: Huffman chunk 0 out of bounds",
        in_stream("COLS", 8, "I", 2**32 - 1),
        sparse,
    )
    short = huffman([2, 2, 2, 0, 3, 3], [[0, 4], [1, 1, 2], [0, 2, 2]])
    edited("chunk_short", WHERE + "COLS: Huffman chunk 1 does not decode", replace("COLS", short), sparse)
    long = huffman([2, 2, 2, 0, 3, 3], [[0, 4], [1, 1, 2, 5, 1], [0, 2, 2]])
    edited("chunk_long", WHERE + "COLS: Huffman chunk 1 does not decode", replace("COLS", long), sparse)
    swapped = huffman([2, 2, 2, 0, 3, 3], [[], [0, 4, 1, 1, 2, 5], [0, 2, 2]])
    edited("chunk_empty", WHERE + "COLS: Huffman chunk 0 does not decode", replace("COLS", swapped), sparse)
    edited(
        "chunk_string_size",
        WHERE + "COLS: Huffman chunk 0 does not decode",
        in_stream("COLS", 20, "H", 65535),
        sparse,
    )
    # Strings of many symbols, where the check takes several at a time.
    undecoded = WHERE + "INDEX: Huffman chunk 0 does not decode"
    many = (("string_short", 248), ("string_cut", 200), ("string_long", 257), ("strings_long", 400))
    for name, symbols in many:
        wrong = huffman([1, 2, 2], [[i * i % 3 for i in range(symbols)]])
        edited(name, undecoded, replace("INDEX", wrong), coded)
    edited("string_bits", undecoded, in_stream("INDEX", 18, "13B", *[255] * 13), coded)
    edited("string_sizes", undecoded, in_stream("INDEX", 12, "3H", 1, 1, 1), coded)


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
