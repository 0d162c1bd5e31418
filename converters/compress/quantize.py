"""Integer networks: weights on a grid per row, activations rounded to u8, in torch."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import cast

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize
from tqdm import tqdm

from converters.compress.calibration import Batch, batches_of
from converters.compress.integers import FakeQuantize, RowGrid, check_bits
from converters.compress.layers import per_layer
from converters.compress.observers import RANGES, Observer
from converters.compress.placement import Placement, fold_batch_norm, of_signs, take_plain


def quantize(
    module: nn.Module,
    calibration: Iterable[Batch],
    *,
    weight_bits: int | Mapping[str, int] = 7,
    observer: Observer = "mse",
    skip: Iterable[str] = (),
    bias_correction: bool = True,
    progress: bool = True,
) -> fx.GraphModule:
    """An integer version of `module`: what it returns computes, in float, what the converted file computes in
    integers, but for the rounding of sums.

    module: float, traceable by torch.fx; it is not changed. calibration: batches of inputs, a tensor each or
    one tensor per argument, seen twice. weight_bits: 2..8, for all layers or by name (7 for the rest); with
    7 or less no processor needs wider arithmetic. observer: how the range of an activation is chosen:
    "minmax", "percentile" (99.99 %), "mse" (least squared error) or "entropy" (least divergence). skip:
    layers that stay in float. bias_correction: undo the shift that rounded weights give to each channel's
    mean (Nagel et al., ICCV 2019).

    Batch norm is folded into the layer before it. Linear and Conv2d layers, additions, concatenations, means
    and activation functions between them compute on integers. The result trains like any module
    (quantization-aware training, gradients straight through); its layers keep their names.

    Raises ValueError if the module cannot be traced, has no layer to quantize, or a name or number is wrong.
    """
    if observer not in RANGES:
        raise ValueError(f"observer must be one of {', '.join(RANGES)}, not {observer!r}")
    batches = batches_of(calibration)
    traced = _trace(module)
    take_plain(traced)
    fold_batch_norm(traced)
    skip = set(skip)
    called = {str(node.target) for node in traced.graph.nodes if node.op == "call_module"}
    layers = {
        name: layer
        for name, layer in traced.named_modules()
        if isinstance(layer, (nn.Linear, nn.Conv2d)) and name in called and not of_signs(layer)
    }
    for name in skip - layers.keys():
        raise ValueError(f"'{name}' is not a linear or conv2d layer; there are: {', '.join(layers)}")
    layers = {name: layer for name, layer in layers.items() if name not in skip}
    if not layers:
        raise ValueError(f"{type(module).__name__} has no linear or conv2d layer to quantize")
    given: dict[str, int] = (
        dict(weight_bits) if isinstance(weight_bits, Mapping) else dict.fromkeys(layers, weight_bits)
    )
    for name in given.keys() - layers.keys():
        raise ValueError(f"'{name}' is not a layer to quantize; there are: {', '.join(layers)}")
    bits = per_layer("weight_bits", given, layers, check_bits)
    Placement(traced, skip).run()
    means = _calibrate(traced, batches, layers, observer, progress)
    for name, layer in layers.items():
        weight = layer.weight
        grid = RowGrid(weight, bits.get(name, 7))
        if bias_correction:
            _correct_bias(layer, grid.eval(), means[name])
        parametrize.register_parametrization(layer, "weight", grid, unsafe=True)
    return traced.eval()


def _trace(module: nn.Module) -> fx.GraphModule:
    try:
        return fx.symbolic_trace(copy.deepcopy(module).eval())
    except Exception as error:
        raise ValueError(
            f"torch.fx cannot trace {type(module).__name__}: {error}; quantize needs a forward without "
            "branches that depend on its inputs"
        ) from error


def _calibrate(
    traced: fx.GraphModule,
    batches: list[tuple[Tensor, ...]],
    layers: Mapping[str, nn.Module],
    observer: Observer,
    progress: bool,
) -> dict[str, Tensor]:
    """Sets the scale of every FakeQuantize; returns the mean input of each layer by channel."""
    sums: dict[str, Tensor] = {}

    def add_mean(name: str, layer: nn.Module, x: Tensor) -> None:
        axis = 1 if isinstance(layer, nn.Conv2d) else x.dim() - 1
        mean = x.detach().double().mean([d for d in range(x.dim()) if d != axis])
        sums[name] = sums.get(name, torch.zeros_like(mean)) + mean / len(batches)

    hooks = [
        layer.register_forward_pre_hook(lambda layer, args, name=name: add_mean(name, layer, args[0]))
        for name, layer in layers.items()
    ]
    quantizers = [m for m in traced.modules() if isinstance(m, FakeQuantize)]
    with torch.no_grad():
        for counting in (False, True):
            for quantizer in quantizers:
                quantizer.counting = counting
            for batch in tqdm(batches, desc="calibrate", disable=None if progress else True):
                traced(*batch)
            for hook in hooks:  # the means of one pass are enough
                hook.remove()
    for quantizer in quantizers:
        if quantizer.histogram is not None:  # a concat's parts share one
            quantizer.calibrate(observer)
    return sums


def _correct_bias(layer: nn.Module, grid: RowGrid, mean: Tensor) -> None:
    """Subtracts what the rounding of the weights adds to the mean output, borders aside."""
    weight = cast(Tensor, layer.weight).detach()
    shift = (grid(weight) - weight).double()
    if isinstance(layer, nn.Conv2d):
        shift = shift.sum((2, 3))
        per_group = mean.reshape(layer.groups, 1, -1).expand(-1, len(weight) // layer.groups, -1)
        error = (shift * per_group.reshape(shift.shape)).sum(1)
    else:
        error = shift @ mean
    bias = cast("Tensor | None", layer.bias)
    old = torch.zeros(len(weight)) if bias is None else bias.detach()
    layer.bias = nn.Parameter((old - error).to(weight.dtype))
