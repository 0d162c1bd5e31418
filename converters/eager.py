"""Models quantized by torch.ao's eager mode (QuantStub, prepare, convert) as torch.export can trace them.

Their layers hold packed weights that it cannot see into. Each becomes what it stands for: a float layer whose
weight and result are fake-quantized by the layer's own numbers. What torch computes on quantized tensors
without a layer (a mean, say) is not rounded here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.ao.nn import quantized
from torch.ao.nn.intrinsic import quantized as fused
from torch.nn import functional as F

from converters.errors import ConvertError

PACKAGES = (quantized.__name__, fused.__name__)
# Arithmetic before it is quantized, and the weights inside a linear layer.
NO_LAYERS = (quantized.FloatFunctional, quantized.modules.linear.LinearPackedParams)
WITH_RELU = (fused.ConvReLU1d, fused.ConvReLU2d, fused.LinearReLU)


def traceable(module: nn.Module) -> nn.Module:
    """The module itself, or a copy without packed weights if it has any.

    Raises ConvertError that lists the layers that have no such form here.
    """
    layers = {
        name: layer
        for name, layer in module.named_modules()
        if type(layer).__module__.startswith(PACKAGES) and not isinstance(layer, NO_LAYERS)
    }
    if not layers:
        return module
    unknown = [
        f"  {name}: {type(layer).__name__}" for name, layer in layers.items() if type(layer) not in FORMS
    ]
    if unknown:
        raise ConvertError("layers of torch.ao's eager mode that are not supported:\n" + "\n".join(unknown))
    module = copy.deepcopy(module)
    if "" in layers:
        return FORMS[type(module)](module)
    for name in layers:
        layer = module.get_submodule(name)
        module.set_submodule(name, FORMS[type(layer)](layer))
    return module


def _rounded(x: Tensor, layer: Any) -> Tensor:
    return torch.fake_quantize_per_tensor_affine(x, float(layer.scale), int(layer.zero_point), 0, 255)


class _Layer(nn.Module):
    """A convolution or linear layer and the relu that is part of it."""

    scales: Tensor
    zeros: Tensor

    def __init__(self, layer: Any) -> None:
        super().__init__()
        packed, bias = layer.weight(), layer.bias()
        self.weight = nn.Parameter(packed.dequantize(), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        per_row = packed.qscheme() == torch.per_channel_affine
        scales = packed.q_per_channel_scales() if per_row else torch.tensor([packed.q_scale()] * len(packed))
        zeros = (
            packed.q_per_channel_zero_points()
            if per_row
            else torch.tensor([packed.q_zero_point()] * len(packed))
        )
        self.register_buffer("scales", scales.float())
        self.register_buffer("zeros", zeros.int())
        self.scale, self.zero_point = layer.scale, layer.zero_point
        self.relu = isinstance(layer, WITH_RELU)
        self.options: tuple[Any, ...] = ()
        if not isinstance(layer, quantized.Linear):
            if layer.padding_mode != "zeros":
                raise ConvertError(
                    f"padding mode {layer.padding_mode!r} of a quantized convolution is not supported"
                )
            self.options = layer.stride, layer.padding, layer.dilation, layer.groups
        functions: dict[int, Callable[..., Tensor]] = {2: F.linear, 3: F.conv1d, 4: F.conv2d}
        self.function = functions[self.weight.dim()]

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.fake_quantize_per_channel_affine(self.weight, self.scales, self.zeros, 0, -128, 127)
        y = self.function(x, weight, self.bias, *self.options)
        return _rounded(F.relu(y) if self.relu else y, self)


class _Quantize(nn.Module):
    """Of an input; and of the results of the other layers."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.scale, self.zero_point = layer.scale, layer.zero_point

    def forward(self, x: Tensor) -> Tensor:
        return _rounded(x, self)


class _Arithmetic(_Quantize):
    """What QFunctional computes between values."""

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        return _rounded(a + b, self)

    def add_relu(self, a: Tensor, b: Tensor) -> Tensor:
        return _rounded(F.relu(a + b), self)

    def mul(self, a: Tensor, b: Tensor) -> Tensor:
        return _rounded(a * b, self)

    def cat(self, parts: list[Tensor], dim: int = 0) -> Tensor:
        return _rounded(torch.cat(parts, dim), self)


def _then_rounded(function: Callable[[Any], nn.Module]) -> Callable[[Any], nn.Module]:
    return lambda layer: nn.Sequential(function(layer), _Quantize(layer))


FORMS: dict[type, Callable[[Any], nn.Module]] = {
    **dict.fromkeys((quantized.Conv1d, quantized.Conv2d, quantized.Linear, *WITH_RELU), _Layer),
    quantized.Quantize: _Quantize,
    quantized.DeQuantize: lambda _: nn.Identity(),
    quantized.Dropout: lambda _: nn.Identity(),
    quantized.ReLU6: lambda _: nn.ReLU6(),
    quantized.Hardswish: _then_rounded(lambda _: nn.Hardswish()),
    quantized.LeakyReLU: _then_rounded(lambda layer: nn.LeakyReLU(layer.negative_slope)),
    quantized.QFunctional: _Arithmetic,
}
