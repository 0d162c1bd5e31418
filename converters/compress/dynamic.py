"""Linear layers on integers without calibration: every token is rounded by a scale of its own as it comes."""

from collections.abc import Iterable, Mapping
from typing import cast

import torch
import torch.ao.quantization.fx._decomposed  # registers the ops
from torch import Tensor, nn

from converters.compress.integers import RowGrid, check_bits
from converters.compress.layers import PRODUCTS, per_layer, weights_of


class _RoundTokens(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        ops = torch.ops.quantized_decomposed
        scales, zeros = ops.choose_qparams_per_token(x, torch.int8)
        q = ops.quantize_per_token(x, scales, zeros, -127, 127, torch.int8)
        rounded: Tensor = ops.dequantize_per_token(q, scales, zeros, -127, 127, torch.int8, torch.float32)
        return rounded

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> Tensor:
        return grads[0]


class RoundTokens(nn.Module):
    """Rounds each f32 [..., K] to -127..127 steps of its largest magnitude; gradients pass straight."""

    def forward(self, x: Tensor) -> Tensor:
        rounded: Tensor = _RoundTokens.apply(x)  # type: ignore[no-untyped-call]
        return rounded


def _round_input(layer: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    tokens = cast(nn.Module, layer.round_tokens)(args[0])
    return (tokens, *args[1:])


def quantize_dynamic(
    module: nn.Module, *, weight_bits: int | Mapping[str, int] = 7, layers: Iterable[str] | None = None
) -> nn.Module:
    """Makes linear layers compute on integers, in place: weights on a grid per row, tokens rounded as they
    come.

    weight_bits: 2..8, for all layers or by name. layers: names, all linear layers by default. It needs no
    calibration and no trace, and suits transformers, whose activations vary widely from token to token. What
    is between the layers stays float. The module trains as before, gradients pass straight through. Returns
    it.
    """
    found = weights_of(module, layers, PRODUCTS)
    if layers is None:
        found = {name: slot for name, slot in found.items() if isinstance(slot.layer, nn.Linear)}
    for name, slot in found.items():
        if not isinstance(slot.layer, nn.Linear):
            raise ValueError(f"'{name}' is no linear layer; use quantize for convolutions")
    if not found:
        raise ValueError(f"{type(module).__name__} has no linear layer to quantize")
    given = weight_bits if isinstance(weight_bits, Mapping) else dict.fromkeys(found, weight_bits)
    bits = per_layer("weight_bits", given, found, check_bits)
    for name, slot in found.items():
        slot.add(RowGrid(slot.value, bits.get(name, 7)), unsafe=True)
        slot.layer.round_tokens = RoundTokens()
        slot.layer.register_forward_pre_hook(_round_input)
    return module
