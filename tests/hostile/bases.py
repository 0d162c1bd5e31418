"""Good files, each of which a case breaks in one place."""

import struct

from pyrt_edit import NO_ACT, Entry, Pyrt, huffman

RELU = (1, 0.0, float("inf"))
CONV = (3, 3, 1, 1, 1, 1, 1, 1, 1, 1)  # kh, kw, strides, pads, dilations


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


def coded() -> Pyrt:
    """x [2, 16] -> linear `fc` [16, 16], panels+codebook+huffman, strings of a dozen bytes -> y [2, 16]."""
    file = Pyrt()
    x, y = file.add_value("x", 2, 1, 1, [2, 16]), file.add_value("y", 2, 1, 2)
    index = huffman([1, 2, 2], [[i * i % 3 for i in range(256)]])
    streams = ("BOOK", struct.pack("<3f", -1, 0.5, 2), 32), ("INDEX", index, 2)
    w = file.add_tensor("fc.weight", 16, 16, *streams, panel_rows=16)
    stream = file.stream("fc.weight", "INDEX")
    stream.coding, stream.count = 1, 3
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
