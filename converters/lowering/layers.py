"""Linear, convolution and batch norm."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from converters.graph import Attr, Role, Value
from converters.lowering.registry import (
    Constant,
    Context,
    Unsupported,
    lowers,
    need_constant,
    need_value,
    pair,
)

MAX_DEPTHWISE_TAPS = 1024


@lowers("linear.default")
def linear(c: Context, x: object, weight: object, bias: object = None) -> Value:
    x = need_value(x)
    weight = need_constant(weight, "the weight")
    columns = int(np.prod(x.example[:-1])) // c.batch
    weights = [c.weight(weight, "weight", "matrix", weight.array, columns=columns)]
    if bias is not None:
        weights.append(c.vector(need_constant(bias, "the bias"), "bias"))
    before = c.before_flattening(x)
    if before is None:
        return c.emit("linear", [x], weights=weights, layout=x.rank - 1)
    rows = len(weight.tensor)
    output = Value((*before.shape[:-1], rows), (*before.example[:-1], rows))
    y = c.emit("linear", [before], weights=weights, layout=before.rank - 1, output=output)
    return c.reshape(y, c.shapes[0], c.examples[0])


@lowers("addmm.default")
def addmm(c: Context, bias: object, x: object, weight: object, beta: float = 1, alpha: float = 1) -> Value:
    if beta != 1 or alpha != 1 or not isinstance(bias, Constant) or bias.tensor.dim() != 1:
        raise Unsupported("addmm is supported as nn.Linear uses it: constant bias vector, beta = alpha = 1")
    weight = need_constant(weight, "the weight")
    return linear(c, x, Constant(weight.tensor.t(), weight.name), bias)


@lowers("conv2d.default", "conv2d.padding")
def conv2d(
    c: Context,
    x: object,
    weight: object,
    bias: object = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    x = need_value(x)
    weight = need_constant(weight, "the weight")
    if x.rank != 4:
        raise Unsupported("conv2d needs a batch dimension")
    kh, kw = weight.tensor.shape[2:]
    dh, dw = pair(dilation)
    if padding == "valid":
        padding = 0
    if padding == "same":
        total_h, total_w = dh * (kh - 1), dw * (kw - 1)
        pads = total_h // 2, total_w // 2, total_h - total_h // 2, total_w - total_w // 2
    else:
        ph, pw = pair(padding)
        pads = ph, pw, ph, pw
    return _conv(c, x, weight, bias, pair(stride), pads, (dh, dw), groups, plane_output(c))


def _conv(
    c: Context,
    x: Value,
    weight: Constant,
    bias: object,
    stride: tuple[int, int],
    pads: tuple[int, int, int, int],
    dilation: tuple[int, int],
    groups: int,
    output: Value,
) -> Value:
    """A convolution of [N, C, H, W]; pads: top, left, bottom, right."""
    m, channels, kh, kw = weight.tensor.shape
    (sh, sw), (dh, dw) = stride, dilation
    n, _, oh, ow = output.example
    role: Role = "depthwise" if groups > 1 and channels == 1 else "matrix"
    if role == "depthwise" and kh * kw > MAX_DEPTHWISE_TAPS:
        raise Unsupported(f"a depthwise kernel has at most {MAX_DEPTHWISE_TAPS} taps")
    matrix = weight.array.reshape(m, -1)
    weights = [c.weight(weight, "weight", role, matrix, groups, columns=n * oh * ow // c.batch)]
    if (kh, kw) != (1, 1):
        plain = (kh, kw, sh, sw, dh, dw, groups) == (3, 3, 1, 1, 1, 1, 1)
        weights[0].window = "3x3" if plain else "other"
    if bias is not None:
        weights.append(c.vector(need_constant(bias, "the bias"), "bias"))
    names = ["kh", "kw", "sh", "sw", "pad_top", "pad_left", "pad_bottom", "pad_right", "dh", "dw"]
    attrs: dict[str, Attr] = dict(zip(names, (kh, kw, sh, sw, *pads, dh, dw), strict=True))
    return c.emit("conv2d", [x], attrs, weights, layout=1, output=output)


@lowers("conv1d.default", "conv1d.padding")
def conv1d(
    c: Context,
    x: object,
    weight: object,
    bias: object = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    plane = as_plane(c, need_value(x))
    weight = need_constant(weight, "the weight")
    filters = Constant(weight.tensor.unsqueeze(2), weight.name)
    if not isinstance(padding, str):
        padding = (0, pair(padding)[0])
    y = conv2d(c, plane, filters, bias, (1, pair(stride)[0]), padding, (1, pair(dilation)[0]), groups)
    return c.reshape(y, c.shapes[0], c.examples[0])


@lowers("convolution.default")
def convolution(
    c: Context,
    x: object,
    weight: object,
    bias: object,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Value:
    if len(stride) > 2:
        raise Unsupported("of the convolutions conv1d and conv2d are supported")
    if transposed:
        handler = conv_transpose2d if len(stride) == 2 else conv_transpose1d
        return handler(c, x, weight, bias, stride, padding, output_padding, groups, dilation)
    return (conv2d if len(stride) == 2 else conv1d)(c, x, weight, bias, stride, padding, dilation, groups)


@lowers("conv_transpose2d.input")
def conv_transpose2d(
    c: Context,
    x: object,
    weight: object,
    bias: object = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Value:
    """A convolution that gives each phase of the stride as a channel of its own, and a permute.

    Output t + padding = q s + r is sum over j of x[q - j] w[r + j s], in each of the two dimensions.
    """
    x = need_value(x)
    weight = need_constant(weight, "the weight")
    if x.rank != 4:
        raise Unsupported("conv_transpose2d needs a batch dimension")
    steps, crops, spreads = pair(stride), pair(padding), pair(dilation)
    inputs, channels = weight.tensor.shape[:2]
    filters = weight.tensor.reshape(groups, inputs // groups, channels, *weight.tensor.shape[2:]).transpose(
        1, 2
    )
    output = plane_output(c)
    phases, sizes, before, after, rows = [], [], [], [], []
    for axis, (s, p, d) in enumerate(zip(steps, crops, spreads, strict=True), 3):
        high, wide = x.shape[axis - 1], output.shape[axis - 1]
        if not isinstance(high, int) or not isinstance(wide, int):
            raise Unsupported(
                "a transposed convolution needs a fixed height and width; export without dynamic ones"
            )
        taps = filters.shape[axis]
        phase = -(-((taps - 1) * d + 1) // s)  # taps of a phase
        phases.append(phase)
        before.append(phase - 1 - p // s)
        after.append(-(-(p + wide) // s) - high)
        if before[-1] < 0 or after[-1] < 0:
            raise Unsupported("the padding of a transposed convolution is larger than its kernel")
        sizes.append(high + before[-1] + after[-1] - phase + 1)
        rows.append(p % s)
        # Taps apart by the dilation, zeros up to whole phases.
        spread = filters.new_zeros((*filters.shape[:axis], phase * s, *filters.shape[axis + 1 :]))
        filters = spread.index_copy_(axis, torch.arange(taps) * d, filters)
    (sh, sw), (kh, kw) = steps, phases
    split = filters.reshape(groups * channels, inputs // groups, kh, sh, kw, sw).flip(2, 4)
    matrix = split.permute(0, 3, 5, 1, 2, 4).reshape(-1, inputs // groups, kh, kw)
    if bias is not None:
        vector = need_constant(bias, "the bias")
        bias = Constant(vector.tensor.repeat_interleave(sh * sw), vector.name)
    planes = [channels * groups * sh * sw, *sizes]
    shape, example = (x.shape[0], *planes), (x.example[0], *planes)
    pads = before[0], before[1], after[0], after[1]
    y = _conv(c, x, Constant(matrix, weight.name), bias, (1, 1), pads, (1, 1), groups, Value(shape, example))
    m, (qh, qw) = channels * groups, sizes
    if sh * sw > 1:
        y = c.reshape(y, (shape[0], m, sh, sw, qh, qw), (example[0], m, sh, sw, qh, qw))
        mixed = (m, qh, sh, qw, sw)
        y = c.emit(
            "permute",
            [y],
            {"axes": [0, 1, 4, 2, 5, 3]},
            output=Value((shape[0], *mixed), (example[0], *mixed)),
        )
        y = c.reshape(y, (shape[0], m, qh * sh, qw * sw), (example[0], m, qh * sh, qw * sw))
    for axis, start in zip((2, 3), rows, strict=True):
        size = output.example[axis]
        if y.shape[axis] != size:
            cut = (*y.example[1:axis], size, *y.example[axis + 1 :])
            attrs: dict[str, Attr] = {"axis": axis, "start": start, "stop": start + size, "step": 1}
            y = c.emit("slice", [y], attrs, output=Value((y.shape[0], *cut), (y.example[0], *cut)))
    return y


@lowers("conv_transpose1d.default")
def conv_transpose1d(
    c: Context,
    x: object,
    weight: object,
    bias: object = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Value:
    plane = as_plane(c, need_value(x))
    weight = need_constant(weight, "the weight")
    filters = Constant(weight.tensor.unsqueeze(2), weight.name)
    across, along, spread = ((first, pair(v)[0]) for first, v in ((1, stride), (0, padding), (1, dilation)))
    y = conv_transpose2d(c, plane, filters, bias, across, along, 0, groups, spread)
    return c.reshape(y, c.shapes[0], c.examples[0])


def as_plane(c: Context, x: Value) -> Value:
    """[B, C, L] as [B, C, 1, L]."""
    if x.rank != 3:
        raise Unsupported("this op needs a batch and a channel dimension")
    (b, channels, length), (eb, ec, el) = x.shape, x.example
    return c.reshape(x, (b, channels, 1, length), (eb, ec, 1, el))


def plane_output(c: Context) -> Value:
    """The output of a 2-d op; a 1-d op computes on [B, C, 1, L]."""
    shape, example = c.shapes[0], c.examples[0]
    if len(shape) == 3:
        return Value((*shape[:2], 1, shape[2]), (*example[:2], 1, example[2]))
    return Value(shape, example)


@lowers("_native_batch_norm_legit_no_training.default")
def batch_norm(
    c: Context,
    x: object,
    weight: object,
    bias: object,
    mean: object,
    var: object,
    momentum: float,
    eps: float,
) -> tuple[Value, None, None]:
    x = need_value(x)
    mean = need_constant(mean, "the running mean").tensor.double()
    scale = (need_constant(var, "the running variance").tensor.double() + eps).rsqrt()
    if weight is not None:
        scale = scale * need_constant(weight, "the weight").tensor.double()
    shift = -mean * scale
    if bias is not None:
        shift = shift + need_constant(bias, "the bias").tensor.double()
    return affine(c, x, scale, shift, 1), None, None


@lowers("_native_batch_norm_legit.no_stats", "_native_batch_norm_legit.default")
def batch_statistics(c: Context, *_: Any) -> None:
    raise Unsupported("this batch norm uses the statistics of the batch; it needs track_running_stats=True")


def affine(c: Context, x: Value, scale: torch.Tensor, shift: torch.Tensor, axis: int) -> Value:
    """x * scale + shift along `axis`."""
    weights = [c.vector(Constant(scale), "scale"), c.vector(Constant(shift), "shift")]
    return c.emit("affine", [x], weights=weights, layout=axis)
