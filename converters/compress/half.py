"""Weights rounded to half precision: half the bytes, widened to float again as they are computed with."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from converters.compress.layers import weights_of


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
    """Rounds the weights of linear, conv2d, LSTM and GRU layers to f16 values, in place, and keeps them so.

    layers: names of the layers, all by default. What is left is float32 arithmetic on weights that fit 16
    bits, which `converters.convert` then stores in 16 bits. Weights beyond the f16 range (65504) raise
    ValueError. Earlier masks and codebooks stay in force. Returns the module.
    """
    for name, slot in weights_of(module, layers).items():
        if slot.value.abs().max() > torch.finfo(torch.float16).max:
            raise ValueError(
                f"layer '{name}' has weights beyond the range of f16 (65504): leave it out of `layers`"
            )
        slot.add(Half(), unsafe=True)
    return module
