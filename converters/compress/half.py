"""Weights rounded to half precision: half the bytes, widened to float again as they are computed with."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from converters.compress.layers import weighted_layers


class _RoundToHalf(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, weight: Tensor) -> Tensor:
        return weight.half().to(weight.dtype)

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> Tensor:
        return grads[0]


class Half(nn.Module):
    """Parametrization: the weight is rounded to IEEE 754 binary16 values; gradients pass straight through."""

    def forward(self, weight: Tensor) -> Tensor:
        rounded: Tensor = _RoundToHalf.apply(weight)  # type: ignore[no-untyped-call]
        return rounded


def half(module: nn.Module, layers: Iterable[str] | None = None) -> nn.Module:
    """Rounds the weights of linear and conv2d layers to f16 values, in place, and keeps them there.

    layers: names of the layers, all by default. What is left is float32 arithmetic on weights that fit 16
    bits, which `converters.convert` then stores in 16 bits. Weights beyond the f16 range (65504) raise
    ValueError. Earlier masks and codebooks stay in force. Returns the module.
    """
    for name, layer in weighted_layers(module, layers).items():
        weight = layer.weight
        assert isinstance(weight, Tensor)
        if weight.detach().abs().max() > torch.finfo(torch.float16).max:
            raise ValueError(
                f"layer '{name}' has weights beyond the range of f16 (65504): leave it out of `layers`"
            )
        parametrize.register_parametrization(layer, "weight", Half(), unsafe=True)
    return module
