"""Values of u8, and ops on them."""

import struct
from collections.abc import Callable

from hostile.bases import booked_integer, integer, sparse_integer
from hostile.cases import edited, of, put
from pyrt_edit import NO_ACT, Pyrt


def quant(value: int, plus: int = 0) -> Callable[[Pyrt], None]:
    """Sets the scale or zero point of value 2."""
    return lambda f: f.words.__setitem__(f.values[2].quant + plus, value)


def floats(name: str) -> Callable[[Pyrt], None]:
    """Says that a tensor's values are f32."""
    return lambda f: f.tensor(name).__dict__.update(values=1)


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


def add() -> None:
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
