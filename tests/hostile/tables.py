"""Strings, symbols, values and ops: what their fields say."""

from hostile.bases import RELU, sparse
from hostile.cases import edited, put, word
from pyrt_edit import Pyrt


def add() -> None:
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
