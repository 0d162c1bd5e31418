"""Values of bits, and ops on them."""

from collections.abc import Callable

from hostile.bases import bits
from hostile.cases import edited, of, put
from pyrt_edit import NO_ACT, Pyrt


def add() -> None:
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
