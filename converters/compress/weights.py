"""Weights alone on integer grids ("pseudo quantization"): few bits in the file, float arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from converters.compress.integers import CLIPS, check_bits
from converters.compress.layers import per_layer, weights_of

GROUPS = (32, 64, 128, 256)


class GroupGrid(nn.Module):
    """Parametrization: every `group` neighbours in a row of the weight lie on scale * {-n..n}, the scale an
    f16 number that follows the weight; without a group the whole row does. Gradients pass straight through.
    """

    clip: Tensor

    def __init__(self, weight: Tensor, bits: int, group: int | None) -> None:
        super().__init__()
        self.largest, self.group = 2 ** (bits - 1) - 1, group
        groups = self._in_groups(weight.detach())
        self.register_buffer("clip", self._best_clip(groups))

    def _in_groups(self, weight: Tensor) -> Tensor:
        rows = weight.flatten(1)
        size = self.group or rows.shape[1]
        return F.pad(rows, (0, -rows.shape[1] % size)).reshape(len(rows), -1, size)

    def _best_clip(self, groups: Tensor) -> Tensor:
        """The clipping of the least squared error."""
        clip = groups.new_ones(*groups.shape[:2], 1)
        best = torch.full_like(clip, torch.inf)
        for ratio in torch.linspace(1.0, 0.5, CLIPS).tolist():
            tried = torch.full_like(clip, ratio)
            error = ((self._round(groups, tried) - groups) ** 2).sum(2, keepdim=True)
            clip, best = torch.where(error < best, tried, clip), torch.minimum(error, best)
        return clip

    def _round(self, groups: Tensor, clip: Tensor) -> Tensor:
        peak = groups.abs().amax(2, keepdim=True) * clip
        scale = (peak / self.largest).clamp(2.0**-24, 65504.0).half().to(groups.dtype)
        rounded: Tensor = (groups / scale).round().clamp(-self.largest, self.largest) * scale
        return rounded

    def forward(self, weight: Tensor) -> Tensor:
        with torch.no_grad():
            rounded = self._round(self._in_groups(weight), self.clip).flatten(1)
            rounded = rounded[:, : weight[0].numel()].reshape(weight.shape)
        # The difference first: weight + (rounded - weight) would not be `rounded` to the last bit.
        return rounded + (weight - weight.detach())


def quantize_weights(
    module: nn.Module,
    bits: int | Mapping[str, int] = 4,
    *,
    group: int | None = 64,
    layers: Iterable[str] | None = None,
) -> nn.Module:
    """Rounds the weights of linear, conv2d, LSTM and GRU layers to few bits, in place, and keeps them there.

    bits: 2..8, for all layers or by name; the file takes 4 bits for up to 4, else 8. group: how many
    neighbours of a row share a scale: 32, 64, 128 or 256, or None for the whole row; an f16 scale for 64 adds
    a quarter of a bit. layers: names of the layers, all by default; those that `bits` names if it does.

    Activations stay float, so nothing is calibrated: the file is 4 or 7.5 times smaller, and where weights
    are what takes time (one column: recurrent nets, a token at a time) it is as much faster. Convolutions,
    which they slow down a little, are stored so with `convert(..., prefer="size")` only. The scales are
    those of the least squared error.

    Raises ValueError that names the layer or the number that is wrong. Returns the module.
    """
    if group is not None and group not in GROUPS:
        raise ValueError(f"group must be one of {', '.join(map(str, GROUPS))}, or None, not {group!r}")
    if layers is None and isinstance(bits, Mapping):
        layers = bits
    found = weights_of(module, layers)
    each = per_layer("bits", bits, found, check_bits)
    for name, slot in found.items():
        if name not in each:
            raise ValueError(f"bits has no number for layer '{name}'")
        slot.add(GroupGrid(slot.value, each[name], group), unsafe=True)
    return module
