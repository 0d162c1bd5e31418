"""Linear layers on integers without calibration: every token is rounded by a scale of its own as it comes."""

from collections.abc import Iterable, Mapping
from typing import cast

import torch
import torch.ao.quantization.fx._decomposed  # registers the ops
from torch import Tensor, nn

from converters.compress.integers import RowGrid, check_bits
from converters.compress.layers import weights_of

QUANTIZED = (nn.Linear, nn.Embedding)
TABLE_BITS = 8  # of an embedding table, which is not multiplied with


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
    come. The rows of embedding tables are put on grids of 8 bits.

    weight_bits: 2..8, for all linear layers or by name, of tables as well. layers: names, all linear layers
    and embedding tables by default. It needs no calibration and no trace, and suits transformers, whose
    activations vary widely from token to token. What is between the layers stays float. A table that is tied
    to a linear layer is on its grid. The module trains as before, gradients pass straight through.

    Returns it. Raises ValueError naming the layer.
    """
    found = weights_of(module, layers, QUANTIZED)
    if layers is None and not any(
        isinstance(place.layer, nn.Linear) for slot in found.values() for place in (slot, *slot.tied)
    ):
        raise ValueError(f"{type(module).__name__} has no linear layer to quantize")
    named = weight_bits if isinstance(weight_bits, Mapping) else {}
    default = 7 if isinstance(weight_bits, Mapping) else weight_bits
    for name in named.keys() - found.keys():
        raise ValueError(f"weight_bits names '{name}', which is not quantized; there are: {', '.join(found)}")
    for name, slot in found.items():
        linear = [place for place in (slot, *slot.tied) if isinstance(place.layer, nn.Linear)]
        bits = named.get(name, default if linear else TABLE_BITS)
        if problem := check_bits(bits):
            raise ValueError(f"weight_bits of layer '{name}' is {bits!r}: {problem}")
        slot.add(RowGrid(slot.value, bits), unsafe=True)
        for place in linear:
            place.layer.round_tokens = RoundTokens()
            place.layer.register_forward_pre_hook(_round_input)
    return module
