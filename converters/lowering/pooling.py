"""Pooling, reductions, softmax and interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from converters.graph import Attr, Dim, Value
from converters.lowering.layers import as_plane, plane_output
from converters.lowering.registry import Context, Unsupported, lowers, need_value, pair

MAX, AVG = 0, 1
MEAN, SUM, AMAX = range(3)


def _pool(
    c: Context,
    x: Value,
    mode: int,
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil: bool,
    include_pad: bool,
    divisor: int | None,
) -> Value:
    if x.rank != 4:
        raise Unsupported("pooling needs a batch and a channel dimension")
    sizes = (*pair(kernel), *pair(stride or kernel), *pair(padding), *pair(dilation))
    attrs: dict[str, Attr] = {"mode": mode, "ceil_mode": int(ceil), "count_include_pad": int(include_pad)}
    attrs |= zip(["kh", "kw", "sh", "sw", "pad_h", "pad_w", "dh", "dw"], sizes, strict=True)
    attrs["divisor"] = divisor or 0
    return c.emit("pool2d", [x], attrs, layout=1, output=plane_output(c))


def _line(size: Any, other: int) -> Any:
    """A 1-d size for the plane [1, L]; nothing stays nothing."""
    return (other, pair(size)[0]) if size or size == 0 else size


@lowers("max_pool2d.default")
def max_pool2d(
    c: Context,
    x: object,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil: bool = False,
) -> Value:
    return _pool(c, need_value(x), MAX, kernel, stride, padding, dilation, ceil, False, None)


@lowers("max_pool2d_with_indices.default")
def max_pool2d_with_indices(c: Context, *args: Any) -> tuple[Value, None]:
    return max_pool2d(c, *args), None


@lowers("max_pool1d.default")
def max_pool1d(
    c: Context,
    x: object,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil: bool = False,
) -> Value:
    plane = as_plane(c, need_value(x))
    sizes = _line(kernel, 1), _line(stride, 1), _line(padding, 0), _line(dilation, 1)
    return c.reshape(_pool(c, plane, MAX, *sizes, ceil, False, None), c.shapes[0], c.examples[0])


@lowers("avg_pool2d.default")
def avg_pool2d(
    c: Context,
    x: object,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil: bool = False,
    include_pad: bool = True,
    divisor: int | None = None,
) -> Value:
    return _pool(c, need_value(x), AVG, kernel, stride, padding, 1, ceil, include_pad, divisor)


@lowers("avg_pool1d.default")
def avg_pool1d(
    c: Context,
    x: object,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil: bool = False,
    include_pad: bool = True,
) -> Value:
    plane = as_plane(c, need_value(x))
    sizes = _line(kernel, 1), _line(stride, 1), _line(padding, 0)
    return c.reshape(_pool(c, plane, AVG, *sizes, 1, ceil, include_pad, None), c.shapes[0], c.examples[0])


def _adaptive(c: Context, x: Value, mode: int, sizes: Sequence[Dim]) -> Value:
    if x.rank != 4:
        raise Unsupported("adaptive pooling needs a batch and a channel dimension")
    out = [0 if size == x.shape[2 + i] and isinstance(size, str) else size for i, size in enumerate(sizes)]
    if not all(isinstance(size, int) for size in out):
        raise Unsupported("an adaptive pooling size computed from another shape is not supported")
    if tuple(sizes) == tuple(x.shape[2:]):
        return x  # windows of one pixel
    attrs: dict[str, Attr] = {"mode": mode, "oh": int(out[0]), "ow": int(out[1])}
    return c.emit("adaptive_pool2d", [x], attrs, layout=1, output=plane_output(c))


@lowers("adaptive_avg_pool2d.default", "_adaptive_avg_pool2d.default")
def adaptive_avg_pool2d(c: Context, x: object, size: Any) -> Value:
    return _adaptive(c, need_value(x), AVG, pair(size))


@lowers("adaptive_max_pool2d.default")
def adaptive_max_pool2d(c: Context, x: object, size: Any) -> tuple[Value, None]:
    return _adaptive(c, need_value(x), MAX, pair(size)), None


@lowers("adaptive_avg_pool1d.default")
def adaptive_avg_pool1d(c: Context, x: object, size: Any) -> Value:
    y = _adaptive(c, as_plane(c, need_value(x)), AVG, (1, pair(size)[0]))
    return c.reshape(y, c.shapes[0], c.examples[0])


@lowers("adaptive_max_pool1d.default")
def adaptive_max_pool1d(c: Context, x: object, size: Any) -> tuple[Value, None]:
    y = _adaptive(c, as_plane(c, need_value(x)), MAX, (1, pair(size)[0]))
    return c.reshape(y, c.shapes[0], c.examples[0]), None


def _reduce(c: Context, x: Value, fn: int, dims: Sequence[int] | int | None, keepdim: bool) -> Value:
    if isinstance(dims, int):
        dims = [dims]
    axes = sorted({axis % x.rank for axis in dims}) if dims else list(range(x.rank))
    return c.emit("reduce", [x], {"fn": fn, "keepdim": int(keepdim), "axes": axes})


@lowers("mean.dim", "mean.default")
def mean(c: Context, x: object, dims: Any = None, keepdim: bool = False, dtype: Any = None) -> Value:
    return _reduce(c, need_value(x), MEAN, dims, keepdim)


@lowers("sum.dim_IntList", "sum.default")
def sum_(c: Context, x: object, dims: Any = None, keepdim: bool = False, dtype: Any = None) -> Value:
    return _reduce(c, need_value(x), SUM, dims, keepdim)


@lowers("amax.default")
def amax(c: Context, x: object, dims: Any = None, keepdim: bool = False) -> Value:
    return _reduce(c, need_value(x), AMAX, dims, keepdim)


@lowers("max.dim")
def max_dim(c: Context, x: object, dim: int, keepdim: bool = False) -> tuple[Value, None]:
    return _reduce(c, need_value(x), AMAX, dim, keepdim), None


@lowers("max.default")
def max_(c: Context, x: object) -> Value:
    return _reduce(c, need_value(x), AMAX, None, False)


def _softmax(c: Context, x: Value, dim: int, log: int) -> Value:
    return c.emit("softmax", [x], {"axis": dim % x.rank, "log": log})


@lowers("softmax.int", "_softmax.default")
def softmax(c: Context, x: object, dim: int, *_: Any) -> Value:
    return _softmax(c, need_value(x), dim, 0)


@lowers("log_softmax.int", "_log_softmax.default")
def log_softmax(c: Context, x: object, dim: int, *_: Any) -> Value:
    return _softmax(c, need_value(x), dim, 1)


def _interpolate(c: Context, x: Value, mode: int, align: bool, size: Any, scales: Any) -> Value:
    attrs: dict[str, Attr] = {"mode": mode, "align_corners": int(align), "oh": 0, "ow": 0}
    attrs |= {"scale_h": 0.0, "scale_w": 0.0}
    if size is not None:
        if not all(isinstance(s, int) for s in size):
            raise Unsupported(
                "interpolate to a computed size; give scale_factor, or convert with a fixed height and width"
            )
        attrs |= {"oh": size[0], "ow": size[1]}
    if scales is not None and scales[0] is not None:
        attrs |= {"scale_h": float(scales[0]), "scale_w": float(scales[1]), "oh": 0, "ow": 0}
    return c.emit("interpolate", [x], attrs, layout=1)


@lowers("upsample_nearest2d.vec")
def nearest(c: Context, x: object, size: Any, scales: Any = None) -> Value:
    return _interpolate(c, need_value(x), 0, False, size, scales)


@lowers("upsample_nearest2d.default")
def nearest_hw(c: Context, x: object, size: Any, scale_h: Any = None, scale_w: Any = None) -> Value:
    return _interpolate(c, need_value(x), 0, False, size, (scale_h, scale_w))


@lowers("upsample_bilinear2d.vec")
def bilinear(c: Context, x: object, size: Any, align: bool, scales: Any = None) -> Value:
    return _interpolate(c, need_value(x), 1, align, size, scales)


@lowers("upsample_bilinear2d.default")
def bilinear_hw(
    c: Context, x: object, size: Any, align: bool, scale_h: Any = None, scale_w: Any = None
) -> Value:
    return _interpolate(c, need_value(x), 1, align, size, (scale_h, scale_w))
