"""The two forms of fake quantization: of a weight, as a parametrization, and of an activation, as a module.

Both compute with torch's fake-quant ops, through which gradients pass straight (straight-through estimator).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from converters.compress.observers import Histogram, Observer

CLIPS = 40  # clipping ratios tried for each row


def largest_integer(bits: int) -> int:
    """7 bits are -64..64: two such products with u8 fit 16 bits, so no processor saturates. Others are
    2^(b-1) - 1.
    """
    return 64 if bits == 7 else 2 ** (bits - 1) - 1


def check_bits(bits: int) -> str | None:
    """What is wrong with a number of bits for weights."""
    return None if bits in range(2, 9) else "must be 2 to 8"


class RowGrid(nn.Module):
    """Parametrization: row r of the weight lies on scale[r] * {-n..n}.

    The scales cover the rows up to the clipping of the least squared error; in training they follow the
    weight.
    """

    scale: Tensor
    zero_point: Tensor
    clip: Tensor

    def __init__(self, weight: Tensor, bits: int) -> None:
        super().__init__()
        self.largest = largest_integer(bits)
        rows = weight.shape[0]
        self.register_buffer("zero_point", torch.zeros(rows, dtype=torch.int32))
        self.register_buffer("clip", self._best_clip(weight.detach().reshape(rows, -1)))
        self.register_buffer("scale", self._scale(weight.detach()))

    def _best_clip(self, rows: Tensor) -> Tensor:
        peak = rows.abs().amax(1, keepdim=True).clamp(min=1e-30)
        best, clip = torch.full_like(peak, torch.inf), torch.ones_like(peak)
        for ratio in torch.linspace(1.0, 0.4, CLIPS).tolist():
            scale = ratio * peak / self.largest
            rounded = (rows / scale).round().clamp(-self.largest, self.largest) * scale
            error = ((rows - rounded) ** 2).sum(1, keepdim=True)
            better = error < best
            best, clip = (
                torch.where(better, error, best),
                torch.where(better, torch.full_like(clip, ratio), clip),
            )
        return clip.flatten()

    def _scale(self, weight: Tensor) -> Tensor:
        peak = weight.reshape(weight.shape[0], -1).abs().amax(1) * self.clip
        # Rows of nearly nothing (dead channels) must not need biases of billions of steps.
        return peak.clamp(min=float(peak.max()) * 2.0**-12 + 1e-30) / self.largest

    def forward(self, weight: Tensor) -> Tensor:
        if self.training:
            self.scale.copy_(self._scale(weight.detach()))
        return torch.fake_quantize_per_channel_affine(
            weight, self.scale, self.zero_point, 0, -self.largest, self.largest
        )


class FakeQuantize(nn.Module):
    """An activation rounded to u8: scale * (q - zero_point), q in 0..255, one scale for the tensor.

    Until `calibrate` it passes everything through; while `histogram` is set it looks at what passes. Scale
    and zero point are numbers, which torch.export can take with a dynamic batch, and are saved with the
    state dict.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.zero_point = 1.0, 0
        self.histogram: Histogram | None = Histogram()
        self.counting = False

    def calibrate(self, observer: Observer) -> None:
        """Sets scale and zero point from what was seen, and ends looking."""
        assert self.histogram is not None
        low, high = self.histogram.range(observer)
        self.scale = float(np.float32(max((high - low) / 255, 1e-20)))
        self.zero_point = min(max(round(-low / self.scale), 0), 255)
        self.histogram = None

    def forward(self, x: Tensor) -> Tensor:
        if self.histogram is None:
            return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, 0, 255)
        if self.counting:
            self.histogram.see_counts(x.detach())
        else:
            self.histogram.see_extremes(x.detach())
        return x

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.scale, self.zero_point], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        self.scale, self.zero_point = float(state[0]), int(state[1])
        self.histogram = None

    def extra_repr(self) -> str:
        return f"scale={self.scale:.4g}, zero_point={self.zero_point}"
