"""Operands, attributes and shapes of ops on f32."""

from hostile.bases import CONV
from hostile.cases import case, op, with_csr, with_vectors
from pyrt_edit import NO_ACT, Pyrt

IMAGE = (1, 2, 6, 6)


def two_csr() -> dict[str, object]:
    file = Pyrt()
    return {"file": file, "tensors": [file.add_csr("w0", 4, 1), file.add_csr("w1", 4, 1)]}


def add() -> None:
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
