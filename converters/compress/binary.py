"""Binary and ternary networks: +1 and -1 for activations and weights, trained through straight-through
gradients, in torch.

References: Courbariaux et al. 2016 (BNN: sign, clipped gradients, latent weights), Rastegari et al. 2016
(BWN, XNOR-Net: mean |w| as scale), Liu et al. 2018 (Bi-Real: ApproxSign), Liu et al. 2020 (ReActNet: RSign,
RPReLU), Li & Liu 2016 (TWN), Zhu et al. 2017 (TTQ).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from converters.compress.layers import PRODUCTS, weights_of

Estimator = Literal["clip", "approx", "identity"]
Weights = Literal["binary", "ternary", "ttq"]
Scale = Literal["mean", "learned", "none"]

TWN_THRESHOLD = 0.7  # of the mean |w| of a row (Li & Liu, equation 6)
TTQ_THRESHOLD = 0.05  # of the largest |w| (Zhu et al., section 4)


class _SignFunction(torch.autograd.Function):
    """+1 where x >= noise (0 when deterministic), else -1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, noise: Tensor | None, estimator: Estimator) -> Tensor:
        ctx.save_for_backward(x)
        ctx.estimator = estimator
        return torch.where(x >= 0 if noise is None else x >= noise, 1.0, -1.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        (gradient,) = gradients
        if ctx.estimator == "identity":
            return gradient, None, None
        if ctx.estimator == "clip":
            return gradient * (x.abs() <= 1), None, None
        return gradient * (2 - 2 * x.abs()).clamp(min=0), None, None


class _ThroughFunction(torch.autograd.Function):
    """`y`, with the gradient times `factor` going to `x`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return y.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (factor,) = ctx.saved_tensors
        (gradient,) = gradients
        return gradient * factor, gradient, None


class Sign(nn.Module):
    """x >= 0 as +1, the rest as -1; sign(0) is +1. Any shape.

    estimator: the gradient that passes. "clip": 1 where |x| <= 1 (hard tanh), "approx": 2 - 2|x| there
    (ApproxSign of Bi-Real nets), "identity": 1 everywhere. stochastic: in training +1 with probability
    clip((x + 1) / 2, 0, 1) (Courbariaux et al.). channels: learn a shift of each channel before the sign
    (RSign of ReActNet); channels are dimension 1 of images, else the last.
    """

    def __init__(self, estimator: Estimator = "clip", stochastic: bool = False, channels: int | None = None):
        super().__init__()
        if estimator not in ("clip", "approx", "identity"):
            raise ValueError(f"estimator must be 'clip', 'approx' or 'identity', not {estimator!r}")
        self.estimator, self.stochastic = estimator, stochastic
        self.shift = nn.Parameter(torch.zeros(channels)) if channels else None

    def forward(self, x: Tensor) -> Tensor:
        if self.shift is not None:
            x = x + (self.shift[:, None, None] if x.dim() == 4 else self.shift)
        noise = torch.rand_like(x) * 2 - 1 if self.stochastic and self.training else None
        return cast(Tensor, _SignFunction.apply(x, noise, self.estimator))  # type: ignore[no-untyped-call]

    def extra_repr(self) -> str:
        return f"{self.estimator}{', stochastic' if self.stochastic else ''}"


class RPReLU(nn.Module):
    """prelu(x - a) + b of images [N, channels, H, W], a, b and the slope learned per channel (ReActNet)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before, self.after = nn.Parameter(torch.zeros(channels)), nn.Parameter(torch.zeros(channels))
        self.slope = nn.Parameter(torch.full((channels,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(x - self.before[:, None, None], self.slope) + self.after[:, None, None]


class BinaryWeight(nn.Module):
    """Parametrization: row r of the weight is +-scale[r], with the signs of a latent weight.

    scale: "mean" |w| of the row, "learned" from there on, or "none" (1). Gradients pass to latent weights
    within -1..1.
    """

    def __init__(self, weight: Tensor, scale: Scale = "mean", stochastic: bool = False) -> None:
        super().__init__()
        if scale not in ("mean", "learned", "none"):
            raise ValueError(f"scale must be 'mean', 'learned' or 'none', not {scale!r}")
        self.mode, self.stochastic = scale, stochastic
        self.scale = nn.Parameter(_mean_size(weight.detach())) if scale == "learned" else None

    def forward(self, weight: Tensor) -> Tensor:
        noise = torch.rand_like(weight) * 2 - 1 if self.stochastic and self.training else None
        signs = cast(Tensor, _SignFunction.apply(weight, noise, "clip"))  # type: ignore[no-untyped-call]
        if self.mode == "none":
            return signs
        return signs * (_mean_size(weight) if self.scale is None else self.scale)

    def extra_repr(self) -> str:
        return f"scale={self.mode}"


class TernaryWeight(nn.Module):
    """Parametrization: weights of 0 and +-a.

    "ternary" (TWN): |w| over 0.7 of the row's mean become +-the mean of those, row by row. "ttq": |w| over
    0.05 of the largest become +p or -n, two numbers learned for the layer.
    """

    def __init__(self, weight: Tensor, kind: Literal["ternary", "ttq"] = "ternary") -> None:
        super().__init__()
        self.kind = kind
        self.positive = self.negative = None
        if kind == "ttq":
            start = self._large(weight.detach())
            self.positive, self.negative = nn.Parameter(start.clone()), nn.Parameter(start.clone())

    @staticmethod
    def _large(weight: Tensor) -> Tensor:
        size = weight.abs()
        return size[size > TTQ_THRESHOLD * size.max()].mean()

    def forward(self, weight: Tensor) -> Tensor:
        size = weight.detach().abs()
        one = torch.ones_like(size)
        if self.positive is None or self.negative is None:
            kept = (size > TWN_THRESHOLD * _mean_size(size)).to(size.dtype)
            dims = list(range(1, size.dim()))
            scale = (size * kept).sum(dims, keepdim=True) / kept.sum(dims, keepdim=True).clamp(min=1)
            value = torch.sign(weight.detach()) * kept * scale
            return cast(Tensor, _ThroughFunction.apply(weight, value, one))  # type: ignore[no-untyped-call]
        limit = TTQ_THRESHOLD * size.max()
        plus, minus = (weight.detach() > limit).to(size.dtype), (weight.detach() < -limit).to(size.dtype)
        value = plus * self.positive - minus * self.negative
        factor = (plus * self.positive + minus * self.negative + (one - plus - minus)).detach()
        return cast(Tensor, _ThroughFunction.apply(weight, value, factor))  # type: ignore[no-untyped-call]

    def extra_repr(self) -> str:
        return self.kind


def _mean_size(weight: Tensor) -> Tensor:
    return weight.abs().mean(list(range(1, weight.dim())), keepdim=True).clamp(min=1e-12)


def _form(layer: nn.Module) -> nn.Module:
    return cast(nn.ModuleList, cast(nn.ModuleDict, layer.parametrizations)["weight"])[0]


def _scale_apart(layer: nn.Module, weight: Tensor) -> Tensor | None:
    """The scale of rows of +-scale, for a product with signs: the sums are then whole, as in the file, and
    0 is 0 however many floats were added. None where it is left in the weights.
    """
    form = _form(layer)
    if layer.sign is None or not isinstance(form, BinaryWeight) or form.mode == "none":
        return None
    return weight.reshape(len(weight), -1)[:, 0].abs()


def _check(weights: str, pad_value: int) -> None:
    if weights not in ("binary", "ternary", "ttq"):
        raise ValueError(f"weights must be 'binary', 'ternary' or 'ttq', not {weights!r}")
    if pad_value not in (-1, 0, 1):
        raise ValueError(f"pad_value must be -1, 0 or 1, not {pad_value!r}")


def _constrain(layer: nn.Module, weights: Weights, scale: Scale, stochastic: bool) -> None:
    latent = cast(Tensor, layer.weight)
    if weights == "binary":
        form: nn.Module = BinaryWeight(latent, scale, stochastic)
    else:
        form = TernaryWeight(latent, weights)
    parametrize.register_parametrization(layer, "weight", form)


class BinaryConv2d(nn.Conv2d):
    """nn.Conv2d with binary or ternary weights, on the signs of its input.

    sign: a `Sign`, or None to leave the input as it is (BWN, ternary nets; float or int8 input). weights:
    "binary", "ternary" (TWN) or "ttq". scale: of binary weights, "mean", "learned" or "none". stochastic:
    draw the signs of the weights in training. pad_value: what the image is padded with: 0, 1 or -1.
    """

    def __init__(
        self,
        *args: Any,
        sign: Sign | None = None,
        weights: Weights = "binary",
        scale: Scale = "mean",
        stochastic: bool = False,
        pad_value: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        _check(weights, pad_value)
        if self.padding_mode != "zeros" or (pad_value and isinstance(self.padding, str)):
            raise ValueError("needs padding_mode 'zeros', and with a pad_value padding in numbers")
        self.sign, self.pad_value = sign, pad_value
        _constrain(self, weights, scale, stochastic)

    def forward(self, input: Tensor) -> Tensor:
        x = input if self.sign is None else self.sign(input)
        padding, weight = self.padding, self.weight
        if self.pad_value != 0:
            height, width = cast(tuple[int, int], padding)
            x = F.pad(x, (width, width, height, height), value=float(self.pad_value))
            padding = (0, 0)
        scale = _scale_apart(self, weight)
        if scale is None:
            return F.conv2d(x, weight, self.bias, self.stride, padding, self.dilation, self.groups)
        signs = weight / scale[:, None, None, None]
        y = F.conv2d(x, signs, None, self.stride, padding, self.dilation, self.groups) * scale[:, None, None]
        return y if self.bias is None else y + self.bias[:, None, None]


class BinaryLinear(nn.Linear):
    """nn.Linear with binary or ternary weights, on the signs of its input; arguments as in BinaryConv2d."""

    def __init__(
        self,
        *args: Any,
        sign: Sign | None = None,
        weights: Weights = "binary",
        scale: Scale = "mean",
        stochastic: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        _check(weights, 0)
        self.sign = sign
        _constrain(self, weights, scale, stochastic)

    def forward(self, input: Tensor) -> Tensor:
        x, weight = input if self.sign is None else self.sign(input), self.weight
        scale = _scale_apart(self, weight)
        if scale is None:
            return F.linear(x, weight, self.bias)
        y = F.linear(x, weight / scale[:, None]) * scale
        return y if self.bias is None else y + self.bias


def binary(
    module: nn.Module,
    layers: Iterable[str] | None = None,
    *,
    activations: Literal["sign", "float"] = "sign",
    weights: Weights = "binary",
    scale: Scale = "mean",
    estimator: Estimator = "clip",
    stochastic: bool = False,
    shift: bool = False,
    pad_value: int = 0,
) -> nn.Module:
    """Replaces Conv2d and Linear layers of `module` by BinaryConv2d and BinaryLinear with the same (now
    latent) weights.

    layers: names; all by default, though the first and the last of a net are best left out. activations:
    "sign" takes the signs of each layer's input, "float" leaves it. weights, scale, stochastic, pad_value: as
    in BinaryConv2d. estimator, shift (RSign): of `Sign`.

    Returns `module` (or its replacement, if it is such a layer itself). Make the optimizer afterwards, and
    call `clip_latent(module)` after its steps. Raises ValueError for a name that is no such layer.
    """
    if activations not in ("sign", "float"):
        raise ValueError(f"activations must be 'sign' or 'float', not {activations!r}")
    _check(weights, pad_value)
    for name, slot in weights_of(module, layers, PRODUCTS).items():
        layer = slot.layer
        if parametrize.is_parametrized(layer, "weight"):
            raise ValueError(f"the weight of '{name}' has a parametrization already")
        channels = layer.in_channels if isinstance(layer, nn.Conv2d) else cast(nn.Linear, layer).in_features
        sign = Sign(estimator, stochastic, channels if shift else None) if activations == "sign" else None
        new: nn.Module
        if isinstance(layer, nn.Conv2d):
            new = BinaryConv2d(
                layer.in_channels,
                layer.out_channels,
                layer.kernel_size,
                layer.stride,
                layer.padding,
                layer.dilation,
                layer.groups,
                layer.bias is not None,
                layer.padding_mode,
                sign=sign,
                weights=weights,
                scale=scale,
                stochastic=stochastic,
                pad_value=pad_value,
            )
        else:
            linear = cast(nn.Linear, layer)
            new = BinaryLinear(
                linear.in_features,
                linear.out_features,
                linear.bias is not None,
                sign=sign,
                weights=weights,
                scale=scale,
                stochastic=stochastic,
            )
        old = cast(Tensor, layer.weight)
        with torch.no_grad():
            cast(Tensor, cast(nn.ModuleDict, new.parametrizations)["weight"].original).copy_(old)
            fresh = BinaryWeight(old, scale) if weights == "binary" else TernaryWeight(old, weights)
            _form(new).load_state_dict(fresh.state_dict())
            if layer.bias is not None:
                cast(Tensor, new.bias).copy_(cast(Tensor, layer.bias))
        new.to(old.device).train(layer.training)
        if name == "":
            return new
        parent, _, child = name.rpartition(".")
        setattr(module.get_submodule(parent), child, new)
    return module


@torch.no_grad()
def clip_latent(module: nn.Module) -> None:
    """Clips the latent weights of binary layers to -1..1, past which they would get no gradient; call it
    after each step of the optimizer (Courbariaux et al.).
    """
    for layer in module.modules():
        if isinstance(layer, (BinaryConv2d, BinaryLinear)) and isinstance(_form(layer), BinaryWeight):
            cast(Tensor, cast(nn.ModuleDict, layer.parametrizations)["weight"].original).clamp_(-1, 1)
